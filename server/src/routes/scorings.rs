//! Scorings of open tasks, for active selection: an admin orders one and sees how it stands, a trainer says what it comes to.

use crate::{
    clock,
    error::Failure,
    extract::{Body, Path},
    guards::{Admin, Leased},
    state::AppState,
    store::scorings,
};
use axum::{Json, extract::State};
use laurel_protocol::{ApiError, Directive, ProjectId, Scoring, ScoringId, Uncertainties};

/// The project's latest scorings, newest first.
#[utoipa::path(get, path = "/projects/{id}/scorings", tag = "projects", params(("id" = i64, Path)),
    responses((status = 200, body = [Scoring])))]
pub async fn list(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<ProjectId>,
) -> Result<Json<Vec<Scoring>>, Failure> {
    Ok(Json(scorings::list(&app.db, id).await?))
}

/// Orders a scoring of the open tasks; a trainer does it when nothing else waits.
#[utoipa::path(post, path = "/projects/{id}/scorings", tag = "projects", params(("id" = i64, Path)),
    responses((status = 200, body = Scoring), (status = 409, body = ApiError)))]
pub async fn create(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<ProjectId>,
) -> Result<Json<Scoring>, Failure> {
    let scoring = scorings::create(&app.db, id, admin.person(), clock::now()).await?;
    app.events.counts(id);
    app.events.work_arrived();
    Ok(Json(scoring))
}

/// Stops a scoring; tasks keep what they have.
#[utoipa::path(post, path = "/scorings/{id}/abort", tag = "projects", params(("id" = i64, Path)),
    responses((status = 200, body = Scoring), (status = 409, body = ApiError)))]
pub async fn abort(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<ScoringId>,
) -> Result<Json<Scoring>, Failure> {
    let scoring = scorings::abort(&app.db, id, admin.person(), clock::now()).await?;
    app.events.counts(scoring.project_id);
    Ok(Json(scoring))
}

/// How unsure the reward model is about open tasks; renews the lease.
#[utoipa::path(post, path = "/worker/jobs/{job}/uncertainties", tag = "worker", params(("job" = i64, Path)),
    request_body = Uncertainties,
    responses((status = 200, body = Directive), (status = 409, body = ApiError), (status = 422, body = ApiError)))]
pub async fn uncertainties(
    State(app): State<AppState>,
    Leased(lease): Leased,
    Body(told): Body<Uncertainties>,
) -> Result<Json<Directive>, Failure> {
    let (job, mut directive) = scorings::work::store(&app.db, &lease, &told, clock::now()).await?;
    directive.chat = app.chats.waits_for(&job.base_model);
    app.events.counts(job.project_id);
    Ok(Json(directive))
}
