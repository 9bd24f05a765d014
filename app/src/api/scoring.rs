//! Calls about scorings of open tasks, for active selection.

use super::{Result, get, post_empty};
use laurel_protocol::{ProjectId, Scoring, ScoringId};

pub async fn list(project: ProjectId) -> Result<Vec<Scoring>> {
    get(&format!("/projects/{project}/scorings")).await
}

pub async fn start(project: ProjectId) -> Result<Scoring> {
    post_empty(&format!("/projects/{project}/scorings")).await
}

pub async fn abort(id: ScoringId) -> Result<Scoring> {
    post_empty(&format!("/scorings/{id}/abort")).await
}
