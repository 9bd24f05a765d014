//! Adapters: the trained LoRA or IA3 weights, as the server lists them.

pub use crate::adapter_config::*;
use crate::{
    ids::{AdapterId, ProjectId, RoundId, Timestamp},
    round::RoundKind,
};
use serde::{Deserialize, Serialize};

/// `GET /projects/{id}/adapters`. Files: `GET /adapters/{id}/files/{name}` (PEFT's names).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Adapter {
    pub id: AdapterId,
    pub project_id: ProjectId,
    pub name: String,
    pub kind: RoundKind,
    pub round_id: RoundId,
    /// The adapter that the round started from.
    pub parent: Option<AdapterId>,
    /// SHA-256 of `adapter_model.safetensors`, hex.
    pub hash: String,
    pub size_bytes: u64,
    pub files: Vec<String>,
    /// SHA-256 of the chat template that the round's rows were rendered with, hex; none for an old adapter.
    #[serde(default)]
    pub template_hash: Option<String>,
    /// The base model's weights, see [`MadeWith`](crate::worker::MadeWith); none for an old adapter.
    #[serde(default)]
    pub base_weights_hash: Option<String>,
    pub created_at: Timestamp,
    /// Since when its files are gone. What it was made of stays, and nothing new can use it.
    #[serde(default)]
    pub deleted_at: Option<Timestamp>,
}
