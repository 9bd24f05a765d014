//! How a contest and a gate are spoken of.

use crate::{
    format,
    words::{fill, t},
};
use laurel_protocol::{Contender, Contest, ContestStatus, Gate, Side};
use leptos::prelude::*;

/// Adapters bear the names that people gave them; the base model's is translated.
pub fn name(contender: &Contender) -> String {
    match contender.adapter {
        Some(_) => contender.name.clone(),
        None => t("Base model").to_owned(),
    }
}

pub fn badge(contest: &Contest) -> AnyView {
    let (class, words) = match contest.status {
        ContestStatus::Open => ("badge badge-running", t("Being judged")),
        ContestStatus::Decided => ("badge badge-done", t("Decided")),
        ContestStatus::Undecided => ("badge", t("Undecided")),
        ContestStatus::Closed => ("badge", t("Closed")),
    };
    view! { <span class=class>{words}</span> }.into_any()
}

/// "The first wins 64 % (53 % to 74 %)".
pub fn rate(contest: &Contest) -> String {
    let figures = &contest.figures;
    match figures.win_rate {
        None => t("Nothing is judged yet.").to_owned(),
        Some(rate) => fill(
            "{0} wins {1} ({2} to {3})",
            &[
                &name(&contest.first),
                &format::percent(rate),
                &format::percent(figures.interval.low),
                &format::percent(figures.interval.high),
            ],
        ),
    }
}

/// What came of it, in a sentence.
pub fn verdict(contest: &Contest) -> String {
    let better = |one, other| fill("{0} is better than {1}.", &[&name(one), &name(other)]);
    match (contest.status, contest.winner()) {
        (_, Some(Side::First)) => better(&contest.first, &contest.second),
        (_, Some(Side::Second)) => better(&contest.second, &contest.first),
        (ContestStatus::Open, None) => t("It is not clear yet who is better.").to_owned(),
        (ContestStatus::Closed, None) => t("An admin ended it before it was clear who is better.").to_owned(),
        (ContestStatus::Decided | ContestStatus::Undecided, None) => {
            t("All is judged, and neither is clearly better.").to_owned()
        }
    }
}

/// The gate as the API spells it, for tests and styles.
pub fn gate_name(gate: Gate) -> &'static str {
    match gate {
        Gate::None => "none",
        Gate::Judging => "judging",
        Gate::Accepted => "accepted",
        Gate::NotAccepted => "not_accepted",
        Gate::Undecided => "undecided",
    }
}

pub fn gate_words(gate: Gate) -> &'static str {
    match gate {
        Gate::None => t("Not judged"),
        Gate::Judging => t("Being judged"),
        Gate::Accepted => t("Accepted"),
        Gate::NotAccepted => t("Not accepted"),
        Gate::Undecided => t("Undecided"),
    }
}

pub fn gate_badge(gate: Gate) -> AnyView {
    let class = match gate {
        Gate::Accepted => "badge badge-done",
        Gate::NotAccepted => "badge badge-failed",
        Gate::Judging => "badge badge-running",
        Gate::None | Gate::Undecided => "badge",
    };
    view! { <span class=class data-test="gate" data-gate=gate_name(gate)>{gate_words(gate)}</span> }
        .into_any()
}
