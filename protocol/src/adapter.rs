//! Adapters: the trained LoRA or IA3 weights, as the server lists them and as a round asks for them.

use crate::{
    error::{Check, Validation},
    ids::{AdapterId, ProjectId, RoundId, Timestamp},
    round::RoundKind,
};
use serde::{Deserialize, Serialize};

/// Which small set of weights a round trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AdapterConfig {
    /// Hu et al. 2021: W + (alpha / rank) · B A.
    Lora {
        rank: u32,
        alpha: f64,
        /// Names of the linear layers (`q_proj` …); empty means all of each block.
        #[serde(default)]
        target_modules: Vec<String>,
    },
    /// Liu et al. 2022: learned scales on keys, values and the feed-forward's inner activations.
    Ia3 {
        #[serde(default)]
        target_modules: Vec<String>,
    },
}

impl Default for AdapterConfig {
    fn default() -> Self {
        Self::Lora {
            rank: 16,
            alpha: 32.0,
            target_modules: Vec::new(),
        }
    }
}

/// The linear layers of a block. The last two are Phi-3's, in place of q, k and v, and of gate and up.
pub const LINEAR_LAYERS: [&str; 9] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "qkv_proj",
    "gate_up_proj",
];

impl AdapterConfig {
    pub fn validate(&self) -> Validation {
        let targets = match self {
            Self::Lora { target_modules, .. } | Self::Ia3 { target_modules } => target_modules,
        };
        let known = targets
            .iter()
            .all(|target| LINEAR_LAYERS.contains(&target.as_str()));
        let mut check = Check::default();
        check.ensure(
            known,
            "adapter.target_modules",
            "names a layer that the model does not have",
        );
        if let Self::Lora { rank, alpha, .. } = self {
            check
                .ensure((1..=256).contains(rank), "adapter.rank", "must be 1 to 256")
                .ensure(
                    *alpha > 0.0 && *alpha <= 1024.0,
                    "adapter.alpha",
                    "must be above 0 and at most 1024",
                );
        }
        check.finish()
    }
}

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
}
