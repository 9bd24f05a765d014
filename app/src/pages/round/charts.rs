//! The charts of a round: each shows itself once it has figures.

use super::{Live, Points};
use crate::components::chart::{Chart, Series, line_chart};
use laurel_protocol::{RoundKind, Split};
use leptos::prelude::*;

/// One line of a chart: which figure of which split, and how it is called and coloured.
type Line = (&'static str, Split, &'static str, &'static str);
/// A chart over the steps: its title, its `data-test` name, its lines.
type Panel = (&'static str, &'static str, &'static [Line]);

/// Of rounds on given answers. The first of a list is shown from the start.
const OFFLINE: &[Panel] = &[
    (
        "Loss",
        "round-chart",
        &[
            ("loss", Split::Train, "train", "line-a"),
            ("loss", Split::Eval, "held out", "line-b"),
        ],
    ),
    (
        "Accuracy",
        "round-chart-accuracy",
        &[
            ("accuracy", Split::Train, "train", "line-a"),
            ("accuracy", Split::Eval, "held out", "line-b"),
        ],
    ),
    (
        "Margin",
        "round-chart-margin",
        &[
            ("margin", Split::Train, "train", "line-a"),
            ("margin", Split::Eval, "held out", "line-b"),
        ],
    ),
    (
        "Rewards",
        "round-chart-rewards",
        &[
            ("chosen_reward", Split::Train, "chosen", "line-a"),
            ("rejected_reward", Split::Train, "rejected", "line-c"),
        ],
    ),
    (
        "Log-probabilities",
        "round-chart-logps",
        &[
            ("chosen_logp", Split::Train, "chosen", "line-a"),
            ("rejected_logp", Split::Train, "rejected", "line-c"),
        ],
    ),
    (
        "KL estimate",
        "round-chart-kl",
        &[
            ("kl", Split::Train, "train", "line-a"),
            ("kl", Split::Eval, "held out", "line-b"),
        ],
    ),
];
/// Of rounds on the policy's own answers.
const ONLINE: &[Panel] = &[
    (
        "Score of the answers",
        "round-chart",
        &[
            ("reward", Split::Train, "train", "line-a"),
            ("reward", Split::Eval, "held out", "line-b"),
            ("rlhf_reward", Split::Train, "less the price of KL", "line-c"),
        ],
    ),
    (
        "KL to the reference, nats an answer",
        "round-chart-kl",
        &[
            ("kl", Split::Train, "train", "line-a"),
            ("kl", Split::Eval, "held out", "line-b"),
        ],
    ),
    (
        "Length of the answers, tokens",
        "round-chart-length",
        &[
            ("length", Split::Train, "train", "line-a"),
            ("length", Split::Eval, "held out", "line-b"),
        ],
    ),
    (
        "Share of answers that end",
        "round-chart-eos",
        &[
            ("eos_rate", Split::Train, "train", "line-a"),
            ("eos_rate", Split::Eval, "held out", "line-b"),
        ],
    ),
    (
        "Entropy, nats a token",
        "round-chart-entropy",
        &[
            ("entropy", Split::Train, "train", "line-a"),
            ("entropy", Split::Eval, "held out", "line-b"),
        ],
    ),
    (
        "Ratio to the policy that answered",
        "round-chart-ratio",
        &[("ratio", Split::Train, "mean", "line-a")],
    ),
    (
        "Clipped share",
        "round-chart-clip",
        &[
            ("clip_fraction", Split::Train, "policy", "line-a"),
            ("value_clip_fraction", Split::Train, "value", "line-c"),
        ],
    ),
    (
        "Value loss",
        "round-chart-value-loss",
        &[("value_loss", Split::Train, "value", "line-a")],
    ),
    (
        "Explained variance",
        "round-chart-explained",
        &[("explained_variance", Split::Train, "of the returns", "line-a")],
    ),
    (
        "Policy loss",
        "round-chart-policy-loss",
        &[
            ("policy_loss", Split::Train, "policy", "line-a"),
            ("sft_loss", Split::Train, "chosen answers", "line-c"),
        ],
    ),
    (
        "KL coefficient β",
        "round-chart-kl-coefficient",
        &[("kl_coefficient", Split::Train, "β", "line-a")],
    ),
    (
        "Seconds a step",
        "round-chart-seconds",
        &[
            ("seconds_sampling", Split::Train, "sampling", "line-a"),
            ("seconds_scoring", Split::Train, "scoring", "line-b"),
            ("seconds_training", Split::Train, "training", "line-c"),
        ],
    ),
];
/// Of all rounds.
const OPTIMISER: &[Panel] = &[
    (
        "Learning rate",
        "round-chart-learning-rate",
        &[("learning_rate", Split::Train, "rate", "line-a")],
    ),
    (
        "Gradient norm",
        "round-chart-gradient",
        &[("grad_norm", Split::Train, "norm", "line-a")],
    ),
    (
        "Tokens per second",
        "round-chart-speed",
        &[("tokens_per_second", Split::Train, "tokens/s", "line-a")],
    ),
];

/// What the score cost in distance from the reference, over the run.
const REWARD_BY_KL: Chart = Chart {
    title: "Score against KL",
    hook: "round-chart-reward-kl",
    x: "KL",
    is_whole: false,
    has_dots: true,
};
const PATHS: &[Line] = &[
    ("reward", Split::Train, "train", "line-a"),
    ("reward", Split::Eval, "held out", "line-b"),
];

pub fn view(live: Live, kind: RoundKind) -> AnyView {
    let (panels, path) = match kind {
        RoundKind::Ppo => (ONLINE, Some(reward_by_kl(live))),
        RoundKind::Sft | RoundKind::Reward | RoundKind::Dpo => (OFFLINE, None),
    };
    let over_steps = |panel: &'static Panel, is_first: bool| over_steps(live, panel, is_first);
    let first = panels.first().map(|panel| over_steps(panel, true));
    let rest = panels.iter().skip(1).chain(OPTIMISER);
    let rest = rest.map(|panel| over_steps(panel, false)).collect_view();
    view! { <section class="charts" aria-label="Charts">{first} {path} {rest}</section> }.into_any()
}

fn over_steps(live: Live, (title, hook, lines): &'static Panel, always: bool) -> AnyView {
    let series = Memo::new(move |_| live.points.with(|points| series(points, lines, None)));
    shown(Chart::over_steps(title, hook), series, always)
}

fn reward_by_kl(live: Live) -> AnyView {
    let series = Memo::new(move |_| live.points.with(|points| series(points, PATHS, Some("kl"))));
    shown(REWARD_BY_KL, series, false)
}

fn shown(chart: Chart, series: Memo<Vec<Series>>, always: bool) -> AnyView {
    let has_points = move || series.with(|lines| lines.iter().any(|line| !line.points.is_empty()));
    let is_shown = Memo::new(move |_| always || has_points());
    (move || is_shown.get().then(|| line_chart(chart, series))).into_any()
}

/// The lines' points in the order of the steps; their x is the step, or the figure `x` of the same step.
fn series(points: &Points, lines: &[Line], x: Option<&str>) -> Vec<Series> {
    lines
        .iter()
        .map(|(figure, split, name, class)| Series {
            name,
            class,
            points: points
                .iter()
                .filter(|((of, _), _)| of == split)
                .filter_map(|((_, step), values)| {
                    let x = x.map_or(Some(*step as f64), |x| values.get(x).copied())?;
                    Some((x, *values.get(*figure)?))
                })
                .filter(|(x, y)| x.is_finite() && y.is_finite())
                .collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_takes_both_figures_of_a_step_and_keeps_the_order_of_steps() {
        let figures = |kl: f64, reward: f64| [("kl".to_owned(), kl), ("reward".to_owned(), reward)].into();
        let points = Points::from([
            ((Split::Train, 1), figures(2.0, 0.1)),
            ((Split::Train, 2), figures(1.0, 0.2)),
            ((Split::Train, 3), [("reward".to_owned(), 0.3)].into()),
        ]);
        let lines = series(&points, PATHS, Some("kl"));
        assert_eq!(lines[0].points, [(2.0, 0.1), (1.0, 0.2)]);
        assert!(lines[1].points.is_empty());
    }
}
