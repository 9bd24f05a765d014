//! A person who leaves: what there is of them, and what becomes of it.

use crate::{
    account::User,
    ids::{AdapterId, ProjectId},
};
use serde::{Deserialize, Serialize};

/// `GET /users/{id}/data`, and what `DELETE /users/{id}?answers` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PersonData {
    pub user: User,
    pub n_answers: u64,
    pub n_skips: u64,
    pub n_notes: u64,
    /// Every adapter that has learnt from what they judged.
    pub adapters: Vec<TaughtAdapter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaughtAdapter {
    pub id: AdapterId,
    pub project_id: ProjectId,
    pub name: String,
    /// Its own round was trained on their comparisons; else it began from, or was scored by, one that was.
    pub direct: bool,
}

/// What becomes of a person's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Leaving {
    /// They stay, under a pseudonym.
    Keep,
    /// They count in nothing that is made from now on, and their tasks want other labels.
    Withdraw,
}
