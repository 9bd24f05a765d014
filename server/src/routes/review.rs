//! Reviewing: contested tasks, decisions, notes, flagged tasks.

use crate::{
    clock,
    error::Failure,
    extract::{Body, Path, Query},
    guards::{CurrentUser, Reviewer},
    state::AppState,
    store::review::{self, flagged, notes},
};
use axum::{Json, extract::State, http::StatusCode};
use laurel_protocol::{
    ApiError, AssignmentId, FlaggedPage, NewDecision, NewNote, Note, ProjectId, ReviewFilter, ReviewPage,
    ReviewTask, TaskId,
};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    filter: ReviewFilter,
    #[serde(default)]
    after: i64,
    #[serde(default = "twenty")]
    limit: u32,
}

fn twenty() -> u32 {
    20
}

/// Tasks with all that was said about them.
#[utoipa::path(get, path = "/projects/{id}/review", tag = "review",
    params(("id" = i64, Path), ("filter" = Option<ReviewFilter>, Query), ("after" = Option<i64>, Query),
           ("limit" = Option<u32>, Query)),
    responses((status = 200, body = ReviewPage)))]
pub async fn page(
    State(app): State<AppState>,
    _: Reviewer,
    Path(id): Path<ProjectId>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<ReviewPage>, Failure> {
    let limit = wanted.limit.clamp(1, 100);
    let page = review::page(&app.db, id, wanted.filter, TaskId(wanted.after), limit).await?;
    Ok(Json(page))
}

/// Puts a decision in place of what annotators said.
#[utoipa::path(post, path = "/tasks/{id}/decision", tag = "review", params(("id" = i64, Path)),
    request_body = NewDecision, responses((status = 200, body = ReviewTask), (status = 409, body = ApiError)))]
pub async fn decide(
    State(app): State<AppState>,
    Reviewer(caller): Reviewer,
    Path(id): Path<TaskId>,
    Body(new): Body<NewDecision>,
) -> Result<Json<ReviewTask>, Failure> {
    let project = review::decide(&app.db, id, &new, &caller.person(), clock::now()).await?;
    app.events.counts(project);
    Ok(Json(review::task(&app.db, id).await?))
}

/// Takes a decision back.
#[utoipa::path(delete, path = "/tasks/{id}/decision", tag = "review", params(("id" = i64, Path)),
    responses((status = 200, body = ReviewTask), (status = 409, body = ApiError)))]
pub async fn take_back(
    State(app): State<AppState>,
    Reviewer(caller): Reviewer,
    Path(id): Path<TaskId>,
) -> Result<Json<ReviewTask>, Failure> {
    let project = review::take_back(&app.db, id, &caller.person(), clock::now()).await?;
    app.events.counts(project);
    Ok(Json(review::task(&app.db, id).await?))
}

/// Writes a note about a task that this person was given, or may review.
#[utoipa::path(post, path = "/tasks/{id}/notes", tag = "review", params(("id" = i64, Path)),
    request_body = NewNote, responses((status = 200, body = [Note])))]
pub async fn add_note(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(id): Path<TaskId>,
    Body(new): Body<NewNote>,
) -> Result<Json<Vec<Note>>, Failure> {
    new.validate()?;
    Ok(Json(
        notes::add(&app.db, id, &new, &caller.user, &caller.person(), clock::now()).await?,
    ))
}

#[derive(Deserialize)]
pub struct Before {
    before: Option<i64>,
    #[serde(default = "twenty")]
    limit: u32,
}

/// What annotators skipped with a reason, last first.
#[utoipa::path(get, path = "/projects/{id}/flagged", tag = "review",
    params(("id" = i64, Path), ("before" = Option<i64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = FlaggedPage)))]
pub async fn flagged(
    State(app): State<AppState>,
    _: Reviewer,
    Path(id): Path<ProjectId>,
    Query(page): Query<Before>,
) -> Result<Json<FlaggedPage>, Failure> {
    let before = page.before.map(AssignmentId);
    let limit = page.limit.clamp(1, 100);
    Ok(Json(flagged::page(&app.db, id, before, limit).await?))
}

/// Takes a task out of the queue.
#[utoipa::path(post, path = "/tasks/{id}/retired", tag = "review", params(("id" = i64, Path)),
    responses((status = 204)))]
pub async fn retire(
    State(app): State<AppState>,
    Reviewer(caller): Reviewer,
    Path(id): Path<TaskId>,
) -> Result<StatusCode, Failure> {
    let project = flagged::retire(&app.db, id, true, &caller.person(), clock::now()).await?;
    app.events.counts(project);
    Ok(StatusCode::NO_CONTENT)
}

/// Puts a retired task back into the queue.
#[utoipa::path(delete, path = "/tasks/{id}/retired", tag = "review", params(("id" = i64, Path)),
    responses((status = 204)))]
pub async fn put_back(
    State(app): State<AppState>,
    Reviewer(caller): Reviewer,
    Path(id): Path<TaskId>,
) -> Result<StatusCode, Failure> {
    let project = flagged::retire(&app.db, id, false, &caller.person(), clock::now()).await?;
    app.events.counts(project);
    Ok(StatusCode::NO_CONTENT)
}
