//! Plans: what a round would take, before it is started.

use crate::{
    clock,
    error::Failure,
    extract::{Body, Path},
    guards::Admin,
    plan::{self, Data, People},
    state::AppState,
    store::{judgements, new_rounds, plan_data, projects},
};
use axum::{Json, extract::State};
use laurel_protocol::{ApiError, NewRound, Period, ProjectId, RoundPlan};
use std::sync::Arc;

/// What a round would take and what speaks against its data; starts nothing.
#[utoipa::path(post, path = "/projects/{id}/rounds/plan", tag = "rounds", params(("id" = i64, Path)),
    request_body = NewRound, responses((status = 200, body = RoundPlan), (status = 422, body = ApiError)))]
pub async fn plan_round(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<ProjectId>,
    Body(new): Body<NewRound>,
) -> Result<Json<RoundPlan>, Failure> {
    new.validate()?;
    new_rounds::check(&app.db, id, &new).await?;
    let data = data(&app, id).await?;
    let around = plan_data::surroundings(&app.db, id, &new.spec, new.starting_adapter).await?;
    let plan = tokio::task::spawn_blocking(move || plan::plan(&data, &new, around));
    Ok(Json(plan.await.map_err(Failure::internal)?))
}

/// The project's data, read anew where it has changed.
async fn data(app: &AppState, id: ProjectId) -> Result<Arc<Data>, Failure> {
    let now = clock::now();
    let version = plan_data::version(&app.db, id).await?;
    if let Some(kept) = app.plans.get(id, version, now) {
        return Ok(kept);
    }
    let (mut data, texts) = plan_data::read(&app.db, id, now).await?;
    let judgements = judgements::standing(&app.db, id, Period::default()).await?;
    let figures = projects::annotators(&app.db, id).await?;
    let project = projects::get(&app.db, id).await?;
    let made = tokio::task::spawn_blocking(move || {
        let gold_percent = project.settings.checks.qualification_percent;
        data.people = People::of(&judgements, &figures, gold_percent);
        data.group(texts);
        Arc::new(data)
    });
    let data = made.await.map_err(Failure::internal)?;
    app.plans.keep(id, version, data.clone());
    Ok(data)
}
