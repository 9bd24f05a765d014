//! The gate of a round: what people who could not tell whose answers they saw said of its adapter, and its promotion.

use super::Live;
use crate::{
    api,
    components::{
        action::Action,
        field::{Errors, Field, area_field},
        toast::use_toasts,
    },
    load::Loaded,
    pages::contest::words::{gate_badge, rate, verdict},
    words::t,
};
use laurel_protocol::{AdapterId, Current, Gate, NewPromotion, ProjectId, Round, RoundGate, RoundKind};
use leptos::prelude::*;
use leptos_router::components::A;

const REASON: Field = Field {
    name: "reason",
    label: "Reason",
    help: "It stays in the project's history.",
    hook: "promote-reason",
};

/// Of a round that has made a policy.
pub fn view(live: Live, kind: RoundKind) -> AnyView {
    if kind == RoundKind::Reward {
        return ().into_any();
    }
    let ready = Memo::new(move |_| live.round.with_ready(|round| round.adapter.is_some()));
    (move || {
        let is_ready = ready.get() == Some(true);
        let round = untrack(|| live.round.get()).filter(|_| is_ready)?;
        let adapter = round.adapter?;
        Some(card(&round, adapter))
    })
    .into_any()
}

fn card(round: &Round, adapter: AdapterId) -> AnyView {
    let (id, project, start) = (round.id, round.project_id, round.starting_adapter);
    let state = Loaded::new(move || async move {
        Ok((
            api::contest::gate(id).await?,
            api::contest::current(project).await?,
        ))
    });
    // Each answer in the project may be one of the contest.
    let stream = api::events::follow_project(project, move |_| state.refresh(), |_| {});
    let _stream = StoredValue::new_local(stream);
    let second = start.map_or_else(String::new, |start| start.to_string());
    let begin = format!("/projects/{project}/contests?first={adapter}&second={second}&round={id}");
    let reason = RwSignal::new(String::new());
    let body = state.view(move |(gate, current)| {
        let is_current = current.current.adapter == Some(adapter);
        view! {
            {standing(&gate, &begin)}
            {match is_current {
                true => promoted(&current, state),
                false => promote(project, adapter, gate.gate, reason, state),
            }}
        }
        .into_any()
    });
    view! {
        <section class="card" aria-labelledby="gate-title">
            <h2 id="gate-title">{t("Is it better?")}</h2>
            {body}
        </section>
    }
    .into_any()
}

fn standing(found: &RoundGate, begin: &str) -> AnyView {
    let said = match &found.contest {
        None => view! {
            <p>{t("Nobody has judged it against what it started from. A contest asks people who cannot tell which is which.")}</p>
        }
        .into_any(),
        Some(contest) => view! {
            <p data-test="gate-verdict">{verdict(contest)}" "{rate(contest)}"."</p>
            <p><A href=format!("/contests/{}", contest.id) attr:data-test="gate-contest">{t("To the contest")}</A></p>
        }
        .into_any(),
    };
    let again = (found.gate != Gate::Judging).then(|| {
        let words = match found.gate {
            Gate::None => t("Let people judge it"),
            _ => t("Let people judge it again"),
        };
        view! { <A href=begin.to_owned() attr:class="button" attr:data-test="begin-gate">{words}</A> }
    });
    view! {
        <p class="row-head">{gate_badge(found.gate)}</p>
        {said}
        <div class="actions">{again}</div>
    }
    .into_any()
}

type State = Loaded<(RoundGate, Current)>;

fn promoted(current: &Current, state: State) -> AnyView {
    let toasts = use_toasts();
    let action = Action::default();
    let roll_back = current.promotion.map(|promotion| {
        let click = move |_| {
            action.run(api::contest::roll_back(promotion), move |_| {
                toasts.good(t("Rolled back."));
                state.reload();
            });
        };
        view! {
            <button
                type="button"
                class="button"
                data-test="roll-back"
                disabled=move || action.busy()
                on:click=click
            >
                {t("Roll back")}
            </button>
        }
    });
    view! {
        <p class="notice" role="status" data-test="is-current">
            {t("It is current: new completion jobs and the arena take it by default.")}
        </p>
        <div class="actions">{roll_back}</div>
        {action.error_line()}
    }
    .into_any()
}

fn promote(
    project: ProjectId,
    adapter: AdapterId,
    gate: Gate,
    reason: RwSignal<String>,
    state: State,
) -> AnyView {
    let toasts = use_toasts();
    let errors: Errors = RwSignal::new(Vec::new());
    let action = Action::default();
    let without_gate = gate != Gate::Accepted;
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let new = NewPromotion {
            adapter: Some(adapter),
            reason: reason.get_untracked(),
            without_gate,
        };
        if let Err(reasons) = new.validate() {
            return errors.set(reasons);
        }
        errors.set(Vec::new());
        action.run(
            async move { api::contest::promote(project, &new).await },
            move |_| {
                toasts.good(t("Promoted."));
                state.reload();
            },
        );
    };
    let warning = without_gate.then(|| {
        view! {
            <p class="notice" data-test="without-gate">
                {t("No contest has accepted it. It can be promoted all the same; the history says so.")}
            </p>
        }
    });
    let words = match without_gate {
        true => t("Promote without a passed gate"),
        false => t("Promote"),
    };
    view! {
        <form class="form" on:submit=submit novalidate>
            {warning}
            {area_field(REASON, 2, reason, errors)}
            {action.error_line()}
            <div class="actions">
                <button class="button" data-test="promote" disabled=move || action.busy()>{words}</button>
            </div>
        </form>
    }
    .into_any()
}
