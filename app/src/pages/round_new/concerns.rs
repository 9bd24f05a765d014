//! What a plan warns of, in words.

use crate::{
    format::{count, counted, percent},
    words::{fill, t},
};
use laurel_protocol::{Concern, Share, WeakAnnotator};
use leptos::prelude::*;

pub fn item(concern: &Concern) -> AnyView {
    let class = if concern.is_grave() {
        "log-error"
    } else {
        "log-warning"
    };
    let kind = serde_json::to_value(concern).ok();
    let kind = kind.and_then(|json| json["kind"].as_str().map(str::to_owned));
    view! { <li class=class data-test="concern" data-kind=kind>{sentence(concern)}</li> }.into_any()
}

/// `62 % (58 % to 66 %)`.
fn sure(share: &Share) -> String {
    let (low, high) = (percent(share.interval.low), percent(share.interval.high));
    fill("{0} ({1} to {2})", &[&percent(share.value()), &low, &high])
}

fn sentence(concern: &Concern) -> String {
    match concern {
        Concern::NothingToTrain => {
            t("There is nothing that this round could train on: label a few tasks, or import prompts, first.")
                .to_owned()
        }
        Concern::FewRows {
            n,
            advised,
            n_held_out,
            off_by,
        } => {
            let few = fill(
                "{0}, and {1} or more are advised: with so few the round learns little, or learns them by heart.",
                &[&counted(*n, "{0} row", "{0} rows"), &count(*advised)],
            );
            match off_by {
                Some(off) => fill(
                    "{0} About {1} would be held out: an accuracy measured on so few may be off by {2} percentage points.",
                    &[&few, &count(*n_held_out), &format!("{:.0}", off * 100.0)],
                ),
                None => few,
            }
        }
        Concern::LengthBias { longer } => fill(
            "Length: the chosen answer is the longer one in {0} of the pairs. The round may learn to write long (or short) instead of well; the loss “sigmoid, length-normalised” bears it better.",
            &[&sure(longer)],
        ),
        Concern::PositionBias { first, by_chance } => fill(
            "Place: the answer shown first was the best in {0}; without a preference for a place it would be {1}. See the page Quality for who does so.",
            &[&sure(first), &percent(*by_chance)],
        ),
        Concern::OneGenerator { name, wins } => fill(
            "Answers of {0} won {1} of their comparisons with other generators: the round may learn who wrote an answer instead of what is good about it.",
            &[name, &sure(wins)],
        ),
        Concern::TiesLeftOut { n, of } => fill(
            "{0} of {1} comparisons are ties, which this loss leaves out. A reward model with the loss Rao-Kupper or Davidson learns from them.",
            &[&count(*n), &count(*of)],
        ),
        Concern::CutOff { chosen } => fill(
            "{0} of the chosen answers were cut off at their token limit: the round would learn to stop in the middle. Sample with a higher limit, or leave such answers out in the project's settings.",
            &[&percent(chosen.value())],
        ),
        Concern::TooLong { n, of } => fill(
            "About {0} of {1} rows are longer than “Longest row” and would be left out.",
            &[&count(*n), &count(*of)],
        ),
        Concern::WeakAnnotators { people, rows } => {
            let people: Vec<String> = people.iter().map(weak).collect();
            fill(
                "{0} of the rows come from people below the threshold: {1}. See the page Quality.",
                &[&percent(rows.value()), &people.join("; ")],
            )
        }
        Concern::NearDuplicates { n, of, n_leaking } => fill(
            "{0} of {1} prompts have a near-duplicate among the others; about {2} would be held out while a twin is trained on, so that the held-out figures flatter.",
            &[&count(*n), &count(*of), &count(*n_leaking)],
        ),
        Concern::SeenBefore { adapter, n, of } => fill(
            "{0} was trained on {1} of these {2} prompts already: what this round holds out is not new to it. Take the same seed and held-out share for the same split.",
            &[adapter, &count(*n), &count(*of)],
        ),
    }
}

fn weak(person: &WeakAnnotator) -> String {
    let reliability = person
        .reliability
        .map(|value| fill("reliability {0}", &[&format!("{value:.2}")]));
    let gold = person
        .gold
        .map(|gold| fill("{0} of {1} gold items right", &[&count(gold.n), &count(gold.of)]));
    let facts: Vec<String> = reliability.into_iter().chain(gold).collect();
    format!("{} ({})", person.name, facts.join(", "))
}
