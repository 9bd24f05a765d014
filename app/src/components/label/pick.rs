//! The pick board: two completions side by side, and the choice between them.

use super::prompt::{letter, truncated_badge};
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
}

const CHOICES: [(Choice, &str, &str, &str); 4] = [
    (Choice::First, "choose-first", "A is better", "1"),
    (Choice::Second, "choose-second", "B is better", "2"),
    (Choice::Tie, "choose-tie", "Tie", "3"),
    (Choice::BothBad, "choose-both-bad", "Both bad", "4"),
];

const STRENGTHS: [(&str, &str); 4] = [
    ("strength-1", "Slightly"),
    ("strength-2", "Better"),
    ("strength-3", "Much"),
    ("strength-4", "Far better"),
];

pub fn pick(completions: &[ShownCompletion], board: PickBoard) -> AnyView {
    let cards = completions
        .iter()
        .enumerate()
        .map(|(position, completion)| card(position, completion, board))
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
                    <span>{text}</span>
                    <kbd aria-hidden="true">{key}</kbd>
                </button>
            }
        })
        .collect_view();
    let strengths = move || board.waits.get().then(|| strengths(board));
    view! {
        <div class="pick-cards">{cards}</div>
        <div class="label-dock">
            {strengths}
            <div class="choices" role="group" aria-label="Which answer is better?">{buttons}</div>
        </div>
    }
    .into_any()
}

fn card(position: usize, completion: &ShownCompletion, board: PickBoard) -> AnyView {
    let own = if position == 0 {
        Choice::First
    } else {
        Choice::Second
    };
    let name = letter(position);
    view! {
        <article
            class="completion"
            class:is-chosen=move || board.choice.get() == Some(own)
            data-test="completion"
            data-position=position.to_string()
            aria-label=format!("Answer {name}")
        >
            <header class="completion-head">
                <h2 class="completion-letter">{name}</h2>
                {truncated_badge(completion.truncated)}
            </header>
            <div class="prose" inner_html=completion.html.clone()></div>
        </article>
    }
    .into_any()
}

fn strengths(board: PickBoard) -> AnyView {
    let winner = move || match board.choice.get() {
        Some(Choice::Second) => "How much better is B?",
        _ => "How much better is A?",
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
                    <span>{text}</span>
                    <kbd aria-hidden="true">{strength}</kbd>
                </button>
            }
        })
        .collect_view();
    view! {
        <div class="strengths" role="group" aria-label="How much better?">
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
