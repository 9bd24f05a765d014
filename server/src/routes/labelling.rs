//! Labelling: hold, answer, skip, renew, undo, one's own answers; gold items. An annotator sees
//! and changes what is their own, nothing else.

use super::projects::{Import, all_or_nothing};
use crate::{
    clock,
    error::Failure,
    extract::{Body, Path, Query, RawBody},
    guards::{Admin, Caller, CurrentUser},
    state::AppState,
    store::{
        annotations,
        assignments::{self, Annotator},
        checks::{gold, gold_import},
        own, undo,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use laurel_protocol::{
    Answer, ApiError, Assignment, AssignmentId, FieldError, GoldItem, Held, Hold, ImportReport, NewGold,
    OwnAnswers, ProjectId, Skip, TaskId,
};
use serde::Deserialize;

fn annotator(app: &AppState, caller: &Caller, project: ProjectId) -> Annotator {
    Annotator {
        user: caller.user.id,
        project,
        lease_seconds: app.settings.assignment_seconds,
        now: clock::now(),
    }
}

/// What this person holds, topped up.
#[utoipa::path(post, path = "/projects/{id}/assignments", tag = "labelling", params(("id" = i64, Path)),
    request_body = Hold, responses((status = 200, body = Held)))]
pub async fn hold(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(id): Path<ProjectId>,
    Body(hold): Body<Hold>,
) -> Result<Json<Held>, Failure> {
    if !(1..=assignments::MAX_HELD).contains(&hold.n) {
        return Err(Failure::invalid(vec![FieldError::new("n", "must be 1 to 5")]));
    }
    Ok(Json(
        assignments::hold(&app.db, annotator(&app, &caller, id), hold.n).await?,
    ))
}

/// Stores the answer to a held task and hands out the next one.
#[utoipa::path(post, path = "/assignments/{id}/annotation", tag = "labelling", params(("id" = i64, Path)),
    request_body = Answer, responses((status = 200, body = Held), (status = 409, body = ApiError)))]
pub async fn submit(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(id): Path<AssignmentId>,
    Body(answer): Body<Answer>,
) -> Result<Json<Held>, Failure> {
    let lease = app.settings.assignment_seconds;
    let done = annotations::submit(&app.db, id, &answer, caller.person(), lease, clock::now()).await?;
    app.events.counts(done.project);
    Ok(Json(done.held))
}

/// Puts a task aside with a reason.
#[utoipa::path(post, path = "/assignments/{id}/skip", tag = "labelling", params(("id" = i64, Path)),
    request_body = Skip, responses((status = 200, body = Held), (status = 409, body = ApiError)))]
pub async fn skip(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(id): Path<AssignmentId>,
    Body(skip): Body<Skip>,
) -> Result<Json<Held>, Failure> {
    skip.validate()?;
    let lease = app.settings.assignment_seconds;
    Ok(Json(
        assignments::skip(&app.db, id, &skip, caller.person(), lease, clock::now()).await?,
    ))
}

/// Prolongs a hold.
#[utoipa::path(post, path = "/assignments/{id}/renew", tag = "labelling", params(("id" = i64, Path)),
    responses((status = 200, body = Assignment), (status = 409, body = ApiError)))]
pub async fn renew(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(id): Path<AssignmentId>,
) -> Result<Json<Assignment>, Failure> {
    let lease = app.settings.assignment_seconds;
    Ok(Json(
        assignments::renew(&app.db, id, caller.user.id, lease, clock::now()).await?,
    ))
}

/// Gives back what this person answered or skipped last; called again, what came before that.
#[utoipa::path(post, path = "/projects/{id}/undo", tag = "labelling", params(("id" = i64, Path)),
    responses((status = 200, body = Held), (status = 409, body = ApiError)))]
pub async fn undo(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(id): Path<ProjectId>,
) -> Result<Json<Held>, Failure> {
    Ok(Json(
        undo::undo(&app.db, annotator(&app, &caller, id), caller.person().token).await?,
    ))
}

#[derive(Deserialize)]
pub struct Before {
    before: Option<i64>,
    #[serde(default = "fifty")]
    limit: u32,
}

fn fifty() -> u32 {
    50
}

/// What this person answered or skipped, what was handed out last first.
#[utoipa::path(get, path = "/projects/{id}/answers", tag = "labelling",
    params(("id" = i64, Path), ("before" = Option<i64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = OwnAnswers)))]
pub async fn own_answers(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(id): Path<ProjectId>,
    Query(page): Query<Before>,
) -> Result<Json<OwnAnswers>, Failure> {
    let before = page.before.map(AssignmentId);
    let limit = page.limit.clamp(1, 200);
    Ok(Json(own::page(&app.db, id, caller.user.id, before, limit).await?))
}

/// Gives back any one that this person answered or skipped, first in the list, to be changed.
#[utoipa::path(post, path = "/assignments/{id}/reopen", tag = "labelling", params(("id" = i64, Path)),
    responses((status = 200, body = Held), (status = 409, body = ApiError)))]
pub async fn reopen(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(id): Path<AssignmentId>,
) -> Result<Json<Held>, Failure> {
    let lease = app.settings.assignment_seconds;
    Ok(Json(
        undo::reopen(&app.db, id, caller.person(), lease, clock::now()).await?,
    ))
}

/// Makes a gold item of an answer of one's own.
#[utoipa::path(post, path = "/assignments/{id}/gold", tag = "labelling", params(("id" = i64, Path)),
    request_body = NewGold, responses((status = 200, body = GoldItem), (status = 409, body = ApiError)))]
pub async fn make_gold(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Path(id): Path<AssignmentId>,
    Body(new): Body<NewGold>,
) -> Result<Json<GoldItem>, Failure> {
    new.validate()?;
    Ok(Json(
        gold::make(&app.db, id, &new, &caller.person(), clock::now()).await?,
    ))
}

/// Imports gold items from JSON Lines or a table of comma-separated values.
#[utoipa::path(post, path = "/projects/{id}/gold", tag = "labelling",
    params(("id" = i64, Path), ("skip_bad_lines" = Option<bool>, Query)),
    request_body(content = String, content_type = "application/jsonl"),
    responses((status = 200, body = ImportReport), (status = 422, body = ApiError)))]
pub async fn import_gold(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Path(id): Path<ProjectId>,
    Query(import): Query<Import>,
    RawBody(body): RawBody,
) -> Result<Json<ImportReport>, Failure> {
    let skip = import.skip_bad_lines;
    let report = gold_import::import(&app.db, id, &body, skip, &caller.person(), clock::now()).await?;
    let report = all_or_nothing(&import, report)?;
    app.events.counts(id);
    Ok(Json(report))
}

/// The gold items of a project, newest first.
#[utoipa::path(get, path = "/projects/{id}/gold", tag = "labelling", params(("id" = i64, Path)),
    responses((status = 200, body = [GoldItem])))]
pub async fn gold_items(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<ProjectId>,
) -> Result<Json<Vec<GoldItem>>, Failure> {
    Ok(Json(gold::list(&app.db, id).await?))
}

/// Gives a gold item to nobody any more.
#[utoipa::path(delete, path = "/gold/{id}", tag = "labelling", params(("id" = i64, Path)),
    responses((status = 204)))]
pub async fn close_gold(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Path(id): Path<TaskId>,
) -> Result<StatusCode, Failure> {
    gold::close(&app.db, id, &caller.person(), clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
