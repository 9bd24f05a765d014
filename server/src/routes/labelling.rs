//! Labelling: hold, answer, skip, renew, undo. An annotator sees and changes what is their own, nothing else.

use crate::{
    clock,
    error::Failure,
    extract::{Body, Path},
    guards::CurrentUser,
    state::AppState,
    store::{
        annotations,
        assignments::{self, Annotator},
        undo,
    },
};
use axum::{Json, extract::State};
use laurel_protocol::{
    Answer, ApiError, Assignment, AssignmentId, FieldError, Held, Hold, ProjectId, Skip, User,
};

fn annotator(app: &AppState, user: &User, project: ProjectId) -> Annotator {
    Annotator {
        user: user.id,
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
    CurrentUser(user): CurrentUser,
    Path(id): Path<ProjectId>,
    Body(hold): Body<Hold>,
) -> Result<Json<Held>, Failure> {
    if !(1..=assignments::MAX_HELD).contains(&hold.n) {
        return Err(Failure::invalid(vec![FieldError::new("n", "must be 1 to 5")]));
    }
    Ok(Json(
        assignments::hold(&app.db, annotator(&app, &user, id), hold.n).await?,
    ))
}

/// Stores the answer to a held task and hands out the next one.
#[utoipa::path(post, path = "/assignments/{id}/annotation", tag = "labelling", params(("id" = i64, Path)),
    request_body = Answer, responses((status = 200, body = Held), (status = 409, body = ApiError)))]
pub async fn submit(
    State(app): State<AppState>,
    CurrentUser(user): CurrentUser,
    Path(id): Path<AssignmentId>,
    Body(answer): Body<Answer>,
) -> Result<Json<Held>, Failure> {
    let lease = app.settings.assignment_seconds;
    let done = annotations::submit(&app.db, id, &answer, user.id, lease, clock::now()).await?;
    app.events.counts(done.project);
    Ok(Json(done.held))
}

/// Puts a task aside with a reason.
#[utoipa::path(post, path = "/assignments/{id}/skip", tag = "labelling", params(("id" = i64, Path)),
    request_body = Skip, responses((status = 200, body = Held), (status = 409, body = ApiError)))]
pub async fn skip(
    State(app): State<AppState>,
    CurrentUser(user): CurrentUser,
    Path(id): Path<AssignmentId>,
    Body(skip): Body<Skip>,
) -> Result<Json<Held>, Failure> {
    skip.validate()?;
    let lease = app.settings.assignment_seconds;
    Ok(Json(
        assignments::skip(&app.db, id, &skip, user.id, lease, clock::now()).await?,
    ))
}

/// Prolongs a hold.
#[utoipa::path(post, path = "/assignments/{id}/renew", tag = "labelling", params(("id" = i64, Path)),
    responses((status = 200, body = Assignment), (status = 409, body = ApiError)))]
pub async fn renew(
    State(app): State<AppState>,
    CurrentUser(user): CurrentUser,
    Path(id): Path<AssignmentId>,
) -> Result<Json<Assignment>, Failure> {
    let lease = app.settings.assignment_seconds;
    Ok(Json(
        assignments::renew(&app.db, id, user.id, lease, clock::now()).await?,
    ))
}

/// Gives back what this person answered or skipped last; called again, what came before that.
#[utoipa::path(post, path = "/projects/{id}/undo", tag = "labelling", params(("id" = i64, Path)),
    responses((status = 200, body = Held), (status = 409, body = ApiError)))]
pub async fn undo(
    State(app): State<AppState>,
    CurrentUser(user): CurrentUser,
    Path(id): Path<ProjectId>,
) -> Result<Json<Held>, Failure> {
    Ok(Json(undo::undo(&app.db, annotator(&app, &user, id)).await?))
}
