//! Contests of two contenders, the gates of rounds, what is current, and the ladder.

use crate::{
    clock,
    error::Failure,
    extract::{Body, Path, Query},
    guards::Admin,
    quality,
    state::AppState,
    store::{self, contests, promotions},
};
use axum::{Json, extract::State};
use laurel_protocol::{
    ApiError, CloseContest, Contest, ContestId, Current, Ladder, LadderQuery, NewContest, NewPromotion,
    ProjectId, PromotionId, RoundGate, RoundId,
};

/// The project's contests, newest first.
#[utoipa::path(get, path = "/projects/{id}/contests", tag = "contests", params(("id" = i64, Path)),
    responses((status = 200, body = [Contest]), (status = 404, body = ApiError)))]
pub async fn list(
    State(app): State<AppState>,
    _: Admin,
    Path(project): Path<ProjectId>,
) -> Result<Json<Vec<Contest>>, Failure> {
    Ok(Json(contests::list(&app.db, project).await?))
}

/// Lets two contenders answer the same prompts, and people judge the pairs without knowing whose they are, until it is clear who
/// is better.
#[utoipa::path(post, path = "/projects/{id}/contests", tag = "contests", params(("id" = i64, Path)),
    request_body = NewContest, responses((status = 200, body = Contest), (status = 409, body = ApiError),
    (status = 422, body = ApiError)))]
pub async fn create(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(project): Path<ProjectId>,
    Body(new): Body<NewContest>,
) -> Result<Json<Contest>, Failure> {
    new.validate()?;
    let contest = contests::create(&app.db, project, &new, admin.person(), clock::now()).await?;
    tell(&app, &contest);
    app.events.work_arrived();
    Ok(Json(contest))
}

/// One contest as it stands.
#[utoipa::path(get, path = "/contests/{id}", tag = "contests", params(("id" = i64, Path)),
    responses((status = 200, body = Contest), (status = 404, body = ApiError)))]
pub async fn get(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<ContestId>,
) -> Result<Json<Contest>, Failure> {
    Ok(Json(contests::get(&app.db, id).await?))
}

/// Ends a contest: its open tasks leave the queue; what was answered stays.
#[utoipa::path(post, path = "/contests/{id}/close", tag = "contests", params(("id" = i64, Path)),
    request_body = CloseContest, responses((status = 200, body = Contest), (status = 409, body = ApiError)))]
pub async fn close(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<ContestId>,
    Body(close): Body<CloseContest>,
) -> Result<Json<Contest>, Failure> {
    close.validate()?;
    let contest = contests::close(&app.db, id, &close.reason, admin.person(), clock::now()).await?;
    tell(&app, &contest);
    Ok(Json(contest))
}

/// What the judges said of what a round made.
#[utoipa::path(get, path = "/rounds/{id}/gate", tag = "contests", params(("id" = i64, Path)),
    responses((status = 200, body = RoundGate), (status = 404, body = ApiError)))]
pub async fn gate(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<RoundId>,
) -> Result<Json<RoundGate>, Failure> {
    Ok(Json(contests::gate(&app.db, id).await?))
}

/// Which adapter the project takes by default, and how that came to be.
#[utoipa::path(get, path = "/projects/{id}/current", tag = "contests", params(("id" = i64, Path)),
    responses((status = 200, body = Current), (status = 404, body = ApiError)))]
pub async fn current(
    State(app): State<AppState>,
    _: Admin,
    Path(project): Path<ProjectId>,
) -> Result<Json<Current>, Failure> {
    Ok(Json(promotions::get(&app.db, project).await?))
}

/// Makes an adapter current: new completion jobs and the arena take it by default.
#[utoipa::path(post, path = "/projects/{id}/promotions", tag = "contests", params(("id" = i64, Path)),
    request_body = NewPromotion, responses((status = 200, body = Current), (status = 409, body = ApiError),
    (status = 422, body = ApiError)))]
pub async fn promote(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(project): Path<ProjectId>,
    Body(new): Body<NewPromotion>,
) -> Result<Json<Current>, Failure> {
    new.validate()?;
    let current = promotions::promote(&app.db, project, &new, &admin.person(), clock::now()).await?;
    app.events.counts(project);
    Ok(Json(current))
}

/// Takes the newest promotion back: what was current before it is current again.
#[utoipa::path(post, path = "/promotions/{id}/roll-back", tag = "contests", params(("id" = i64, Path)),
    responses((status = 200, body = Current), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub async fn roll_back(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<PromotionId>,
) -> Result<Json<Current>, Failure> {
    let current = promotions::roll_back(&app.db, id, &admin.person(), clock::now()).await?;
    app.events.counts(current.project_id);
    Ok(Json(current))
}

/// All generators of the project by strength, from every comparison of two of them, or those of one source.
#[utoipa::path(get, path = "/projects/{id}/ladder", tag = "contests",
    params(("id" = i64, Path), ("source" = Option<String>, Query)),
    responses((status = 200, body = Ladder), (status = 404, body = ApiError)))]
pub async fn ladder(
    State(app): State<AppState>,
    _: Admin,
    Path(project): Path<ProjectId>,
    Query(query): Query<LadderQuery>,
) -> Result<Json<Ladder>, Failure> {
    let counted = store::ladder::counted(&app.db, project, query.source).await?;
    let fitted = tokio::task::spawn_blocking(move || quality::ladder::of(&counted.met, &counted.all));
    Ok(Json(fitted.await.map_err(Failure::internal)?))
}

/// Tells whoever watches the project.
fn tell(app: &AppState, contest: &Contest) {
    for job in &contest.jobs {
        app.events.completion_job(contest.project_id, job.id);
    }
    app.events.counts(contest.project_id);
}
