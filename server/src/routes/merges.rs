//! Merges: stopping one, its files, and how a trainer hands these in.

use crate::{
    clock,
    error::Failure,
    extract::{Body, Path, Query},
    guards::{Admin, Leased},
    merged_files,
    routes::{rounds::send_file, worker},
    state::AppState,
    store::{self, leases, merges},
    tar::{self, Entry},
};
use axum::{Json, body::Body as Upload, extract::State, http::StatusCode, response::Response};
use futures_util::StreamExt;
use laurel_protocol::{ApiError, ErrorCode, JobId, Merge, MergeId, Merged, is_file_name};
use serde::Deserialize;
use std::io::{self, SeekFrom};
use tokio::{
    fs::{self, File},
    io::{AsyncSeekExt, AsyncWriteExt},
};

/// Stops a merge.
#[utoipa::path(post, path = "/merges/{id}/abort", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = Merge), (status = 409, body = ApiError)))]
pub async fn abort(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<MergeId>,
) -> Result<Json<Merge>, Failure> {
    let (merge, job) = merges::abort(&app.db, id, admin.person(), clock::now()).await?;
    if merge.status.is_over() {
        worker::discard_uploads(&app, job).await;
    }
    app.events.counts(merge.project_id);
    Ok(Json(merge))
}

/// Takes the files of a merge away: they can be made again.
#[utoipa::path(delete, path = "/merges/{id}", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 204), (status = 409, body = ApiError)))]
pub async fn delete(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<MergeId>,
) -> Result<StatusCode, Failure> {
    merges::delete(&app.db, id, "asked", admin.person(), clock::now()).await?;
    remove(&app, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(app: &AppState, id: MergeId) -> Result<(), Failure> {
    let data = app.settings.data.clone();
    let gone = tokio::task::spawn_blocking(move || merged_files::remove(&data, id)).await;
    // What stays is taken away at the next start.
    gone.map_err(Failure::internal)?.map_err(Failure::internal)
}

/// Takes away files whose time is up, where the operator has set one.
pub async fn expire(app: &AppState) -> store::Result<()> {
    let Some(days) = app.settings.keep_merged_days else {
        return Ok(());
    };
    let now = clock::now();
    let oldest = now.plus_seconds(-86_400 * i64::from(days));
    for merge in merges::there(&app.db).await? {
        if merge.finished_at.is_some_and(|at| at < oldest) {
            let by = store::audit::Actor::Server;
            match merges::delete(&app.db, merge.id, "its time was up", by, now).await {
                // Somebody was quicker.
                Err(store::Error::Conflict(_)) => continue,
                other => other?,
            };
            if remove(app, merge.id).await.is_err() {
                tracing::warn!(merge.id = %merge.id, "Files of merge {} stayed until the next start", merge.id);
            }
        }
    }
    Ok(())
}

async fn there(app: &AppState, id: MergeId) -> Result<Merged, Failure> {
    let merge = merges::get(&app.db, id).await?;
    match (merge.is_there(), merge.result) {
        (true, Some(merged)) => Ok(merged),
        _ => Err(Failure::not_found()),
    }
}

/// A file of a merged model.
#[utoipa::path(get, path = "/merges/{id}/files/{name}", tag = "rounds",
    params(("id" = i64, Path), ("name" = String, Path)), responses((status = 200, body = Vec<u8>)))]
pub async fn file(
    State(app): State<AppState>,
    _: Admin,
    Path((id, name)): Path<(MergeId, String)>,
) -> Result<Response, Failure> {
    let merged = there(&app, id).await?;
    let file = merged.files.into_iter().find(|file| file.name == name);
    let name = file.ok_or_else(Failure::not_found)?.name;
    send_file(&merged_files::folder(&app.settings.data, id).join(&name), &name).await
}

/// All files of a merged model as one archive.
#[utoipa::path(get, path = "/merges/{id}/archive", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/x-tar")))]
pub async fn archive(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<MergeId>,
) -> Result<Response, Failure> {
    let merged = there(&app, id).await?;
    let folder = format!("laurel-merge-{id}");
    let place = merged_files::folder(&app.settings.data, id);
    let mut entries = Vec::new();
    for file in merged.files {
        let entry = Entry::file(format!("{folder}/{}", file.name), place.join(&file.name)).await;
        entries.push(entry.map_err(Failure::internal)?);
    }
    Ok(tar::answer(&format!("{folder}.tar"), entries, clock::now()))
}

#[derive(Deserialize)]
pub struct Piece {
    /// Where in the file it belongs.
    #[serde(default)]
    offset: u64,
}

/// A piece of a file of the merge that the trainer holds. A piece that is sent again replaces itself and all behind it.
#[utoipa::path(put, path = "/worker/jobs/{job}/merged/{file}", tag = "worker",
    params(("job" = i64, Path), ("file" = String, Path), ("offset" = Option<u64>, Query)),
    request_body = Vec<u8>,
    responses((status = 204), (status = 409, body = ApiError), (status = 503, body = ApiError)))]
pub async fn upload(
    State(app): State<AppState>,
    Leased(lease): Leased,
    Path((job, name)): Path<(JobId, String)>,
    Query(piece): Query<Piece>,
    body: Upload,
) -> Result<StatusCode, Failure> {
    merges::held(&app.db, &lease, clock::now()).await?;
    if !is_file_name(&name) {
        return Err(Failure::not_found());
    }
    let folder = merged_files::upload_folder(&app.settings.data, job);
    fs::create_dir_all(&folder).await.map_err(of_file)?;
    let mut open = fs::OpenOptions::new();
    let file = open
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(&name));
    let mut file = file.await.map_err(of_file)?;
    let there = file.metadata().await.map_err(of_file)?.len();
    if piece.offset > there {
        let detail = format!("Of this file {there} bytes are here: send what follows these.");
        return Err(Failure::new(ErrorCode::Conflict, detail));
    }
    receive(&mut file, piece.offset, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn receive(file: &mut File, offset: u64, body: Upload) -> Result<(), Failure> {
    file.set_len(offset).await.map_err(of_file)?;
    file.seek(SeekFrom::Start(offset)).await.map_err(of_file)?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|_| Failure::new(ErrorCode::BadRequest, "The upload broke off: send it again."))?;
        file.write_all(&chunk).await.map_err(of_file)?;
    }
    file.sync_all().await.map_err(of_file)
}

fn of_file(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::new(
            ErrorCode::Unavailable,
            "The server's disk is full: an admin can make room on the page Storage.",
        ),
        _ => Failure::internal(error),
    }
}

/// Says that all files are handed in; they are checked against their hashes and put into their place.
#[utoipa::path(post, path = "/worker/jobs/{job}/merged", tag = "worker", params(("job" = i64, Path)),
    request_body = Merged, responses((status = 204), (status = 409, body = ApiError), (status = 422, body = ApiError)))]
pub async fn handed_in(
    State(app): State<AppState>,
    Leased(lease): Leased,
    Path(job): Path<JobId>,
    Body(merged): Body<Merged>,
) -> Result<StatusCode, Failure> {
    merged.validate()?;
    let id = merges::held(&app.db, &lease, clock::now()).await?;
    let (data, told) = (app.settings.data.clone(), merged.clone());
    let installed = tokio::task::spawn_blocking(move || merged_files::install(&data, job, id, &told));
    installed.await.map_err(Failure::internal)??;
    // Hashing many gigabytes takes a while: the lease may have been renewed by a heartbeat since.
    leases::renew(&app.db, &lease, clock::now()).await?;
    merges::keep(&app.db, &lease, &merged, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
