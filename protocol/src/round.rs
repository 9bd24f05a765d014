//! A round: one training run. Its spec, state, metrics, log and samples.

use crate::{
    adapter::AdapterConfig,
    completion::JobStatus,
    error::{Check, Validation},
    ids::{AdapterId, ProjectId, PromptId, RoundId, SnapshotId, Timestamp},
    message::Message,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RoundKind {
    /// Supervised fine-tuning on the chosen completions.
    Sft,
    /// A reward model with the Bradley-Terry loss.
    Reward,
    /// Direct preference optimisation, sigmoid loss (Rafailov et al. 2023).
    Dpo,
}

impl RoundKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sft => "sft",
            Self::Reward => "reward",
            Self::Dpo => "dpo",
        }
    }
}

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    Constant,
    #[default]
    Linear,
    Cosine,
}

/// What the frozen base weights are kept and multiplied in. Adapters, activations, sums and the optimiser are f32
/// in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Exact.
    #[default]
    F32,
    /// Half the memory; on CPUs with AVX-512 BF16 also faster, activations then being rounded in each product as well.
    Bf16,
}

/// All that decides a round besides the snapshot, the base weights and the starting adapter.
/// The weights that come out are a pure function of those four.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoundSpec {
    pub kind: RoundKind,
    /// Ignored where a starting adapter is given: its own shape goes on.
    #[serde(default)]
    pub adapter: AdapterConfig,
    pub hyper: Hyper,
    #[serde(default)]
    pub seed: u64,
}

/// Hyper-parameters. In a [`RoundSpec`] missing ones take the defaults of its kind ([`Hyper::for_kind`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Hyper {
    /// Peak learning rate of AdamW.
    pub learning_rate: f64,
    pub epochs: u32,
    /// Rows (pairs for reward and DPO) an optimiser step.
    pub batch_size: u32,
    /// Stop after so many steps even if epochs are left; 0 is no limit.
    pub max_steps: u32,
    /// DPO's β: how strongly the policy is held to the reference.
    pub beta: f64,
    /// Weight of the mean token NLL of the chosen answer beside the DPO loss; 0 turns it off.
    pub nll_weight: f64,
    /// Longest prompt + completion in tokens. A longer row is left out and counted.
    pub max_length: u32,
    /// Share of all steps over which the learning rate rises to its peak.
    pub warmup: f64,
    pub schedule: Schedule,
    pub weight_decay: f64,
    /// Gradients are scaled down to this global norm; 0 turns it off.
    pub max_grad_norm: f64,
    /// Share of prompts (not rows) held out for evaluation.
    pub held_out: f64,
    /// Evaluate every so many steps, and at the end; 0 is only at the end.
    pub eval_every: u32,
    /// Write a checkpoint every so many steps.
    pub checkpoint_every: u32,
    pub precision: Precision,
}

impl Default for Hyper {
    fn default() -> Self {
        Self::for_kind(RoundKind::Dpo)
    }
}

impl Hyper {
    /// Sane defaults for LoRA on a small model.
    pub fn for_kind(kind: RoundKind) -> Self {
        let learning_rate = match kind {
            RoundKind::Sft => 2e-4,
            RoundKind::Reward => 1e-4,
            RoundKind::Dpo => 5e-5,
        };
        Self {
            learning_rate,
            epochs: 1,
            batch_size: 8,
            max_steps: 0,
            beta: 0.1,
            nll_weight: 0.0,
            max_length: 1024,
            warmup: 0.1,
            schedule: Schedule::Linear,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            held_out: 0.1,
            eval_every: 10,
            checkpoint_every: 10,
            precision: Precision::F32,
        }
    }

    pub fn validate(&self) -> Validation {
        let in_range = |x: f64, low: f64, high: f64| x.is_finite() && x >= low && x <= high;
        Check::default()
            .ensure(
                in_range(self.learning_rate, 0.0, 0.1),
                "hyper.learning_rate",
                "must be 0 to 0.1",
            )
            .ensure(
                (1..=100).contains(&self.epochs),
                "hyper.epochs",
                "must be 1 to 100",
            )
            .ensure(
                (1..=1024).contains(&self.batch_size),
                "hyper.batch_size",
                "must be 1 to 1024",
            )
            .ensure(
                in_range(self.beta, 1e-4, 100.0),
                "hyper.beta",
                "must be 0.0001 to 100",
            )
            .ensure(
                in_range(self.nll_weight, 0.0, 100.0),
                "hyper.nll_weight",
                "must be 0 to 100",
            )
            .ensure(
                (16..=32_768).contains(&self.max_length),
                "hyper.max_length",
                "must be 16 to 32768",
            )
            .ensure(in_range(self.warmup, 0.0, 1.0), "hyper.warmup", "must be 0 to 1")
            .ensure(
                in_range(self.weight_decay, 0.0, 1.0),
                "hyper.weight_decay",
                "must be 0 to 1",
            )
            .ensure(
                in_range(self.max_grad_norm, 0.0, 1e6),
                "hyper.max_grad_norm",
                "must be 0 or more",
            )
            .ensure(
                in_range(self.held_out, 0.0, 0.5),
                "hyper.held_out",
                "must be 0 to 0.5",
            )
            .ensure(
                self.checkpoint_every >= 1,
                "hyper.checkpoint_every",
                "must be at least 1",
            )
            .finish()
    }
}

impl<'de> Deserialize<'de> for RoundSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Given {
            kind: RoundKind,
            #[serde(default)]
            adapter: AdapterConfig,
            hyper: serde_json::Map<String, serde_json::Value>,
            #[serde(default)]
            seed: u64,
        }
        let given = Given::deserialize(deserializer)?;
        let mut hyper = serde_json::to_value(Hyper::for_kind(given.kind)).map_err(D::Error::custom)?;
        if let Some(defaults) = hyper.as_object_mut() {
            defaults.extend(given.hyper);
        }
        Ok(Self {
            kind: given.kind,
            adapter: given.adapter,
            hyper: serde_json::from_value(hyper)
                .map_err(|error| D::Error::custom(format!("hyper: {error}")))?,
            seed: given.seed,
        })
    }
}

impl RoundSpec {
    pub fn validate(&self) -> Validation {
        let mut errors = self.adapter.validate().err().unwrap_or_default();
        errors.extend(self.hyper.validate().err().unwrap_or_default());
        if self.seed > 1 << 53 {
            errors.push(crate::error::FieldError::new("seed", "must be at most 2^53"));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// `POST /projects/{id}/rounds`: freezes a snapshot of all comparisons of the project and queues the round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewRound {
    /// Empty: the server makes one up ("DPO 3").
    #[serde(default)]
    pub name: String,
    pub spec: RoundSpec,
    #[serde(default)]
    pub starting_adapter: Option<AdapterId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Round {
    pub id: RoundId,
    pub project_id: ProjectId,
    pub name: String,
    pub spec: RoundSpec,
    pub starting_adapter: Option<AdapterId>,
    pub snapshot: Snapshot,
    pub status: JobStatus,
    pub step: u64,
    /// Known once the trainer has read the data.
    pub n_steps: Option<u64>,
    pub seconds_left: Option<f64>,
    /// Times a trainer took the round up, more than one after a lost lease.
    pub n_attempts: u32,
    pub worker: Option<String>,
    pub error: Option<String>,
    /// What came out, once done.
    pub adapter: Option<AdapterId>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// The frozen list of rows that a round trains on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Snapshot {
    pub id: SnapshotId,
    /// SHA-256 of the JSON Lines as streamed, hex.
    pub hash: String,
    pub n_rows: u64,
    /// Ties that the project had and these losses leave out.
    pub n_ties_left_out: u64,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Train,
    /// The held-out prompts.
    Eval,
}

/// Figures of one step. Names: `loss`, `accuracy`, `margin`, `chosen_reward`, `rejected_reward`,
/// `chosen_logp`, `rejected_logp`, `learning_rate`, `grad_norm`, `n_tokens`, `tokens_per_second`.
/// Sending a (step, split) again replaces it: a resumed round repeats steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetricPoint {
    pub step: u64,
    pub split: Split,
    pub values: BTreeMap<String, f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    pub at: Timestamp,
    pub level: LogLevel,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Info,
    Warning,
    Error,
}

/// The answer to one fixed prompt before and after the round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sample {
    pub prompt_id: PromptId,
    pub prompt: Vec<Message>,
    pub before: String,
    /// Empty until the round is done. Reward rounds have none.
    pub after: String,
}

/// What `GET /rounds/{id}/events` streams (server-sent events named `update`). A new stream first sends all
/// metrics and the last 200 log lines so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RoundEvent {
    Round { round: Box<Round> },
    Metrics { points: Vec<MetricPoint> },
    Log { lines: Vec<LogLine> },
    Samples { samples: Vec<Sample> },
}

/// What `GET /projects/{id}/events` streams (server-sent events named `update`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ProjectEvent {
    Counts {
        counts: crate::project::ProjectCounts,
    },
    CompletionJob {
        job: Box<crate::completion::CompletionJob>,
    },
    Round {
        round: Box<Round>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_hyper_parameters_take_the_defaults_of_the_kind_and_unknown_ones_are_refused() {
        for kind in [RoundKind::Sft, RoundKind::Reward, RoundKind::Dpo] {
            let text = format!(r#"{{"kind": "{}", "hyper": {{"beta": 0.5}}}}"#, kind.as_str());
            let spec: RoundSpec = serde_json::from_str(&text).unwrap();
            let expected = Hyper {
                beta: 0.5,
                ..Hyper::for_kind(kind)
            };
            assert_eq!(spec.hyper, expected);
        }
        let strange = r#"{"kind": "dpo", "hyper": {"betta": 0.5}}"#;
        let error = serde_json::from_str::<RoundSpec>(strange).unwrap_err();
        assert!(error.to_string().contains("betta"), "{error}");
        assert!(serde_json::from_str::<RoundSpec>(r#"{"kind": "dpo"}"#).is_err());
    }

    #[test]
    fn a_spec_comes_back_from_json_as_it_was() {
        let spec = RoundSpec {
            kind: RoundKind::Sft,
            adapter: AdapterConfig::default(),
            hyper: Hyper::for_kind(RoundKind::Dpo),
            seed: 1 << 53,
        };
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<RoundSpec>(&text).unwrap(), spec);
    }

    #[test]
    fn bounds_name_the_field() {
        let hyper = Hyper {
            held_out: 0.9,
            ..Hyper::default()
        };
        assert_eq!(hyper.validate().unwrap_err()[0].field, "hyper.held_out");
    }
}
