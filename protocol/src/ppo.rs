//! What a PPO round (and GRPO and RLOO, which differ from it in the advantage alone) has on top of the settings that
//! all rounds have: how answers are sampled, what scores them, and how the policy is held to its reference.

use crate::{
    error::{Check, FieldError, Validation},
    loss::Loss,
    round::RoundKind,
};
use serde::{Deserialize, Serialize};

/// Where the scores of a PPO round come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RewardSource {
    /// A reward model on the same base: the adapter of a reward round with its score head. A project's round names it
    /// in `NewRound::reward_adapter`, an offline spec in `reward_adapter`.
    #[default]
    Adapter,
    /// −|n − target| / target of an answer of n tokens, its end token not counted.
    Length { target: u32 },
    /// 1 where the expression matches somewhere in the answer, else 0.
    Regex { pattern: String },
    /// A service that is sent `{"prompts": ["…"], "completions": ["…"]}` and answers `{"scores": [0.5]}`, a number for
    /// each. Prompts are sent as the model reads them, special tokens included.
    Http {
        url: String,
        /// Of one request.
        #[serde(default = "default_timeout_seconds")]
        timeout_seconds: u32,
    },
}

fn default_timeout_seconds() -> u32 {
    30
}

impl RewardSource {
    pub fn validate(&self) -> Validation {
        let mut check = Check::default();
        match self {
            Self::Adapter => {}
            Self::Length { target } => {
                let holds = (1..=2048).contains(target);
                check.ensure(holds, "reward.target", "must be 1 to 2048");
            }
            Self::Regex { pattern } => {
                let holds = (1..=1000).contains(&pattern.chars().count());
                check.ensure(holds, "reward.pattern", "must have 1 to 1000 characters");
            }
            Self::Http { url, timeout_seconds } => {
                let is_web = ["http://", "https://"]
                    .iter()
                    .any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
                check
                    .ensure(
                        is_web && url.len() <= 2000,
                        "reward.url",
                        "must begin with http:// or https:// and have at most 2000 characters",
                    )
                    .ensure(
                        (1..=600).contains(timeout_seconds),
                        "reward.timeout_seconds",
                        "must be 1 to 600",
                    );
            }
        }
        check.finish()
    }
}

/// How the divergence of the policy from its reference is estimated from a token's log-ratio d = log π − log π_ref
/// (Schulman 2020, "Approximating KL divergence").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// d: unbiased, may be negative.
    #[default]
    K1,
    /// e^(−d) − 1 + d: unbiased, never negative, less variance.
    K3,
}

/// Settings of a PPO round beside [`crate::Hyper`]'s. There `batch_size` counts prompts a step, `epochs` passes over
/// the prompts, and `max_length` bounds prompt + new tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Ppo {
    /// New tokens at most, the end token not counted.
    pub max_new_tokens: u32,
    /// Of sampling, and of every log-probability of the round.
    pub temperature: f64,
    /// Nucleus of sampling. Below 1 the answers no longer follow the probabilities that the loss reckons with.
    pub top_p: f64,
    /// Answers to each prompt of a step; `grpo` and `rloo` compare them and need two or more.
    pub samples_per_prompt: u32,
    /// Optimiser steps that one pass over a step's answers is divided into; at most one for each answer.
    pub minibatches: u32,
    /// Passes over a step's answers.
    pub inner_epochs: u32,
    /// ε: the ratio π/π_old counts between 1 − ε and 1 + ε.
    pub clip: f64,
    /// `ppo`: values count within so much of the old ones.
    pub value_clip: f64,
    /// `ppo`: weight of the value loss.
    pub value_weight: f64,
    /// `ppo`: γ, the discount a token.
    pub gamma: f64,
    /// `ppo`: λ of generalised advantage estimation.
    pub lambda: f64,
    /// `ppo`: divide the rewards of a step's tokens by their deviation (the mean stays).
    pub whiten_rewards: bool,
    /// β: weight of the divergence from the reference; where the control is adaptive, at the start.
    pub kl_coefficient: f64,
    /// Nats an answer that β is adapted to keep; 0 leaves β as it is.
    pub kl_target: f64,
    /// Answers over which an adaptive β follows.
    pub kl_horizon: f64,
    /// `ppo`, `rloo`. GRPO's divergence is part of its loss, and always k3.
    pub kl_estimator: KlEstimator,
    /// Taken off the score of an answer that the token limit cut off.
    pub missing_eos_penalty: f64,
    /// Shift and scale scores to mean 0 and deviation 1 by all scores so far.
    pub normalise_rewards: bool,
    /// Scores (after normalising) count between − this and this; 0 turns it off.
    pub reward_clip: f64,
    /// Weight of the policy's entropy, which is maximised; 0 turns it off.
    pub entropy_weight: f64,
    /// Weight of the mean token NLL of chosen answers in each optimiser step (InstructGPT's pre-training mix, on the
    /// data's own answers); 0 turns it off.
    pub sft_weight: f64,
    /// End the round once a step's mean divergence from the reference is above so many nats an answer; 0 never.
    pub max_kl: f64,
    /// End the round once the mean score of the held-out prompts (of a step, where none are held out) is so high.
    pub target_reward: Option<f64>,
    /// Prompts whose answers are shown at every evaluation, in offline rounds.
    pub n_samples: u32,
}

impl Default for Ppo {
    fn default() -> Self {
        Self::for_loss(Loss::Ppo)
    }
}

impl Ppo {
    pub fn for_loss(loss: Loss) -> Self {
        let is_ppo = loss == Loss::Ppo;
        Self {
            max_new_tokens: 64,
            temperature: 1.0,
            top_p: 1.0,
            samples_per_prompt: if is_ppo { 1 } else { 4 },
            minibatches: if is_ppo { 4 } else { 1 },
            inner_epochs: if is_ppo { 2 } else { 1 },
            clip: 0.2,
            value_clip: 0.2,
            value_weight: 0.1,
            gamma: 1.0,
            lambda: 0.95,
            whiten_rewards: false,
            kl_coefficient: 0.05,
            kl_target: 0.0,
            kl_horizon: 10_000.0,
            kl_estimator: if loss == Loss::Grpo {
                KlEstimator::K3
            } else {
                KlEstimator::K1
            },
            missing_eos_penalty: 1.0,
            normalise_rewards: false,
            reward_clip: 0.0,
            entropy_weight: 0.0,
            sft_weight: 0.0,
            max_kl: 0.0,
            target_reward: None,
            n_samples: 4,
        }
    }

    pub(crate) fn validate(&self, loss: Loss) -> Vec<FieldError> {
        let mut check = Check::default();
        for (value, low, high, field) in self.bounds() {
            check.ensure(
                value.is_finite() && value >= low && value <= high,
                &format!("hyper.ppo.{field}"),
                &format!("must be {low} to {high}"),
            );
        }
        let target = self.target_reward.unwrap_or(0.0);
        check.ensure(target.is_finite(), "hyper.ppo.target_reward", "must be a number");
        self.check_loss(loss, &mut check);
        check.finish().err().unwrap_or_default()
    }

    fn bounds(&self) -> [(f64, f64, f64, &'static str); 20] {
        [
            (f64::from(self.max_new_tokens), 1.0, 2048.0, "max_new_tokens"),
            (self.temperature, 0.1, 2.0, "temperature"),
            (self.top_p, 0.01, 1.0, "top_p"),
            (
                f64::from(self.samples_per_prompt),
                1.0,
                64.0,
                "samples_per_prompt",
            ),
            (f64::from(self.minibatches), 1.0, 64.0, "minibatches"),
            (f64::from(self.inner_epochs), 1.0, 16.0, "inner_epochs"),
            (self.clip, 0.01, 1.0, "clip"),
            (self.value_clip, 0.01, 100.0, "value_clip"),
            (self.value_weight, 0.0, 100.0, "value_weight"),
            (self.gamma, 0.0, 1.0, "gamma"),
            (self.lambda, 0.0, 1.0, "lambda"),
            (self.kl_coefficient, 0.0, 100.0, "kl_coefficient"),
            (self.kl_target, 0.0, 1e6, "kl_target"),
            (self.kl_horizon, 1.0, 1e9, "kl_horizon"),
            (self.missing_eos_penalty, 0.0, 1000.0, "missing_eos_penalty"),
            (self.reward_clip, 0.0, 1e6, "reward_clip"),
            (self.entropy_weight, 0.0, 10.0, "entropy_weight"),
            (self.sft_weight, 0.0, 100.0, "sft_weight"),
            (self.max_kl, 0.0, 1e6, "max_kl"),
            (f64::from(self.n_samples), 0.0, 64.0, "n_samples"),
        ]
    }

    /// As in [`crate::Hyper`], a setting that the loss does not read must stand at its default.
    fn check_loss(&self, loss: Loss, check: &mut Check) {
        let default = Self::for_loss(loss);
        let own_to_ppo = [
            (self.value_clip == default.value_clip, "value_clip"),
            (self.value_weight == default.value_weight, "value_weight"),
            (self.gamma == default.gamma, "gamma"),
            (self.lambda == default.lambda, "lambda"),
            (self.whiten_rewards == default.whiten_rewards, "whiten_rewards"),
        ];
        for (same, field) in own_to_ppo {
            unused(check, same || loss == Loss::Ppo, field, loss);
        }
        let same = self.kl_estimator == default.kl_estimator;
        unused(check, same || loss != Loss::Grpo, "kl_estimator", loss);
        check
            .ensure(
                self.kl_target > 0.0 || self.kl_horizon == default.kl_horizon,
                "hyper.ppo.kl_horizon",
                "is not used without a kl_target: leave it out",
            )
            .ensure(
                self.kl_target == 0.0 || self.kl_coefficient > 0.0,
                "hyper.ppo.kl_coefficient",
                "must be above 0 to be adapted to a kl_target",
            )
            .ensure(
                loss == Loss::Ppo || self.samples_per_prompt >= 2,
                "hyper.ppo.samples_per_prompt",
                &format!("must be at least 2: the loss {} compares them", loss.as_str()),
            );
    }
}

fn unused(check: &mut Check, holds: bool, field: &str, loss: Loss) {
    check.ensure(
        holds,
        &format!("hyper.ppo.{field}"),
        &format!("is not used by the loss {}: leave it out", loss.as_str()),
    );
}

/// What a round of `kind` says about its reward.
pub(crate) fn validate_reward(kind: RoundKind, reward: Option<&RewardSource>) -> Vec<FieldError> {
    match (kind, reward) {
        (RoundKind::Ppo, Some(reward)) => reward.validate().err().unwrap_or_default(),
        (RoundKind::Ppo, None) => vec![FieldError::new("reward", "must say what scores the answers")],
        (_, Some(_)) => vec![FieldError::new(
            "reward",
            "belongs to PPO rounds alone: leave it out",
        )],
        (_, None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(loss: Loss, change: fn(&mut Ppo)) -> Vec<String> {
        let mut ppo = Ppo::for_loss(loss);
        change(&mut ppo);
        let errors = ppo.validate(loss).into_iter();
        errors.map(|error| error.field).collect()
    }

    #[test]
    fn defaults_are_valid_and_bounds_name_the_field() {
        for loss in [Loss::Ppo, Loss::Grpo, Loss::Rloo] {
            assert_eq!(refused(loss, |_| {}), [""; 0], "{loss:?}");
        }
        assert_eq!(refused(Loss::Ppo, |it| it.clip = 0.0), ["hyper.ppo.clip"]);
        let nan = |it: &mut Ppo| it.target_reward = Some(f64::NAN);
        assert_eq!(refused(Loss::Ppo, nan), ["hyper.ppo.target_reward"]);
    }

    #[test]
    fn settings_that_the_loss_does_not_read_are_refused() {
        assert_eq!(refused(Loss::Grpo, |it| it.lambda = 1.0), ["hyper.ppo.lambda"]);
        assert_eq!(
            refused(Loss::Rloo, |it| it.value_weight = 1.0),
            ["hyper.ppo.value_weight"]
        );
        let k1 = |it: &mut Ppo| it.kl_estimator = KlEstimator::K1;
        assert_eq!(refused(Loss::Grpo, k1), ["hyper.ppo.kl_estimator"]);
        assert_eq!(
            refused(Loss::Ppo, |it| it.kl_horizon = 5.0),
            ["hyper.ppo.kl_horizon"]
        );
        let alone = |it: &mut Ppo| it.samples_per_prompt = 1;
        assert_eq!(refused(Loss::Rloo, alone), ["hyper.ppo.samples_per_prompt"]);
        assert_eq!(refused(Loss::Ppo, alone), [""; 0]);
    }

    #[test]
    fn a_reward_is_checked_and_its_unknown_fields_are_refused() {
        let of = |text: &str| serde_json::from_str::<RewardSource>(text);
        let fields = |text: &str| {
            let errors = of(text).unwrap().validate().err().unwrap_or_default();
            errors.into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(r#"{"type": "length", "target": 0}"#), ["reward.target"]);
        assert_eq!(
            fields(r#"{"type": "http", "url": "file:///etc"}"#),
            ["reward.url"]
        );
        assert_eq!(
            fields(r#"{"type": "http", "url": "http://reward:8000/"}"#),
            [""; 0]
        );
        assert!(of(r#"{"type": "length", "target": 5, "traget": 6}"#).is_err());
        assert!(of(r#"{"type": "oracle"}"#).is_err());
    }
}
