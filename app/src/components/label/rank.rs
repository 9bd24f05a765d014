//! The rank board: every completion in full, in the order shown to this person, with its rank, and the lanes
//! beside them. Cards never move while one reads; only the lanes do.

use super::{
    drag::Drag,
    prompt::{letter, truncated_badge},
    rail::{ghost, rail},
    ranking::Ranking,
};
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
}

pub fn rank(completions: &[ShownCompletion], board: RankBoard) -> AnyView {
    let n = completions.len();
    let cards = completions
        .iter()
        .enumerate()
        .map(|(position, completion)| card(position, n, completion, board))
        .collect_view();
    let left = move || match n - board.ranking.with(Ranking::n_ranked) {
        0 => "Submit ranking".to_owned(),
        left => format!("{left} still without a rank"),
    };
    view! {
        <div class="rank-board">
            <div class="rank-cards">{cards}</div>
            <div class="rank-side">
                {rail(board.ranking, board.drag)}
                <button
                    type="button"
                    class="choice choice-main"
                    data-test="submit"
                    disabled=move || !board.ranking.with(Ranking::is_complete)
                    on:click=move |_| board.submit.run(())
                >
                    <span>{left}</span>
                    <kbd aria-hidden="true">"Enter"</kbd>
                </button>
            </div>
        </div>
        {ghost(board.drag)}
    }
    .into_any()
}

fn card(position: usize, n: usize, completion: &ShownCompletion, board: RankBoard) -> AnyView {
    let drag = board.drag;
    let name = letter(position);
    let lane = move || board.ranking.with(|ranking| ranking.lane(position));
    let label = move || match lane() {
        Some(lane) => format!("Answer {name}, rank {lane}"),
        None => format!("Answer {name}, no rank yet"),
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
                    aria-label=format!("Give {name} rank {rank}")
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
                    title="Drag to a rank"
                    on:pointerdown=move |event| drag.press(position, &event)
                    on:pointermove=move |event| drag.carry(&event)
                    on:pointerup=move |_| drag.release()
                    on:pointercancel=move |_| drag.cancel()
                >
                    <span class="grip-dots"></span>
                    <span class="completion-letter">{name}</span>
                </span>
                {truncated_badge(completion.truncated)}
                <div class="rank-buttons">{ranks}</div>
            </header>
            <div class="prose" inner_html=completion.html.clone()></div>
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
