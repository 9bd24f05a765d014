//! Reviewing: what annotators see differently, a reviewer's decision on it, notes between them, and flagged tasks.

use crate::{
    error::{Check, Validation},
    ids::{AnnotationId, AssignmentId, TaskId, Timestamp},
    label::{Judgement, ShownCompletion, ShownMessage, SkipReason},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which tasks a reviewer looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReviewFilter {
    /// Done, judged by two people or more who contradict each other, and not decided.
    #[default]
    Disagreements,
    /// Decided by a reviewer.
    Decided,
    /// Done, whatever was said.
    All,
}

/// `GET /projects/{id}/review?filter&after&limit`: tasks in their own order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReviewPage {
    pub tasks: Vec<ReviewTask>,
    /// Where to look on: the next page's `after`. Null when there is nothing more. A page may be empty and still have
    /// more behind it, where a long run of tasks was agreed on.
    pub next: Option<TaskId>,
}

/// A task with everything that was said about it. Positions are those in which the completions are listed here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReviewTask {
    pub id: TaskId,
    pub prompt: Vec<ShownMessage>,
    pub completions: Vec<ShownCompletion>,
    pub voices: Vec<Voice>,
    pub decision: Option<Decision>,
    pub notes: Vec<Note>,
}

/// What one person said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Voice {
    /// Follow it to what learnt from it: `GET /annotations/{id}/lineage`.
    pub annotation_id: AnnotationId,
    pub name: String,
    pub judgement: Judgement,
    pub ratings: BTreeMap<String, Vec<u8>>,
    pub comment: String,
    pub seconds: f64,
    pub at: Timestamp,
}

/// What a reviewer decided. It stands in place of the comparisons that followed from the voices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Decision {
    pub name: String,
    pub judgement: Judgement,
    pub ratings: BTreeMap<String, Vec<u8>>,
    pub comment: String,
    pub at: Timestamp,
}

/// `POST /tasks/{id}/decision`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewDecision {
    pub judgement: Judgement,
    /// Only with the label type rate.
    #[serde(default)]
    pub ratings: BTreeMap<String, Vec<u8>>,
    #[serde(default)]
    pub comment: String,
}

/// What a reviewer and an annotator say to each other about a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Note {
    pub name: String,
    pub text: String,
    pub at: Timestamp,
}

/// `POST /tasks/{id}/notes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewNote {
    pub text: String,
}

impl NewNote {
    pub fn validate(&self) -> Validation {
        let n_bytes = self.text.trim().len();
        Check::default()
            .ensure(
                (1..=8 * 1024).contains(&n_bytes),
                "text",
                "must be a text of at most 8 KiB",
            )
            .finish()
    }
}

/// `GET /projects/{id}/flagged?before&limit`: what annotators skipped with a reason, last first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FlaggedPage {
    pub flags: Vec<Flag>,
    /// The next page's `before`; null on the last page.
    pub next: Option<AssignmentId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Flag {
    pub assignment_id: AssignmentId,
    pub task_id: TaskId,
    pub name: String,
    pub reason: SkipReason,
    pub comment: String,
    pub at: Timestamp,
    pub prompt: Vec<ShownMessage>,
    pub completions: Vec<ShownCompletion>,
    /// Whether a reviewer took the task out of the queue.
    pub retired: bool,
}
