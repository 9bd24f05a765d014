//! The figures of a round: all of them, few enough to draw, or as a file.

use crate::{
    error::Failure,
    extract::{Path, Query},
    figures,
    guards::Admin,
    state::AppState,
    store::{metrics, rounds},
    thin::thin,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use laurel_protocol::{ApiError, FiguresFormat, FiguresQuery, MetricPoint, RoundId};
use serde::Deserialize;

/// All figures so far; with `stretches` those of a long round thinned out to draw: of each stretch of steps the last point,
/// and the least and greatest value of every figure.
#[utoipa::path(get, path = "/rounds/{id}/metrics", tag = "rounds",
    params(("id" = i64, Path), ("stretches" = Option<u32>, Query)),
    responses((status = 200, body = [MetricPoint]), (status = 422, body = ApiError)))]
pub async fn list_metrics(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<RoundId>,
    Query(query): Query<FiguresQuery>,
) -> Result<Json<Vec<MetricPoint>>, Failure> {
    query.validate()?;
    let points = metrics::list(&app.db, id).await?;
    let Some(n) = query.stretches else {
        return Ok(Json(points));
    };
    let thinned = tokio::task::spawn_blocking(move || thin(points, n as usize));
    Ok(Json(thinned.await.map_err(Failure::internal)?))
}

#[derive(Deserialize)]
pub struct Wanted {
    format: FiguresFormat,
}

/// All figures so far as a file: a table, JSON Lines, or an event file for TensorBoard.
#[utoipa::path(get, path = "/rounds/{id}/metrics/file", tag = "rounds",
    params(("id" = i64, Path), ("format" = FiguresFormat, Query)),
    responses((status = 200, body = Vec<u8>), (status = 404, body = ApiError)))]
pub async fn file(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<RoundId>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Failure> {
    let round = rounds::get(&app.db, id).await?;
    let points = metrics::list(&app.db, id).await?;
    let began = round.started_at.unwrap_or(round.created_at);
    let written = tokio::task::spawn_blocking(move || match wanted.format {
        FiguresFormat::Csv => Ok(figures::csv(&points).into_bytes()),
        FiguresFormat::JsonLines => figures::json_lines(&points).map(String::into_bytes),
        FiguresFormat::Tensorboard => Ok(figures::tensorboard(&points, began)),
    });
    let written = written
        .await
        .map_err(Failure::internal)?
        .map_err(Failure::internal)?;
    let (content, name) = match wanted.format {
        FiguresFormat::Csv => ("text/csv; charset=utf-8", format!("round-{id}.csv")),
        FiguresFormat::JsonLines => ("application/jsonl", format!("round-{id}.jsonl")),
        // TensorBoard goes by the name.
        FiguresFormat::Tensorboard => (
            "application/octet-stream",
            format!("events.out.tfevents.{}.laurel-round-{id}", began.0 / 1000),
        ),
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    let disposition = format!("attachment; filename=\"{name}\"");
    let disposition = HeaderValue::from_str(&disposition).map_err(Failure::internal)?;
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    Ok((headers, written).into_response())
}
