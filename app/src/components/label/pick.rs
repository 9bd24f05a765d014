//! The pick board: two completions side by side, and the choice between them.

use super::{
    letters::use_letters,
    prompt::{letter, truncated_badge},
    sheet::{
        self, Sheet,
        diff::{Change, diff},
        spoken, submit_button,
    },
};
use crate::words::{fill, later, t};
use laurel_protocol::{Choice, ShownCompletion};
use leptos::prelude::*;

/// What the board shows of the answer so far, and whom it tells.
#[derive(Clone, Copy)]
pub struct PickBoard {
    pub choice: RwSignal<Option<Choice>>,
    pub strength: RwSignal<Option<u8>>,
    /// A winner was chosen and its strength is asked for.
    pub waits: RwSignal<bool>,
    pub choose: Callback<Choice>,
    pub choose_strength: Callback<u8>,
    /// Show the two texts word by word, with what differs.
    pub differences: RwSignal<bool>,
    /// Where more is asked than the choice, the answer waits for this.
    pub submit: Callback<()>,
    pub sheet: Sheet,
}

const CHOICES: [(Choice, &str, &str, &str); 4] = [
    (Choice::First, "choose-first", later("A is better"), "1"),
    (Choice::Second, "choose-second", later("B is better"), "2"),
    (Choice::Tie, "choose-tie", later("Tie"), "3"),
    (Choice::BothBad, "choose-both-bad", later("Both bad"), "4"),
];

const STRENGTHS: [(&str, &str); 4] = [
    ("strength-1", later("Slightly")),
    ("strength-2", later("Better")),
    ("strength-3", later("Much")),
    ("strength-4", later("Far better")),
];

pub fn pick(completions: &[ShownCompletion], board: PickBoard) -> AnyView {
    let letters = use_letters();
    let cards = completions
        .iter()
        .enumerate()
        .map(|(position, completion)| {
            let other = &completions[1 - position.min(1)];
            card(position, completion, other, board)
        })
        .collect_view();
    let buttons = CHOICES
        .into_iter()
        .map(|(choice, hook, text, key)| {
            view! {
                <button
                    type="button"
                    class="choice"
                    data-test=hook
                    aria-pressed=move || (board.choice.get() == Some(choice)).to_string()
                    on:click=move |event| once(&event, board.choose, choice)
                >
                    <span>{t(text)}</span>
                    <kbd aria-hidden="true">{key}</kbd>
                </button>
            }
        })
        .collect_view();
    let strengths = move || board.waits.get().then(|| strengths(board));
    let text = move || match board.choice.get() {
        None => t("Which is better?").to_owned(),
        _ if !board.sheet.is_rated() => t("Some ratings are missing").to_owned(),
        _ if board.waits.get() && board.strength.get().is_none() => t("How much better?").to_owned(),
        _ => t("Submit").to_owned(),
    };
    let is_incomplete = move || {
        let has_strength = !board.waits.get() || board.strength.get().is_some();
        board.choice.get().is_none() || !board.sheet.is_rated() || !has_strength
    };
    let submit = board
        .sheet
        .any()
        .then(|| view! { <div class="choices">{submit_button(text, is_incomplete, board.submit)}</div> });
    view! {
        <button
            type="button"
            class="label-link pick-differences"
            data-test="differences"
            aria-keyshortcuts=move || letters.shown('d').to_string()
            aria-pressed=move || board.differences.get().to_string()
            on:click=move |_| board.differences.update(|on| *on = !*on)
        >
            {move || if board.differences.get() { t("Hide the differences") } else { t("Show the differences") }}
        </button>
        <div class="pick-cards">{cards}</div>
        <div class="label-dock">
            {strengths}
            <div class="choices" role="group" aria-label=t("Which answer is better?")>{buttons}</div>
            {submit}
        </div>
    }
    .into_any()
}

fn card(position: usize, completion: &ShownCompletion, other: &ShownCompletion, board: PickBoard) -> AnyView {
    let own = if position == 0 {
        Choice::First
    } else {
        Choice::Second
    };
    let name = letter(position);
    let (html, text, other) = (
        completion.html.clone(),
        completion.text.clone(),
        other.text.clone(),
    );
    let body = move || match board.differences.get() {
        false => view! { <div class="prose" inner_html=html.clone()></div> }.into_any(),
        true => {
            let mut changes = diff(&other, &text);
            changes.retain(|change| !matches!(change, Change::Gone(_)));
            view! { <p class="diff" data-test="diff">{spoken(&changes)}</p> }.into_any()
        }
    };
    view! {
        <article
            class="completion"
            class:is-chosen=move || board.choice.get() == Some(own)
            data-test="completion"
            data-position=position.to_string()
            aria-label=fill("Answer {0}", &[&name])
        >
            <header class="completion-head">
                <h2 class="completion-letter">{name}</h2>
                {truncated_badge(completion.truncated)}
            </header>
            {body}
            {sheet::of_card(board.sheet, position)}
        </article>
    }
    .into_any()
}

fn strengths(board: PickBoard) -> AnyView {
    let winner = move || match board.choice.get() {
        Some(Choice::Second) => t("How much better is B?"),
        _ => t("How much better is A?"),
    };
    let buttons = STRENGTHS
        .into_iter()
        .zip(1..)
        .map(|((hook, text), strength)| {
            view! {
                <button
                    type="button"
                    class="choice"
                    data-test=hook
                    aria-pressed=move || (board.strength.get() == Some(strength)).to_string()
                    on:click=move |event| once(&event, board.choose_strength, strength)
                >
                    <span>{t(text)}</span>
                    <kbd aria-hidden="true">{strength}</kbd>
                </button>
            }
        })
        .collect_view();
    view! {
        <div class="strengths" role="group" aria-label=t("How much better?")>
            <p class="strengths-title" role="status">{winner}</p>
            <div class="choices">{buttons}</div>
        </div>
    }
    .into_any()
}

/// Leaves out the second click of a double click: by then the next task stands there, which nobody has read.
fn once<T: 'static>(event: &web_sys::MouseEvent, tell: Callback<T>, value: T) {
    if event.detail() <= 1 {
        tell.run(value);
    }
}
