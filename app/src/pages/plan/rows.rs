//! The two lists of the page *Plan*: what waits for a trainer, and what waits for something else.

use super::Live;
use crate::{
    api,
    components::action::Action,
    error::AppError,
    format,
    load::living,
    pages::{overview::kind_name, round_new::planned_name},
    words::{fill, t, t_owned},
};
use laurel_protocol::{Awaited, Direction, PlannedRound, PlannedStatus, Round, WhyFailed};
use leptos::prelude::*;
use leptos_router::components::A;
use std::future::Future;

pub fn queued(live: Live) -> AnyView {
    let list = living(move || {
        let (Some(queue), Some(rounds)) = (live.queue.get(), live.rounds.get()) else {
            return live.queue.view(|_| ().into_any());
        };
        let waiting: Vec<Round> = queue
            .queued
            .iter()
            .filter_map(|id| rounds.iter().find(|round| round.id == *id).cloned())
            .collect();
        if waiting.is_empty() {
            return view! { <p class="fine">{t("No round waits for a trainer.")}</p> }.into_any();
        }
        let rows = waiting
            .into_iter()
            .map(|round| queued_row(live, round))
            .collect_view();
        view! { <ol class="rows">{rows}</ol> }.into_any()
    });
    view! {
        <section class="card" aria-labelledby="queued-title">
            <h2 id="queued-title">{t("Waiting for a trainer")}</h2>
            {list}
        </section>
    }
    .into_any()
}

fn queued_row(live: Live, round: Round) -> AnyView {
    let action = Action::default();
    let (id, kind, name) = (round.id, round.spec.kind, round.name.clone());
    let shift = move |to| action.run(api::planned::shift_round(id, to), move |_| live.reload());
    view! {
        <li class="row" data-test="queued-round">
            <div class="row-head">
                <A href=format!("/rounds/{id}")>{round.name}</A>
                <span class="fine">{kind_name(kind)}</span>
                {movers(action, name, shift)}
            </div>
            {action.error_line()}
        </li>
    }
    .into_any()
}

/// The buttons that move a row; `name` tells them apart for who hears them.
fn movers(action: Action, name: String, shift: impl Fn(Direction) + Copy + Send + 'static) -> AnyView {
    let button = |to: Direction, words: &'static str, hook: &'static str, label: String| {
        view! {
            <button
                type="button"
                class="button button-quiet"
                data-test=hook
                aria-label=label
                disabled=move || action.busy()
                on:click=move |_| shift(to)
            >
                {words}
            </button>
        }
    };
    let earlier = fill("Move {0} forward", &[&name]);
    let later = fill("Move {0} back", &[&name]);
    view! {
        {button(Direction::Earlier, "↑", "move-earlier", earlier)}
        {button(Direction::Later, "↓", "move-later", later)}
    }
    .into_any()
}

pub fn planned(live: Live) -> AnyView {
    let list = live.queue.view(move |queue| {
        if queue.planned.is_empty() {
            return view! {
                <p class="fine">
                    {t("Nothing is planned. Choose “Start later” in the form of a new round, or a recipe below.")}
                </p>
            }
            .into_any();
        }
        let rows = queue
            .planned
            .into_iter()
            .map(|planned| planned_row(live, planned))
            .collect_view();
        view! { <ul class="rows">{rows}</ul> }.into_any()
    });
    view! {
        <section class="card" aria-labelledby="planned-title">
            <h2 id="planned-title">{t("Planned")}</h2>
            {list}
        </section>
    }
    .into_any()
}

fn planned_row(live: Live, planned: PlannedRound) -> AnyView {
    let action = Action::default();
    let (id, status) = (planned.id, planned.status);
    let name = planned_name(&planned.round, id);
    let shift = move |to| action.run(api::planned::shift(id, to), move |_| live.reload());
    let waits = status == PlannedStatus::Waiting;
    let movers = waits.then(|| movers(action, name.clone(), shift));
    let shown_name = match planned.launched {
        Some(round) => view! { <A href=format!("/rounds/{round}")>{name.clone()}</A> }.into_any(),
        None => view! { <strong>{name.clone()}</strong> }.into_any(),
    };
    let change = (status != PlannedStatus::Launched).then(|| {
        let href = format!("/projects/{}/rounds/new?planned={id}", live.id);
        view! { <A href attr:class="button button-quiet" attr:data-test="change-planned">{t("Change")}</A> }
    });
    let cancel = matches!(status, PlannedStatus::Waiting | PlannedStatus::Failed).then(|| {
        button(live, action, t("Take back"), "cancel-planned", move || {
            api::planned::cancel(id)
        })
    });
    let retry = matches!(status, PlannedStatus::Failed | PlannedStatus::Cancelled).then(|| {
        button(live, action, t("Try again"), "retry-planned", move || {
            api::planned::retry(id)
        })
    });
    let waiting = planned
        .waits_for
        .iter()
        .map(|one| view! { <li>{waiting(one)}</li> })
        .collect_view();
    let why = planned
        .why
        .as_ref()
        .map(|why| view! { <p class="form-error" data-test="planned-why">{reason(why)}</p> });
    let (badge, words) = badge(status);
    view! {
        <li class="row" data-test="planned-round" data-status=badge>
            <div class="row-head">
                {shown_name}
                <span class=format!("badge badge-{badge}")>{words}</span>
                <span class="fine">{kind_name(planned.round.spec.kind)}</span>
                {movers}
                {change}
                {retry}
                {cancel}
            </div>
            <ul class="fine" data-test="waits-for">{waiting}</ul>
            {why}
            {action.error_line()}
        </li>
    }
    .into_any()
}

fn button<F: Future<Output = Result<PlannedRound, AppError>> + 'static>(
    live: Live,
    action: Action,
    words: &'static str,
    hook: &'static str,
    call: impl Fn() -> F + Send + 'static,
) -> AnyView {
    view! {
        <button
            type="button"
            class="button button-quiet"
            data-test=hook
            disabled=move || action.busy()
            on:click=move |_| action.run(call(), move |_| live.reload())
        >
            {words}
        </button>
    }
    .into_any()
}

/// Its class and its word.
fn badge(status: PlannedStatus) -> (&'static str, &'static str) {
    match status {
        PlannedStatus::Waiting => ("queued", t("planned")),
        PlannedStatus::Launched => ("done", t("started")),
        PlannedStatus::Failed => ("failed", t("failed")),
        PlannedStatus::Cancelled => ("aborted", t("taken back")),
    }
}

fn waiting(one: &Awaited) -> String {
    match one {
        Awaited::Round { name, .. } => fill("waits for {0}", &[name]),
        Awaited::Comparisons { n, of } => fill(
            "waits for new comparisons: {0} of {1}",
            &[&format::count(*n), &format::count(*of)],
        ),
        Awaited::Time { at } => fill("waits until {0}", &[&format::moment(*at)]),
    }
}

fn reason(why: &WhyFailed) -> String {
    match why {
        WhyFailed::Dependency { name } => fill(
            "{0}, which it waits for, has failed, was aborted or taken back. Start that again or choose another one under “Change”, then try again.",
            &[name],
        ),
        WhyFailed::Refused { fields } => {
            let reasons: Vec<String> = fields
                .iter()
                .map(|error| fill("{0} {1}", &[&error.field, &t_owned(&error.reason)]))
                .collect();
            fill(
                "It was refused when its time had come: {0}. Change it, or try again.",
                &[&reasons.join("; ")],
            )
        }
    }
}
