//! The gate of a round: what people who could not tell whose answers they saw said of its adapter, and its promotion.

use super::Live;
use crate::{
    api,
    components::{
        action::Action,
        field::{Errors, Field, area_field},
        toast::use_toasts,
    },
    load::{Loaded, living},
    pages::contest::words::{gate_badge, rate, verdict},
    words::t,
};
use laurel_protocol::{
    AdapterId, Current, Gate, NewPromotion, ProjectId, PromotionId, Round, RoundGate, RoundKind,
};
use leptos::prelude::*;
use leptos_router::components::A;

const REASON: Field = Field {
    name: "reason",
    label: "Reason",
    help: "It stays in the project's history.",
    hook: "promote-reason",
};

type State = Loaded<(RoundGate, Current)>;

/// What the buttons depend on.
#[derive(Clone, Copy, PartialEq)]
struct Stage {
    gate: Gate,
    /// While the adapter is current: what made it so.
    promotion: Option<PromotionId>,
}

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
    // Built once: an answer that comes meanwhile does not take the field away in which the reason is written.
    let body = state.view_once(move || {
        let begin = begin.clone();
        let found = living(move || state.with_ready(|(found, _)| standing(found, &begin)).into_any());
        let stage = Memo::new(move |_| {
            state.with_ready(|(found, current)| Stage {
                gate: found.gate,
                promotion: current
                    .promotion
                    .filter(|_| current.current.adapter == Some(adapter)),
            })
        });
        let orders = living(move || match stage.get() {
            None => ().into_any(),
            Some(Stage {
                promotion: Some(promotion),
                ..
            }) => promoted(promotion, state),
            Some(Stage {
                gate,
                promotion: None,
            }) => promote(project, adapter, gate, reason, state),
        });
        view! { {found} {orders} }.into_any()
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

fn promoted(promotion: PromotionId, state: State) -> AnyView {
    let toasts = use_toasts();
    let action = Action::default();
    let click = move |_| {
        action.run(api::contest::roll_back(promotion), move |_| {
            toasts.good(t("Rolled back."));
            state.reload();
        });
    };
    view! {
        <p class="notice" role="status" data-test="is-current">
            {t("It is current: new completion jobs and the arena take it by default.")}
        </p>
        <div class="actions">
            <button
                type="button"
                class="button"
                data-test="roll-back"
                disabled=move || action.busy()
                on:click=click
            >
                {t("Roll back")}
            </button>
        </div>
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
