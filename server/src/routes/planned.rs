//! Planned rounds, and the order of those that wait.

use crate::{
    clock,
    error::Failure,
    extract::{Body, Path},
    guards::Admin,
    state::AppState,
    store::{planned, queue},
};
use axum::{Json, extract::State};
use laurel_protocol::{
    ApiError, Move, NewPlanned, NewRecipe, PlannedId, PlannedRound, ProjectId, Round, RoundId, RoundQueue,
};

type Answer<T> = Result<Json<T>, Failure>;

/// Rounds that wait for a trainer, and what is planned, in their order.
#[utoipa::path(get, path = "/projects/{id}/planned-rounds", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = RoundQueue)))]
pub async fn list(State(app): State<AppState>, _: Admin, Path(id): Path<ProjectId>) -> Answer<RoundQueue> {
    Ok(Json(planned::list(&app.db, id, clock::now()).await?))
}

/// Plans a round: the server starts it once what it waits for has come.
#[utoipa::path(post, path = "/projects/{id}/planned-rounds", tag = "rounds", params(("id" = i64, Path)),
    request_body = NewPlanned, responses((status = 200, body = PlannedRound), (status = 422, body = ApiError)))]
pub async fn create(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<ProjectId>,
    Body(new): Body<NewPlanned>,
) -> Answer<PlannedRound> {
    new.validate()?;
    let planned = planned::create(&app.db, id, &new, admin.person(), clock::now()).await?;
    app.events.counts(id);
    Ok(Json(planned))
}

/// Plans all rounds of a recipe, each on what the one before makes.
#[utoipa::path(post, path = "/projects/{id}/planned-rounds/recipe", tag = "rounds", params(("id" = i64, Path)),
    request_body = NewRecipe, responses((status = 200, body = [PlannedRound])))]
pub async fn recipe(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<ProjectId>,
    Body(new): Body<NewRecipe>,
) -> Answer<Vec<PlannedRound>> {
    let planned = planned::add_recipe(&app.db, id, &new, admin.person(), clock::now()).await?;
    app.events.counts(id);
    Ok(Json(planned))
}

/// Changes a planned round; one that failed or was cancelled waits again.
#[utoipa::path(put, path = "/planned-rounds/{id}", tag = "rounds", params(("id" = i64, Path)),
    request_body = NewPlanned,
    responses((status = 200, body = PlannedRound), (status = 409, body = ApiError), (status = 422, body = ApiError)))]
pub async fn change(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<PlannedId>,
    Body(new): Body<NewPlanned>,
) -> Answer<PlannedRound> {
    new.validate()?;
    told(
        &app,
        planned::change(&app.db, id, &new, admin.person(), clock::now()).await?,
    )
}

/// Takes a planned round back; what waits for it fails.
#[utoipa::path(post, path = "/planned-rounds/{id}/cancel", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = PlannedRound), (status = 409, body = ApiError)))]
pub async fn cancel(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<PlannedId>,
) -> Answer<PlannedRound> {
    told(
        &app,
        planned::cancel(&app.db, id, admin.person(), clock::now()).await?,
    )
}

/// Lets a planned round that failed or was cancelled wait again.
#[utoipa::path(post, path = "/planned-rounds/{id}/retry", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = PlannedRound), (status = 409, body = ApiError), (status = 422, body = ApiError)))]
pub async fn retry(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<PlannedId>,
) -> Answer<PlannedRound> {
    told(
        &app,
        planned::retry(&app.db, id, admin.person(), clock::now()).await?,
    )
}

/// Moves a planned round that waits one place forward or back.
#[utoipa::path(post, path = "/planned-rounds/{id}/move", tag = "rounds", params(("id" = i64, Path)),
    request_body = Move, responses((status = 200, body = PlannedRound), (status = 409, body = ApiError)))]
pub async fn shift(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<PlannedId>,
    Body(Move { to }): Body<Move>,
) -> Answer<PlannedRound> {
    told(
        &app,
        planned::shift(&app.db, id, to, admin.person(), clock::now()).await?,
    )
}

/// Moves a round that waits for a trainer one place forward or back among the project's.
#[utoipa::path(post, path = "/rounds/{id}/move", tag = "rounds", params(("id" = i64, Path)),
    request_body = Move, responses((status = 200, body = Round), (status = 409, body = ApiError)))]
pub async fn shift_round(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<RoundId>,
    Body(Move { to }): Body<Move>,
) -> Answer<Round> {
    let round = queue::shift(&app.db, id, to, admin.person(), clock::now()).await?;
    app.events.round(round.project_id, id);
    Ok(Json(round))
}

/// The project's watchers look again.
fn told(app: &AppState, planned: PlannedRound) -> Answer<PlannedRound> {
    app.events.counts(planned.project_id);
    Ok(Json(planned))
}

/// Starts what is due; the sweeper calls it every few seconds.
pub async fn start_due(app: &AppState) {
    let started = match planned::start_due(&app.db, clock::now()).await {
        Ok(started) => started,
        Err(error) => {
            tracing::warn!(%error, "Planned rounds could not be looked through");
            return;
        }
    };
    for one in &started {
        app.events.counts(one.project);
        if let Some(round) = one.round {
            tracing::info!(round.id = %round, "Started round {round} as planned");
            app.events.round(one.project, round);
        }
    }
    if started.iter().any(|one| one.round.is_some()) {
        app.events.work_arrived();
    }
}
