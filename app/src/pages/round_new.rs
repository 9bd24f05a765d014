//! A new round: what kind, from which adapter, on which data, with which hyper-parameters.

use super::overview::kind_name;
use crate::{
    api,
    components::{
        action::Action,
        field::{Errors, Field, number, select_field, text_field},
    },
    format,
    load::Loaded,
};
use laurel_protocol::{
    Adapter, AdapterConfig, AdapterId, FieldError, Hyper, NewRound, Project, ProjectId, RoundKind, RoundSpec,
    Schedule,
};
use leptos::prelude::*;
use leptos_router::{components::A, hooks::use_navigate};

/// One hyper-parameter: its field, and where it sits in [`Hyper`].
struct Knob {
    field: Field,
    get: fn(&Hyper) -> f64,
    set: fn(&mut Hyper, f64),
}

macro_rules! knob {
    ($place:ident : $type:ty, $label:literal, $help:literal, $hook:literal) => {
        Knob {
            field: Field {
                name: concat!("hyper.", stringify!($place)),
                label: $label,
                help: $help,
                hook: $hook,
            },
            get: |hyper| hyper.$place as f64,
            set: |hyper, value| hyper.$place = value as $type,
        }
    };
}

/// In the order of the form; the first few are all that most rounds need.
const BASIC: [Knob; 5] = [
    knob!(learning_rate: f64, "Learning rate", "Peak rate of AdamW, 0 to 0.1. Halve it when the loss jumps.", "round-learning-rate"),
    knob!(epochs: u32, "Epochs", "Times through the data, 1 to 100.", "round-epochs"),
    knob!(batch_size: u32, "Batch size", "Comparisons per step, 1 to 1024.", "round-batch-size"),
    knob!(max_steps: u32, "Longest, in steps", "Stops there even if epochs are left; 0 is no limit.", "round-max-steps"),
    knob!(beta: f64, "β", "DPO only: how strongly the model is held to where it started, 0.0001 to 100.", "round-beta"),
];
const ADVANCED: [Knob; 8] = [
    knob!(nll_weight: f64, "Weight of the chosen answer", "DPO only: its NLL beside the DPO loss, 0 to 100. Above 0 it keeps chosen answers likely.", "round-nll-weight"),
    knob!(max_length: u32, "Longest row, in tokens", "16 to 32768. Longer rows are left out and counted.", "round-max-length"),
    knob!(warmup: f64, "Warm-up", "Share of the steps over which the rate rises, 0 to 1.", "round-warmup"),
    knob!(weight_decay: f64, "Weight decay", "0 to 1.", "round-weight-decay"),
    knob!(max_grad_norm: f64, "Gradient norm", "Longer gradients are scaled down to it; 0 is off.", "round-max-grad-norm"),
    knob!(held_out: f64, "Held out", "Share of the prompts kept for evaluation, 0 to 0.5.", "round-held-out"),
    knob!(eval_every: u32, "Evaluate every … steps", "0 is only at the end.", "round-eval-every"),
    knob!(checkpoint_every: u32, "Checkpoint every … steps", "What a lost trainer can lose at most.", "round-checkpoint-every"),
];
const KIND: Field = Field {
    name: "kind",
    label: "Kind",
    help: "",
    hook: "round-kind",
};
const NAME: Field = Field {
    name: "name",
    label: "Name",
    help: "Empty: one is made up.",
    hook: "round-name",
};
const START: Field = Field {
    name: "starting_adapter",
    label: "Start from",
    help: "DPO holds the model to a frozen copy of this.",
    hook: "round-adapter",
};
const SCHEDULE: Field = Field {
    name: "hyper.schedule",
    label: "After the warm-up",
    help: "",
    hook: "round-schedule",
};
const RANK: Field = Field {
    name: "adapter.rank",
    label: "LoRA rank",
    help: "1 to 256. Taken from the starting adapter where there is one.",
    hook: "round-rank",
};
const ALPHA: Field = Field {
    name: "adapter.alpha",
    label: "LoRA alpha",
    help: "Above 0, at most 1024.",
    hook: "round-alpha",
};
const SEED: Field = Field {
    name: "seed",
    label: "Seed",
    help: "The same seed and data give the same weights.",
    hook: "round-seed",
};

pub fn page(id: ProjectId) -> AnyView {
    let ground =
        Loaded::new(
            move || async move { Ok((api::project::load(id).await?, api::adapter::list(id).await?)) },
        );
    let body = ground.view(|(project, adapters)| form(project, adapters));
    view! {
        <div class="page page-narrow">
            <p class="crumbs"><A href="/">"Projects"</A><A href=format!("/projects/{id}")>"Overview"</A></p>
            <h1>"New round"</h1>
            {body}
        </div>
    }
    .into_any()
}

fn kind_of(name: &str) -> RoundKind {
    match name {
        "sft" => RoundKind::Sft,
        "reward" => RoundKind::Reward,
        _ => RoundKind::Dpo,
    }
}

fn kind_help(kind: RoundKind) -> &'static str {
    match kind {
        RoundKind::Sft => {
            "Supervised fine-tuning on the chosen answers: the model learns to write like them."
        }
        RoundKind::Reward => {
            "A reward model with the Bradley-Terry loss: it learns to score answers as people would."
        }
        RoundKind::Dpo => {
            "Direct preference optimisation: the model learns to prefer the chosen over the rejected answer."
        }
    }
}

/// What is in the form, as text.
#[derive(Clone, Copy)]
struct Draft {
    kind: RwSignal<String>,
    name: RwSignal<String>,
    start: RwSignal<String>,
    schedule: RwSignal<String>,
    rank: RwSignal<String>,
    alpha: RwSignal<String>,
    seed: RwSignal<String>,
    knobs: StoredValue<Vec<RwSignal<String>>>,
}

impl Draft {
    fn new() -> Self {
        let text = |value: &str| RwSignal::new(value.to_owned());
        let hyper = Hyper::for_kind(RoundKind::Dpo);
        let knobs = BASIC
            .iter()
            .chain(&ADVANCED)
            .map(|knob| RwSignal::new((knob.get)(&hyper).to_string()));
        Self {
            kind: text("dpo"),
            name: text(""),
            start: text(""),
            schedule: text("linear"),
            rank: text("16"),
            alpha: text("32"),
            seed: text("0"),
            knobs: StoredValue::new(knobs.collect()),
        }
    }

    /// Puts in the defaults of another kind, where the person has not changed them.
    fn change_kind(self, from: RoundKind, to: RoundKind) {
        let (old, new) = (Hyper::for_kind(from), Hyper::for_kind(to));
        for (knob, value) in BASIC.iter().chain(&ADVANCED).zip(self.knobs.get_value()) {
            if value.with_untracked(|text| *text == (knob.get)(&old).to_string()) {
                value.set((knob.get)(&new).to_string());
            }
        }
    }

    fn read(self) -> Result<NewRound, Vec<FieldError>> {
        let kind = kind_of(&self.kind.get_untracked());
        let mut hyper = Hyper::for_kind(kind);
        let mut reasons = Vec::new();
        for (knob, value) in BASIC.iter().chain(&ADVANCED).zip(self.knobs.get_value()) {
            match number(value, knob.field.name) {
                Ok(value) => (knob.set)(&mut hyper, value),
                Err(reason) => reasons.push(reason),
            }
        }
        hyper.schedule = match self.schedule.get_untracked().as_str() {
            "constant" => Schedule::Constant,
            "cosine" => Schedule::Cosine,
            _ => Schedule::Linear,
        };
        let mut take = |value, name| {
            number(value, name)
                .map_err(|reason| reasons.push(reason))
                .unwrap_or_default()
        };
        let alpha = take(self.alpha, ALPHA.name);
        let rank: f64 = take(self.rank, RANK.name);
        let seed: f64 = take(self.seed, SEED.name);
        let spec = RoundSpec {
            kind,
            adapter: AdapterConfig::Lora {
                rank: rank as u32,
                alpha,
                target_modules: Vec::new(),
            },
            hyper,
            seed: seed as u64,
        };
        reasons.extend(spec.validate().err().unwrap_or_default());
        if !reasons.is_empty() {
            return Err(reasons);
        }
        Ok(NewRound {
            name: self.name.get_untracked().trim().to_owned(),
            spec,
            starting_adapter: self.start.get_untracked().parse::<AdapterId>().ok(),
        })
    }
}

fn form(project: Project, adapters: Vec<Adapter>) -> AnyView {
    let draft = Draft::new();
    let errors: Errors = RwSignal::new(Vec::new());
    let action = Action::default();
    Effect::new(move || {
        if let Some(error) = action.error() {
            errors.set(error.fields());
        }
    });
    let kind = Memo::new(move |_| draft.kind.with(|name| kind_of(name)));
    Effect::new(move |before: Option<RoundKind>| {
        let now = kind.get();
        if let Some(before) = before {
            draft.change_kind(before, now);
        }
        now
    });
    let navigate = use_navigate();
    let id = project.id;
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        match draft.read() {
            Err(reasons) => errors.set(reasons),
            Ok(round) => {
                errors.set(Vec::new());
                let navigate = navigate.clone();
                action.run(async move { api::round::start(id, &round).await }, move |round| {
                    navigate(&format!("/rounds/{}", round.id), Default::default());
                });
            }
        }
    };
    let pair = |name: &str, words: &str| (name.to_owned(), words.to_owned());
    let kinds =
        [RoundKind::Dpo, RoundKind::Reward, RoundKind::Sft].map(|kind| pair(kind.as_str(), kind_name(kind)));
    let schedules = vec![
        pair("linear", "Falls linearly"),
        pair("cosine", "Falls like a cosine"),
        pair("constant", "Stays"),
    ];
    let mut starts = vec![pair("", "The base model")];
    starts.extend(
        adapters
            .into_iter()
            .map(|adapter| (adapter.id.to_string(), adapter.name)),
    );
    let knobs = draft.knobs.get_value();
    let input = |(knob, value): (&Knob, &RwSignal<String>)| text_field(knob.field, "number", *value, errors);
    let basic = BASIC.iter().zip(&knobs).map(input).collect_view();
    let advanced = ADVANCED
        .iter()
        .zip(&knobs[BASIC.len()..])
        .map(input)
        .collect_view();
    view! {
        <form class="form" on:submit=submit novalidate>
            {select_field(KIND, kinds.to_vec(), draft.kind, errors)}
            <p class="fine" role="status">{move || kind_help(kind.get())}</p>
            {data(&project)}
            <div class="field-row">
                {select_field(START, starts, draft.start, errors)}
                {text_field(NAME, "text", draft.name, errors)}
            </div>
            <div class="field-grid">{basic}</div>
            <details class="fold">
                <summary>"Advanced"</summary>
                <div class="field-grid">
                    {text_field(RANK, "number", draft.rank, errors)}
                    {text_field(ALPHA, "number", draft.alpha, errors)}
                    {select_field(SCHEDULE, schedules, draft.schedule, errors)}
                    {advanced}
                    {text_field(SEED, "number", draft.seed, errors)}
                </div>
            </details>
            {move || errors.with(|errors| (!errors.is_empty()).then(|| view! {
                <p class="form-error" role="alert">"Some values cannot be used; see the fields marked above."</p>
            }))}
            {action.error_line()}
            <div class="actions">
                <button
                    class="button button-main"
                    data-test="start-round"
                    disabled=move || action.busy()
                >
                    "Start the round"
                </button>
            </div>
        </form>
    }
    .into_any()
}

/// What the round will train on.
fn data(project: &Project) -> AnyView {
    let counts = project.counts;
    let strict = counts.n_comparisons;
    let ties = (counts.n_ties > 0).then(|| {
        format!(
            " {} left out: this loss cannot use them.",
            format::counted(counts.n_ties, "tie is", "ties are")
        )
    });
    let text = if strict == 0 {
        "There are no comparisons yet: label a few tasks first.".to_owned()
    } else {
        format!(
            "Trains on {}, frozen now with their hash.",
            format::counted(strict, "comparison", "comparisons")
        )
    };
    view! { <p class="notice">{text}{ties}</p> }.into_any()
}
