//! What lies on the server's disk.

use crate::{clock, disk, error::Failure, guards::Admin, state::AppState, store::storage};
use axum::{Json, extract::State};
use laurel_protocol::Storage;

/// Sizes of the database, adapters, merged files and uploads, and what of it may go. What is told of a large project's texts is
/// ten minutes old at most.
#[utoipa::path(get, path = "/storage", tag = "storage", responses((status = 200, body = Storage)))]
pub async fn get(State(app): State<AppState>, _: Admin) -> Result<Json<Storage>, Failure> {
    let data = app.settings.data.clone();
    let found = tokio::task::spawn_blocking(move || disk::sizes(&data)).await;
    let found = found.map_err(Failure::internal)?.map_err(Failure::internal)?;
    let now = clock::now();
    let projects = match app.reports.texts(now) {
        Some(projects) => projects,
        None => {
            let projects = storage::projects(&app.db).await?;
            app.reports.keep_texts(now, clock::now(), &projects);
            projects
        }
    };
    Ok(Json(
        storage::read(&app.db, &found, projects, app.settings.keep_merged_days).await?,
    ))
}
