//! The best-worst board: three to eight completions, of which the best and the worst are named. Two digits do it.

use super::{
    prompt::{letter, truncated_badge},
    sheet::{self, Sheet, submit_button},
};
use crate::words::{fill, t};
use laurel_protocol::ShownCompletion;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

/// What has been named so far, by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BestWorst {
    pub best: Option<u8>,
    pub worst: Option<u8>,
}

impl BestWorst {
    /// A digit names the best, the next one the worst; another one starts over.
    pub fn name(&mut self, position: u8) {
        match (self.best, self.worst) {
            (Some(best), None) if best != position => self.worst = Some(position),
            (Some(_), None) => {}
            (None, Some(worst)) if worst == position => {}
            (None, _) => self.best = Some(position),
            (Some(_), Some(_)) => {
                *self = Self {
                    best: Some(position),
                    worst: None,
                }
            }
        }
    }

    pub fn set_best(&mut self, position: u8) {
        self.best = Some(position);
        self.worst = self.worst.filter(|worst| *worst != position);
    }

    pub fn set_worst(&mut self, position: u8) {
        self.worst = Some(position);
        self.best = self.best.filter(|best| *best != position);
    }

    pub fn answer(self) -> Option<(u8, u8)> {
        self.best.zip(self.worst)
    }
}

#[derive(Clone, Copy)]
pub struct BestWorstBoard {
    pub named: RwSignal<BestWorst>,
    pub change: Callback<BestWorst>,
    pub submit: Callback<()>,
    pub sheet: Sheet,
}

pub fn best_worst(completions: &[ShownCompletion], board: BestWorstBoard) -> AnyView {
    let cards = completions
        .iter()
        .enumerate()
        .map(|(position, completion)| card(position, completion, board))
        .collect_view();
    let left = move || match board.named.get() {
        BestWorst { best: None, .. } => t("Which is the best?").to_owned(),
        BestWorst { worst: None, .. } => t("Which is the worst?").to_owned(),
        _ if !board.sheet.is_rated() => t("Some ratings are missing").to_owned(),
        _ => t("Submit").to_owned(),
    };
    let is_incomplete = move || board.named.get().answer().is_none() || !board.sheet.is_rated();
    view! {
        <div class="sheet-cards">{cards}</div>
        <div class="label-dock">
            <div class="choices">{submit_button(left, is_incomplete, board.submit)}</div>
        </div>
    }
    .into_any()
}

fn card(position: usize, completion: &ShownCompletion, board: BestWorstBoard) -> AnyView {
    let own = position as u8;
    let name = letter(position);
    let is_best = move || board.named.get().best == Some(own);
    let is_worst = move || board.named.get().worst == Some(own);
    let change = move |change: fn(&mut BestWorst, u8)| {
        let mut named = board.named.get_untracked();
        change(&mut named, own);
        board.change.run(named);
    };
    view! {
        <article
            class="completion"
            class:is-chosen=is_best
            class:is-worst=is_worst
            data-test="completion"
            data-position=position.to_string()
            aria-label=fill("Answer {0}", &[&name])
        >
            <header class="completion-head">
                <h2 class="completion-letter">{name}</h2>
                <kbd aria-hidden="true">{position + 1}</kbd>
                {truncated_badge(completion.truncated)}
                <div class="rank-buttons">
                    <button
                        type="button"
                        class="rank-button"
                        data-test="best"
                        aria-pressed=move || is_best().to_string()
                        aria-label=fill("{0} is the best", &[&name])
                        on:click=move |_| change(BestWorst::set_best)
                    >
                        {t("Best")}
                    </button>
                    <button
                        type="button"
                        class="rank-button"
                        data-test="worst"
                        aria-pressed=move || is_worst().to_string()
                        aria-label=fill("{0} is the worst", &[&name])
                        on:click=move |_| change(BestWorst::set_worst)
                    >
                        {t("Worst")}
                    </button>
                </div>
            </header>
            <div class="prose" inner_html=completion.html.clone()></div>
            {sheet::of_card(board.sheet, position)}
        </article>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_digits_name_the_best_and_the_worst_and_a_third_starts_over() {
        let mut named = BestWorst::default();
        named.name(2);
        named.name(2);
        assert_eq!(named.answer(), None);
        named.name(0);
        assert_eq!(named.answer(), Some((2, 0)));
        named.name(1);
        assert_eq!((named.best, named.worst), (Some(1), None));
    }

    #[test]
    fn one_completion_is_never_both() {
        let mut named = BestWorst::default();
        named.set_best(1);
        named.set_worst(1);
        assert_eq!((named.best, named.worst), (None, Some(1)));
        named.name(1);
        assert_eq!(named.best, None);
    }
}
