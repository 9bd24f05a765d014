//! Calls about lineage and storage.

use super::{Result, get};
use laurel_protocol::{AnnotationId, AnnotationLineage, Lineage, ProjectId, Storage};

pub async fn graph(project: ProjectId) -> Result<Lineage> {
    get(&format!("/projects/{project}/lineage")).await
}

pub async fn of_annotation(id: AnnotationId) -> Result<AnnotationLineage> {
    get(&format!("/annotations/{id}/lineage")).await
}

pub async fn storage() -> Result<Storage> {
    get("/storage").await
}
