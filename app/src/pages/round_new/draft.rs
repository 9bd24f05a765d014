//! What is in the form of a new round, as text, and how it becomes a round.

use super::{
    fields::{ALPHA, DROPOUT, RANK, SEED, TARGET_REWARD},
    ground::{Begin, Source, origin_of, value_of},
    knobs::{ADVANCED, BASIC, Chosen, choice},
    later::LaterDraft,
    reward::RewardDraft,
};
use crate::components::field::number;
use laurel_protocol::{
    AdapterConfig, BatchBy, FieldError, Hyper, Keep, KlEstimator, LoraConfig, Loss, Margin, NewPlanned,
    Origin, Precision, Preset, RoundKind, RoundSpec, RowWeights, Schedule, Setting,
};
use leptos::prelude::*;
use serde::Serialize;

pub fn kind_of(name: &str) -> RoundKind {
    match name {
        "sft" => RoundKind::Sft,
        "reward" => RoundKind::Reward,
        "ppo" => RoundKind::Ppo,
        _ => RoundKind::Dpo,
    }
}

/// The setting that decides whether another one has a field.
const KL_TARGET: &str = "hyper.ppo.kl_target";

/// What is in the form, as text.
#[derive(Clone, Copy)]
pub struct Draft {
    pub kind: RwSignal<String>,
    pub loss: RwSignal<String>,
    pub margin: RwSignal<String>,
    pub row_weights: RwSignal<String>,
    pub batch_by: RwSignal<String>,
    pub keep: RwSignal<String>,
    pub precision: RwSignal<String>,
    pub checkpointing: RwSignal<String>,
    pub name: RwSignal<String>,
    pub start: RwSignal<String>,
    pub schedule: RwSignal<String>,
    pub rank: RwSignal<String>,
    pub alpha: RwSignal<String>,
    pub dropout: RwSignal<String>,
    pub use_rslora: RwSignal<bool>,
    pub use_dora: RwSignal<bool>,
    pub seed: RwSignal<String>,
    pub kl_estimator: RwSignal<String>,
    pub target_reward: RwSignal<String>,
    pub whiten: RwSignal<bool>,
    pub normalise: RwSignal<bool>,
    pub reward: RewardDraft,
    pub later: LaterDraft,
    pub knobs: StoredValue<Vec<RwSignal<String>>>,
}

impl Draft {
    pub fn new(sources: &[Source]) -> Self {
        let text = |value: &str| RwSignal::new(value.to_owned());
        let hyper = Hyper::for_kind(RoundKind::Dpo);
        let knobs = BASIC
            .iter()
            .chain(&ADVANCED)
            .map(|knob| RwSignal::new((knob.get)(&hyper).to_string()));
        Self {
            kind: text(RoundKind::Dpo.as_str()),
            loss: text(Loss::default_of(RoundKind::Dpo).as_str()),
            margin: text("none"),
            row_weights: text("none"),
            batch_by: text("pair"),
            keep: text("last"),
            precision: text("f32"),
            checkpointing: text("off"),
            name: text(""),
            start: text(""),
            schedule: text("linear"),
            rank: text("16"),
            alpha: text("32"),
            dropout: text("0"),
            use_rslora: RwSignal::new(false),
            use_dora: RwSignal::new(false),
            seed: text("0"),
            kl_estimator: text("k1"),
            target_reward: text(""),
            whiten: RwSignal::new(false),
            normalise: RwSignal::new(false),
            reward: RewardDraft::new(sources),
            later: LaterDraft::default(),
            knobs: StoredValue::new(knobs.collect()),
        }
    }

    /// Fills the form with a round that there is. What the form has no fields for stays at its default.
    pub fn put(self, begin: &Begin) {
        let spec = &begin.round.spec;
        let hyper = &spec.hyper;
        self.kind.set(spec.kind.as_str().to_owned());
        self.loss.set(hyper.loss.as_str().to_owned());
        self.margin.set(name_of(&hyper.margin));
        self.row_weights.set(name_of(&hyper.row_weights));
        self.batch_by.set(name_of(&hyper.batch_by));
        self.precision.set(name_of(&hyper.precision));
        self.schedule.set(name_of(&hyper.schedule));
        let checkpointing = if hyper.gradient_checkpointing { "on" } else { "off" };
        self.checkpointing.set(checkpointing.to_owned());
        self.name.set(begin.round.name.clone());
        self.start.set(value_of(begin.round.start));
        self.seed.set(spec.seed.to_string());
        if let AdapterConfig::Lora(lora) = &spec.adapter {
            self.rank.set(lora.rank.to_string());
            self.alpha.set(lora.alpha.to_string());
            self.dropout.set(lora.dropout.to_string());
            self.use_rslora.set(lora.use_rslora);
            self.use_dora.set(lora.use_dora);
        }
        if let Some(ppo) = &hyper.ppo {
            self.kl_estimator.set(name_of(&ppo.kl_estimator));
            let target = ppo.target_reward.map(|target| target.to_string());
            self.target_reward.set(target.unwrap_or_default());
            self.whiten.set(ppo.whiten_rewards);
            self.normalise.set(ppo.normalise_rewards);
        }
        if let Some(source) = &spec.reward {
            self.reward.put(source, begin.round.reward);
        }
        self.later.put(&begin.round.when);
        self.put_hyper(hyper);
    }

    pub fn put_preset(self, preset: Preset) {
        let loss = self.loss.with_untracked(|name| loss_of(name));
        self.put_hyper(&preset.hyper(loss));
    }

    /// The numbers, and which weights are kept.
    fn put_hyper(self, hyper: &Hyper) {
        for (knob, value) in BASIC.iter().chain(&ADVANCED).zip(self.knobs.get_value()) {
            value.set((knob.get)(hyper).to_string());
        }
        let keep = match hyper.keep {
            Keep::Last => "last",
            Keep::Best => "best",
        };
        self.keep.set(keep.to_owned());
    }

    /// Whether the round is to wait for something, as far as the form tells.
    pub fn waits(self) -> bool {
        let pending = |text: &String| text.contains(':');
        self.later.waits()
            || self.start.with(pending)
            || self.kind.with(|kind| kind == RoundKind::Ppo.as_str()) && self.reward.waits()
    }

    /// Puts in the defaults of another loss, where the person has not changed them.
    pub fn change_loss(self, from: Loss, to: Loss) {
        let (old, new) = (Hyper::for_loss(from), Hyper::for_loss(to));
        for (knob, value) in BASIC.iter().chain(&ADVANCED).zip(self.knobs.get_value()) {
            if value.with_untracked(|text| *text == (knob.get)(&old).to_string()) {
                value.set((knob.get)(&new).to_string());
            }
        }
    }

    /// Fields that the loss does not use are not in the form: they stay at their defaults.
    fn hyper(self, reasons: &mut Vec<FieldError>) -> Hyper {
        let loss = self.loss.with_untracked(|name| loss_of(name));
        let mut hyper = Hyper::for_loss(loss);
        hyper.keep = choice(self.keep, &[Keep::Last, Keep::Best]);
        hyper.precision = choice(
            self.precision,
            &[Precision::F32, Precision::Bf16, Precision::Quantized],
        );
        hyper.gradient_checkpointing = self.checkpointing.with_untracked(|text| text == "on");
        hyper.schedule = choice(
            self.schedule,
            &[Schedule::Linear, Schedule::Cosine, Schedule::Constant],
        );
        if loss.uses(Setting::Margin) {
            hyper.margin = choice(self.margin, &[Margin::None, Margin::Strength]);
        }
        if loss.uses(Setting::RowWeights) {
            hyper.row_weights = choice(self.row_weights, &[RowWeights::None, RowWeights::Reliability]);
        }
        if loss.uses(Setting::BatchBy) {
            hyper.batch_by = choice(self.batch_by, &[BatchBy::Pair, BatchBy::Ranking]);
        }
        self.online(&mut hyper, reasons);
        let chosen = Chosen {
            has_margin: hyper.margin != Margin::None,
            ..untrack(|| self.chosen())
        };
        for (knob, value) in BASIC.iter().chain(&ADVANCED).zip(self.knobs.get_value()) {
            if !knob.is_used(chosen) {
                continue;
            }
            match number(value, knob.field.name) {
                Ok(value) => (knob.set)(&mut hyper, value),
                Err(reason) => reasons.push(reason),
            }
        }
        hyper
    }

    /// The choices and switches of a PPO round.
    fn online(self, hyper: &mut Hyper, reasons: &mut Vec<FieldError>) {
        let loss = hyper.loss;
        let Some(ppo) = &mut hyper.ppo else { return };
        if loss != Loss::Grpo {
            ppo.kl_estimator = choice(self.kl_estimator, &[KlEstimator::K1, KlEstimator::K3]);
        }
        ppo.whiten_rewards = loss == Loss::Ppo && self.whiten.get_untracked();
        ppo.normalise_rewards = self.normalise.get_untracked();
        if self.target_reward.with_untracked(|text| !text.trim().is_empty()) {
            match number(self.target_reward, TARGET_REWARD.name) {
                Ok(target) => ppo.target_reward = Some(target),
                Err(reason) => reasons.push(reason),
            }
        }
    }

    /// What decides which fields there are.
    pub fn chosen(self) -> Chosen {
        let loss = self.loss.with(|name| loss_of(name));
        let kl_target = BASIC
            .iter()
            .zip(self.knobs.get_value())
            .find(|(knob, _)| knob.field.name == KL_TARGET);
        let is_positive = |text: &String| text.trim().parse::<f64>().is_ok_and(|value| value > 0.0);
        Chosen {
            loss,
            has_margin: loss.uses(Setting::Margin) && self.margin.with(|name| name != "none"),
            has_kl_target: kl_target.is_some_and(|(_, value)| value.with(is_positive)),
        }
    }

    pub fn read(self) -> Result<NewPlanned, Vec<FieldError>> {
        let kind = kind_of(&self.kind.get_untracked());
        let mut reasons = Vec::new();
        let hyper = self.hyper(&mut reasons);
        let mut take = |value, name| {
            number(value, name)
                .map_err(|reason| reasons.push(reason))
                .unwrap_or_default()
        };
        let alpha = take(self.alpha, ALPHA.name);
        let dropout = take(self.dropout, DROPOUT.name);
        let rank: f64 = take(self.rank, RANK.name);
        let seed: f64 = take(self.seed, SEED.name);
        let (source, reward) = match kind {
            RoundKind::Ppo => {
                let (source, origin) = self.reward.read(&mut reasons);
                (Some(source), origin)
            }
            RoundKind::Sft | RoundKind::Reward | RoundKind::Dpo => (None, Origin::Base),
        };
        let spec = RoundSpec {
            kind,
            adapter: AdapterConfig::Lora(LoraConfig {
                rank: rank as u32,
                alpha,
                dropout,
                use_rslora: self.use_rslora.get_untracked(),
                use_dora: self.use_dora.get_untracked(),
                ..LoraConfig::default()
            }),
            hyper,
            reward: source,
            seed: seed as u64,
        };
        let new = NewPlanned {
            name: self.name.get_untracked().trim().to_owned(),
            spec,
            start: self.start.with_untracked(|value| origin_of(value)),
            reward,
            when: self.later.read(&mut reasons),
        };
        reasons.extend(new.validate().err().unwrap_or_default());
        if reasons.is_empty() { Ok(new) } else { Err(reasons) }
    }
}

/// The name that an enum has in JSON, which is that of its option.
fn name_of(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

pub fn loss_of(name: &str) -> Loss {
    let known = Loss::ALL.into_iter().find(|loss| loss.as_str() == name);
    known.unwrap_or(Loss::default_of(RoundKind::Dpo))
}
