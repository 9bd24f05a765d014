//! Who works on a project.

use crate::{
    clock,
    error::Failure,
    extract::{Body, Path},
    guards::Admin,
    state::AppState,
    store::members,
};
use axum::{Json, extract::State};
use laurel_protocol::{ApiError, MemberLimit, Members, NewMembers, ProjectId, UserId};

type Answer = Result<Json<Members>, Failure>;

/// The people who are assigned, and whether only they are given tasks.
#[utoipa::path(get, path = "/projects/{id}/members", tag = "projects", params(("id" = i64, Path)),
    responses((status = 200, body = Members), (status = 404, body = ApiError)))]
pub async fn list(State(app): State<AppState>, _: Admin, Path(id): Path<ProjectId>) -> Answer {
    Ok(Json(members::of_project(&app.db, id).await?))
}

/// Says whether only members are given tasks, and replaces the list if there is one.
#[utoipa::path(put, path = "/projects/{id}/members", tag = "projects", params(("id" = i64, Path)),
    request_body = NewMembers, responses((status = 200, body = Members), (status = 422, body = ApiError)))]
pub async fn replace(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Path(id): Path<ProjectId>,
    Body(new): Body<NewMembers>,
) -> Answer {
    new.validate()?;
    Ok(Json(
        members::replace(&app.db, id, &new, &caller.person(), clock::now()).await?,
    ))
}

/// Adds a person, or changes their limit.
#[utoipa::path(put, path = "/projects/{id}/members/{user}", tag = "projects",
    params(("id" = i64, Path), ("user" = i64, Path)), request_body = MemberLimit,
    responses((status = 200, body = Members), (status = 422, body = ApiError)))]
pub async fn put(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Path((id, user)): Path<(ProjectId, UserId)>,
    Body(limit): Body<MemberLimit>,
) -> Answer {
    limit.validate()?;
    Ok(Json(
        members::put(&app.db, id, user, limit, &caller.person(), clock::now()).await?,
    ))
}

/// Takes a person out; what they hold goes back to the queue, what they answered stays.
#[utoipa::path(delete, path = "/projects/{id}/members/{user}", tag = "projects",
    params(("id" = i64, Path), ("user" = i64, Path)),
    responses((status = 200, body = Members), (status = 404, body = ApiError)))]
pub async fn remove(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Path((id, user)): Path<(ProjectId, UserId)>,
) -> Answer {
    Ok(Json(
        members::remove(&app.db, id, user, &caller.person(), clock::now()).await?,
    ))
}
