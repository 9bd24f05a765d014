//! A new round: what kind, from which adapter, on which data, with which hyper-parameters.

mod fields;
mod knobs;

use self::{
    fields::{
        ALPHA, BATCH_BY, CHECKPOINTING, DROPOUT, KEEP, KIND, LOSS, MARGIN, NAME, PRECISION, RANK, SCHEDULE,
        SEED, START, USE_DORA, USE_RSLORA, kind_help,
    },
    knobs::{ADVANCED, BASIC, Knob, choice, loss_help, loss_name},
};
use super::overview::kind_name;
use crate::{
    api,
    components::{
        action::Action,
        field::{Errors, number, select_field, switch_field, text_field},
    },
    format,
    load::Loaded,
};
use laurel_protocol::{
    Adapter, AdapterConfig, AdapterId, BatchBy, FieldError, Hyper, Keep, LoraConfig, Loss, Margin, NewRound,
    Precision, Project, ProjectCounts, ProjectId, RoundKind, RoundSpec, Schedule, Setting,
};
use leptos::prelude::*;
use leptos_router::{components::A, hooks::use_navigate};

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

/// What is in the form, as text.
#[derive(Clone, Copy)]
struct Draft {
    kind: RwSignal<String>,
    loss: RwSignal<String>,
    margin: RwSignal<String>,
    batch_by: RwSignal<String>,
    keep: RwSignal<String>,
    precision: RwSignal<String>,
    checkpointing: RwSignal<String>,
    name: RwSignal<String>,
    start: RwSignal<String>,
    schedule: RwSignal<String>,
    rank: RwSignal<String>,
    alpha: RwSignal<String>,
    dropout: RwSignal<String>,
    use_rslora: RwSignal<bool>,
    use_dora: RwSignal<bool>,
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
            kind: text(RoundKind::Dpo.as_str()),
            loss: text(Loss::default_of(RoundKind::Dpo).as_str()),
            margin: text("none"),
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
            knobs: StoredValue::new(knobs.collect()),
        }
    }

    /// Puts in the defaults of another loss, where the person has not changed them.
    fn change_loss(self, from: Loss, to: Loss) {
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
        if loss.uses(Setting::BatchBy) {
            hyper.batch_by = choice(self.batch_by, &[BatchBy::Pair, BatchBy::Ranking]);
        }
        let has_margin = hyper.margin != Margin::None;
        for (knob, value) in BASIC.iter().chain(&ADVANCED).zip(self.knobs.get_value()) {
            if !knob.is_used(loss, has_margin) {
                continue;
            }
            match number(value, knob.field.name) {
                Ok(value) => (knob.set)(&mut hyper, value),
                Err(reason) => reasons.push(reason),
            }
        }
        hyper
    }

    fn read(self) -> Result<NewRound, Vec<FieldError>> {
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
            reward: None,
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
            reward_adapter: None,
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
        if before.is_some_and(|before| before != now) {
            draft.loss.set(Loss::default_of(now).as_str().to_owned());
        }
        now
    });
    let loss = Memo::new(move |_| draft.loss.with(|name| loss_of(name)));
    Effect::new(move |before: Option<Loss>| {
        let now = loss.get();
        if let Some(before) = before {
            draft.change_loss(before, now);
        }
        now
    });
    let has_margin =
        Memo::new(move |_| loss.get().uses(Setting::Margin) && draft.margin.with(|name| name != "none"));
    let navigate = use_navigate();
    let (id, counts) = (project.id, project.counts);
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
    let losses = move || {
        let of_kind = Loss::ALL.into_iter().filter(|loss| loss.kind() == kind.get());
        let options: Vec<_> = of_kind.map(|loss| pair(loss.as_str(), loss_name(loss))).collect();
        (options.len() > 1).then(|| select_field(LOSS, options, draft.loss, errors))
    };
    let margins = move || {
        // A project's rows have no column of margins.
        let options = vec![
            pair("none", "None"),
            pair("strength", "From the annotators' strength"),
        ];
        (loss.get().uses(Setting::Margin)).then(|| select_field(MARGIN, options, draft.margin, errors))
    };
    let batches = move || {
        let options = vec![pair("pair", "Pairs"), pair("ranking", "Whole rankings")];
        (loss.get().uses(Setting::BatchBy)).then(|| select_field(BATCH_BY, options, draft.batch_by, errors))
    };
    let keeps = vec![
        pair("last", "The last weights"),
        pair("best", "Those with the lowest held-out loss"),
    ];
    let kinds =
        [RoundKind::Dpo, RoundKind::Reward, RoundKind::Sft].map(|kind| pair(kind.as_str(), kind_name(kind)));
    let schedules = vec![
        pair("linear", "Falls linearly"),
        pair("cosine", "Falls like a cosine"),
        pair("constant", "Stays"),
    ];
    let checkpointings = vec![pair("off", "Off"), pair("on", "On")];
    let precisions = vec![
        pair("f32", "f32, exact"),
        pair("bf16", "bf16"),
        pair("quantized", "As the file has them, quantised"),
    ];
    let mut starts = vec![pair("", "The base model")];
    starts.extend(
        adapters
            .into_iter()
            .map(|adapter| (adapter.id.to_string(), adapter.name)),
    );
    let knobs = draft.knobs.get_value();
    let input = move |(knob, value): (&'static Knob, &RwSignal<String>)| {
        let value = *value;
        let is_used = Memo::new(move |_| knob.is_used(loss.get(), has_margin.get()));
        move || {
            is_used
                .get()
                .then(|| text_field(knob.field, "number", value, errors))
        }
    };
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
            {losses}
            <p class="fine" role="status">{move || loss_help(loss.get())}</p>
            {move || data(counts, loss.get())}
            <div class="field-row">
                {select_field(START, starts, draft.start, errors)}
                {text_field(NAME, "text", draft.name, errors)}
            </div>
            <div class="field-grid">{batches}{margins}{basic}</div>
            <details class="fold">
                <summary>"Advanced"</summary>
                <div class="field-grid">
                    {text_field(RANK, "number", draft.rank, errors)}
                    {text_field(ALPHA, "number", draft.alpha, errors)}
                    {text_field(DROPOUT, "number", draft.dropout, errors)}
                    {switch_field(USE_RSLORA, draft.use_rslora)}
                    {switch_field(USE_DORA, draft.use_dora)}
                    {select_field(SCHEDULE, schedules, draft.schedule, errors)}
                    {select_field(KEEP, keeps, draft.keep, errors)}
                    {select_field(PRECISION, precisions, draft.precision, errors)}
                    {select_field(CHECKPOINTING, checkpointings, draft.checkpointing, errors)}
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

fn pair(name: &str, words: &str) -> (String, String) {
    (name.to_owned(), words.to_owned())
}

fn loss_of(name: &str) -> Loss {
    let known = Loss::ALL.into_iter().find(|loss| loss.as_str() == name);
    known.unwrap_or(Loss::default_of(RoundKind::Dpo))
}

/// What the round will train on.
fn data(counts: ProjectCounts, loss: Loss) -> AnyView {
    let ties = counts.n_ties;
    let n_usable = counts.n_comparisons + if loss.trains_ties() { ties } else { 0 };
    let about_ties = (ties > 0).then(|| match loss.trains_ties() {
        true => format!(" {} among them.", format::counted(ties, "tie is", "ties are")),
        false => format!(
            " {} left out: this loss cannot use them.",
            format::counted(ties, "tie is", "ties are")
        ),
    });
    let text = if n_usable == 0 {
        "There are no comparisons yet: label a few tasks first.".to_owned()
    } else {
        format!(
            "Trains on {}, frozen now with their hash.",
            format::counted(n_usable, "comparison", "comparisons")
        )
    };
    view! { <p class="notice">{text}{about_ties}</p> }.into_any()
}
