//! Active selection: open tasks are handed out by how unsure the reward model is about them, which a trainer says in a
//! scoring.

use crate::{
    completion::JobStatus,
    error::Check,
    ids::{AdapterId, ProjectId, ScoringId, Timestamp},
};
use serde::{Deserialize, Serialize};

/// How a project chooses among open tasks of one priority; at first in the order in which they were made. It may change at
/// any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Selection {
    /// The task that the reward model is least sure about comes first.
    pub active: bool,
    /// So many of a hundred tasks that a person is given come in the order in which they were made all the same, 0 to 100:
    /// what is labelled then does not follow the model's doubts alone.
    pub explore_percent: u8,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            active: false,
            explore_percent: 10,
        }
    }
}

impl Selection {
    pub(crate) fn check(&self, check: &mut Check) {
        check.ensure(
            self.explore_percent <= 100,
            "selection.explore_percent",
            "must be 0 to 100",
        );
    }
}

/// Why a scoring was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ScoringReason {
    /// An admin asked for it.
    Asked,
    /// There is a new reward model.
    RewardModel,
    /// Enough people have said something new.
    Labels,
    /// There are new tasks.
    Tasks,
}

/// A trainer's pass over the open tasks of a project. `GET /projects/{id}/scorings`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Scoring {
    pub id: ScoringId,
    pub project_id: ProjectId,
    pub reason: ScoringReason,
    pub status: JobStatus,
    /// The reward model whose features are used; null: the base model's, for there was none.
    pub adapter: Option<AdapterId>,
    /// Its name, or "base model".
    pub model: String,
    /// Completions whose features are there, of so many.
    pub n_done: u64,
    pub n_total: Option<u64>,
    /// Tasks that have their uncertainty from it.
    pub n_tasks: u64,
    /// Comparisons that the head learnt from; 0 until the first task has its uncertainty.
    pub n_comparisons: u64,
    pub seconds_left: Option<f64>,
    pub worker: Option<String>,
    pub error: Option<String>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl Scoring {
    /// With fewer comparisons there is nothing to learn from.
    pub const MIN_COMPARISONS: u64 = 10;
    /// After so many annotations that say something new, open tasks are scored again.
    pub const EVERY_ANNOTATIONS: u64 = 25;
}
