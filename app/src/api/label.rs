//! Calls of the labelling page: hold, submit, skip, renew, undo, one's own answers; gold items.

use super::{Result, delete, get, post, post_again, post_empty};
use laurel_protocol::{
    Answer, Assignment, AssignmentId, GoldItem, Held, Hold, NewGold, OwnAnswers, ProjectId, Skip, TaskId,
};

/// Holds up to `n` tasks at once: one on screen, the rest prefetched.
pub async fn hold(project: ProjectId, n: u8) -> Result<Held> {
    post_again(&format!("/projects/{project}/assignments"), &Hold { n }).await
}

pub async fn submit(assignment: AssignmentId, answer: &Answer) -> Result<Held> {
    post_again(&format!("/assignments/{assignment}/annotation"), answer).await
}

pub async fn skip(assignment: AssignmentId, skip: &Skip) -> Result<Held> {
    post_again(&format!("/assignments/{assignment}/skip"), skip).await
}

/// Makes the lease of a held assignment longer.
pub async fn renew(assignment: AssignmentId) -> Result<Assignment> {
    post_empty(&format!("/assignments/{assignment}/renew")).await
}

/// Brings the last answered or skipped assignment back, first in the list, with `previous`.
pub async fn undo(project: ProjectId) -> Result<Held> {
    post_empty(&format!("/projects/{project}/undo")).await
}

/// What this person answered or skipped, newest first.
pub async fn own_answers(project: ProjectId, before: Option<AssignmentId>, limit: u32) -> Result<OwnAnswers> {
    let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
    get(&format!("/projects/{project}/answers?limit={limit}{before}")).await
}

/// Brings an answered or skipped assignment back, first in the list.
pub async fn reopen(assignment: AssignmentId) -> Result<Held> {
    post_empty(&format!("/assignments/{assignment}/reopen")).await
}

/// Makes a gold item of an answer of one's own.
pub async fn make_gold(assignment: AssignmentId, new: &NewGold) -> Result<GoldItem> {
    post(&format!("/assignments/{assignment}/gold"), new).await
}

pub async fn gold_items(project: ProjectId) -> Result<Vec<GoldItem>> {
    get(&format!("/projects/{project}/gold")).await
}

pub async fn close_gold(id: TaskId) -> Result<()> {
    delete(&format!("/gold/{id}")).await
}
