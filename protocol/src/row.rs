//! Rows of a dataset: one JSON object a line, in TRL's columns, with provenance that TRL ignores.

use crate::{
    ids::{AnnotationId, CompletionId, PromptId, TaskId},
    message::Message,
    questions::Span,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// TRL's explicit preference row (for `DPOTrainer`); a dataset snapshot is a list of these, in a fixed order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreferenceRow {
    pub prompt: Vec<Message>,
    pub chosen: Vec<Message>,
    pub rejected: Vec<Message>,
    /// Both are equally good: only in the snapshot of a round that trains ties, never in an export.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tie: bool,
    /// How much it counts: only in the snapshot of a round that weighs its rows, never in an export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<RowProvenance>,
}

/// TRL's implicit preference row (for `RewardTrainer`): the prompt stands in both conversations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImplicitRow {
    pub chosen: Vec<Message>,
    pub rejected: Vec<Message>,
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<RowProvenance>,
}

/// TRL's unpaired preference row (for `KTOTrainer`): one answer with its judgement. A comparison makes two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnpairedRow {
    pub prompt: Vec<Message>,
    pub completion: Vec<Message>,
    /// Desirable: the comparison chose it.
    pub label: bool,
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<RowProvenance>,
}

/// TRL's prompt-only row (for its online trainers): a snapshot of a PPO round is a list of these, and where the round
/// imitates chosen answers beside, [`PreferenceRow`]s stand before them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PromptRow {
    pub prompt: Vec<Message>,
    pub prompt_id: PromptId,
}

/// TRL's prompt-completion row (for `SFTTrainer`): an answer to imitate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExampleRow {
    pub prompt: Vec<Message>,
    pub completion: Vec<Message>,
    pub prompt_id: PromptId,
    pub annotation_id: AnnotationId,
    pub completion_id: CompletionId,
    /// Who wrote it: "base model", an adapter's name, or "annotator".
    pub generator: String,
    pub annotator: String,
}

impl PreferenceRow {
    /// The chosen answer as desirable, then the rejected one as undesirable.
    pub fn unpaired(self) -> [UnpairedRow; 2] {
        let of = |completion, label| UnpairedRow {
            prompt: self.prompt.clone(),
            completion,
            label,
            provenance: self.provenance.clone(),
        };
        [of(self.chosen, true), of(self.rejected, false)]
    }
}

/// Where a preference came from. `prompt_id` also groups rows for the held-out split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RowProvenance {
    pub prompt_id: PromptId,
    pub annotation_id: AnnotationId,
    pub chosen_id: CompletionId,
    pub rejected_id: CompletionId,
    /// 0 when the project does not ask for it (TRL's loaders want one type a column).
    pub strength: u8,
    /// Pseudonym of the annotator, stable within the project.
    pub annotator: String,
    /// Who wrote the two: "base model", an adapter's name, or "annotator" for an edited answer.
    pub chosen_generator: String,
    pub rejected_generator: String,
}

/// One annotation whole: every completion, its rank, and the order in which it was shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RankingRow {
    pub prompt: Vec<Message>,
    pub completions: Vec<RankedCompletion>,
    /// Rank of each completion, 1 is best; equal numbers are ties; null when both were judged bad, or none was asked.
    pub ranks: Vec<Option<u8>>,
    /// `display_order[i]` is the index in `completions` of the one shown at position i.
    pub display_order: Vec<u32>,
    pub strength: Option<u8>,
    pub both_bad: bool,
    pub comment: String,
    /// By dimension: the rating of each completion.
    pub ratings: BTreeMap<String, Vec<u8>>,
    /// Marked passages; `position` is the index in `completions`.
    pub spans: Vec<Span>,
    /// Of each completion the better text that the annotator made of it, or null.
    pub edits: Vec<Option<String>>,
    /// The annotator's own answer.
    pub demonstration: Option<String>,
    /// Ranks behind this one are unacceptable; null where nothing was said.
    pub acceptable: Option<u8>,
    pub seconds: f64,
    pub annotator: String,
    /// A reviewer's decision: it stands in place of what annotators said about the task.
    pub decision: bool,
    pub prompt_id: PromptId,
    pub task_id: TaskId,
    pub annotation_id: AnnotationId,
    pub created_at: crate::ids::Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RankedCompletion {
    pub id: CompletionId,
    pub text: String,
    pub generator: String,
    pub adapter_hash: Option<String>,
    pub finish_reason: crate::completion::FinishReason,
}

/// `GET /projects/{id}/export?format=…`, and `laurel export --format …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// [`PreferenceRow`] a line.
    Preference,
    /// [`ImplicitRow`] a line.
    ImplicitPreference,
    /// [`UnpairedRow`] a line; `kto` for short.
    #[serde(alias = "kto")]
    UnpairedPreference,
    /// [`RankingRow`] a line.
    Ranking,
    /// [`ExampleRow`] a line: what an SFT round imitates.
    Sft,
}
