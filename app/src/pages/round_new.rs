//! A new round: what kind, from which adapter, on which data, with which hyper-parameters.

mod begin;
mod concerns;
pub mod differences;
mod draft;
mod fields;
mod ground;
mod knobs;
mod later;
mod plan;
pub mod presets;
mod reward;

pub use ground::planned_name;
pub use knobs::loss_name;

use self::{
    draft::{Draft, kind_of},
    fields::{
        ALPHA, BATCH_BY, CHECKPOINTING, DROPOUT, KEEP, KIND, KL_ESTIMATOR, LOSS, MARGIN, NAME, NORMALISE,
        PRECISION, RANK, ROW_WEIGHTS, SCHEDULE, SEED, START, TARGET_REWARD, USE_DORA, USE_RSLORA, WHITEN,
        kind_help,
    },
    ground::{From, Ground, value_of},
    knobs::{ADVANCED, BASIC, Knob, loss_help},
    plan::Planner,
};
use super::overview::kind_name;
use crate::{
    components::{
        action::Action,
        field::{Errors, select_field, switch_field, text_field},
    },
    format,
    load::{Loaded, living},
    words::{fill, t},
};
use laurel_protocol::{Loss, PlannedId, ProjectCounts, ProjectId, RoundId, RoundKind, Setting};
use leptos::prelude::*;
use leptos_router::{
    components::A,
    hooks::{use_navigate, use_query_map},
};

pub fn page(id: ProjectId) -> AnyView {
    let asked = |name: &str| use_query_map().with_untracked(|query| query.get(name));
    let number = |name: &str| asked(name).and_then(|text| text.parse::<i64>().ok());
    let from = match (number("from"), number("planned")) {
        (Some(id), _) => From::Round(RoundId(id)),
        (None, Some(id)) => From::Planned(PlannedId(id)),
        (None, None) => From::Nothing,
    };
    let ground = Loaded::new(move || ground::load(id, from));
    let body = ground.view(form);
    view! {
        <div class="page page-narrow">
            <p class="crumbs">
                <A href="/">{t("Projects")}</A>
                <A href=format!("/projects/{id}")>{t("Overview")}</A>
                <A href=format!("/projects/{id}/plan")>{t("Plan")}</A>
            </p>
            <h1>{t("New round")}</h1>
            {body}
        </div>
    }
    .into_any()
}

fn form(ground: Ground) -> AnyView {
    let Ground {
        project,
        sources,
        begin,
    } = ground;
    let draft = Draft::new(&sources);
    if let Some(begin) = &begin {
        draft.put(begin);
    }
    let errors: Errors = RwSignal::new(Vec::new());
    let action = Action::default();
    Effect::new(move || {
        if let Some(error) = action.error() {
            errors.set(error.fields());
        }
    });
    let kind = Memo::new(move |_| draft.kind.with(|name| kind_of(name)));
    let reward_models: Vec<String> = sources
        .iter()
        .filter(|source| !source.kind.makes_policy())
        .map(|source| value_of(source.origin))
        .collect();
    Effect::new(move |before: Option<RoundKind>| {
        let now = kind.get();
        if before.is_some_and(|before| before != now) {
            draft.loss.set(Loss::default_of(now).as_str().to_owned());
        }
        if now != RoundKind::Reward && draft.start.with_untracked(|start| reward_models.contains(start)) {
            draft.start.set(String::new());
        }
        now
    });
    let chosen = Memo::new(move |_| draft.chosen());
    let loss = Memo::new(move |_| chosen.get().loss);
    Effect::new(move |before: Option<Loss>| {
        let now = loss.get();
        if let Some(before) = before {
            draft.change_loss(before, now);
        }
        now
    });
    let navigate = use_navigate();
    let (id, counts) = (project.id, project.counts);
    let planner = Planner::new(id, draft);
    let planned = begin.as_ref().and_then(|begin| begin.planned);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        match draft.read() {
            Err(reasons) => errors.set(reasons),
            Ok(round) => {
                errors.set(Vec::new());
                let navigate = navigate.clone();
                action.run(begin::send(id, planned, round), move |place| {
                    navigate(&place, Default::default());
                });
            }
        }
    };
    let words = move || match (planned, draft.waits()) {
        (Some(_), _) => t("Save the plan"),
        (None, true) => t("Plan the round"),
        (None, false) => t("Start the round"),
    };
    let beginning = begin.map(|begin| begin::view(begin, draft, planner));
    let later = later::view(draft.later, &sources, errors);
    let losses = move || {
        let of_kind = Loss::ALL.into_iter().filter(|loss| loss.kind() == kind.get());
        let options: Vec<_> = of_kind.map(|loss| pair(loss.as_str(), loss_name(loss))).collect();
        (options.len() > 1).then(|| select_field(LOSS, options, draft.loss, errors))
    };
    let margins = move || {
        // A project's rows have no column of margins.
        let options = vec![
            pair("none", t("None")),
            pair("strength", t("From the annotators' strength")),
        ];
        (loss.get().uses(Setting::Margin)).then(|| select_field(MARGIN, options, draft.margin, errors))
    };
    let weights = move || {
        let options = vec![
            pair("none", t("All alike")),
            pair("reliability", t("By the annotator's reliability")),
        ];
        let field = move || select_field(ROW_WEIGHTS, options, draft.row_weights, errors);
        (loss.get().uses(Setting::RowWeights)).then(field)
    };
    let batches = move || {
        let options = vec![pair("pair", t("Pairs")), pair("ranking", t("Whole rankings"))];
        (loss.get().uses(Setting::BatchBy)).then(|| select_field(BATCH_BY, options, draft.batch_by, errors))
    };
    let keeps = vec![
        pair("last", t("The last weights")),
        pair("best", t("Those of the best evaluation")),
    ];
    let kinds = [RoundKind::Dpo, RoundKind::Reward, RoundKind::Ppo, RoundKind::Sft]
        .map(|kind| pair(kind.as_str(), kind_name(kind)));
    let schedules = vec![
        pair("linear", t("Falls linearly")),
        pair("cosine", t("Falls like a cosine")),
        pair("constant", t("Stays")),
    ];
    let checkpointings = vec![pair("off", t("Off")), pair("on", t("On"))];
    let precisions = vec![
        pair("f32", t("f32, exact")),
        pair("bf16", "bf16"),
        pair("quantized", t("As the file has them, quantised")),
    ];
    let starts = {
        let sources = sources.clone();
        living(move || {
            // A reward model is no policy to go on from.
            let is_reward = kind.get() == RoundKind::Reward;
            let named = sources
                .iter()
                .filter(|source| is_reward || source.kind.makes_policy());
            let mut options = vec![pair("", t("The base model"))];
            options.extend(named.map(|source| (value_of(source.origin), source.name.clone())));
            select_field(START, options, draft.start, errors)
        })
    };
    let scorer = living(move || match kind.get() {
        RoundKind::Ppo => reward::view(id, draft.reward, &sources, errors),
        RoundKind::Sft | RoundKind::Reward | RoundKind::Dpo => ().into_any(),
    });
    let online = living(move || match loss.get() {
        loss if loss.kind() == RoundKind::Ppo => online_choices(draft, loss, errors),
        _ => ().into_any(),
    });
    let knobs = draft.knobs.get_value();
    let input = move |(knob, value): (&'static Knob, &RwSignal<String>)| {
        let value = *value;
        let is_used = Memo::new(move |_| knob.is_used(chosen.get()));
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
        <form
            class="form"
            on:submit=submit
            on:input=move |_| planner.ask_later()
            on:change=move |_| planner.ask_later()
            novalidate
        >
            {beginning}
            {select_field(KIND, kinds.to_vec(), draft.kind, errors)}
            <p class="fine" role="status">{move || kind_help(kind.get())}</p>
            {losses}
            <p class="fine" role="status">{move || loss_help(loss.get())}</p>
            {move || data(counts, loss.get())}
            {presets::view(draft, Callback::new(move |()| planner.ask_later()))}
            {scorer}
            <div class="field-row">
                {starts}
                {text_field(NAME, "text", draft.name, errors)}
            </div>
            <div class="field-grid">{batches}{margins}{weights}{basic}</div>
            <details class="fold">
                <summary>{t("Advanced")}</summary>
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
                    {online}
                    {text_field(SEED, "number", draft.seed, errors)}
                </div>
            </details>
            {later}
            {plan::view(planner)}
            {move || errors.with(|errors| (!errors.is_empty()).then(|| view! {
                <p class="form-error" role="alert">{t("Some values cannot be used; see the fields marked above.")}</p>
            }))}
            {action.error_line()}
            <div class="actions">
                <button
                    class="button button-main"
                    data-test="start-round"
                    disabled=move || action.busy()
                >
                    {words}
                </button>
            </div>
        </form>
    }
    .into_any()
}

fn pair(name: &str, words: &str) -> (String, String) {
    (name.to_owned(), words.to_owned())
}

/// What PPO rounds have besides numbers.
fn online_choices(draft: Draft, loss: Loss, errors: Errors) -> AnyView {
    let estimators = vec![pair("k1", "k1"), pair("k3", "k3")];
    view! {
        {(loss != Loss::Grpo).then(|| select_field(KL_ESTIMATOR, estimators, draft.kl_estimator, errors))}
        {text_field(TARGET_REWARD, "number", draft.target_reward, errors)}
        {(loss == Loss::Ppo).then(|| switch_field(WHITEN, draft.whiten))}
        {switch_field(NORMALISE, draft.normalise)}
    }
    .into_any()
}

/// What the round will train on.
fn data(counts: ProjectCounts, loss: Loss) -> AnyView {
    let text = match loss.kind() {
        RoundKind::Ppo => about_prompts(counts),
        RoundKind::Sft | RoundKind::Reward | RoundKind::Dpo => about_comparisons(counts, loss),
    };
    view! { <p class="notice">{text}</p> }.into_any()
}

fn about_prompts(counts: ProjectCounts) -> String {
    match counts.n_prompts {
        0 => t("There are no prompts yet: import some first.").to_owned(),
        n => fill(
            "Answers {0}, frozen now with their hash. No comparison is needed beyond those of the reward model.",
            &[&format::counted(n, "{0} prompt", "{0} prompts")],
        ),
    }
}

fn about_comparisons(counts: ProjectCounts, loss: Loss) -> String {
    let ties = counts.n_ties;
    let n_usable = counts.n_comparisons + if loss.trains_ties() { ties } else { 0 };
    let about_ties = match (ties, loss.trains_ties()) {
        (0, _) => String::new(),
        (_, true) => format::counted(ties, t(" {0} tie is among them."), t(" {0} ties are among them.")),
        (_, false) => format::counted(
            ties,
            t(" {0} tie is left out: this loss cannot use it."),
            t(" {0} ties are left out: this loss cannot use them."),
        ),
    };
    if n_usable == 0 {
        return fill(
            "There are no comparisons yet: label a few tasks first.{0}",
            &[&about_ties],
        );
    }
    fill(
        "Trains on {0}, frozen now with their hash.{1}",
        &[
            &format::counted(n_usable, "{0} comparison", "{0} comparisons"),
            &about_ties,
        ],
    )
}
