//! Lineage: what an adapter was made of, what learnt from an annotation, and the rounds, snapshots and completions of a
//! project with what follows from what.

use crate::{
    adapter::Adapter,
    completion::JobStatus,
    ids::{AdapterId, AnnotationId, CompletionJobId, ProjectId, RoundId, SnapshotId, Timestamp},
    merge::Merge,
    round::{MetricPoint, RoundKind, RoundSpec, Snapshot},
    template::Template,
};
use serde::{Deserialize, Serialize};

/// `GET /adapters/{id}`: all that decided its weights, what made it, and what depends on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdapterFacts {
    pub adapter: Adapter,
    pub project_name: String,
    pub base_model: String,
    pub spec: RoundSpec,
    pub template: Template,
    pub snapshot: Snapshot,
    /// Rows of the snapshot that follow from an annotation; the others are prompts.
    pub n_annotated_rows: u64,
    /// Who judged the rows, those with most first.
    pub annotators: Vec<Teacher>,
    /// The adapters that it goes back to, nearest first.
    pub ancestors: Vec<Ancestor>,
    /// The round's last figures on held-out rows, or on trained ones where it held none out.
    pub evaluation: Option<MetricPoint>,
    /// The trainer's name for itself and its device.
    pub worker: Option<String>,
    /// "version+commit" of trainer and server; none for an old adapter.
    pub trainer_code: Option<String>,
    pub server_code: Option<String>,
    /// What makes the same weights again, beside the unpacked `GET /adapters/{id}/kit`.
    pub command: String,
    pub uses: Vec<AdapterUse>,
    /// Newest first.
    pub merges: Vec<Merge>,
}

impl AdapterFacts {
    /// Why its files cannot be deleted now, if anything stands against it.
    pub fn blockers(&self) -> impl Iterator<Item = &AdapterUse> {
        self.uses.iter().filter(|one| one.blocks)
    }
}

/// Someone whose annotations are in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Teacher {
    /// The pseudonym that exports use.
    pub annotator: String,
    pub n_annotations: u64,
    pub n_rows: u64,
}

/// An adapter that another one goes back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ancestor {
    pub id: AdapterId,
    pub name: String,
    pub kind: RoundKind,
    pub hash: String,
    /// The adapter whose round used it.
    pub of: AdapterId,
    pub role: AncestorRole,
    /// 1: the adapter's own round used it.
    pub depth: u32,
    pub deleted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AncestorRole {
    /// The round began from it.
    Start,
    /// It scored the round's answers.
    Reward,
}

/// Something that uses an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdapterUse {
    pub kind: UseKind,
    /// The number of the round, completion job, scoring, merge or project.
    pub id: i64,
    pub name: String,
    pub status: Option<JobStatus>,
    /// It needs the adapter's files: they cannot be deleted before it has ended.
    pub blocks: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum UseKind {
    /// A round that began from it.
    Start,
    /// A PPO round that it scored.
    Reward,
    /// Completions that it wrote.
    Completions,
    /// A scoring of open tasks.
    Scoring,
    Merge,
    /// It is a contender in the project's arena.
    Arena,
    /// It is what the project takes by default.
    Current,
    /// People judge its answers in a contest.
    Contest,
    /// A planned round is to begin from it, or to be scored by it.
    Planned,
}

/// `GET /annotations/{id}/lineage`: what learnt from an annotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnnotationLineage {
    pub annotation_id: AnnotationId,
    pub project_id: ProjectId,
    /// It was replaced, withdrawn, or decided otherwise: nothing new learns from it.
    pub stands: bool,
    /// Comparisons that follow from it now.
    pub n_comparisons: u64,
    pub rounds: Vec<TaughtRound>,
}

/// A round that learnt from an annotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaughtRound {
    pub id: RoundId,
    pub name: String,
    pub kind: RoundKind,
    pub status: JobStatus,
    /// Rows of its snapshot that follow from the annotation. 0: it began from, or was scored by, an adapter that learnt.
    pub n_rows: u64,
    pub adapter: Option<AdapterId>,
}

/// `GET /projects/{id}/lineage`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lineage {
    pub snapshots: Vec<LineageSnapshot>,
    pub rounds: Vec<LineageRound>,
    pub completions: Vec<LineageCompletions>,
    pub sources: Vec<LineageSource>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LineageSnapshot {
    pub id: SnapshotId,
    pub hash: String,
    pub n_rows: u64,
    pub created_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LineageRound {
    pub id: RoundId,
    pub name: String,
    pub kind: RoundKind,
    pub status: JobStatus,
    pub snapshot: SnapshotId,
    pub starting_adapter: Option<AdapterId>,
    pub reward_adapter: Option<AdapterId>,
    /// What came out.
    pub adapter: Option<AdapterId>,
    pub adapter_hash: Option<String>,
    /// The adapter's files were deleted.
    pub deleted: bool,
    pub created_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LineageCompletions {
    pub id: CompletionJobId,
    pub status: JobStatus,
    /// Who wrote them; none: the base model.
    pub adapter: Option<AdapterId>,
    pub n_done: u64,
    pub created_at: Timestamp,
}

/// Annotations of a snapshot that are about a completion job's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LineageSource {
    pub snapshot: SnapshotId,
    pub completions: CompletionJobId,
    pub n_annotations: u64,
}
