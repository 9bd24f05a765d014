//! Hyper-parameters of a round: defaults by kind and loss, bounds, and which of them go together.

use crate::{
    error::{Check, FieldError, Validation},
    loss::{BatchBy, Keep, Loss, Margin, RowWeights, Setting},
    ppo::Ppo,
    round::RoundKind,
};
use serde::{Deserialize, Serialize};

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

/// What the frozen base weights are kept in. Adapters, activations, sums and the optimiser are f32
/// in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Exact.
    #[default]
    F32,
    /// Half the memory. Meant for CPUs with AVX-512 BF16, where activations are rounded in each product as well; on
    /// others it is slower than f32.
    Bf16,
    /// The smallest: GGUF weights stay in the file's blocks, those of Hugging Face folders become Q8_0, and products
    /// de-quantise them as they go. Slower than f32.
    Quantized,
}

/// Hyper-parameters. In a [`crate::RoundSpec`] missing ones take the defaults of its kind and loss
/// ([`Hyper::for_loss`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Hyper {
    /// What the round minimises; it must be one of its kind's.
    pub loss: Loss,
    /// Peak learning rate of AdamW.
    pub learning_rate: f64,
    pub epochs: u32,
    /// Rows (pairs for reward and DPO, rankings where `batch_by` says so, single answers for `kto` and
    /// `apo_zero_unpaired`) an optimiser step; prompts a step for PPO.
    pub batch_size: u32,
    /// Stop after so many steps even if epochs are left; 0 is no limit.
    pub max_steps: u32,
    /// DPO's β: how strongly the policy is held to the reference. For `ipo` its τ, for `orpo` its λ, for `simpo`
    /// the scale of the mean log-probabilities. SFT, reward and PPO rounds ignore it.
    pub beta: f64,
    /// Share of labels taken to be wrong: `sigmoid`, `sigmoid_norm`, `simpo`, `robust`, `bradley_terry`.
    pub label_smoothing: f64,
    /// `simpo`: the margin that the chosen answer is to be ahead.
    pub gamma: f64,
    /// Weight of the mean token NLL of the chosen answer beside a DPO round's loss; 0 turns it off. `orpo` has it
    /// at 1 by definition.
    pub nll_weight: f64,
    /// `kto`, `apo_zero_unpaired`: weight of the desirable answers.
    pub desirable_weight: f64,
    /// `kto`, `apo_zero_unpaired`: weight of the undesirable answers.
    pub undesirable_weight: f64,
    /// Reward: where the pairs' margins come from.
    pub margin: Margin,
    /// Reward: margins are multiplied by it.
    pub margin_scale: f64,
    /// Reward and DPO: how much each row counts.
    pub row_weights: RowWeights,
    /// Reward: weight of the mean of (r_w + r_l)², which keeps scores around 0; 0 turns it off.
    pub center_rewards: f64,
    /// `rao_kupper`, `davidson`: how often two equally good answers tie.
    pub tie_share: f64,
    /// Reward: whether a batch counts pairs or whole rankings.
    pub batch_by: BatchBy,
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
    /// Stop early once the held-out loss (PPO: minus the held-out reward, less the divergence's price) has not fallen
    /// below its lowest for so many evaluations in a row; 0 never.
    pub patience: u32,
    pub keep: Keep,
    /// Write a checkpoint every so many steps.
    pub checkpoint_every: u32,
    pub precision: Precision,
    /// Keep of each block its input alone and compute the block again in the backward pass: the same weights, bit for
    /// bit, with a fraction of the activations' memory and about a third more time.
    pub gradient_checkpointing: bool,
    /// What PPO rounds have besides; other kinds have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppo: Option<Ppo>,
}

impl Default for Hyper {
    fn default() -> Self {
        Self::for_kind(RoundKind::Dpo)
    }
}

impl Hyper {
    /// Sane defaults for LoRA on a small model, with the kind's default loss.
    pub fn for_kind(kind: RoundKind) -> Self {
        Self::for_loss(Loss::default_of(kind))
    }

    /// Sane defaults for LoRA on a small model.
    pub fn for_loss(loss: Loss) -> Self {
        let learning_rate = match loss.kind() {
            RoundKind::Sft => 2e-4,
            RoundKind::Reward => 1e-4,
            RoundKind::Dpo | RoundKind::Ppo => 5e-5,
        };
        let is_ppo = loss.kind() == RoundKind::Ppo;
        Self {
            loss,
            learning_rate,
            epochs: 1,
            batch_size: 8,
            max_steps: 0,
            // SimPO's is a scale of log-probabilities and not a strength: the paper uses 2 to 2.5.
            beta: if loss == Loss::Simpo { 2.0 } else { 0.1 },
            // Without flips to expect, `robust` would be `sigmoid`.
            label_smoothing: if loss == Loss::Robust { 0.1 } else { 0.0 },
            gamma: 1.0,
            nll_weight: 0.0,
            desirable_weight: 1.0,
            undesirable_weight: 1.0,
            margin: Margin::None,
            margin_scale: 1.0,
            row_weights: RowWeights::None,
            center_rewards: 0.0,
            tie_share: 0.3,
            batch_by: match loss {
                Loss::PlackettLuce => BatchBy::Ranking,
                _ => BatchBy::Pair,
            },
            max_length: 1024,
            warmup: 0.1,
            schedule: Schedule::Linear,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            held_out: 0.1,
            eval_every: 10,
            patience: 0,
            keep: Keep::Last,
            checkpoint_every: 10,
            precision: Precision::F32,
            gradient_checkpointing: false,
            ppo: is_ppo.then(|| Ppo::for_loss(loss)),
        }
    }

    pub fn validate(&self) -> Validation {
        let mut check = Check::default();
        self.check_bounds(&mut check);
        self.check_loss(&mut check);
        let mut errors = check.finish().err().unwrap_or_default();
        match (&self.ppo, self.loss.kind() == RoundKind::Ppo) {
            (Some(ppo), true) => errors.extend(ppo.validate(self.loss)),
            (None, true) => errors.push(FieldError::new("hyper.ppo", "must be there in a PPO round")),
            (Some(_), false) => {
                let reason = "belongs to PPO rounds alone: leave it out";
                errors.push(FieldError::new("hyper.ppo", reason));
            }
            (None, false) => {}
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn check_bounds(&self, check: &mut Check) {
        let mut between = |value: f64, low: f64, high: f64, field: &str, reason: &str| {
            check.ensure(
                value.is_finite() && value >= low && value <= high,
                &format!("hyper.{field}"),
                reason,
            );
        };
        between(self.learning_rate, 0.0, 0.1, "learning_rate", "must be 0 to 0.1");
        between(f64::from(self.epochs), 1.0, 100.0, "epochs", "must be 1 to 100");
        let batch = f64::from(self.batch_size);
        between(batch, 1.0, 1024.0, "batch_size", "must be 1 to 1024");
        between(self.beta, 1e-4, 100.0, "beta", "must be 0.0001 to 100");
        between(
            self.label_smoothing,
            0.0,
            0.49,
            "label_smoothing",
            "must be 0 to 0.49",
        );
        between(self.gamma, 0.0, 100.0, "gamma", "must be 0 to 100");
        between(self.nll_weight, 0.0, 100.0, "nll_weight", "must be 0 to 100");
        let weights = [
            (self.desirable_weight, "desirable_weight"),
            (self.undesirable_weight, "undesirable_weight"),
        ];
        for (weight, field) in weights {
            between(weight, 0.0, 100.0, field, "must be 0 to 100");
        }
        between(self.margin_scale, 0.0, 100.0, "margin_scale", "must be 0 to 100");
        between(
            self.center_rewards,
            0.0,
            100.0,
            "center_rewards",
            "must be 0 to 100",
        );
        between(self.tie_share, 0.01, 0.99, "tie_share", "must be 0.01 to 0.99");
        let length = f64::from(self.max_length);
        between(length, 16.0, 32_768.0, "max_length", "must be 16 to 32768");
        between(self.warmup, 0.0, 1.0, "warmup", "must be 0 to 1");
        between(self.weight_decay, 0.0, 1.0, "weight_decay", "must be 0 to 1");
        between(self.max_grad_norm, 0.0, 1e6, "max_grad_norm", "must be 0 or more");
        between(self.held_out, 0.0, 0.5, "held_out", "must be 0 to 0.5");
        let every = f64::from(self.checkpoint_every);
        between(
            every,
            1.0,
            f64::INFINITY,
            "checkpoint_every",
            "must be at least 1",
        );
        // With one answer in a batch there is no other prompt's to estimate the KL divergence from.
        check.ensure(
            self.loss != Loss::Kto || self.batch_size >= 2,
            "hyper.batch_size",
            "must be at least 2 for the loss kto",
        );
        check.ensure(
            weights.iter().any(|(weight, _)| *weight > 0.0),
            "hyper.desirable_weight",
            "must be above 0 where undesirable_weight is 0",
        );
        let watched = self.patience > 0 || self.keep == Keep::Best;
        let sees = |holds: bool| !watched || holds;
        check
            .ensure(
                sees(self.held_out > 0.0),
                "hyper.held_out",
                "must be above 0 to stop early or to keep the best adapter",
            )
            .ensure(
                self.patience == 0 || self.eval_every > 0,
                "hyper.eval_every",
                "must be above 0 to stop early",
            );
    }

    /// A setting that the loss does not read must stand at its default, so that nobody believes it acts. `beta`
    /// alone is let through: SFT, reward and PPO rounds ignore it.
    fn check_loss(&self, check: &mut Check) {
        let default = Self::for_loss(self.loss);
        let mut unused = |setting: Setting, same: bool, field: &str| {
            check.ensure(
                same || self.loss.uses(setting),
                &format!("hyper.{field}"),
                &format!("is not used by the loss {}: leave it out", self.loss.as_str()),
            );
        };
        let same = self.label_smoothing == default.label_smoothing;
        unused(Setting::LabelSmoothing, same, "label_smoothing");
        unused(Setting::Gamma, self.gamma == default.gamma, "gamma");
        unused(
            Setting::NllWeight,
            self.nll_weight == default.nll_weight,
            "nll_weight",
        );
        for (same, field) in [
            (
                self.desirable_weight == default.desirable_weight,
                "desirable_weight",
            ),
            (
                self.undesirable_weight == default.undesirable_weight,
                "undesirable_weight",
            ),
        ] {
            unused(Setting::SideWeights, same, field);
        }
        unused(Setting::Margin, self.margin == default.margin, "margin");
        unused(
            Setting::RowWeights,
            self.row_weights == default.row_weights,
            "row_weights",
        );
        let same = self.center_rewards == default.center_rewards;
        unused(Setting::CenterRewards, same, "center_rewards");
        unused(
            Setting::TieShare,
            self.tie_share == default.tie_share,
            "tie_share",
        );
        unused(Setting::BatchBy, self.batch_by == default.batch_by, "batch_by");
        check.ensure(
            self.margin != Margin::None || self.margin_scale == default.margin_scale,
            "hyper.margin_scale",
            "is not used without a margin: leave it out",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(hyper: Hyper) -> Vec<String> {
        let errors = hyper.validate().err().unwrap_or_default();
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn bounds_name_the_field() {
        let hyper = Hyper {
            held_out: 0.9,
            ..Hyper::default()
        };
        assert_eq!(refused(hyper), ["hyper.held_out"]);
        let hyper = Hyper {
            label_smoothing: f64::NAN,
            ..Hyper::default()
        };
        assert_eq!(refused(hyper), ["hyper.label_smoothing"]);
    }

    #[test]
    fn the_defaults_of_every_loss_are_valid() {
        for loss in Loss::ALL {
            assert_eq!(refused(Hyper::for_loss(loss)), [""; 0], "{loss:?}");
        }
    }

    #[test]
    fn settings_that_the_loss_does_not_read_are_refused() {
        let with = |loss, change: fn(&mut Hyper)| {
            let mut hyper = Hyper::for_loss(loss);
            change(&mut hyper);
            refused(hyper)
        };
        let smooth = |hyper: &mut Hyper| hyper.label_smoothing = 0.2;
        assert_eq!(with(Loss::Hinge, smooth), ["hyper.label_smoothing"]);
        assert_eq!(with(Loss::Sigmoid, smooth), [""; 0]);
        assert_eq!(with(Loss::Orpo, |it| it.nll_weight = 1.0), ["hyper.nll_weight"]);
        assert_eq!(with(Loss::Sigmoid, |it| it.gamma = 0.5), ["hyper.gamma"]);
        let weigh = |hyper: &mut Hyper| hyper.undesirable_weight = 2.0;
        assert_eq!(with(Loss::Sigmoid, weigh), ["hyper.undesirable_weight"]);
        assert_eq!(with(Loss::ApoZeroUnpaired, weigh), [""; 0]);
        assert_eq!(with(Loss::Kto, |it| it.nll_weight = 1.0), ["hyper.nll_weight"]);
        assert_eq!(
            with(Loss::BradleyTerry, |it| it.tie_share = 0.5),
            ["hyper.tie_share"]
        );
        assert_eq!(with(Loss::Davidson, |it| it.tie_share = 0.5), [""; 0]);
        assert_eq!(
            with(Loss::Sigmoid, |it| it.margin = Margin::Column),
            ["hyper.margin"]
        );
        assert_eq!(
            with(Loss::PlackettLuce, |it| it.batch_by = BatchBy::Pair),
            ["hyper.batch_by"]
        );
        assert_eq!(
            with(Loss::BradleyTerry, |it| it.margin_scale = 2.0),
            ["hyper.margin_scale"]
        );
        let by_reliability = |hyper: &mut Hyper| hyper.row_weights = RowWeights::Reliability;
        assert_eq!(with(Loss::CrossEntropy, by_reliability), ["hyper.row_weights"]);
        assert_eq!(with(Loss::Kto, by_reliability), [""; 0]);
    }

    #[test]
    fn kto_needs_two_answers_in_a_batch_and_a_side_that_counts() {
        let small = |loss| {
            refused(Hyper {
                batch_size: 1,
                ..Hyper::for_loss(loss)
            })
        };
        assert_eq!(small(Loss::Kto), ["hyper.batch_size"]);
        assert_eq!(small(Loss::ApoZeroUnpaired), [""; 0]);
        let hyper = Hyper {
            desirable_weight: 0.0,
            undesirable_weight: 0.0,
            ..Hyper::for_loss(Loss::Kto)
        };
        assert_eq!(refused(hyper), ["hyper.desirable_weight"]);
    }

    #[test]
    fn watching_the_held_out_loss_needs_held_out_prompts() {
        let hyper = Hyper {
            patience: 2,
            held_out: 0.0,
            eval_every: 0,
            ..Hyper::default()
        };
        assert_eq!(refused(hyper), ["hyper.held_out", "hyper.eval_every"]);
    }
}
