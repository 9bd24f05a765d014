//! Calls about adapters.

use super::{Result, get, url};
use laurel_protocol::{Adapter, AdapterId, ProjectId};

pub async fn list(project: ProjectId) -> Result<Vec<Adapter>> {
    get(&format!("/projects/{project}/adapters")).await
}

/// Where the browser downloads one of PEFT's files.
pub fn file_url(id: AdapterId, name: &str) -> String {
    url(&format!("/adapters/{id}/files/{name}"))
}
