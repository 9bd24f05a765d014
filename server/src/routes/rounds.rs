//! Rounds and the adapters that come out of them.

use crate::{
    adapter_files, clock,
    error::Failure,
    extract::{Body, Path},
    guards::{Admin, Worker},
    routes::worker,
    state::AppState,
    store::{
        adapters, agreement,
        audit::Person,
        metrics,
        rounds::{self, Order},
    },
};
use axum::{
    Json,
    body::Body as Stream,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use laurel_protocol::{
    Adapter, AdapterId, Agreement, ApiError, LogLine, NewRound, Preview, ProjectId, Round, RoundId, Sample,
};
use tokio_util::io::ReaderStream;

type Answer<T> = Result<Json<T>, Failure>;

/// The project's rounds, newest first.
#[utoipa::path(get, path = "/projects/{id}/rounds", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = [Round])))]
pub async fn list(State(app): State<AppState>, _: Admin, Path(id): Path<ProjectId>) -> Answer<Vec<Round>> {
    Ok(Json(rounds::list(&app.db, id).await?))
}

/// Freezes all comparisons of the project and queues a round on them.
#[utoipa::path(post, path = "/projects/{id}/rounds", tag = "rounds", params(("id" = i64, Path)),
    request_body = NewRound, responses((status = 200, body = Round), (status = 422, body = ApiError)))]
pub async fn create(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<ProjectId>,
    Body(new): Body<NewRound>,
) -> Answer<Round> {
    new.validate()?;
    let round = rounds::create(&app.db, id, &new, admin.person(), clock::now()).await?;
    app.events.round(id, round.id);
    app.events.work_arrived();
    Ok(Json(round))
}

/// One round.
#[utoipa::path(get, path = "/rounds/{id}", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = Round)))]
pub async fn get(State(app): State<AppState>, _: Admin, Path(id): Path<RoundId>) -> Answer<Round> {
    Ok(Json(rounds::get(&app.db, id).await?))
}

/// Pauses a round at its next step: it keeps a checkpoint and waits until it is resumed.
#[utoipa::path(post, path = "/rounds/{id}/pause", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = Round), (status = 409, body = ApiError)))]
pub async fn pause(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<RoundId>,
) -> Answer<Round> {
    give(&app, id, Order::Pause, admin.person()).await
}

/// Lets a paused round go on from its checkpoint, or calls off a pause that has not come yet.
#[utoipa::path(post, path = "/rounds/{id}/resume", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = Round), (status = 409, body = ApiError)))]
pub async fn resume(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<RoundId>,
) -> Answer<Round> {
    let answer = give(&app, id, Order::Resume, admin.person()).await;
    app.events.work_arrived();
    answer
}

/// Aborts a round at its next step.
#[utoipa::path(post, path = "/rounds/{id}/abort", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = Round), (status = 409, body = ApiError)))]
pub async fn abort(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<RoundId>,
) -> Answer<Round> {
    give(&app, id, Order::Abort, admin.person()).await
}

async fn give(app: &AppState, id: RoundId, order: Order, by: Person) -> Answer<Round> {
    let round = rounds::order(&app.db, id, order, by, clock::now()).await?;
    if round.status.is_over() {
        // An earlier lease may have left some.
        worker::discard_uploads(app, rounds::job_of(&app.db, id).await?).await;
    }
    app.events.round(round.project_id, id);
    Ok(Json(round))
}

/// The last log lines.
#[utoipa::path(get, path = "/rounds/{id}/log", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = [LogLine])))]
pub async fn log(State(app): State<AppState>, _: Admin, Path(id): Path<RoundId>) -> Answer<Vec<LogLine>> {
    Ok(Json(metrics::log(&app.db, id).await?))
}

/// Answers to the fixed prompts, before and after.
#[utoipa::path(get, path = "/rounds/{id}/samples", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = [Sample])))]
pub async fn samples(State(app): State<AppState>, _: Admin, Path(id): Path<RoundId>) -> Answer<Vec<Sample>> {
    Ok(Json(rounds::samples(&app.db, id).await?))
}

/// Rows of the round as tokens, and what is odd about its data; null until a trainer has taken it.
#[utoipa::path(get, path = "/rounds/{id}/preview", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = Option<Preview>)))]
pub async fn preview(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<RoundId>,
) -> Answer<Option<Preview>> {
    Ok(Json(rounds::preview(&app.db, id).await?))
}

/// How often people agree who compared the same answers of the round's rows.
#[utoipa::path(get, path = "/rounds/{id}/agreement", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = Agreement)))]
pub async fn agreement_of(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<RoundId>,
) -> Answer<Agreement> {
    Ok(Json(agreement::of_round(&app.db, id).await?))
}

/// The project's adapters, newest first.
#[utoipa::path(get, path = "/projects/{id}/adapters", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = [Adapter])))]
pub async fn list_adapters(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<ProjectId>,
) -> Answer<Vec<Adapter>> {
    Ok(Json(adapters::list(&app.db, id).await?))
}

/// A file of an adapter, under PEFT's name.
#[utoipa::path(get, path = "/adapters/{id}/files/{name}", tag = "rounds",
    params(("id" = i64, Path), ("name" = String, Path)), responses((status = 200, body = Vec<u8>)))]
pub async fn adapter_file(
    State(app): State<AppState>,
    _: Admin,
    Path((id, name)): Path<(AdapterId, String)>,
) -> Result<Response, Failure> {
    file(&app, id, &name).await
}

/// The same for a trainer.
#[utoipa::path(get, path = "/worker/adapters/{id}/files/{name}", tag = "worker",
    params(("id" = i64, Path), ("name" = String, Path)), responses((status = 200, body = Vec<u8>)))]
pub async fn worker_adapter_file(
    State(app): State<AppState>,
    _: Worker,
    Path((id, name)): Path<(AdapterId, String)>,
) -> Result<Response, Failure> {
    file(&app, id, &name).await
}

async fn file(app: &AppState, id: AdapterId, name: &str) -> Result<Response, Failure> {
    let adapter = adapters::get(&app.db, id).await?;
    let name = adapter_files::known_name(name).ok_or_else(Failure::not_found)?;
    let path = adapter_files::path(&app.settings.data, &adapter.hash, name);
    send_file(&path, name).await
}

/// A file of the data folder, saved under `name`.
pub(super) async fn send_file(path: &std::path::Path, name: &str) -> Result<Response, Failure> {
    let file = tokio::fs::File::open(path)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::not_found(),
            _ => Failure::internal(error),
        })?;
    let size = file.metadata().await.map_err(Failure::internal)?.len();
    let mut response = Stream::from_stream(ReaderStream::new(file)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}
