//! The charts of a round: each shows itself once it has figures.

use super::{Live, Points};
use crate::{
    components::chart::{Chart, Series, line_chart},
    words::{later, t},
};
use laurel_protocol::{RoundId, RoundKind, Split};
use leptos::prelude::*;

/// One line of a chart: which figure of which split, and how it is called and coloured.
type Line = (&'static str, Split, &'static str, &'static str);
/// A chart over the steps: its title, its `data-test` name, its lines.
type Panel = (&'static str, &'static str, &'static [Line]);

/// Of rounds on given answers. The first of a list is shown from the start.
const OFFLINE: &[Panel] = &[
    (
        later("Loss"),
        "round-chart",
        &[
            ("loss", Split::Train, later("train"), "line-a"),
            ("loss", Split::Eval, later("held out"), "line-b"),
        ],
    ),
    (
        later("Accuracy"),
        "round-chart-accuracy",
        &[
            ("accuracy", Split::Train, later("train"), "line-a"),
            ("accuracy", Split::Eval, later("held out"), "line-b"),
        ],
    ),
    (
        later("Margin"),
        "round-chart-margin",
        &[
            ("margin", Split::Train, later("train"), "line-a"),
            ("margin", Split::Eval, later("held out"), "line-b"),
        ],
    ),
    (
        later("Rewards"),
        "round-chart-rewards",
        &[
            ("chosen_reward", Split::Train, later("chosen"), "line-a"),
            ("rejected_reward", Split::Train, later("rejected"), "line-c"),
        ],
    ),
    (
        later("Log-probabilities"),
        "round-chart-logps",
        &[
            ("chosen_logp", Split::Train, later("chosen"), "line-a"),
            ("rejected_logp", Split::Train, later("rejected"), "line-c"),
        ],
    ),
    (
        later("KL estimate"),
        "round-chart-kl",
        &[
            ("kl", Split::Train, later("train"), "line-a"),
            ("kl", Split::Eval, later("held out"), "line-b"),
        ],
    ),
];
/// Of rounds on the policy's own answers.
const ONLINE: &[Panel] = &[
    (
        later("Score of the answers"),
        "round-chart",
        &[
            ("reward", Split::Train, later("train"), "line-a"),
            ("reward", Split::Eval, later("held out"), "line-b"),
            (
                "rlhf_reward",
                Split::Train,
                later("less the price of KL"),
                "line-c",
            ),
        ],
    ),
    (
        later("KL to the reference, nats an answer"),
        "round-chart-kl",
        &[
            ("kl", Split::Train, later("train"), "line-a"),
            ("kl", Split::Eval, later("held out"), "line-b"),
        ],
    ),
    (
        later("Length of the answers, tokens"),
        "round-chart-length",
        &[
            ("length", Split::Train, later("train"), "line-a"),
            ("length", Split::Eval, later("held out"), "line-b"),
        ],
    ),
    (
        later("Share of answers that end"),
        "round-chart-eos",
        &[
            ("eos_rate", Split::Train, later("train"), "line-a"),
            ("eos_rate", Split::Eval, later("held out"), "line-b"),
        ],
    ),
    (
        later("Entropy, nats a token"),
        "round-chart-entropy",
        &[
            ("entropy", Split::Train, later("train"), "line-a"),
            ("entropy", Split::Eval, later("held out"), "line-b"),
        ],
    ),
    (
        later("Ratio to the policy that answered"),
        "round-chart-ratio",
        &[("ratio", Split::Train, later("mean"), "line-a")],
    ),
    (
        later("Clipped share"),
        "round-chart-clip",
        &[
            ("clip_fraction", Split::Train, later("policy"), "line-a"),
            ("value_clip_fraction", Split::Train, later("value"), "line-c"),
        ],
    ),
    (
        later("Value loss"),
        "round-chart-value-loss",
        &[("value_loss", Split::Train, later("value"), "line-a")],
    ),
    (
        later("Explained variance"),
        "round-chart-explained",
        &[(
            "explained_variance",
            Split::Train,
            later("of the returns"),
            "line-a",
        )],
    ),
    (
        later("Policy loss"),
        "round-chart-policy-loss",
        &[
            ("policy_loss", Split::Train, later("policy"), "line-a"),
            ("sft_loss", Split::Train, later("chosen answers"), "line-c"),
        ],
    ),
    (
        later("KL coefficient β"),
        "round-chart-kl-coefficient",
        &[("kl_coefficient", Split::Train, "β", "line-a")],
    ),
    (
        later("Seconds a step"),
        "round-chart-seconds",
        &[
            ("seconds_sampling", Split::Train, later("sampling"), "line-a"),
            ("seconds_scoring", Split::Train, later("scoring"), "line-b"),
            ("seconds_training", Split::Train, later("training"), "line-c"),
        ],
    ),
];
/// Of all rounds.
const OPTIMISER: &[Panel] = &[
    (
        later("Learning rate"),
        "round-chart-learning-rate",
        &[("learning_rate", Split::Train, later("rate"), "line-a")],
    ),
    (
        later("Gradient norm"),
        "round-chart-gradient",
        &[("grad_norm", Split::Train, later("norm"), "line-a")],
    ),
    (
        later("Tokens per second"),
        "round-chart-speed",
        &[("tokens_per_second", Split::Train, later("tokens/s"), "line-a")],
    ),
];

/// What the score cost in distance from the reference, over the run.
const REWARD_BY_KL: Chart = Chart {
    title: "Score against KL",
    hook: "round-chart-reward-kl",
    x: later("KL"),
    is_whole: false,
    has_dots: true,
};
const PATHS: &[Line] = &[
    ("reward", Split::Train, later("train"), "line-a"),
    ("reward", Split::Eval, later("held out"), "line-b"),
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
    view! { <section class="charts" aria-label=t("Charts")>{first} {path} {rest}</section> }.into_any()
}

/// The figures as files.
pub fn files(id: RoundId) -> AnyView {
    let formats = [
        ("csv", later("CSV")),
        ("json_lines", later("JSON Lines")),
        ("tensorboard", later("TensorBoard")),
    ];
    let links = formats.map(|(format, name)| {
        let href = format!("/api/v1/rounds/{id}/metrics/file?format={format}");
        let hook = format!("round-figures-{format}");
        view! { <a href=href download="" rel="external" data-test=hook>{t(name)}</a> " " }
    });
    view! { <p class="fine">{t("All figures as a file:")} " " {links.into_iter().collect_view()}</p> }
        .into_any()
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
