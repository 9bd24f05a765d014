//! What a person has answered: their own list, from which an answer may be changed.

use crate::{
    ids::{AssignmentId, TaskId, Timestamp},
    label::{Answer, SkipReason},
    review::{Decision, Note},
};
use serde::{Deserialize, Serialize};

/// `GET /projects/{id}/answers?before&limit`: what this person answered or skipped, what was handed out last first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnAnswers {
    pub answers: Vec<OwnAnswer>,
    /// Where the next page begins: its `before`. Null on the last page.
    pub next: Option<AssignmentId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnAnswer {
    pub assignment_id: AssignmentId,
    pub task_id: TaskId,
    /// When it was last answered or skipped.
    pub at: Timestamp,
    /// The beginning of the prompt's last turn, as it was written.
    pub prompt: String,
    /// What stands; null where the task was skipped.
    pub answer: Option<Answer>,
    pub skipped: Option<SkipReason>,
    /// A vote of the arena: the contenders were revealed after it, so that it stays as it is.
    #[serde(default)]
    pub live: bool,
    /// What a reviewer decided; then the answer can no longer be changed. Positions as in the answer.
    pub decision: Option<Decision>,
    /// What was said about the task.
    pub notes: Vec<Note>,
}
