//! What the round would take and what speaks against it, beside the form and asked again a moment after each change.

use super::{concerns, draft::Draft};
use crate::{
    api,
    error::AppError,
    format,
    load::{living, waiting},
    words::{fill, t},
};
use laurel_protocol::{
    Basis, Guess, NewPlanned, NewRound, Origin, PlanRow, ProjectId, RewardSource, RoundPlan,
};
use leptos::{prelude::*, task::spawn_local};
use std::time::Duration;

/// So long after the last change.
const PAUSE: Duration = Duration::from_millis(400);

#[derive(Clone, PartialEq)]
enum State {
    Asking,
    /// A field has no value that can be used.
    Incomplete,
    Failed(AppError),
    Ready(Box<RoundPlan>),
}

#[derive(Clone, Copy)]
pub struct Planner {
    project: ProjectId,
    draft: Draft,
    state: RwSignal<State>,
    /// Grows with each question; an answer to an older one is dropped.
    turn: StoredValue<u32>,
}

impl Planner {
    /// Asks at once.
    pub fn new(project: ProjectId, draft: Draft) -> Self {
        let planner = Self {
            project,
            draft,
            state: RwSignal::new(State::Asking),
            turn: StoredValue::new(0),
        };
        planner.ask_later();
        planner
    }

    /// Whoever reads this is built anew with each answer.
    pub fn follow(self) {
        self.state.track();
    }

    /// Something in the form has changed.
    pub fn ask_later(self) {
        self.turn.update_value(|turn| *turn += 1);
        let turn = self.turn.get_value();
        set_timeout(
            move || {
                // The page may be gone by now.
                if self.turn.try_get_value() == Some(turn) {
                    self.ask(turn);
                }
            },
            PAUSE,
        );
    }

    fn ask(self, turn: u32) {
        let Ok(new) = self.draft.read() else {
            self.state.set(State::Incomplete);
            return;
        };
        let round = as_if_now(&new);
        spawn_local(async move {
            let answer = api::planned::estimate(self.project, &round).await;
            if self.turn.try_get_value() != Some(turn) {
                return;
            }
            let state = match answer {
                Ok(plan) => State::Ready(Box::new(plan)),
                Err(error) if !error.fields().is_empty() => State::Incomplete,
                Err(error) => State::Failed(error),
            };
            let _ = self.state.try_set(state);
        });
    }
}

/// What is not there yet makes no difference to the figures.
fn as_if_now(new: &NewPlanned) -> NewRound {
    let adapter = |origin| match origin {
        Origin::Adapter { id } => Some(id),
        Origin::Base | Origin::Round { .. } | Origin::Planned { .. } => None,
    };
    let mut round = new.with(adapter(new.start), adapter(new.reward));
    if round.spec.reward == Some(RewardSource::Adapter) && round.reward_adapter.is_none() {
        round.spec.reward = Some(RewardSource::Length { target: 1 });
    }
    round
}

pub fn view(planner: Planner) -> AnyView {
    let body = living(move || {
        match planner.state.get() {
        State::Asking => waiting(),
        State::Incomplete => {
            view! { <p class="fine" data-test="plan-incomplete">{t("It is reckoned once all fields can be used.")}</p> }
                .into_any()
        }
        State::Failed(error) => view! { <p class="form-error">{error.sentence()}</p> }.into_any(),
        State::Ready(plan) => shown(&plan),
    }
    });
    view! {
        <section class="card" aria-labelledby="plan-title" aria-live="polite" data-test="plan">
            <h2 id="plan-title">{t("What it would take")}</h2>
            {body}
        </section>
    }
    .into_any()
}

fn shown(plan: &RoundPlan) -> AnyView {
    let concerns = plan.concerns.iter().map(concerns::item).collect_view();
    let held_out = match plan.n_held_out {
        0 => String::new(),
        n => fill(
            ", {0} held out",
            &[&format::counted(n, "{0} prompt", "{0} prompts")],
        ),
    };
    let rows = fill(
        "{0} of {1}{2}",
        &[
            &format::counted(plan.n_rows, "{0} row", "{0} rows"),
            &format::counted(plan.n_prompts, "{0} prompt", "{0} prompts"),
            &held_out,
        ],
    );
    let trainer = match (&plan.worker, plan.n_jobs_ahead) {
        (None, _) => t("No trainer has taken a job of this base model yet.").to_owned(),
        (Some(worker), ahead) => fill(
            "{0}, at work last {1}; {2} before this one",
            &[
                &worker.name,
                &format::moment(worker.at),
                &format::counted(ahead, "{0} job", "{0} jobs"),
            ],
        ),
    };
    let tokens = guess(&plan.tokens, |n| format::count(n.round() as u64));
    let seconds = guess(&plan.seconds, format::duration);
    let memory = guess(&plan.memory_bytes, |bytes| format::size(bytes as u64));
    let rows_shown = plan.first_rows.iter().map(first_row).collect_view();
    view! {
        <ul class="findings">{concerns}</ul>
        <dl class="facts">
            <dt>{t("Data")}</dt><dd data-test="plan-rows">{rows}</dd>
            <dt>{t("Steps")}</dt><dd data-test="plan-steps">{format::count(plan.n_steps)}</dd>
            <dt>{t("Tokens, once through")}</dt><dd data-test="plan-tokens">{tokens}</dd>
            <dt>{t("Time")}</dt><dd data-test="plan-seconds">{seconds}</dd>
            <dt>{t("Memory")}</dt><dd data-test="plan-memory">{memory}</dd>
            <dt>{t("Trainer")}</dt><dd>{trainer}</dd>
        </dl>
        <details data-test="plan-first-rows">
            <summary>{t("The first rows")}</summary>
            <p class="fine">
                {t("The loss is on what is in colour. The tokens themselves are shown on the round's page once a trainer has read \
                 the data, before the first step.")}
            </p>
            {rows_shown}
        </details>
        <p class="fine">{t("How this is reckoned, and why it warns: docs/TRAINING.md, “Planning a round”.")}</p>
    }
    .into_any()
}

/// The figure and what it rests on.
fn guess(guess: &Guess, words: impl Fn(f64) -> String) -> String {
    let Some(value) = guess.value else {
        return t("unknown: no earlier round of this kind and base model has told").to_owned();
    };
    let value = words(value);
    match &guess.basis {
        Basis::Nothing => value,
        Basis::Completions { characters_per_token } => fill(
            "about {0}: completions as counted, the rest with {1} characters a token, without what the template adds",
            &[&value, &format!("{characters_per_token:.1}")],
        ),
        Basis::Round { name, .. } => fill("about {0}, by the round {1}", &[&value, name]),
    }
}

fn first_row(row: &PlanRow) -> AnyView {
    let prompt: Vec<&str> = row
        .prompt
        .iter()
        .map(|message| message.content.as_str())
        .collect();
    let is_pair = row.rejected.is_some();
    let answer = |text: &Option<String>, name: &'static str| {
        text.as_ref().map(|text| {
            view! {
                <p class="tokens">
                    {is_pair.then(|| view! { <span class="muted">{name}": "</span> })}
                    <span class="token-trained">{text.clone()}</span>
                </p>
            }
        })
    };
    view! {
        <article class="preview-row" data-test="plan-row">
            <p class="tokens"><span class="token">{prompt.join("\n")}</span></p>
            {answer(&row.chosen, t("chosen"))}
            {answer(&row.rejected, t("rejected"))}
        </article>
    }
    .into_any()
}
