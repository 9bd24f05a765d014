//! Calls about completion jobs.

use super::{Result, get, post, post_empty};
use laurel_protocol::{CompletionJob, CompletionJobId, NewCompletionJob, ProjectId};

pub async fn jobs(project: ProjectId) -> Result<Vec<CompletionJob>> {
    get(&format!("/projects/{project}/completion-jobs")).await
}

pub async fn start(project: ProjectId, job: &NewCompletionJob) -> Result<CompletionJob> {
    post(&format!("/projects/{project}/completion-jobs"), job).await
}

pub async fn abort(id: CompletionJobId) -> Result<CompletionJob> {
    post_empty(&format!("/completion-jobs/{id}/abort")).await
}
