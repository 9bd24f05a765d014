//! What lies on the server's disk, and what of it may go.

use crate::{
    ids::{AdapterId, MergeId, ProjectId, RoundId, Timestamp},
    merge::MergeFormat,
    round::RoundKind,
};
use serde::{Deserialize, Serialize};

/// `GET /storage`. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Storage {
    /// The database file and what is written beside it.
    pub database_bytes: u64,
    /// Of it, pages that are free for what comes.
    pub database_free_bytes: u64,
    pub projects: Vec<StoredProject>,
    pub adapters: Vec<StoredAdapter>,
    pub merges: Vec<StoredMerge>,
    /// What trainers are handing in.
    pub upload_bytes: u64,
    /// Merged files go so many days after they were made; none: they stay until they are deleted.
    pub keep_merged_days: Option<u32>,
}

/// The texts of a project in the database: what can be told apart by project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoredProject {
    pub id: ProjectId,
    pub name: String,
    pub prompt_bytes: u64,
    pub completion_bytes: u64,
    pub annotation_bytes: u64,
    /// Frozen rows of rounds.
    pub snapshot_bytes: u64,
    /// Figures, log lines and samples of rounds.
    pub round_bytes: u64,
}

impl StoredProject {
    pub fn total(&self) -> u64 {
        self.prompt_bytes
            + self.completion_bytes
            + self.annotation_bytes
            + self.snapshot_bytes
            + self.round_bytes
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoredAdapter {
    pub id: AdapterId,
    pub project_id: ProjectId,
    pub project_name: String,
    pub round_id: RoundId,
    pub name: String,
    pub kind: RoundKind,
    /// Of its files on the disk; 0 once they were deleted.
    pub size_bytes: u64,
    /// Other adapters with the same weights share the files.
    pub shared: bool,
    /// Finished things that used it.
    pub n_uses: u64,
    /// Things that need its files now.
    pub n_blockers: u64,
    pub created_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoredMerge {
    pub id: MergeId,
    pub adapter_id: AdapterId,
    pub adapter_name: String,
    pub project_name: String,
    pub format: MergeFormat,
    pub size_bytes: u64,
    pub finished_at: Option<Timestamp>,
    /// When the server deletes it by itself.
    pub expires_at: Option<Timestamp>,
}
