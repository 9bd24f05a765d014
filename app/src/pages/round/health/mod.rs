//! How far a reward model can be trusted, from its last evaluation: accuracy beside how often people agree, whether its
//! probabilities come true, whether it scores more than length, and what it makes of answers that say nothing.

mod figures;

use self::figures::{Bin, Health, Probe};
use super::Live;
use crate::{
    api,
    components::chart::{Chart, Series, line_chart},
    format,
    load::{Loaded, living},
};
use laurel_protocol::{Agreement, RoundId, RoundKind};
use leptos::prelude::*;

/// From here on a correlation with length is worth a word.
const STRONG: f64 = 0.5;
/// From here on an answer that says nothing wins too often.
const OFTEN: f64 = 0.1;

const CALIBRATION: Chart = Chart {
    title: "How sure it is, how often it is right",
    hook: "round-chart-calibration",
    x: "predicted",
    is_whole: false,
    has_dots: true,
};
const BY_LENGTH: Chart = Chart {
    title: "Score by length",
    hook: "round-chart-score-length",
    x: "tokens",
    is_whole: false,
    has_dots: true,
};

pub fn view(live: Live, id: RoundId, kind: RoundKind) -> AnyView {
    if kind != RoundKind::Reward {
        return ().into_any();
    }
    let agreement = Loaded::new(move || api::round::agreement(id));
    let health = Memo::new(move |_| live.points.with(figures::last));
    living(move || match health.get() {
        Some(health) => shown(health, agreement),
        None => ().into_any(),
    })
}

fn shown(health: Health, agreement: Loaded<Agreement>) -> AnyView {
    let accuracy = health.accuracy.map(|share| {
        view! {
            <p data-test="held-out-accuracy">
                "It puts the chosen answer first in "<strong class="figures">{format::percent(share)}</strong>
                " of the held-out comparisons. "{move || agreement.get().map(agreement_words)}
            </p>
        }
    });
    let error = health.error.map(|error| {
        view! { <p class="fine">"Expected calibration error "{format::percent(error)}": 0 % is a model that is as right as it is sure."</p> }
    });
    let calibration = calibration_lines(&health.bins);
    let by_length = (!health.by_length.is_empty()).then(|| {
        let line = Series {
            name: "mean of a fifth of the answers",
            class: "line-a",
            points: health.by_length.clone(),
        };
        line_chart(BY_LENGTH, Memo::new(move |_| vec![line.clone()]))
    });
    view! {
        <section class="card" aria-labelledby="health-title" data-test="reward-health">
            <h2 id="health-title">"Can its scores be trusted?"</h2>
            <p class="fine">{format!("On the held-out prompts, after step {}.", health.step)}</p>
            {accuracy}
            <div class="charts">{line_chart(CALIBRATION, Memo::new(move |_| calibration.clone()))} {by_length}</div>
            {calibration_table(&health.bins)}
            {error}
            {health.length_correlation.map(length_words)}
            {probe_table(&health.probes)}
        </section>
    }
    .into_any()
}

/// How often people agree: the measure of the accuracy.
fn agreement_words(agreement: Agreement) -> String {
    match agreement.n_compared {
        0 => "No two people compared the same answers. With a larger overlap in the project's settings, how often they agree \
              would stand here: more can hardly be expected of a model."
            .to_owned(),
        n => format!(
            "Two people who compared the same answers chose the same one in {} of {}: a model that is right as often has \
             learnt what they share.",
            format::percent(agreement.n_same as f64 / n as f64),
            format::counted(n, "case", "cases")
        ),
    }
}

/// The bins, and where they would lie if every probability came true.
fn calibration_lines(bins: &[Bin]) -> Vec<Series> {
    let observed = Series {
        name: "observed",
        class: "line-a",
        points: bins.iter().map(|bin| (bin.predicted, bin.observed)).collect(),
    };
    let ideal = Series {
        name: "as predicted",
        class: "line-b",
        points: vec![(0.5, 0.5), (1.0, 1.0)],
    };
    vec![observed, ideal]
}

fn calibration_table(bins: &[Bin]) -> AnyView {
    let row = |bin: &Bin| {
        let name = format!("{} to {} %", bin.from, bin.from + 10);
        view! {
            <tr>
                <th scope="row">{name}</th>
                <td class="number">{format::percent(bin.predicted)}</td>
                <td class="number">{format::percent(bin.observed)}</td>
                <td class="number">{format::count(bin.n_pairs as u64)}</td>
            </tr>
        }
    };
    view! {
        <div class="table-frame" tabindex="0" role="region" aria-label="Calibration">
            <table>
                <caption class="visually-hidden">"Calibration: how sure it is, and how often it is right"</caption>
                <thead>
                    <tr>
                        <th scope="col">"How sure it is"</th>
                        <th scope="col" class="number">"Predicted"</th>
                        <th scope="col" class="number">"Observed"</th>
                        <th scope="col" class="number">"Comparisons"</th>
                    </tr>
                </thead>
                <tbody>{bins.iter().map(row).collect_view()}</tbody>
            </table>
        </div>
    }
    .into_any()
}

fn length_words(correlation: f64) -> AnyView {
    let advice = match correlation {
        c if c >= STRONG => {
            " Long answers score high for their length alone, perhaps: a policy trained on it may just write more."
        }
        c if c <= -STRONG => {
            " Short answers score high for their length alone, perhaps: a policy trained on it may just write less."
        }
        _ => " Length alone does not make the score.",
    };
    view! {
        <p data-test="length-correlation">
            "Score and length correlate with "<strong class="figures">{format!("{correlation:.2}")}</strong>"."{advice}
        </p>
    }
    .into_any()
}

fn probe_table(probes: &[Probe]) -> AnyView {
    if probes.is_empty() {
        return ().into_any();
    }
    let row = |probe: &Probe| {
        view! {
            <tr data-test="reward-probe">
                <th scope="row">{probe.name}</th>
                <td class="number">{format::percent(probe.win_rate)}</td>
                <td class="number">{format::figure(probe.score)}</td>
            </tr>
        }
    };
    let advice = match probes.iter().any(|probe| probe.win_rate > OFTEN) {
        true => {
            "An answer that says nothing should hardly ever win. A policy trained on these scores may find out that it does: \
                 compare more answers, or let people compare such answers too."
        }
        false => "It prefers the chosen answers to answers that say nothing.",
    };
    view! {
        <h3>"Answers that say nothing"</h3>
        <div class="table-frame" tabindex="0" role="region" aria-label="Answers that say nothing">
            <table>
                <caption class="visually-hidden">"How answers that say nothing fare against the chosen ones"</caption>
                <thead>
                    <tr>
                        <th scope="col">"In place of the answer"</th>
                        <th scope="col" class="number">"Above the chosen one"</th>
                        <th scope="col" class="number">"Mean score"</th>
                    </tr>
                </thead>
                <tbody>{probes.iter().map(row).collect_view()}</tbody>
            </table>
        </div>
        <p data-test="probe-advice">{advice}</p>
    }
    .into_any()
}
