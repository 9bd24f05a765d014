//! The numbers and choices of a new round's form: which field shows which hyper-parameter, and what each loss is
//! for, in one line.

use crate::{components::field::Field, words::t};
use laurel_protocol::{Hyper, Loss, Ppo, RoundKind, Setting};
use leptos::prelude::*;
use serde::Serialize;

/// One hyper-parameter: its field, and where it sits in [`Hyper`].
pub struct Knob {
    pub field: Field,
    pub get: fn(&Hyper) -> f64,
    pub set: fn(&mut Hyper, f64),
    when: When,
}

/// Which rounds have the field.
enum When {
    Always,
    Uses(Setting),
    HasMargin,
    /// PPO, GRPO and RLOO.
    Online,
    /// PPO with its value head.
    HasValue,
    HasKlTarget,
}

/// What has been chosen in the form, as far as it decides which fields there are.
#[derive(Clone, Copy, PartialEq)]
pub struct Chosen {
    pub loss: Loss,
    pub has_margin: bool,
    pub has_kl_target: bool,
}

impl Knob {
    pub fn is_used(&self, chosen: Chosen) -> bool {
        let is_online = chosen.loss.kind() == RoundKind::Ppo;
        match self.when {
            When::Always => true,
            When::Uses(setting) => chosen.loss.uses(setting),
            When::HasMargin => chosen.has_margin,
            When::Online => is_online,
            When::HasValue => chosen.loss == Loss::Ppo,
            When::HasKlTarget => is_online && chosen.has_kl_target,
        }
    }
}

macro_rules! knob {
    ($place:ident : $type:ty, $when:expr, $label:literal, $help:literal, $hook:literal) => {
        Knob {
            field: Field {
                name: concat!("hyper.", stringify!($place)),
                label: $label,
                help: $help,
                hook: $hook,
            },
            get: |hyper| hyper.$place as f64,
            set: |hyper, value| hyper.$place = value as $type,
            when: $when,
        }
    };
}

/// One of the settings that PPO rounds have besides. Where they are not there yet, their defaults show.
macro_rules! ppo {
    ($place:ident : $type:ty, $when:expr, $label:literal, $help:literal, $hook:literal) => {
        Knob {
            field: Field {
                name: concat!("hyper.ppo.", stringify!($place)),
                label: $label,
                help: $help,
                hook: $hook,
            },
            get: |hyper| match &hyper.ppo {
                Some(ppo) => ppo.$place as f64,
                None => Ppo::default().$place as f64,
            },
            set: |hyper, value| {
                if let Some(ppo) = &mut hyper.ppo {
                    ppo.$place = value as $type;
                }
            },
            when: $when,
        }
    };
}

/// In the order of the form; the first few are all that most rounds need.
pub static BASIC: [Knob; 16] = [
    knob!(learning_rate: f64, When::Always, "Learning rate", "Peak rate of AdamW, 0 to 0.1. Halve it when the loss jumps.", "round-learning-rate"),
    knob!(epochs: u32, When::Always, "Epochs", "Times through the data, 1 to 100.", "round-epochs"),
    knob!(batch_size: u32, When::Always, "Batch size", "Comparisons (or rankings, single answers, or prompts of PPO) per step, 1 to 1024.", "round-batch-size"),
    knob!(max_steps: u32, When::Always, "Longest, in steps", "Stops there even if epochs are left; 0 is no limit.", "round-max-steps"),
    knob!(beta: f64, When::Uses(Setting::Beta), "β", "How strongly the model is held to where it started; without a reference, the scale of the loss. 0.0001 to 100.", "round-beta"),
    knob!(gamma: f64, When::Uses(Setting::Gamma), "γ", "How far the chosen answer is to be ahead, 0 to 100.", "round-gamma"),
    knob!(label_smoothing: f64, When::Uses(Setting::LabelSmoothing), "Label smoothing", "Share of the labels taken to be wrong, 0 to 0.49.", "round-label-smoothing"),
    knob!(desirable_weight: f64, When::Uses(Setting::SideWeights), "Weight of desirable answers", "0 to 100. Raise it where there are fewer of them.", "round-desirable-weight"),
    knob!(undesirable_weight: f64, When::Uses(Setting::SideWeights), "Weight of undesirable answers", "0 to 100. Lower it where there are more of them.", "round-undesirable-weight"),
    knob!(tie_share: f64, When::Uses(Setting::TieShare), "Ties between equals", "How often two equally good answers tie, 0.01 to 0.99.", "round-tie-share"),
    knob!(margin_scale: f64, When::HasMargin, "Margin scale", "Margins are multiplied by it, 0 to 100. Strength gives 0 to 3.", "round-margin-scale"),
    ppo!(max_new_tokens: u32, When::Online, "Longest answer", "In tokens, 1 to 2048.", "round-max-new-tokens"),
    ppo!(samples_per_prompt: u32, When::Online, "Answers per prompt", "1 to 64 a step; GRPO and RLOO compare them and need two or more.", "round-samples-per-prompt"),
    ppo!(kl_coefficient: f64, When::Online, "KL coefficient β", "What a nat of distance from the reference costs, 0 to 100. Raise it when the KL runs away.", "round-kl-coefficient"),
    ppo!(kl_target: f64, When::Online, "KL target", "Nats an answer that β is adapted to keep; 0 leaves β as it is.", "round-kl-target"),
    ppo!(missing_eos_penalty: f64, When::Online, "Penalty for no end", "Taken off the score of an answer that the limit cut off, 0 to 1000.", "round-missing-eos-penalty"),
];
pub static ADVANCED: [Knob; 24] = [
    knob!(nll_weight: f64, When::Uses(Setting::NllWeight), "Weight of the chosen answer", "Its NLL beside the loss, 0 to 100. Above 0 it keeps chosen answers likely.", "round-nll-weight"),
    knob!(center_rewards: f64, When::Uses(Setting::CenterRewards), "Centring of scores", "Weight of (chosen + rejected)², 0 to 100; 0.01 keeps scores around 0.", "round-center-rewards"),
    ppo!(temperature: f64, When::Online, "Temperature", "Of sampling and of the loss, 0.1 to 2.", "round-temperature"),
    ppo!(top_p: f64, When::Online, "Top-p", "0.01 to 1. Below 1 the answers no longer follow what the loss reckons with.", "round-top-p"),
    ppo!(minibatches: u32, When::Online, "Minibatches", "Optimiser steps in one pass over a step's answers, 1 to 64.", "round-minibatches"),
    ppo!(inner_epochs: u32, When::Online, "Passes", "Over a step's answers, 1 to 16.", "round-inner-epochs"),
    ppo!(clip: f64, When::Online, "Clip ε", "The ratio to the old policy counts within 1 ± ε, 0.01 to 1.", "round-clip"),
    ppo!(value_clip: f64, When::HasValue, "Value clip", "Values count within so much of the old ones, 0.01 to 100.", "round-value-clip"),
    ppo!(value_weight: f64, When::HasValue, "Value weight", "Of the value loss, 0 to 100.", "round-value-weight"),
    ppo!(gamma: f64, When::HasValue, "Discount γ", "A token, 0 to 1; 1 counts the end of an answer fully.", "round-discount"),
    ppo!(lambda: f64, When::HasValue, "GAE λ", "0 trusts the values, 1 the scores. 0 to 1.", "round-lambda"),
    ppo!(kl_horizon: f64, When::HasKlTarget, "KL horizon", "Answers over which an adaptive β follows, from 1.", "round-kl-horizon"),
    ppo!(max_kl: f64, When::Online, "KL budget", "Ends the round above so many nats an answer; 0 never.", "round-max-kl"),
    ppo!(reward_clip: f64, When::Online, "Score clip", "Scores count between − this and this; 0 is off.", "round-reward-clip"),
    ppo!(entropy_weight: f64, When::Online, "Entropy weight", "0 to 10. A little keeps answers varied.", "round-entropy-weight"),
    ppo!(sft_weight: f64, When::Online, "Weight of chosen answers", "Their NLL beside the loss, 0 to 100; 0 is off.", "round-sft-weight"),
    knob!(max_length: u32, When::Always, "Longest row, in tokens", "16 to 32768. Longer rows are left out and counted.", "round-max-length"),
    knob!(warmup: f64, When::Always, "Warm-up", "Share of the steps over which the rate rises, 0 to 1.", "round-warmup"),
    knob!(weight_decay: f64, When::Always, "Weight decay", "0 to 1.", "round-weight-decay"),
    knob!(max_grad_norm: f64, When::Always, "Gradient norm", "Longer gradients are scaled down to it; 0 is off.", "round-max-grad-norm"),
    knob!(held_out: f64, When::Always, "Held out", "Share of the prompts kept for evaluation, 0 to 0.5.", "round-held-out"),
    knob!(eval_every: u32, When::Always, "Evaluate every … steps", "0 is only at the end.", "round-eval-every"),
    knob!(patience: u32, When::Always, "Patience", "Stops after so many evaluations without a better one of the held-out prompts; 0 never.", "round-patience"),
    knob!(checkpoint_every: u32, When::Always, "Checkpoint every … steps", "What a lost trainer can lose at most.", "round-checkpoint-every"),
];

/// The label of a hyper-parameter in a number field, in English.
pub fn label_of(field: &str) -> Option<&'static str> {
    let knobs = BASIC.iter().chain(&ADVANCED);
    knobs
        .map(|knob| knob.field)
        .find(|known| known.name == field)
        .map(|known| known.label)
}

/// The option that a select shows, by its name in JSON; the first where none fits.
pub fn choice<T: Copy + Serialize>(value: RwSignal<String>, options: &[T]) -> T {
    let fits = |option: &&T| {
        let name = serde_json::to_value(option).ok();
        name.is_some_and(|name| value.with_untracked(|text| name == text.as_str()))
    };
    *options.iter().find(fits).unwrap_or(&options[0])
}

pub fn loss_name(loss: Loss) -> &'static str {
    match loss {
        Loss::CrossEntropy => t("Cross-entropy"),
        Loss::Sigmoid => t("Sigmoid (DPO)"),
        Loss::SigmoidNorm => t("Sigmoid, length-normalised"),
        Loss::Hinge => t("Hinge (SLiC)"),
        Loss::Ipo => "IPO",
        Loss::Robust => t("Robust DPO"),
        Loss::Simpo => "SimPO",
        Loss::Orpo => "ORPO",
        Loss::Kto => t("KTO, answers one by one"),
        Loss::ApoZeroUnpaired => t("APO-zero, answers one by one"),
        Loss::BradleyTerry => "Bradley-Terry",
        Loss::RaoKupper => t("Rao-Kupper, with ties"),
        Loss::Davidson => t("Davidson, with ties"),
        Loss::PlackettLuce => t("Plackett-Luce, whole rankings"),
        Loss::Ppo => "PPO",
        Loss::Grpo => t("GRPO, answers to one prompt as a group"),
        Loss::Rloo => t("RLOO, each answer against the others"),
    }
}

pub fn loss_help(loss: Loss) -> &'static str {
    match loss {
        Loss::CrossEntropy => t("Makes the chosen answers likely, token by token."),
        Loss::Sigmoid => t("The usual one. With label smoothing it trusts each label a little less."),
        Loss::SigmoidNorm => {
            t("Compares the average per token, so that long answers gain nothing by length.")
        }
        Loss::Hinge => t("Stops pushing a pair apart once it is apart far enough."),
        Loss::Ipo => t("Pulls every pair to one fixed distance, so that it does not overfit certain labels."),
        Loss::Robust => t("Corrects for a known share of flipped labels (label smoothing)."),
        Loss::Simpo => t("Needs no reference: compares the average per token and asks for a lead of γ."),
        Loss::Orpo => {
            t("Needs no reference: imitates the chosen answer and lowers the odds of the rejected one.")
        }
        Loss::Kto => t(
            "Judges each answer by itself, chosen as good and rejected as bad, against how far the model has moved on the whole.",
        ),
        Loss::ApoZeroUnpaired => t(
            "KTO without that measure: makes chosen answers likelier and rejected ones less likely than they were.",
        ),
        Loss::BradleyTerry => t("The usual one: the chosen answer is to score higher. Ties are left out."),
        Loss::RaoKupper => {
            t("Learns from ties as well: two answers tie when their scores differ by less than a threshold.")
        }
        Loss::Davidson => t("Learns from ties as well: the closer two scores, the likelier a tie."),
        Loss::PlackettLuce => {
            t("Explains each whole ranking as picking the best of what is left. Ties are left out.")
        }
        Loss::Ppo => {
            t("Learns with a value head what to expect, token by token, and from what turns out better.")
        }
        Loss::Grpo => t("Needs no value head: measures an answer by the mean and the spread of its group."),
        Loss::Rloo => t("Needs no value head: measures an answer by the mean of the others to its prompt."),
    }
}
