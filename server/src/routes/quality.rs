//! How far a project's annotators agree, how each of them works, and how the work goes on.

use crate::{
    clock,
    error::Failure,
    extract::{Path, Query},
    guards::Admin,
    quality::{self, progress::Calendar},
    state::AppState,
    store::{self, judgements},
};
use axum::{Json, extract::State};
use laurel_protocol::{ApiError, Period, ProgressQuery, ProjectId, ProjectProgress, Quality};

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

/// Throughput by day and hour, what is left and until when, agreement over time, and what was answered.
#[utoipa::path(get, path = "/projects/{id}/progress", tag = "projects",
    params(("id" = i64, Path), ("tz_offset_minutes" = Option<i32>, Query), ("days" = Option<u16>, Query)),
    responses((status = 200, body = ProjectProgress), (status = 404, body = ApiError), (status = 422, body = ApiError)))]
pub async fn progress(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<ProjectId>,
    Query(query): Query<ProgressQuery>,
) -> Result<Json<ProjectProgress>, Failure> {
    query.validate()?;
    let now = clock::now();
    if let Some(recent) = app.reports.recent(id, query, now) {
        return Ok(Json(recent));
    }
    let calendar = Calendar::of(query, now);
    let counted = store::progress::counted(&app.db, id, calendar).await?;
    let report = tokio::task::spawn_blocking(move || quality::progress::report(&counted, calendar));
    let report = report.await.map_err(Failure::internal)?;
    app.reports.keep(id, query, &report);
    Ok(Json(report))
}
