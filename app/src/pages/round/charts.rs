//! The charts of a round: each shows itself once it has figures.

use super::{Live, Points};
use crate::components::chart::{Series, line_chart};
use laurel_protocol::Split;
use leptos::prelude::*;

/// One line of a chart: which figure of which split, and how it is called and coloured.
type Line = (&'static str, Split, &'static str, &'static str);

const LOSS: &[Line] = &[
    ("loss", Split::Train, "train", "line-a"),
    ("loss", Split::Eval, "held out", "line-b"),
];
const ACCURACY: &[Line] = &[
    ("accuracy", Split::Train, "train", "line-a"),
    ("accuracy", Split::Eval, "held out", "line-b"),
];
const MARGIN: &[Line] = &[
    ("margin", Split::Train, "train", "line-a"),
    ("margin", Split::Eval, "held out", "line-b"),
];
const REWARDS: &[Line] = &[
    ("chosen_reward", Split::Train, "chosen", "line-a"),
    ("rejected_reward", Split::Train, "rejected", "line-c"),
];
const LOGPS: &[Line] = &[
    ("chosen_logp", Split::Train, "chosen", "line-a"),
    ("rejected_logp", Split::Train, "rejected", "line-c"),
];
const KL: &[Line] = &[
    ("kl", Split::Train, "train", "line-a"),
    ("kl", Split::Eval, "held out", "line-b"),
];
const LEARNING_RATE: &[Line] = &[("learning_rate", Split::Train, "rate", "line-a")];
const GRADIENT: &[Line] = &[("grad_norm", Split::Train, "norm", "line-a")];
const SPEED: &[Line] = &[("tokens_per_second", Split::Train, "tokens/s", "line-a")];

pub fn view(live: Live) -> AnyView {
    view! {
        <section class="charts" aria-label="Charts">
            {chart(live, "Loss", "round-chart", LOSS, true)}
            {chart(live, "Accuracy", "round-chart-accuracy", ACCURACY, false)}
            {chart(live, "Margin", "round-chart-margin", MARGIN, false)}
            {chart(live, "Rewards", "round-chart-rewards", REWARDS, false)}
            {chart(live, "Log-probabilities", "round-chart-logps", LOGPS, false)}
            {chart(live, "KL estimate", "round-chart-kl", KL, false)}
            {chart(live, "Learning rate", "round-chart-learning-rate", LEARNING_RATE, false)}
            {chart(live, "Gradient norm", "round-chart-gradient", GRADIENT, false)}
            {chart(live, "Tokens per second", "round-chart-speed", SPEED, false)}
        </section>
    }
    .into_any()
}

fn chart(
    live: Live,
    title: &'static str,
    hook: &'static str,
    lines: &'static [Line],
    always: bool,
) -> AnyView {
    let series = Memo::new(move |_| live.points.with(|points| series(points, lines)));
    let shown =
        Memo::new(move |_| always || series.with(|lines| lines.iter().any(|line| !line.points.is_empty())));
    (move || shown.get().then(|| line_chart(title, hook, series))).into_any()
}

fn series(points: &Points, lines: &[Line]) -> Vec<Series> {
    lines
        .iter()
        .map(|(figure, split, name, class)| Series {
            name,
            class,
            points: points
                .iter()
                .filter(|((of, _), _)| of == split)
                .filter_map(|((_, step), values)| Some((*step as f64, *values.get(*figure)?)))
                .filter(|(_, value)| value.is_finite())
                .collect(),
        })
        .collect()
}
