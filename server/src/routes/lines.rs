//! JSON Lines, streamed page by page from the database in constant memory: exports, snapshots, prompts to complete.
//! An export is read in one transaction and goes through a [`spool`], for its client may be slow.

use crate::{
    clock,
    error::Failure,
    extract::{Path, Query},
    guards::{Admin, Leased, Worker},
    spool,
    state::AppState,
    store::{
        self, audit, completion_jobs, exports, jobs::JobKind, leases, projects, rounds, scorings::work,
        snapshots,
    },
};
use axum::{
    BoxError,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, stream};
use laurel_protocol::{ErrorCode, ExportFormat, ProjectId, PromptId, RoundId, SnapshotId, TaskId, Verb};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

/// Exports that are read from the database at once; more wait for their turn. Each holds a connection for readers.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

#[derive(Deserialize)]
pub struct Export {
    format: String,
}

/// The project's data, one JSON object a line.
#[utoipa::path(get, path = "/projects/{id}/export", tag = "rounds",
    params(("id" = i64, Path), ("format" = ExportFormat, Query)),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
pub async fn export(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<ProjectId>,
    Query(export): Query<Export>,
) -> Result<Response, Failure> {
    let format: ExportFormat = store::text::from_name(&export.format).map_err(|_| {
        let detail = "The format must be preference, implicit_preference, unpaired_preference or ranking.";
        Failure::new(ErrorCode::BadRequest, detail)
    })?;
    projects::require(&app.db, id).await?;
    let detail = json!({"format": export.format});
    audit::note_taken(
        &app.db,
        admin.person(),
        Verb::ExportTaken,
        Some(id),
        detail,
        clock::now(),
    )
    .await?;
    let (writer, lines) = spool::open(&app.settings.data).map_err(Failure::internal)?;
    tokio::spawn(async move {
        if let Err(error) = write(&app, id, format, writer).await {
            tracing::error!(%error, project.id = %id, "An export of project {id} broke off: {error}");
        }
    });
    let mut response = answer(lines);
    let name = format!("attachment; filename=\"laurel-{id}-{}.jsonl\"", export.format);
    if let Ok(value) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// Writes the export, or as much of it as anybody waits for.
async fn write(
    app: &AppState,
    project: ProjectId,
    format: ExportFormat,
    mut writer: spool::Writer,
) -> store::Result<()> {
    let _permit = tokio::select! {
        permit = AT_ONCE.acquire() => permit,
        () = writer.abandoned() => return Ok(()),
    };
    let mut export = exports::Export::begin(&app.db, project, format).await?;
    while let Some(lines) = export.next_page().await? {
        if !writer.write(lines.into_bytes()).await? {
            return Ok(());
        }
    }
    writer.finish();
    Ok(())
}

/// The snapshot that a round trains on.
#[utoipa::path(get, path = "/rounds/{id}/rows", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
pub async fn round_rows(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<RoundId>,
) -> Result<Response, Failure> {
    let round = rounds::get(&app.db, id).await?;
    Ok(snapshot(app, round.snapshot.id))
}

/// The snapshot of the round that the trainer holds, or what was compared so far for its scoring.
#[utoipa::path(get, path = "/worker/jobs/{job}/rows", tag = "worker", params(("job" = i64, Path)),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
pub async fn worker_rows(
    State(app): State<AppState>,
    _: Worker,
    Leased(lease): Leased,
) -> Result<Response, Failure> {
    let job = leases::renew(&app.db, &lease, clock::now()).await?;
    if job.kind == JobKind::Scoring {
        return Ok(compared(app, job.project_id));
    }
    let id = rounds::snapshot_of(&app.db, job.id).await?;
    Ok(snapshot(app, id))
}

fn compared(app: AppState, project: ProjectId) -> Response {
    let db = app.db;
    answer(stream::try_unfold(0, move |after| {
        let db = db.clone();
        async move {
            let page = work::compared(&db, project, after).await?;
            let lines = page.map(|(lines, last)| {
                (
                    lines.into_iter().map(|line| line + "\n").collect::<String>(),
                    last,
                )
            });
            Ok::<_, store::Error>(lines.map(|(lines, last)| (Bytes::from(lines), last)))
        }
    }))
}

/// The open tasks that a scoring is to look at.
#[utoipa::path(get, path = "/worker/jobs/{job}/tasks", tag = "worker", params(("job" = i64, Path)),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
pub async fn worker_tasks(
    State(app): State<AppState>,
    _: Worker,
    Leased(lease): Leased,
) -> Result<Response, Failure> {
    let job = leases::renew(&app.db, &lease, clock::now()).await?;
    if job.kind != JobKind::Scoring {
        return Err(Failure::not_found());
    }
    let db = app.db;
    Ok(answer(stream::try_unfold(TaskId(0), move |after| {
        let db = db.clone();
        async move {
            let tasks = work::open_tasks(&db, job.project_id, after, 200).await?;
            let Some(last) = tasks.last().map(|task| task.task_id) else {
                return Ok::<_, store::Error>(None);
            };
            let mut lines = String::new();
            for task in &tasks {
                lines += &store::text::to_json(task)?;
                lines.push('\n');
            }
            Ok(Some((Bytes::from(lines), last)))
        }
    })))
}

fn snapshot(app: AppState, id: SnapshotId) -> Response {
    let db = app.db;
    answer(stream::try_unfold(-1, move |after| {
        let db = db.clone();
        async move {
            let rows = snapshots::lines(&db, id, after).await?;
            let Some(last) = rows.last().map(|(position, _)| *position) else {
                return Ok::<_, store::Error>(None);
            };
            let lines: String = rows.into_iter().map(|(_, line)| line + "\n").collect();
            Ok(Some((Bytes::from(lines), last)))
        }
    }))
}

/// The prompts whose completions are still missing.
#[utoipa::path(get, path = "/worker/jobs/{job}/prompts", tag = "worker", params(("job" = i64, Path)),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
pub async fn worker_prompts(
    State(app): State<AppState>,
    _: Worker,
    Leased(lease): Leased,
) -> Result<Response, Failure> {
    let job = leases::renew(&app.db, &lease, clock::now()).await?;
    let db = app.db;
    Ok(answer(stream::try_unfold(PromptId(0), move |after| {
        let db = db.clone();
        async move {
            let prompts = completion_jobs::missing(&db, job.id, after, 200).await?;
            let Some(last) = prompts.last().map(|prompt| prompt.prompt_id) else {
                return Ok::<_, store::Error>(None);
            };
            let mut lines = String::new();
            for prompt in &prompts {
                lines += &store::text::to_json(prompt)?;
                lines.push('\n');
            }
            Ok(Some((Bytes::from(lines), last)))
        }
    })))
}

/// A failure in the middle of the stream breaks the connection, so that nobody takes a part for the whole.
pub(super) fn answer<E: Into<BoxError>>(
    pages: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> Response {
    let kind = (header::CONTENT_TYPE, "application/jsonl; charset=utf-8");
    ([kind], Body::from_stream(pages)).into_response()
}
