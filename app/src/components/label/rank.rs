//! The rank board: every completion in full, in the order shown to this person, with its rank, and the lanes
//! beside them. Cards never move while one reads; only the lanes do.

use super::{
    drag::Drag,
    prompt::{letter, truncated_badge},
    rail::{ghost, rail},
    ranking::Ranking,
    sheet::{self, Sheet, submit_button},
};
use crate::words::{fill, t};
use laurel_protocol::ShownCompletion;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

#[derive(Clone, Copy)]
pub struct RankBoard {
    pub ranking: RwSignal<Ranking>,
    /// The completion that the keys are about.
    pub focused: RwSignal<usize>,
    pub place: Callback<(usize, u8)>,
    pub submit: Callback<()>,
    pub drag: Drag,
    pub sheet: Sheet,
}

pub fn rank(completions: &[ShownCompletion], board: RankBoard) -> AnyView {
    let n = completions.len();
    let cards = completions
        .iter()
        .enumerate()
        .map(|(position, completion)| card(position, n, completion, board))
        .collect_view();
    let left = move || match n - board.ranking.with(Ranking::n_ranked) {
        0 if !board.sheet.is_rated() => t("Some ratings are missing").to_owned(),
        0 => t("Submit ranking").to_owned(),
        left => fill("{0} still without a rank", &[&left]),
    };
    let is_incomplete = move || !board.ranking.with(Ranking::is_complete) || !board.sheet.is_rated();
    view! {
        <div class="rank-board">
            <div class="rank-cards">{cards}</div>
            <div class="rank-side">
                {rail(board.ranking, board.drag)}
                {acceptable(board)}
                {submit_button(left, is_incomplete, board.submit)}
            </div>
        </div>
        {ghost(board.drag)}
    }
    .into_any()
}

/// Down to which rank the answers are acceptable, where the project asks.
fn acceptable(board: RankBoard) -> AnyView {
    if !board
        .sheet
        .questions
        .with_value(|questions| questions.acceptable_line)
    {
        return ().into_any();
    }
    let n_ranks = move || board.ranking.with(Ranking::n);
    let line = move || board.sheet.acceptable().unwrap_or(n_ranks()).min(n_ranks());
    let options = move || {
        let option = move |rank: u8| {
            let words = match rank {
                0 => t("None is acceptable").to_owned(),
                rank if rank == n_ranks() => t("All are acceptable").to_owned(),
                rank => fill("Acceptable down to rank {0}", &[&rank]),
            };
            view! { <option value=rank.to_string() selected=move || line() == rank>{words}</option> }
        };
        (0..=n_ranks()).rev().map(option).collect_view()
    };
    let on_change = move |event| {
        let rank = event_target_value(&event).parse().unwrap_or(u8::MAX);
        // The lowest rank means all, whatever becomes of the ranking.
        let line = (rank < n_ranks()).then_some(rank);
        board.sheet.set_acceptable(line);
    };
    view! {
        <select class="rank-acceptable" data-test="acceptable" aria-label=t("Which answers are acceptable") on:change=on_change>
            {options}
        </select>
    }
    .into_any()
}

fn card(position: usize, n: usize, completion: &ShownCompletion, board: RankBoard) -> AnyView {
    let drag = board.drag;
    let name = letter(position);
    let lane = move || board.ranking.with(|ranking| ranking.lane(position));
    let label = move || match lane() {
        Some(lane) => fill("Answer {0}, rank {1}", &[&name, &lane]),
        None => fill("Answer {0}, no rank yet", &[&name]),
    };
    let is_unacceptable = move || {
        board
            .sheet
            .acceptable()
            .zip(lane())
            .is_some_and(|(line, lane)| lane > line)
    };
    // Keys do the same from the card, so these stay out of the way of Tab.
    let ranks = (1..=n as u8)
        .map(|rank| {
            view! {
                <button
                    type="button"
                    class="rank-button"
                    tabindex="-1"
                    aria-pressed=move || (lane() == Some(rank)).to_string()
                    aria-label=fill("Give {0} rank {1}", &[&name, &rank])
                    on:click=move |_| board.place.run((position, rank))
                >
                    {rank.to_string()}
                </button>
            }
        })
        .collect_view();
    view! {
        <div
            class="completion"
            class:is-focused=move || board.focused.get() == position
            class:is-chosen=move || lane() == Some(1)
            class:is-unacceptable=is_unacceptable
            class:is-carried=move || drag.carried().is_some_and(|carried| carried.item == position)
            tabindex="0"
            role="group"
            data-test="completion"
            data-position=position.to_string()
            data-rank=move || lane().map(|lane| lane.to_string())
            aria-label=label
            on:focusin=move |_| board.focused.set(position)
            on:pointerdown=move |_| board.focused.set(position)
        >
            <header class="completion-head">
                <span
                    class="grip"
                    aria-hidden="true"
                    title=t("Drag to a rank")
                    on:pointerdown=move |event| drag.press(position, &event)
                    on:pointermove=move |event| drag.carry(&event)
                    on:pointerup=move |_| drag.release()
                    on:pointercancel=move |_| drag.cancel()
                >
                    <span class="grip-dots"></span>
                    <span class="completion-letter">{name}</span>
                </span>
                {truncated_badge(completion.truncated)}
                {move || is_unacceptable().then(|| view! { <span class="label-badge">{t("unacceptable")}</span> })}
                <div class="rank-buttons">{ranks}</div>
            </header>
            <div class="prose" inner_html=completion.html.clone()></div>
            {sheet::of_card(board.sheet, position)}
        </div>
    }
    .into_any()
}

/// Moves the keyboard focus to a completion.
pub fn focus_card(position: usize) {
    let card = document()
        .query_selector(&format!(".completion[data-position='{position}']"))
        .ok()
        .flatten()
        .and_then(|card| card.dyn_into::<web_sys::HtmlElement>().ok());
    if let Some(card) = card {
        let _ = card.focus();
    }
}
