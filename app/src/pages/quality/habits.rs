//! Whether the place on the screen decides, and how often each answer is given.

use super::{about, value};
use crate::{
    format,
    words::{fill, t},
};
use laurel_protocol::{Distribution, Habits, Quality, Share, Subject};
use leptos::prelude::*;

pub fn view(quality: &Quality) -> AnyView {
    let distributions = quality.distributions.iter().map(distribution).collect_view();
    let lines = position_words(&quality.habits).into_iter();
    let lines = lines
        .map(|line| view! { <p data-test="position-bias">{line}</p> })
        .collect_view();
    view! {
        <section class="card" aria-labelledby="habits-title">
            <h2 id="habits-title">{t("What was answered")}</h2>
            {lines}
            {distributions}
        </section>
    }
    .into_any()
}

/// Whether what is shown first fares better than it should.
fn position_words(habits: &Habits) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(share), Some(chance)) = (habits.first_is_best, habits.first_by_chance) {
        lines.push(first_place(share, chance));
    }
    if let (Some(first), Some(mean)) = (habits.mean_rank_of_first, habits.mean_rank) {
        let range = first.interval.map_or_else(String::new, |range| {
            fill(" ({0} to {1})", &[&value(range.low), &value(range.high)])
        });
        lines.push(fill(
            "The answer shown first has a mean rank of {0}{1}, all answers one of {2}.",
            &[&value(first.value), &range, &value(mean)],
        ));
    }
    lines
}

/// How often the answer shown first was the best, against what it would be by chance.
pub fn first_place(share: Share, chance: f64) -> String {
    let verdict = match (share.interval.low > chance, share.interval.high < chance) {
        (true, _) => t("the first place is favoured"),
        (_, true) => t("the first place is at a disadvantage"),
        _ => t("no preference for a place is to be seen"),
    };
    fill(
        "The answer shown first was the best in {0} of {1} ({2} to {3}); by chance it would be {4}: {5}.",
        &[
            &format::percent(share.value()),
            &format::counted(share.of, "{0} answer", "{0} answers"),
            &format::percent(share.interval.low),
            &format::percent(share.interval.high),
            &format::percent(chance),
            &verdict,
        ],
    )
}

/// What a distribution is called.
pub fn title_of(subject: &Subject) -> String {
    match subject {
        Subject::Order => t("Which place came out on top").to_owned(),
        _ => about(subject),
    }
}

fn distribution(distribution: &Distribution) -> AnyView {
    let title = title_of(&distribution.about);
    let total = distribution.counts.iter().sum::<u64>().max(1);
    let row = |(at, &n): (usize, &u64)| {
        let name = answer_name(&distribution.about, at);
        let label = fill("{0}: share", &[&name]);
        view! {
            <tr data-test="distribution-row">
                <th scope="row">{name}</th>
                <td class="number">{format::count(n)}</td>
                <td class="number">{format::percent(n as f64 / total as f64)}</td>
                <td class="bar"><progress max=total.to_string() value=n.to_string() aria-label=label></progress></td>
            </tr>
        }
    };
    view! {
        <h3>{title.clone()}</h3>
        <div class="table-frame" tabindex="0" role="region" aria-label=fill("How often: {0}", &[&title])>
            <table>
                <thead>
                    <tr>
                        <th scope="col">{t("Answer")}</th>
                        <th scope="col" class="number">{t("Times")}</th>
                        <th scope="col" class="number">{t("Share")}</th>
                        <th scope="col"><span class="visually-hidden">{t("As a bar")}</span></th>
                    </tr>
                </thead>
                <tbody>{distribution.counts.iter().enumerate().map(row).collect_view()}</tbody>
            </table>
        </div>
    }
    .into_any()
}

/// What an answer at this place of a distribution is called.
pub fn answer_name(about: &Subject, at: usize) -> String {
    match (about, at) {
        (Subject::Choice, 0) => t("Shown first").to_owned(),
        (Subject::Choice, 1) => t("Shown second").to_owned(),
        (Subject::Choice, 2) => t("Tie").to_owned(),
        (Subject::Choice, _) => t("Both bad").to_owned(),
        (Subject::Rating { .. }, at) => (at + 1).to_string(),
        (_, at) => fill("Place {0}", &[&(at + 1)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::Interval;

    #[test]
    fn a_place_is_called_favoured_only_where_the_interval_says_so() {
        let habits = |low, high| Habits {
            n_annotations: 10,
            median_seconds: None,
            first_is_best: Some(Share {
                n: 6,
                of: 10,
                interval: Interval { low, high },
            }),
            first_by_chance: Some(0.5),
            mean_rank_of_first: None,
            mean_rank: None,
            ties: None,
        };
        let words = |low, high| position_words(&habits(low, high)).remove(0);
        assert!(words(0.51, 0.7).contains("the first place is favoured"));
        assert!(words(0.4, 0.49).contains("at a disadvantage"));
        assert!(words(0.4, 0.7).contains("no preference"));
    }
}
