//! Active selection: how sure the reward model is about open tasks, when that was last looked at, and a button to look
//! again.

use super::Live;
use crate::{
    api,
    components::{
        action::Action,
        badge::{status_badge, status_name},
        progress::{Amount, progress_bar},
    },
    format,
    load::living,
    words::{fill, t, t_owned},
};
use laurel_protocol::{JobStatus, ProjectEvent, Scoring, ScoringReason};
use leptos::prelude::*;

pub fn view(live: Live) -> AnyView {
    let action = Action::default();
    let under_way = Memo::new(move |_| {
        let newest = live.scorings.with_ready(|all| all.first().cloned()).flatten();
        newest.filter(|scoring| !scoring.status.is_over())
    });
    let take = move |scoring: Scoring| {
        live.take(ProjectEvent::Scoring {
            scoring: Box::new(scoring),
        });
    };
    let start = move |_| action.run(api::scoring::start(live.id), take);
    let stop = move |_| {
        if let Some(scoring) = under_way.get_untracked() {
            action.run(api::scoring::abort(scoring.id), take);
        }
    };
    let is_active = move || {
        live.project
            .get()
            .is_some_and(|project| project.settings.selection.active)
    };
    let about = living(move || {
        let words = match is_active() {
            true => t(
                "Tasks that the reward model is least sure about come first. A trainer looks at them again when there is a new \
                 reward model, new tasks, or enough new labels.",
            ),
            false => t(
                "Tasks come in the order in which they were made. Active selection is switched on in the settings.",
            ),
        };
        view! { <p class="fine">{words}</p> }.into_any()
    });
    let standing = live.scorings.view(|all| {
        // Under way or failed, then the last that was done.
        let newest = all.first().filter(|scoring| scoring.status != JobStatus::Done);
        let done = all.iter().find(|scoring| scoring.status == JobStatus::Done);
        if newest.is_none() && done.is_none() {
            return view! { <p class="fine" data-test="never-scored">{t("Open tasks were never scored.")}</p> }.into_any();
        }
        let rows: Vec<AnyView> = newest.into_iter().chain(done).map(row).collect();
        view! { <ul class="rows">{rows}</ul> }.into_any()
    });
    view! {
        <section class="card" aria-labelledby="scorings-title">
            <h2 id="scorings-title">{t("Active selection")}</h2>
            {about}
            {standing}
            <div class="actions">
                <button
                    type="button"
                    class="button"
                    data-test="score-tasks"
                    hidden=move || under_way.get().is_some()
                    disabled=move || action.busy()
                    on:click=start
                >
                    {t("Score open tasks")}
                </button>
                <button
                    type="button"
                    class="button button-quiet"
                    data-test="stop-scoring"
                    hidden=move || under_way.get().is_none()
                    disabled=move || action.busy()
                    on:click=stop
                >
                    {t("Stop")}
                </button>
            </div>
            {action.error_line()}
        </section>
    }
    .into_any()
}

fn row(scoring: &Scoring) -> AnyView {
    // An adapter's name stays as its people wrote it.
    let model = match scoring.model.as_str() {
        "base model" => t("base model").to_owned(),
        name => name.to_owned(),
    };
    let amount = (!scoring.status.is_over()).then(|| {
        let amount = Amount {
            n_done: scoring.n_done,
            n_total: scoring.n_total.unwrap_or(0),
            seconds_left: scoring.seconds_left,
        };
        progress_bar(amount, t("completions"))
    });
    let learnt = (scoring.n_comparisons > 0).then(|| {
        fill(
            "{0} · learnt from {1}",
            &[
                &format::counted(scoring.n_tasks, "{0} task", "{0} tasks"),
                &format::counted(scoring.n_comparisons, "{0} comparison", "{0} comparisons"),
            ],
        )
    });
    let failure = scoring
        .error
        .as_deref()
        .map(|error| view! { <p class="form-error">{t_owned(error)}</p> });
    let when = scoring.finished_at.unwrap_or(scoring.created_at);
    view! {
        <li class="row" data-test="scoring" data-status=status_name(scoring.status)>
            <div class="row-head">
                <strong>{model}</strong>
                {status_badge(scoring.status)}
            </div>
            {amount}
            <p class="fine" data-test="scored">{learnt}</p>
            {failure}
            <p class="fine">{why(scoring.reason)}" · "{format::moment(when)}</p>
        </li>
    }
    .into_any()
}

fn why(reason: ScoringReason) -> &'static str {
    match reason {
        ScoringReason::Asked => t("asked for"),
        ScoringReason::RewardModel => t("new reward model"),
        ScoringReason::Labels => t("new labels"),
        ScoringReason::Tasks => t("new tasks"),
    }
}
