//! The form that starts a completion job.

use super::Live;
use crate::{
    api,
    components::{
        action::Action,
        field::{Errors, Field, number, select_field, text_field},
    },
    pages::contest::words::name,
    words::{fill, t},
};
use laurel_protocol::{
    AdapterId, CompletionJob, FieldError, LabelType, NewCompletionJob, ProjectEvent, RoundKind, Sampling,
    TaskPlan,
};
use leptos::prelude::*;

const ADAPTER: Field = Field {
    name: "adapter",
    label: "Generator",
    help: "",
    hook: "job-adapter",
};
/// As no adapter's number can be.
const BASE_MODEL: &str = "base_model";
const PLAN: Field = Field {
    name: "task_plan",
    label: "Compare",
    help: "",
    hook: "task-plan",
};
const PER_PROMPT: Field = Field {
    name: "completions_per_prompt",
    label: "Completions per prompt",
    help: "1 to 16",
    hook: "completions-per-prompt",
};
const N_PROMPTS: Field = Field {
    name: "n_prompts",
    label: "Prompts",
    help: "Only the first so many; empty for all",
    hook: "n-prompts-limit",
};
const MAX_TOKENS: Field = Field {
    name: "max_tokens",
    label: "Longest answer",
    help: "In tokens, 1 to 2048",
    hook: "max-tokens",
};
const TEMPERATURE: Field = Field {
    name: "temperature",
    label: "Temperature",
    help: "0 always takes the likeliest token; 2 is wild",
    hook: "temperature",
};
const TOP_P: Field = Field {
    name: "top_p",
    label: "Top-p",
    help: "Keeps the likeliest tokens up to this share",
    hook: "top-p",
};

const SEED: Field = Field {
    name: "seed",
    label: "Seed",
    help: "The same seed draws the same completions; empty takes one that no job has used",
    hook: "seed",
};

/// The smallest seed that none of these jobs has used: with a used one, a job repeats the same completions.
pub fn fresh_seed(jobs: &[CompletionJob]) -> u64 {
    let is_free = |seed: &u64| jobs.iter().all(|job| job.request.sampling.seed != *seed);
    (0..).find(is_free).unwrap_or_default()
}

pub fn view(live: Live) -> AnyView {
    let shape = Memo::new(move |_| {
        live.project.with_ready(|project| {
            let settings = &project.settings;
            (settings.label_type, settings.completions_per_task)
        })
    });
    let per_task = move || shape.get().map_or(2, |(_, per_task)| per_task);
    let sampling = Sampling::default();
    let text = |value: String| RwSignal::new(value);
    let (adapter, plan) = (text(String::new()), text("together".to_owned()));
    let (per_prompt, n_prompts) = (text(String::new()), text(String::new()));
    // A number that the page wrote follows what it came from; one that the admin wrote stays.
    follow(per_prompt, move || per_task().to_string());
    let (max_tokens, temperature) = (
        text(sampling.max_tokens.to_string()),
        text(sampling.temperature.to_string()),
    );
    let top_p = text(sampling.top_p.to_string());
    let seed = text(String::new());
    follow(seed, move || {
        let fresh = live.jobs.with_ready(|jobs| fresh_seed(jobs).to_string());
        fresh.unwrap_or_default()
    });
    let errors: Errors = RwSignal::new(Vec::new());
    let action = Action::default();
    Effect::new(move || {
        if let Some(error) = action.error() {
            errors.set(error.fields());
        }
    });
    let is_empty = |text: RwSignal<String>| text.with_untracked(|text| text.trim().is_empty());
    let read = move || -> Result<NewCompletionJob, Vec<FieldError>> {
        let one = |error| vec![error];
        let job = NewCompletionJob {
            adapter: adapter.get_untracked().parse::<AdapterId>().ok(),
            base_model: adapter.get_untracked() == BASE_MODEL,
            completions_per_prompt: number(per_prompt, PER_PROMPT.name).map_err(one)?,
            sampling: Sampling {
                temperature: number(temperature, TEMPERATURE.name).map_err(one)?,
                top_p: number(top_p, TOP_P.name).map_err(one)?,
                max_tokens: number(max_tokens, MAX_TOKENS.name).map_err(one)?,
                seed: if is_empty(seed) {
                    0 // replaced by a fresh one before it is sent
                } else {
                    number(seed, SEED.name).map_err(one)?
                },
                ..Sampling::default()
            },
            task_plan: if plan.get_untracked() == "against_earlier" {
                TaskPlan::AgainstEarlier
            } else {
                TaskPlan::Together
            },
            n_prompts: if is_empty(n_prompts) {
                None
            } else {
                Some(number(n_prompts, N_PROMPTS.name).map_err(one)?)
            },
        };
        job.validate()?;
        Ok(job)
    };
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        match read() {
            Err(reasons) => errors.set(reasons),
            Ok(mut job) => {
                errors.set(Vec::new());
                let wants_seed = is_empty(seed);
                let start = async move {
                    if wants_seed {
                        job.sampling.seed = fresh_seed(&api::completion::jobs(live.id).await?);
                    }
                    api::completion::start(live.id, &job).await
                };
                action.run(start, move |job| {
                    // The page may be gone by now.
                    if !seed.is_disposed() {
                        live.take(ProjectEvent::CompletionJob { job: Box::new(job) });
                        let fresh = untrack(|| live.jobs.with_ready(|jobs| fresh_seed(jobs).to_string()));
                        seed.set(fresh.unwrap_or_default());
                    }
                });
            }
        }
    };
    let generators = move || {
        let current = live.current.with_ready(|current| name(&current.current));
        let current = current.unwrap_or_else(|| t("Base model").to_owned());
        let mut options = vec![
            (String::new(), fill("Current: {0}", &[&current])),
            (BASE_MODEL.to_owned(), t("Base model").to_owned()),
        ];
        // A reward model scores; it does not write.
        let writers = live.adapters.get().unwrap_or_default().into_iter();
        options.extend(
            writers
                .filter(|adapter| adapter.kind != RoundKind::Reward)
                .map(|adapter| (adapter.id.to_string(), adapter.name)),
        );
        select_field(ADAPTER, options, adapter, errors)
    };
    let plans = vec![
        ("together".to_owned(), t("These with one another").to_owned()),
        (
            "against_earlier".to_owned(),
            t("These with earlier ones").to_owned(),
        ),
    ];
    let no_prompts = move || {
        live.project
            .get()
            .is_some_and(|project| project.counts.n_prompts == 0)
    };
    let hint = move || match shape.get() {
        Some((LabelType::Rate, _)) => t("Each task rates the completions of one prompt.").to_owned(),
        Some((LabelType::Rank | LabelType::BestWorst, n)) => {
            fill("Each task compares {0} completions of one prompt.", &[&n])
        }
        _ => t("Each task compares two completions of one prompt.").to_owned(),
    };
    view! {
        <form class="form" on:submit=submit novalidate>
            <p class="fine">{hint}</p>
            <div class="field-row">{generators} {select_field(PLAN, plans, plan, errors)}</div>
            <div class="field-row">
                {text_field(PER_PROMPT, "number", per_prompt, errors)}
                {text_field(N_PROMPTS, "number", n_prompts, errors)}
                {text_field(MAX_TOKENS, "number", max_tokens, errors)}
            </div>
            <div class="field-row">
                {text_field(TEMPERATURE, "number", temperature, errors)}
                {text_field(TOP_P, "number", top_p, errors)}
                {text_field(SEED, "number", seed, errors)}
            </div>
            {action.error_line()}
            <div class="actions">
                <button
                    class="button button-main"
                    data-test="start-completions"
                    disabled=move || action.busy() || no_prompts()
                >
                    {t("Make completions")}
                </button>
            </div>
        </form>
    }
    .into_any()
}

/// Writes `source` into a field, and again when it changes, for as long as nobody else writes there.
fn follow(field: RwSignal<String>, source: impl Fn() -> String + 'static) {
    Effect::new(move |written: Option<String>| {
        let now = source();
        if field.with_untracked(|text| *text == written.unwrap_or_default()) {
            field.set(now.clone());
        }
        now
    });
}
