//! The list of keys, where a letter can be given another one.

use super::letters::{OwnLetters, Press, letter, use_letters};
use crate::words::{fill, later, t};
use laurel_protocol::LabelType;
use leptos::prelude::*;

/// Keys that do the same: those that stay what they are, and the letter that may be changed.
type Row = (&'static str, Option<char>, &'static str);

const PICK: [Row; 7] = [
    ("1", Some('a'), later("A is better")),
    ("2", Some('b'), later("B is better")),
    ("3", Some('t'), later("Tie")),
    ("4", Some('x'), later("Both bad")),
    ("1 – 4", None, later("How much better, where it is asked")),
    ("", Some('d'), later("Show the differences")),
    ("Esc", None, later("Take a choice back")),
];

const BEST_WORST: [Row; 3] = [
    ("1 – 8", None, later("The best answer, then the worst")),
    ("0 Esc", None, later("Name them anew")),
    ("Enter", None, later("Submit")),
];

const RANK: [Row; 7] = [
    ("1 – 8", None, later("Give the focused answer this rank")),
    ("Tab ↓", Some('j'), later("Go to the next answer")),
    ("↑", Some('k'), later("Go to the answer before")),
    ("Shift + ↑ ↓", None, later("Move it a rank up or down")),
    ("", Some('t'), later("Tie it with the one above")),
    ("0", None, later("Take its rank away")),
    ("Enter", None, later("Submit")),
];

/// Where more is asked than the judgement.
const SHEET: [Row; 3] = [
    (
        "",
        Some('r'),
        later("Go to the first missing rating; a digit rates and goes on"),
    ),
    ("", Some('w'), later("Write an answer of your own")),
    ("Enter", None, later("Submit")),
];

/// Where a ranking asks which answers are acceptable.
const LINE: [Row; 1] = [(
    "",
    Some('x'),
    later("In a ranking: the focused answer and those below are unacceptable"),
)];

/// On every page.
const COMMON: [Row; 6] = [
    ("", Some('c'), later("Write a comment")),
    ("", Some('s'), later("Skip")),
    ("", Some('u'), later("Undo")),
    ("", Some('g'), later("Guidelines")),
    ("?", None, later("Show these keys")),
    ("Esc", None, later("Close")),
];

pub fn shortcuts(label_type: LabelType, has_sheet: bool) -> AnyView {
    let own = use_letters();
    // The shortcut that waits for its letter, and what it does.
    let asked = RwSignal::new(None::<(char, &'static str)>);
    let board: &[Row] = match label_type {
        LabelType::Pick => &PICK,
        LabelType::Rank => &RANK,
        LabelType::BestWorst => &BEST_WORST,
        LabelType::Rate => &[],
    };
    let sheet: &[Row] = if has_sheet { &SHEET } else { &[] };
    let line: &[Row] = match has_sheet && label_type == LabelType::Rank {
        true => &LINE,
        false => &[],
    };
    let rows = board.iter().chain(sheet).chain(line).chain(&COMMON);
    let rows = rows.map(|row| self::row(*row, own, asked)).collect_view();
    let hint = move || match asked.get() {
        Some((_, what)) => fill("Press a letter for: {0}. Esc leaves it.", &[&t(what)]),
        None => {
            t("Choose a letter to change it. Two letters change places; this browser keeps them.").to_owned()
        }
    };
    let reset = move || {
        own.is_changed().then(|| {
            view! {
                <button type="button" class="button" data-test="reset-letters" on:click=move |_| own.reset()>
                    {t("The letters as they were at first")}
                </button>
            }
        })
    };
    view! {
        <div on:keydown=move |event| on_key(&event, own, asked)>
            <dl class="shortcut-list">{rows}</dl>
            <p class="muted" role="status" data-test="shortcut-hint">{hint}</p>
            {reset}
        </div>
    }
    .into_any()
}

fn row((fixed, first, what): Row, own: OwnLetters, asked: RwSignal<Option<(char, &'static str)>>) -> AnyView {
    let fixed = (!fixed.is_empty()).then(|| view! { <kbd>{fixed}</kbd> " " });
    let letter = first.map(|first| {
        let shown = move || own.shown(first).to_ascii_uppercase();
        let is_asked = move || asked.get().is_some_and(|(letter, _)| letter == first);
        view! {
            <button
                type="button"
                class="shortcut-letter"
                data-test="letter"
                data-letter=first.to_string()
                aria-pressed=move || is_asked().to_string()
                aria-label=move || fill("{0}, for: {1}. Change the letter", &[&shown(), &t(what)])
                on:click=move |_| asked.set(Some((first, what)))
            >
                {move || if is_asked() { "…".to_owned() } else { shown().to_string() }}
            </button>
        }
    });
    view! { <div><dt>{fixed}{letter}</dt><dd>{t(what)}</dd></div> }.into_any()
}

fn on_key(event: &web_sys::KeyboardEvent, own: OwnLetters, asked: RwSignal<Option<(char, &'static str)>>) {
    let Some((first, _)) = asked.get_untracked() else {
        return;
    };
    if event.key() == "Escape" {
        event.prevent_default(); // the list stays open
        asked.set(None);
        return;
    }
    let (key, code) = (event.key(), event.code());
    let press = Press {
        key: &key,
        code: &code,
        shift: event.shift_key(),
        ..Press::default()
    };
    let is_browsers = event.ctrl_key() || event.alt_key() || event.meta_key();
    if let Some(letter) = letter(press).filter(|letter| letter.is_ascii_lowercase() && !is_browsers) {
        event.prevent_default();
        own.change(first, letter);
        asked.set(None);
    }
}
