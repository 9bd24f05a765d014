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
    words::{fill, later, t},
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
    x: later("predicted"),
    is_whole: false,
    has_dots: true,
};
const BY_LENGTH: Chart = Chart {
    title: "Score by length",
    hook: "round-chart-score-length",
    x: later("tokens"),
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
                {t("Held-out comparisons in which it puts the chosen answer first:")} " "
                <strong class="figures">{format::percent(share)}</strong> ". "
                {move || agreement.get().map(agreement_words)}
            </p>
        }
    });
    let error = health.error.map(|error| {
        view! { <p class="fine">{fill("Expected calibration error {0}: 0 % is a model that is as right as it is sure.", &[&format::percent(error)])}</p> }
    });
    let calibration = calibration_lines(&health.bins);
    let by_length = (!health.by_length.is_empty()).then(|| {
        let line = Series {
            name: later("mean of a fifth of the answers"),
            class: "line-a",
            points: health.by_length.clone(),
        };
        line_chart(BY_LENGTH, Memo::new(move |_| vec![line.clone()]))
    });
    view! {
        <section class="card" aria-labelledby="health-title" data-test="reward-health">
            <h2 id="health-title">{t("Can its scores be trusted?")}</h2>
            <p class="fine">{fill("On the held-out prompts, after step {0}.", &[&health.step])}</p>
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
        0 => t("No two people compared the same answers. With a larger overlap in the project's settings, how often they agree \
              would stand here: more can hardly be expected of a model.")
            .to_owned(),
        n => fill("Two people who compared the same answers chose the same one in {0} of {1}: a model that is right as often has \
             learnt what they share.", &[&format::percent(agreement.n_same as f64 / n as f64), &format::counted(n, "{0} case", "{0} cases")]),
    }
}

/// The bins, and where they would lie if every probability came true.
fn calibration_lines(bins: &[Bin]) -> Vec<Series> {
    let observed = Series {
        name: later("observed"),
        class: "line-a",
        points: bins.iter().map(|bin| (bin.predicted, bin.observed)).collect(),
    };
    let ideal = Series {
        name: later("as predicted"),
        class: "line-b",
        points: vec![(0.5, 0.5), (1.0, 1.0)],
    };
    vec![observed, ideal]
}

fn calibration_table(bins: &[Bin]) -> AnyView {
    let row = |bin: &Bin| {
        let name = fill("{0} to {1} %", &[&bin.from, &(bin.from + 10)]);
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
        <div class="table-frame" tabindex="0" role="region" aria-label=t("Calibration")>
            <table>
                <caption class="visually-hidden">{t("Calibration: how sure it is, and how often it is right")}</caption>
                <thead>
                    <tr>
                        <th scope="col">{t("How sure it is")}</th>
                        <th scope="col" class="number">{t("Predicted")}</th>
                        <th scope="col" class="number">{t("Observed")}</th>
                        <th scope="col" class="number">{t("Comparisons")}</th>
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
        c if c >= STRONG => t(
            " Long answers score high for their length alone, perhaps: a policy trained on it may just write more.",
        ),
        c if c <= -STRONG => t(
            " Short answers score high for their length alone, perhaps: a policy trained on it may just write less.",
        ),
        _ => t(" Length alone does not make the score."),
    };
    view! {
        <p data-test="length-correlation">
            {t("Correlation of score and length:")} " "<strong class="figures">{format!("{correlation:.2}")}</strong>"."{advice}
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
                <th scope="row">{t(probe.name)}</th>
                <td class="number">{format::percent(probe.win_rate)}</td>
                <td class="number">{format::figure(probe.score)}</td>
            </tr>
        }
    };
    let advice = match probes.iter().any(|probe| probe.win_rate > OFTEN) {
        true => t(
            "An answer that says nothing should hardly ever win. A policy trained on these scores may find out that it does: \
                 compare more answers, or let people compare such answers too.",
        ),
        false => t("It prefers the chosen answers to answers that say nothing."),
    };
    view! {
        <h3>{t("Answers that say nothing")}</h3>
        <div class="table-frame" tabindex="0" role="region" aria-label=t("Answers that say nothing")>
            <table>
                <caption class="visually-hidden">{t("How answers that say nothing fare against the chosen ones")}</caption>
                <thead>
                    <tr>
                        <th scope="col">{t("In place of the answer")}</th>
                        <th scope="col" class="number">{t("Above the chosen one")}</th>
                        <th scope="col" class="number">{t("Mean score")}</th>
                    </tr>
                </thead>
                <tbody>{probes.iter().map(row).collect_view()}</tbody>
            </table>
        </div>
        <p data-test="probe-advice">{advice}</p>
    }
    .into_any()
}
