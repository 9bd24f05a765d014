//! What lies on the server's disk.

use crate::{disk, error::Failure, guards::Admin, state::AppState, store::storage};
use axum::{Json, extract::State};
use laurel_protocol::Storage;

/// Sizes of the database, adapters, merged files and uploads, and what of it may go.
#[utoipa::path(get, path = "/storage", tag = "storage", responses((status = 200, body = Storage)))]
pub async fn get(State(app): State<AppState>, _: Admin) -> Result<Json<Storage>, Failure> {
    let data = app.settings.data.clone();
    let found = tokio::task::spawn_blocking(move || disk::sizes(&data)).await;
    let found = found.map_err(Failure::internal)?.map_err(Failure::internal)?;
    Ok(Json(
        storage::read(&app.db, &found, app.settings.keep_merged_days).await?,
    ))
}
