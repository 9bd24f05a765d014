//! The lanes of a ranking: where each completion stands, always in view, and where dragged ones are dropped.

use super::{
    drag::Drag,
    prompt::letter,
    ranking::{Drop, Ranking},
};
use crate::words::t;
use leptos::prelude::*;

pub fn rail(ranking: RwSignal<Ranking>, drag: Drag) -> AnyView {
    let n = ranking.with_untracked(Ranking::n);
    let lanes = (1..=n)
        .map(|lane| lane_view(lane, n, ranking, drag))
        .collect_view();
    let unranked = move || chips(ranking, None, drag);
    view! {
        <section class="rail" aria-label=t("Your ranking")>
            <p class="rail-title">{t("Your ranking")}</p>
            <ol class="lanes">{lanes}</ol>
            <div
                class="rail-rest"
                class:is-onto=move || drag.target() == Some(Drop::Out)
                class:is-empty=move || ranking.with(Ranking::is_complete)
                data-lane="0"
            >
                <span class="lane-name">{t("No rank yet")}</span>
                <div class="chips">{unranked}</div>
            </div>
        </section>
    }
    .into_any()
}

fn lane_view(lane: u8, n: u8, ranking: RwSignal<Ranking>, drag: Drag) -> AnyView {
    let is_end = lane == n;
    let note = match lane {
        1 => t("best"),
        _ if is_end => t("worst"),
        _ => "",
    };
    let is_tie = move || ranking.with(|ranking| ranking.standing_in(Some(lane)).len() > 1);
    view! {
        <li
            class="lane"
            class:is-tie=is_tie
            class:is-onto=move || drag.target() == Some(Drop::Onto(lane))
            class:is-before=move || drag.target() == Some(Drop::Before(lane))
            class:is-after=move || is_end && drag.target() == Some(Drop::Before(lane + 1))
            data-lane=lane.to_string()
        >
            <span class="lane-name">
                <b>{lane.to_string()}</b>
                <small>{move || if is_tie() { t("tie") } else { note }}</small>
            </span>
            <div class="chips">{move || chips(ranking, Some(lane), drag)}</div>
        </li>
    }
    .into_any()
}

fn chips(ranking: RwSignal<Ranking>, lane: Option<u8>, drag: Drag) -> AnyView {
    ranking
        .with(|ranking| ranking.standing_in(lane))
        .into_iter()
        .map(|item| {
            view! {
                <span
                    class="chip"
                    class:is-carried=move || drag.carried().is_some_and(|carried| carried.item == item)
                    on:pointerdown=move |event| drag.press(item, &event)
                    on:pointermove=move |event| drag.carry(&event)
                    on:pointerup=move |_| drag.release()
                    on:pointercancel=move |_| drag.cancel()
                >
                    {letter(item)}
                </span>
            }
        })
        .collect_view()
        .into_any()
}

/// What follows the pointer while a completion is dragged.
pub fn ghost(drag: Drag) -> AnyView {
    let place = move || {
        let (x, y) = drag.carried().map_or((0.0, 0.0), |carried| carried.at);
        format!("translate({x}px, {y}px) translate(-50%, -50%)")
    };
    (move || {
        let item = drag
            .dragged
            .with(|dragged| dragged.filter(|dragged| dragged.has_moved).map(|d| d.item));
        item.map(|item| {
            view! {
                <div class="chip chip-ghost" aria-hidden="true" style:transform=place>
                    {letter(item)}
                </div>
            }
        })
    })
    .into_any()
}
