//! A reviewer's own judgement of a task, where nobody saw it as they do.

use super::task::Act;
use crate::{
    components::label::{best_worst::BestWorst, prompt::letter, ranking::Ranking},
    words::{fill, t},
};
use laurel_protocol::{Choice, Judgement};
use leptos::prelude::*;
use std::collections::BTreeMap;

/// A judgement that is being made, of the task's label type.
#[derive(Clone, Copy)]
pub(super) enum Own {
    Pick,
    Rank(RwSignal<Ranking>),
    BestWorst(RwSignal<BestWorst>, usize),
    /// Ratings are adopted alone.
    Rate,
}

impl Own {
    /// As the annotators judged it.
    pub(super) fn like(judgement: Option<&Judgement>, n_completions: usize) -> Self {
        match judgement {
            Some(Judgement::Pick { .. }) => Self::Pick,
            Some(Judgement::Rank { .. }) => Self::Rank(RwSignal::new(Ranking::new(n_completions))),
            Some(Judgement::BestWorst { .. }) => {
                Self::BestWorst(RwSignal::new(BestWorst::default()), n_completions)
            }
            Some(Judgement::Rate) | None => Self::Rate,
        }
    }

    pub(super) fn view(self, act: Act) -> AnyView {
        let body = match self {
            Self::Pick => picks(act),
            Self::Rank(ranking) => ranks(act, ranking),
            Self::BestWorst(named, n) => ends(act, named, n),
            Self::Rate => return ().into_any(),
        };
        view! { <div role="group" aria-label=t("Decide by yourself")>{body}</div> }.into_any()
    }
}

fn picks(act: Act) -> AnyView {
    let buttons = [
        (Choice::First, t("A is better")),
        (Choice::Second, t("B is better")),
        (Choice::Tie, t("Tie")),
        (Choice::BothBad, t("Both bad")),
    ]
    .into_iter()
    .map(|(choice, text)| {
        let decide = move |_| {
            let judgement = Judgement::Pick {
                choice,
                strength: None,
            };
            act.decide(judgement, BTreeMap::new());
        };
        view! {
            <button type="button" class="button button-quiet" disabled=move || act.action.busy() on:click=decide>
                {text}
            </button>
        }
    })
    .collect_view();
    view! { <div class="actions">{buttons}</div> }.into_any()
}

fn ranks(act: Act, ranking: RwSignal<Ranking>) -> AnyView {
    let n = ranking.with_untracked(Ranking::n);
    let row = |position: usize| {
        let name = letter(position);
        let buttons = (1..=n)
            .map(|rank| {
                let is_given = move || ranking.with(|ranking| ranking.lane(position) == Some(rank));
                view! {
                    <button
                        type="button"
                        class="rank-button"
                        data-test="own-rank"
                        aria-pressed=move || is_given().to_string()
                        aria-label=fill("Give {0} rank {1}", &[&name, &rank])
                        on:click=move |_| ranking.update(|ranking| ranking.place(position, rank))
                    >
                        {rank.to_string()}
                    </button>
                }
            })
            .collect_view();
        answer_row(position, buttons.into_any())
    };
    let rows = (0..usize::from(n)).map(row).collect_view();
    let judgement = move || {
        let ranks = ranking.with(Ranking::answer)?;
        Some(Judgement::Rank { ranks })
    };
    view! { <div class="own-ranks">{rows}</div> {decide_button(act, judgement)} }.into_any()
}

fn ends(act: Act, named: RwSignal<BestWorst>, n: usize) -> AnyView {
    let row = |position: usize| {
        let own = position as u8;
        let name = letter(position);
        view! {
            <button
                type="button"
                class="rank-button"
                data-test="own-best"
                aria-pressed=move || (named.get().best == Some(own)).to_string()
                aria-label=fill("{0} is the best", &[&name])
                on:click=move |_| named.update(|named| named.set_best(own))
            >
                {t("Best")}
            </button>
            <button
                type="button"
                class="rank-button"
                data-test="own-worst"
                aria-pressed=move || (named.get().worst == Some(own)).to_string()
                aria-label=fill("{0} is the worst", &[&name])
                on:click=move |_| named.update(|named| named.set_worst(own))
            >
                {t("Worst")}
            </button>
        }
        .into_any()
    };
    let rows = (0..n)
        .map(|position| answer_row(position, row(position)))
        .collect_view();
    let judgement = move || {
        let (best, worst) = named.get().answer()?;
        Some(Judgement::BestWorst { best, worst })
    };
    view! { <div class="own-ranks">{rows}</div> {decide_button(act, judgement)} }.into_any()
}

fn answer_row(position: usize, buttons: AnyView) -> AnyView {
    let name = letter(position);
    view! {
        <div class="own-rank" role="group" aria-label=fill("Answer {0}", &[&name])>
            <b aria-hidden="true">{name}</b>
            {buttons}
        </div>
    }
    .into_any()
}

/// Waits until the judgement is whole.
fn decide_button(
    act: Act,
    judgement: impl Fn() -> Option<Judgement> + Copy + Send + Sync + 'static,
) -> AnyView {
    let decide = move |_| {
        if let Some(judgement) = untrack(judgement) {
            act.decide(judgement, BTreeMap::new());
        }
    };
    view! {
        <div class="actions">
            <button
                type="button"
                class="button button-quiet"
                data-test="decide-own"
                disabled=move || act.action.busy() || judgement().is_none()
                on:click=decide
            >
                {t("Decide so")}
            </button>
        </div>
    }
    .into_any()
}
