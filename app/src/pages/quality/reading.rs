//! What a figure of agreement means, in a sentence.

use super::value;
use crate::{
    format,
    words::{fill, later, t},
};
use laurel_protocol::{AgreementFigure, Estimate, Measure};

pub fn name(measure: Measure) -> &'static str {
    match measure {
        Measure::Percent => t("Percent agreement"),
        Measure::FleissKappa => t("Fleiss' kappa"),
        Measure::AlphaNominal => t("Krippendorff's alpha, categories"),
        Measure::AlphaOrdinal => t("Krippendorff's alpha, ordered steps"),
        Measure::AlphaInterval => t("Krippendorff's alpha, equal steps"),
        Measure::KendallTauB => t("Kendall's tau-b"),
    }
}

/// A measure is written as a share or as a number up to 1.
pub fn writing(measure: Measure) -> fn(f64) -> String {
    match measure {
        Measure::Percent => format::percent,
        _ => value,
    }
}

pub fn reading(figure: &AgreementFigure) -> String {
    let Some(estimate) = figure.estimate else {
        return match figure.n_tasks {
            0 => t("No two people judged the same.").to_owned(),
            _ => t("Cannot be told: everybody said one and the same of everything.").to_owned(),
        };
    };
    match figure.measure {
        Measure::Percent => fill(
            "Two people who judged the same said the same in {0} of 100 cases, some of them by chance.",
            &[&(estimate.value * 100.0).round()],
        ),
        Measure::KendallTauB => {
            fill(
                "Two people's orders of the same answers are {0}: 1 is the same order, 0 none in common, −1 the opposite.",
                &[&t(band(estimate.value, &ORDERS))],
            ) + &reach(estimate, &ORDERS)
        }
        Measure::FleissKappa => {
            fill(
                "{0} agreement beyond chance, in the words of Landis and Koch.",
                &[&capital(t(band(estimate.value, &KAPPAS)))],
            ) + &reach(estimate, &KAPPAS)
        }
        Measure::AlphaNominal | Measure::AlphaOrdinal | Measure::AlphaInterval => {
            format!("{}.", capital(t(band(estimate.value, &ALPHAS)))) + &reach(estimate, &ALPHAS)
        }
    }
}

/// Words for what lies above each bound; the last ones for what lies below all.
type Bands = [(f64, &'static str)];

/// Krippendorff 2004, "Reliability in content analysis": 0.8, and 0.667 for tentative conclusions.
const ALPHAS: [(f64, &str); 4] = [
    (0.8, later("good, sound enough to conclude from")),
    (0.667, later("fair, enough for tentative conclusions")),
    (
        0.0,
        later("low, though better than chance: see whether the guidelines leave open what people differ on"),
    ),
    (f64::NEG_INFINITY, later("no better than chance")),
];
/// Landis and Koch 1977.
const KAPPAS: [(f64, &str); 6] = [
    (0.8, later("almost perfect")),
    (0.6, later("substantial")),
    (0.4, later("moderate")),
    (0.2, later("fair")),
    (0.0, later("slight")),
    (f64::NEG_INFINITY, later("no")),
];
const ORDERS: [(f64, &str); 4] = [
    (0.7, later("much alike")),
    (0.3, later("partly alike")),
    (-0.3, later("hardly alike")),
    (f64::NEG_INFINITY, later("rather opposite")),
];

fn band(value: f64, bands: &Bands) -> &'static str {
    let found = bands.iter().find(|(bound, _)| value > *bound);
    found.or(bands.last()).map_or("", |(_, words)| words)
}

/// A warning where the interval leaves open in which band the truth lies.
fn reach(estimate: Estimate, bands: &Bands) -> String {
    let Some(interval) = estimate.interval else {
        return t(" Too few tasks to tell how sure this is.").to_owned();
    };
    match band(interval.low, bands) == band(interval.high, bands) {
        true => String::new(),
        false => t(" The interval leaves open how far: more shared tasks would tell.").to_owned(),
    }
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::{Interval, Subject};

    fn read(measure: Measure, value: f64, interval: Option<(f64, f64)>) -> String {
        reading(&AgreementFigure {
            about: Subject::Choice,
            measure,
            n_tasks: 9,
            estimate: Some(Estimate {
                value,
                interval: interval.map(|(low, high)| Interval { low, high }),
            }),
        })
    }

    #[test]
    fn a_wide_interval_is_said_to_leave_the_question_open() {
        let sure = read(Measure::FleissKappa, 0.5, Some((0.45, 0.55)));
        assert_eq!(
            sure,
            "Moderate agreement beyond chance, in the words of Landis and Koch."
        );
        assert!(read(Measure::FleissKappa, 0.5, Some((0.3, 0.7))).ends_with("more shared tasks would tell."));
        assert!(read(Measure::AlphaNominal, 0.9, None).ends_with("Too few tasks to tell how sure this is."));
    }

    #[test]
    fn what_is_not_above_chance_is_called_so() {
        assert_eq!(
            read(Measure::AlphaOrdinal, -0.1, Some((-0.2, -0.01))),
            "No better than chance."
        );
        let order = |value| read(Measure::KendallTauB, value, Some((value, value)));
        assert!(order(0.0).contains("are hardly alike:"));
        assert!(order(-0.5).contains("are rather opposite:"));
    }

    #[test]
    fn what_cannot_be_told_has_a_reason() {
        let undefined = |n_tasks| {
            reading(&AgreementFigure {
                about: Subject::Order,
                measure: Measure::KendallTauB,
                n_tasks,
                estimate: None,
            })
        };
        assert_eq!(undefined(0), "No two people judged the same.");
        assert!(undefined(3).starts_with("Cannot be told"));
    }
}
