//! How far a project's annotators agree, how each of them works, and how the work goes on.

use crate::{
    clock,
    error::Failure,
    extract::{Path, Query},
    guards::Admin,
    quality::{
        self,
        progress::{Calendar, OverTime},
    },
    reports::{self, Question},
    state::AppState,
    store::{self, judgements},
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use laurel_protocol::{
    AnnotatorFigures, ApiError, Period, ProgressQuery, ProjectId, ProjectProgress, Quality,
};
use serde::Serialize;

/// Agreement and annotators' figures over the annotations that stand. Of a large project they are a minute old at most.
#[utoipa::path(get, path = "/projects/{id}/agreement", tag = "projects",
    params(("id" = i64, Path), ("since" = Option<i64>, Query), ("until" = Option<i64>, Query)),
    responses((status = 200, body = Quality), (status = 404, body = ApiError), (status = 422, body = ApiError)))]
pub async fn agreement(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<ProjectId>,
    Query(period): Query<Period>,
) -> Result<Response, Failure> {
    period.validate()?;
    let (question, now) = (Question::Quality(period), clock::now());
    if let Some(written) = app.reports.written(id, question, now) {
        return Ok(as_json(written));
    }
    let judgements = judgements::standing(&app.db, id, period).await?;
    // Thousands of resamples: not on the threads that answer everybody.
    let report = tokio::task::spawn_blocking(move || quality::report(&judgements));
    let report = report.await.map_err(Failure::internal)?;
    let json = written(&report)?;
    app.reports
        .keep_written((id, report.n_annotations), question, now, &json);
    Ok(as_json(json))
}

/// Each annotator's share of the project, most annotations first. Of a large project it is a minute old at most.
#[utoipa::path(get, path = "/projects/{id}/annotators", tag = "projects", params(("id" = i64, Path)),
    responses((status = 200, body = [AnnotatorFigures])))]
pub async fn annotators(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<ProjectId>,
) -> Result<Response, Failure> {
    let (question, now) = (Question::Annotators, clock::now());
    if let Some(written) = app.reports.written(id, question, now) {
        return Ok(as_json(written));
    }
    let figures = store::projects::annotators(&app.db, id).await?;
    let n_annotations = figures.iter().map(|one| one.n_annotations).sum();
    let json = written(&figures)?;
    app.reports
        .keep_written((id, n_annotations), question, now, &json);
    Ok(as_json(json))
}

fn written(value: &impl Serialize) -> Result<Bytes, Failure> {
    let json = serde_json::to_vec(value).map_err(Failure::internal)?;
    Ok(json.into())
}

fn as_json(json: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
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
    let counted = store::progress::counted(&app.db, &app.reports.days, id, calendar).await?;
    let known = (counted.n_annotations >= reports::LARGE)
        .then(|| app.reports.agreement(id, counted.n_changes, now))
        .flatten();
    let over_time = match known {
        Some(known) => known,
        None => over_time(&app, id, counted.n_changes).await?,
    };
    let report =
        tokio::task::spawn_blocking(move || quality::progress::report(&counted, over_time, calendar));
    let report = report.await.map_err(Failure::internal)?;
    app.reports.keep(id, query, &report);
    Ok(Json(report))
}

/// Agreement over time as it is now.
async fn over_time(app: &AppState, project: ProjectId, n_changes: i64) -> Result<OverTime, Failure> {
    let now = clock::now();
    let windows = store::progress::shared(&app.db, project).await?;
    let windows = tokio::task::spawn_blocking(move || quality::progress::over_time(&windows));
    let over_time = OverTime {
        as_of: now,
        windows: windows.await.map_err(Failure::internal)?,
    };
    // What changed while it was read makes it old by its number, so that it is looked at again.
    app.reports.keep_agreement(project, n_changes, &over_time);
    Ok(over_time)
}

/// Looks at the agreement of every large project in which answers have changed, so that nobody has to wait for it.
pub async fn look_ahead(app: &AppState) -> Result<(), Failure> {
    for (project, n_changes) in store::progress::large(&app.db, reports::LARGE).await? {
        if app.reports.is_behind(project, n_changes) {
            over_time(app, project, n_changes).await?;
        }
    }
    Ok(())
}
