//! How far a project's annotators agree, and how each of them works.

use crate::{
    error::Failure,
    extract::{Path, Query},
    guards::Admin,
    quality,
    state::AppState,
    store::judgements,
};
use axum::{Json, extract::State};
use laurel_protocol::{ApiError, Period, ProjectId, Quality};

/// Agreement and annotators' figures over the annotations that stand.
#[utoipa::path(get, path = "/projects/{id}/agreement", tag = "projects",
    params(("id" = i64, Path), ("since" = Option<i64>, Query), ("until" = Option<i64>, Query)),
    responses((status = 200, body = Quality), (status = 404, body = ApiError), (status = 422, body = ApiError)))]
pub async fn agreement(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<ProjectId>,
    Query(period): Query<Period>,
) -> Result<Json<Quality>, Failure> {
    period.validate()?;
    let judgements = judgements::standing(&app.db, id, period).await?;
    // Thousands of resamples: not on the threads that answer everybody.
    let report = tokio::task::spawn_blocking(move || quality::report(&judgements));
    Ok(Json(report.await.map_err(Failure::internal)?))
}
