//! Calls about adapters and their merges.

use super::{Result, delete, delete_for, get, post, post_empty, url};
use laurel_protocol::{Adapter, AdapterFacts, AdapterId, Merge, MergeFormat, MergeId, NewMerge, ProjectId};

/// The project's adapters that have their files: what can be used.
pub async fn list(project: ProjectId) -> Result<Vec<Adapter>> {
    let mut adapters: Vec<Adapter> = get(&format!("/projects/{project}/adapters")).await?;
    adapters.retain(|adapter| adapter.deleted_at.is_none());
    Ok(adapters)
}

pub async fn facts(id: AdapterId) -> Result<AdapterFacts> {
    get(&format!("/adapters/{id}")).await
}

/// Takes the files away; whoever asks has seen what has used them.
pub async fn delete_files(id: AdapterId) -> Result<AdapterFacts> {
    delete_for(&format!("/adapters/{id}?confirmed=true")).await
}

pub async fn merge(id: AdapterId, format: MergeFormat) -> Result<Merge> {
    post(&format!("/adapters/{id}/merges"), &NewMerge { format }).await
}

pub async fn abort_merge(id: MergeId) -> Result<Merge> {
    post_empty(&format!("/merges/{id}/abort")).await
}

pub async fn delete_merge(id: MergeId) -> Result<()> {
    delete(&format!("/merges/{id}")).await
}

/// Where the browser downloads one of PEFT's files.
pub fn file_url(id: AdapterId, name: &str) -> String {
    url(&format!("/adapters/{id}/files/{name}"))
}

/// Where the browser downloads `card`, `archive`, `kit` or `spec` of an adapter.
pub fn part_url(id: AdapterId, part: &str) -> String {
    url(&format!("/adapters/{id}/{part}"))
}

pub fn merged_archive_url(id: MergeId) -> String {
    url(&format!("/merges/{id}/archive"))
}

pub fn merged_file_url(id: MergeId, name: &str) -> String {
    url(&format!("/merges/{id}/files/{name}"))
}
