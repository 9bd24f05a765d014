//! What the project takes by default, how that came to be, and the way back.

use super::Live;
use crate::{
    api,
    components::{action::Action, toast::use_toasts},
    format,
    pages::contest::words::{gate_words, name},
    words::{fill, t},
};
use laurel_protocol::{Current, Promotion};
use leptos::prelude::*;
use leptos_router::components::A;

pub fn view(live: Live) -> AnyView {
    let id = live.id;
    let body = live.current.view(move |current| body(live, &current));
    view! {
        <section class="card" aria-labelledby="current-title">
            <h2 id="current-title">{t("Current")}</h2>
            {body}
            <div class="actions">
                <A href=format!("/projects/{id}/contests") attr:class="button" attr:data-test="contests-link">{t("Contests")}</A>
                <A href=format!("/projects/{id}/ladder") attr:class="button" attr:data-test="ladder-link">{t("Ladder")}</A>
            </div>
        </section>
    }
    .into_any()
}

fn body(live: Live, current: &Current) -> AnyView {
    let toasts = use_toasts();
    let action = Action::default();
    let before = name(&current.before);
    let roll_back = current.promotion.map(|promotion| {
        let click = move |_| {
            action.run(api::contest::roll_back(promotion), move |current| {
                toasts.good(t("Rolled back."));
                live.current.set(current);
            });
        };
        view! {
            <button type="button" class="button" data-test="roll-back" disabled=move || action.busy() on:click=click>
                {fill("Roll back to {0}", &[&before])}
            </button>
        }
    });
    let history = (!current.history.is_empty()).then(|| {
        let rows = current.history.iter().map(row).collect_view();
        view! { <ol class="rows" data-test="promotions">{rows}</ol> }
    });
    view! {
        <p data-test="current">{name(&current.current)}</p>
        <p class="fine">
            {t("New completion jobs and the arena take it by default. An adapter is promoted on the page of its round.")}
        </p>
        {roll_back}
        {action.error_line()}
        {history}
    }
    .into_any()
}

fn row(promotion: &Promotion) -> AnyView {
    let words = gate_words(promotion.gate);
    let gate = match promotion.contest {
        Some(contest) => view! { <A href=format!("/contests/{contest}")>{words}</A> }.into_any(),
        None => words.into_any(),
    };
    let back = promotion.rolled_back_at.map(|at| {
        let by = promotion.rolled_back_by.clone().unwrap_or_default();
        view! { <p class="fine">{fill("Rolled back by {0}, {1}", &[&by, &format::moment(at)])}</p> }
    });
    view! {
        <li class="row" data-test="promotion-row">
            <div class="row-head"><span>{name(&promotion.promoted)}</span><span class="fine">{gate}</span></div>
            <p class="verbatim">{promotion.reason.clone()}</p>
            <p class="fine">{fill("Promoted by {0}, {1}", &[&promotion.by, &format::moment(promotion.at)])}</p>
            {back}
        </li>
    }
    .into_any()
}
