//! A round: one training run. Its spec, state, metrics, log and samples.

pub use crate::hyper::{Hyper, Schedule};
use crate::{
    adapter::AdapterConfig,
    completion::JobStatus,
    error::{FieldError, Validation},
    ids::{AdapterId, ProjectId, PromptId, RoundId, SnapshotId, Timestamp},
    loss::Loss,
    message::Message,
    preview::Preview,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RoundKind {
    /// Supervised fine-tuning on the chosen completions.
    Sft,
    /// A reward model: scores by which people's choices are likely.
    Reward,
    /// Direct preference optimisation (Rafailov et al. 2023) and its relatives.
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
        // A loss that is unknown, or of another kind, is refused further on by its own name.
        let loss = given.hyper.get("loss").cloned();
        let loss = loss.and_then(|loss| serde_json::from_value::<Loss>(loss).ok());
        let defaults = Hyper::for_loss(loss.unwrap_or(Loss::default_of(given.kind)));
        let mut hyper = serde_json::to_value(defaults).map_err(D::Error::custom)?;
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
        let loss = self.hyper.loss;
        if loss.kind() != self.kind {
            let reason = format!(
                "is {}, which {} rounds do not have",
                loss.as_str(),
                self.kind.as_str()
            );
            errors.push(FieldError::new("hyper.loss", reason));
        }
        if self.seed > 1 << 53 {
            errors.push(FieldError::new("seed", "must be at most 2^53"));
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
    /// What an admin has asked of the round and its trainer has yet to do.
    #[serde(default)]
    pub asked: Option<Asked>,
    pub step: u64,
    /// Known once the trainer has read the data.
    pub n_steps: Option<u64>,
    pub seconds_left: Option<f64>,
    /// Times a trainer took the round up, more than one after a lost lease or a pause.
    pub n_attempts: u32,
    pub worker: Option<String>,
    pub error: Option<String>,
    /// What came out, once done.
    pub adapter: Option<AdapterId>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// What a trainer hears of in the answer to its next report, and does at the next step boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    Pause,
    Abort,
}

/// The frozen list of rows that a round trains on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Snapshot {
    pub id: SnapshotId,
    /// SHA-256 of the JSON Lines as streamed, hex.
    pub hash: String,
    pub n_rows: u64,
    /// Ties that the project had and the round's loss leaves out; one that trains ties has them among its rows.
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
/// `tie_distance`, `chosen_logp`, `rejected_logp`, `kl`, `learning_rate`, `grad_norm`, `tokens_per_second`.
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
    Preview { preview: Preview },
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
    fn defaults_go_by_the_loss_and_a_loss_of_another_kind_is_refused() {
        let spec = |text: &str| serde_json::from_str::<RoundSpec>(text).unwrap();
        let simpo = spec(r#"{"kind": "dpo", "hyper": {"loss": "simpo"}}"#);
        assert_eq!((simpo.hyper.beta, simpo.validate()), (2.0, Ok(())));
        let strange = spec(r#"{"kind": "reward", "hyper": {"loss": "ipo"}}"#);
        assert_eq!(strange.validate().unwrap_err()[0].field, "hyper.loss");
        let unknown = r#"{"kind": "dpo", "hyper": {"loss": "dpo"}}"#;
        let error = serde_json::from_str::<RoundSpec>(unknown)
            .unwrap_err()
            .to_string();
        assert!(error.contains("sigmoid_norm"), "{error}");
    }
}
