//! Lineage: the graph of a project, and what learnt from an annotation.

use crate::{error::Failure, extract::Path, guards::Admin, state::AppState, store::lineage};
use axum::{Json, extract::State};
use laurel_protocol::{AnnotationId, AnnotationLineage, Lineage, ProjectId};

/// The project's snapshots, rounds and completion jobs, and what follows from what.
#[utoipa::path(get, path = "/projects/{id}/lineage", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = Lineage)))]
pub async fn graph(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<ProjectId>,
) -> Result<Json<Lineage>, Failure> {
    Ok(Json(lineage::graph(&app.db, id).await?))
}

/// The rounds and adapters that learnt from an annotation.
#[utoipa::path(get, path = "/annotations/{id}/lineage", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = AnnotationLineage)))]
pub async fn of_annotation(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<AnnotationId>,
) -> Result<Json<AnnotationLineage>, Failure> {
    Ok(Json(lineage::of_annotation(&app.db, id).await?))
}
