//! Calls of the labelling page: hold, submit, skip, renew, undo.

use super::{Result, post_again, post_empty};
use laurel_protocol::{Answer, Assignment, AssignmentId, Held, Hold, ProjectId, Skip};

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
