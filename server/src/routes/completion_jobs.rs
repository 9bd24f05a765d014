//! Completion jobs: an admin orders completions and watches them come.

use crate::{
    clock,
    error::Failure,
    extract::{Body, Path},
    guards::Admin,
    state::AppState,
    store::completion_jobs,
};
use axum::{Json, extract::State};
use laurel_protocol::{ApiError, CompletionJob, CompletionJobId, NewCompletionJob, ProjectId};

/// The project's completion jobs, newest first.
#[utoipa::path(get, path = "/projects/{id}/completion-jobs", tag = "completions", params(("id" = i64, Path)),
    responses((status = 200, body = [CompletionJob])))]
pub async fn list(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<ProjectId>,
) -> Result<Json<Vec<CompletionJob>>, Failure> {
    Ok(Json(completion_jobs::list(&app.db, id).await?))
}

/// Orders completions; a trainer makes them.
#[utoipa::path(post, path = "/projects/{id}/completion-jobs", tag = "completions", params(("id" = i64, Path)),
    request_body = NewCompletionJob, responses((status = 200, body = CompletionJob), (status = 422, body = ApiError)))]
pub async fn create(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<ProjectId>,
    Body(new): Body<NewCompletionJob>,
) -> Result<Json<CompletionJob>, Failure> {
    new.validate()?;
    let job = completion_jobs::create(&app.db, id, &new, admin.person(), clock::now()).await?;
    app.events.completion_job(id, job.id);
    app.events.work_arrived();
    Ok(Json(job))
}

/// Aborts a completion job; what came so far stays.
#[utoipa::path(post, path = "/completion-jobs/{id}/abort", tag = "completions", params(("id" = i64, Path)),
    responses((status = 200, body = CompletionJob), (status = 409, body = ApiError)))]
pub async fn abort(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<CompletionJobId>,
) -> Result<Json<CompletionJob>, Failure> {
    let job = completion_jobs::abort(&app.db, id, admin.person(), clock::now()).await?;
    app.events.completion_job(job.project_id, id);
    Ok(Json(job))
}
