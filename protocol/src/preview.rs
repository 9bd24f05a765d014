//! What a round is about to train on: some of its rows as tokens, and what was found wrong with the data.

use serde::{Deserialize, Serialize};

/// Made before the first step, from the data and the tokenizer of the round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Preview {
    /// SHA-256 of the chat template's text, hex.
    pub template_hash: String,
    pub findings: Vec<Finding>,
    /// The first rows of the data, one entry for each text: two for a preference.
    pub rows: Vec<PreviewRow>,
    /// None from a trainer that does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<RoundSize>,
}

/// What a round takes, as its trainer has counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoundSize {
    /// Rows that are left after unusable ones have gone, held-out ones included.
    pub n_rows: u64,
    /// Tokens of these rows: the prompt with each answer that the round reads, a shared prompt once a row. Of a PPO round
    /// those of the prompts alone.
    pub n_tokens: u64,
    /// Bytes that the trainer expects to keep at once; at most.
    pub memory_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// The round cannot run.
    pub fatal: bool,
    /// One sentence.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewRow {
    /// 1 is the first row of the data.
    pub row: u64,
    pub side: PreviewSide,
    /// Tokens of prompt and completion; a long text is cut, see `n_before` and `n_behind`.
    pub tokens: Vec<PreviewToken>,
    pub n_prompt: u64,
    pub n_completion: u64,
    /// Tokens that are not shown.
    pub n_before: u64,
    pub n_behind: u64,
    /// Why the round leaves the row out.
    pub left_out: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PreviewSide {
    /// Of an example to imitate, or the better side of a preference.
    Chosen,
    Rejected,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewToken {
    pub id: u32,
    /// Bytes that are no whole character stand as `<0xE2>`.
    pub text: String,
    /// Whether the loss is on it; in a reward round whether the score is read at it.
    pub trained: bool,
}
