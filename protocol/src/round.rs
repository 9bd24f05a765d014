//! A round: one training run. Its spec, state, metrics, log and samples.

pub use crate::hyper::{Hyper, Schedule};
use crate::{
    adapter::AdapterConfig,
    completion::JobStatus,
    error::{FieldError, Validation},
    ids::{AdapterId, ProjectId, PromptId, RoundId, SnapshotId, Timestamp},
    loss::Loss,
    message::Message,
    ppo::{RewardSource, validate_reward},
    preview::Preview,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
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
    /// Reinforcement learning on the policy's own answers (Ouyang et al. 2022, step 3): PPO, GRPO, RLOO.
    Ppo,
}

impl RoundKind {
    pub const ALL: [Self; 4] = [Self::Sft, Self::Reward, Self::Dpo, Self::Ppo];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sft => "sft",
            Self::Reward => "reward",
            Self::Dpo => "dpo",
            Self::Ppo => "ppo",
        }
    }

    /// Whether its adapter writes answers (a reward model's scores them).
    pub fn makes_policy(self) -> bool {
        self != Self::Reward
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
    /// What scores the answers of a PPO round; other kinds have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<RewardSource>,
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
            reward: Option<RewardSource>,
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
            let mut given = given.hyper;
            if let (Some(Value::Object(ppo)), Some(Value::Object(given))) =
                (defaults.get_mut("ppo"), given.get_mut("ppo"))
            {
                ppo.append(given);
                *given = std::mem::take(ppo);
            }
            defaults.extend(given);
        }
        Ok(Self {
            kind: given.kind,
            adapter: given.adapter,
            hyper: serde_json::from_value(hyper)
                .map_err(|error| D::Error::custom(format!("hyper: {error}")))?,
            reward: match given.kind {
                RoundKind::Ppo => Some(given.reward.unwrap_or_default()),
                _ => given.reward,
            },
            seed: given.seed,
        })
    }
}

impl RoundSpec {
    pub fn validate(&self) -> Validation {
        let mut errors = self.adapter.validate().err().unwrap_or_default();
        errors.extend(self.hyper.validate().err().unwrap_or_default());
        errors.extend(validate_reward(self.kind, self.reward.as_ref()));
        let loss = self.hyper.loss;
        if loss.kind() != self.kind {
            let reason = format!(
                "is {}, which {} rounds do not have",
                loss.as_str(),
                self.kind.as_str()
            );
            errors.push(FieldError::new("hyper.loss", reason));
        }
        if self.kind == RoundKind::Ppo && self.adapter.dropout() > 0.0 {
            let reason = "must be 0 in a PPO round: its ratios would not begin at 1";
            errors.push(FieldError::new("adapter.dropout", reason));
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
    /// The reward model of a PPO round whose reward is [`RewardSource::Adapter`]; none otherwise.
    #[serde(default)]
    pub reward_adapter: Option<AdapterId>,
}

impl NewRound {
    pub fn validate(&self) -> Validation {
        let mut errors = self.spec.validate().err().unwrap_or_default();
        match (&self.spec.reward, self.reward_adapter) {
            (Some(RewardSource::Adapter), None) => {
                let reason = "must name the adapter of a reward round: it scores the answers";
                errors.push(FieldError::new("reward_adapter", reason));
            }
            (Some(RewardSource::Adapter), Some(_)) | (_, None) => {}
            (_, Some(_)) => {
                let reason = "is not used by this round: leave it out";
                errors.push(FieldError::new("reward_adapter", reason));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Round {
    pub id: RoundId,
    pub project_id: ProjectId,
    pub name: String,
    pub spec: RoundSpec,
    pub starting_adapter: Option<AdapterId>,
    /// The reward model of a PPO round.
    #[serde(default)]
    pub reward_adapter: Option<AdapterId>,
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

/// How often two people who compared the same two answers chose the same one: what a reward model's accuracy on single
/// people's choices can be held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Agreement {
    /// Pairs of answers that at least two people compared, each with a strict choice.
    pub n_shared: u64,
    /// Pairs of people, over all those pairs of answers.
    pub n_compared: u64,
    /// Of these, the pairs of people who chose the same answer.
    pub n_same: u64,
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
///
/// A reward round's evaluations tell besides how far the scores can be trusted: `length_correlation` (Pearson's, of score
/// and tokens), and of each fifth of the predicted probabilities from ½ to 1 that has pairs `calibration_50_predicted`,
/// `calibration_50_observed`, `calibration_50_pairs` (60, 70, 80, 90), with `calibration_error` over all of them; of each
/// fifth of the answers by length `length_1_tokens`, `length_1_score`, `length_1_answers` (to 5); and of answers that say
/// nothing `probe_empty_win_rate` (share of prompts where it scores above the chosen answer) and `probe_empty_score`
/// (`thanks`: "Thank you."; `repeat`: the chosen answer's first token again and again).
///
/// A PPO round has, with TRL's names behind them:
/// - of the answers, trained and held out: `reward` (mean score, the penalty for a missing end included; `objective/scores`),
///   `reward_deviation`, `kl` (mean over answers of Σ_t log π − log π_ref in nats; `objective/kl`), `rlhf_reward`
///   (`reward` − β · `kl`), `entropy` (mean of −log π of an answer's tokens, a sum over tokens divided by their number),
///   `length` (mean tokens, without the end), `eos_rate` (share of answers with an end; `val/num_eos_tokens`);
/// - trained alone: `non_score_reward` (−β · `kl`), `kl_coefficient` (β);
/// - means over the step's optimiser steps: `loss`, `policy_loss`, `value_loss`, `sft_loss`, `ratio` and `ratio_variance`
///   (`val/ratio`, `val/ratio_var`), `approximate_kl` (`policy/approxkl`), `clip_fraction` (`policy/clipfrac`),
///   `value_clip_fraction` (`val/clipfrac`), `grad_norm`;
/// - `explained_variance`: 1 − Var(return − value) / Var(return), of the values before the step; `ppo` alone, as all of
///   the value's figures;
/// - `seconds_sampling`, `seconds_scoring`, `seconds_training`.
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sample {
    pub prompt_id: PromptId,
    pub prompt: Vec<Message>,
    pub before: String,
    /// Empty until the round is done. Reward rounds have none.
    pub after: String,
    /// The answers of a PPO round with their scores, by step: before the first one (step 0) and at every evaluation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rollouts: Vec<Rollout>,
}

/// What the policy of a PPO round answered to a fixed prompt at one time, always drawn from the same stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rollout {
    /// Steps done.
    pub step: u64,
    pub text: String,
    /// As in `reward` of [`MetricPoint`].
    pub score: f64,
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
    Scoring {
        scoring: Box<crate::selection::Scoring>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_hyper_parameters_take_the_defaults_of_the_kind_and_unknown_ones_are_refused() {
        for kind in RoundKind::ALL {
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
            reward: None,
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
    #[test]
    fn a_ppo_spec_takes_defaults_by_its_loss_inside_and_out() {
        let spec = |text: &str| serde_json::from_str::<RoundSpec>(text);
        let text = r#"{"kind": "ppo", "hyper": {"loss": "rloo", "ppo": {"max_new_tokens": 24}}}"#;
        let rloo = spec(text).unwrap();
        let ppo = rloo.hyper.ppo.clone().unwrap();
        assert_eq!((ppo.max_new_tokens, ppo.samples_per_prompt), (24, 4));
        assert_eq!(
            (&rloo.reward, rloo.validate()),
            (&Some(RewardSource::Adapter), Ok(()))
        );
        let strange = spec(r#"{"kind": "ppo", "hyper": {"ppo": {"clipp": 1}}}"#).unwrap_err();
        assert!(strange.to_string().contains("clipp"), "{strange}");
        let dpo = spec(r#"{"kind": "dpo", "hyper": {"ppo": {}}}"#).unwrap();
        assert_eq!(dpo.validate().unwrap_err()[0].field, "hyper.ppo");
        let dpo = spec(r#"{"kind": "dpo", "hyper": {}, "reward": {"type": "adapter"}}"#).unwrap();
        assert_eq!(dpo.validate().unwrap_err()[0].field, "reward");
    }

    #[test]
    fn other_kinds_specs_read_as_they_did_before_ppo() {
        let spec: RoundSpec = serde_json::from_str(r#"{"kind": "dpo", "hyper": {}}"#).unwrap();
        let value = serde_json::to_value(&spec).unwrap();
        assert!(value.get("reward").is_none() && value["hyper"].get("ppo").is_none());
    }

    #[test]
    fn a_reward_adapter_goes_with_the_reward_that_needs_it() {
        let new = |reward: &str, adapter: Option<i64>| {
            let text = format!(r#"{{"kind": "ppo", "hyper": {{}}, "reward": {reward}}}"#);
            let new = NewRound {
                name: String::new(),
                spec: serde_json::from_str(&text).unwrap(),
                starting_adapter: None,
                reward_adapter: adapter.map(AdapterId),
            };
            new.validate().is_ok()
        };
        let (adapter, rule) = (r#"{"type": "adapter"}"#, r#"{"type": "length", "target": 9}"#);
        assert!(new(adapter, Some(1)) && new(rule, None));
        assert!(!new(adapter, None) && !new(rule, Some(1)));
    }
}
