//! What a round would take and what speaks against its data, told before it is started.

use crate::{
    ids::{RoundId, Timestamp, UserId},
    message::Message,
    quality::Share,
};
use serde::{Deserialize, Serialize};

/// `POST /projects/{id}/rounds/plan`, of the [`NewRound`](crate::NewRound) as it would be started now. Nothing is frozen
/// or queued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoundPlan {
    /// Rows of the snapshot that it would get: comparisons, answers to imitate, of a PPO round prompts.
    pub n_rows: u64,
    /// Prompts that these rows belong to, and of them those that would be held out.
    pub n_prompts: u64,
    pub n_held_out: u64,
    pub n_ties_left_out: u64,
    /// As many as the rows, the batch size and the epochs give; a few more or fewer where prompts have unlike numbers of
    /// rows, for the seed draws which are held out.
    pub n_steps: u64,
    /// One time through all rows.
    pub tokens: Guess,
    /// From the first step to the end, without the wait for a trainer.
    pub seconds: Guess,
    pub memory_bytes: Guess,
    /// Who had the last job of the base model: the likeliest to take this one.
    pub worker: Option<LastWorker>,
    /// Jobs of the base model that come first.
    pub n_jobs_ahead: u64,
    /// What speaks against it; the weightiest first.
    pub concerns: Vec<Concern>,
    /// The first rows as text, long ones cut. The tokens are seen once a trainer has read the data, for the server has no
    /// tokenizer.
    pub first_rows: Vec<PlanRow>,
    /// When the data was read; that of a large project serves for a minute.
    pub as_of: Timestamp,
}

/// A figure that nobody knows before the round, and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Guess {
    /// Null where there is nothing to go by.
    pub value: Option<f64>,
    pub basis: Basis,
}

impl Guess {
    pub const UNKNOWN: Self = Self {
        value: None,
        basis: Basis::Nothing,
    };
}

/// What a figure rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Basis {
    /// No round or completion of this base model has told yet.
    Nothing,
    /// Tokens that were counted when the project's completions were sampled; prompts and what people wrote by their
    /// characters. What the chat template puts around them is not in it.
    Completions { characters_per_token: f64 },
    /// What an earlier round's trainer counted or took, scaled to this one where that can be done.
    Round { id: RoundId, name: String },
}

/// A trainer, as it named itself, and when it took up its last round or completion job of the base model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastWorker {
    pub name: String,
    pub at: Timestamp,
}

/// A row of the snapshot that the round would get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanRow {
    pub prompt: Vec<Message>,
    /// None in a PPO round, which answers by itself.
    pub chosen: Option<String>,
    /// None where the round imitates.
    pub rejected: Option<String>,
}

/// Something in the data that may spoil a round. docs/TRAINING.md has the thresholds and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Concern {
    /// The round would be refused.
    NothingToTrain,
    FewRows {
        n: u64,
        /// So many are advised.
        advised: u64,
        /// Rows that would be held out, about, and how far an accuracy of 0.7 measured on them may be off (half of the
        /// interval of 95 %); none where nothing is held out.
        n_held_out: u64,
        off_by: Option<f64>,
    },
    /// The longer of the two answers is the chosen one so often, of pairs of unlike length.
    LengthBias { longer: Share },
    /// The answer shown first is the best so often, and how often it would be without a preference for a place.
    PositionBias { first: Share, by_chance: f64 },
    /// Of comparisons between answers of different generators, this one's won so often: the round may learn to tell
    /// generators apart.
    OneGenerator { name: String, wins: Share },
    /// Ties that the loss leaves out, of all comparisons.
    TiesLeftOut { n: u64, of: u64 },
    /// Answers that the round is to write like and that were cut off at their token limit.
    CutOff { chosen: Share },
    /// Rows that are longer than the round's `max_length`, by estimate: it leaves them out.
    TooLong { n: u64, of: u64 },
    /// People below the threshold of reliability or of gold items, and the rows that come from them.
    WeakAnnotators { people: Vec<WeakAnnotator>, rows: Share },
    /// Prompts that have a near-duplicate among the others: one may be held out and the other trained on, so that the
    /// held-out figures flatter. `n_leaking` are expected to.
    NearDuplicates { n: u64, of: u64, n_leaking: u64 },
    /// Prompts, or near-duplicates of them, on which the starting adapter or one before it was trained already: what is
    /// held out is not unseen.
    SeenBefore { adapter: String, n: u64, of: u64 },
}

impl Concern {
    /// Whether it comes first: the others are worth knowing.
    pub fn is_grave(&self) -> bool {
        matches!(
            self,
            Self::NothingToTrain | Self::FewRows { .. } | Self::CutOff { .. } | Self::WeakAnnotators { .. }
        )
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WeakAnnotator {
    pub user: UserId,
    pub name: String,
    /// As on the page of quality, where it is below the threshold.
    pub reliability: Option<f64>,
    /// Gold items that were answered rightly, where they are too few.
    pub gold: Option<Share>,
}
