//! What the evaluations of a reward round say about its scores.

use crate::{pages::round::Points, words::later};
use laurel_protocol::Split;
use std::collections::BTreeMap;

/// The lower ends of the bins of predicted probability, in percent, as the figures are named.
const BINS: [u32; 5] = [50, 60, 70, 80, 90];
/// Groups of answers by length.
const N_GROUPS: u32 = 5;
/// Answers that say nothing, as the figures are named and as a person calls them.
const PROBES: [(&str, &str); 3] = [
    ("empty", later("No word at all")),
    ("thanks", later("Thank you.")),
    ("repeat", later("One word again and again")),
];

/// One line of the calibration table.
#[derive(Clone, PartialEq)]
pub struct Bin {
    pub from: u32,
    pub predicted: f64,
    pub observed: f64,
    pub n_pairs: f64,
}

/// An answer that says nothing.
#[derive(Clone, PartialEq)]
pub struct Probe {
    pub name: &'static str,
    /// How often it scores above the answer that people chose.
    pub win_rate: f64,
    pub score: f64,
}

#[derive(Clone, PartialEq)]
pub struct Health {
    pub step: u64,
    pub accuracy: Option<f64>,
    pub bins: Vec<Bin>,
    pub error: Option<f64>,
    pub length_correlation: Option<f64>,
    /// Mean length and mean score of groups of answers, the shortest first.
    pub by_length: Vec<(f64, f64)>,
    pub probes: Vec<Probe>,
}

/// Of the last evaluation that says anything about it.
pub fn last(points: &Points) -> Option<Health> {
    let evaluations = points
        .iter()
        .rev()
        .filter(|((split, _), _)| *split == Split::Eval);
    evaluations
        .map(|((_, step), values)| health(*step, values))
        .find(|health| !health.bins.is_empty())
}

fn health(step: u64, values: &BTreeMap<String, f64>) -> Health {
    let figure = |name: &str| values.get(name).copied();
    let bin = |from: u32| {
        let of_bin = |what: &str| figure(&format!("calibration_{from}_{what}"));
        Some(Bin {
            from,
            predicted: of_bin("predicted")?,
            observed: of_bin("observed")?,
            n_pairs: of_bin("pairs")?,
        })
    };
    let group = |at: u32| {
        let of_group = |what: &str| figure(&format!("length_{at}_{what}"));
        Some((of_group("tokens")?, of_group("score")?))
    };
    let probe = |(name, called): (&str, &'static str)| {
        Some(Probe {
            name: called,
            win_rate: figure(&format!("probe_{name}_win_rate"))?,
            score: figure(&format!("probe_{name}_score"))?,
        })
    };
    Health {
        step,
        accuracy: figure("accuracy"),
        bins: BINS.into_iter().filter_map(bin).collect(),
        error: figure("calibration_error"),
        length_correlation: figure("length_correlation"),
        by_length: (1..=N_GROUPS).filter_map(group).collect(),
        probes: PROBES.into_iter().filter_map(probe).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_evaluation_with_a_calibration_counts() {
        let values = |pairs: f64| -> BTreeMap<String, f64> {
            [("predicted", 0.55), ("observed", 0.6), ("pairs", pairs)]
                .map(|(what, value)| (format!("calibration_50_{what}"), value))
                .into()
        };
        let points = Points::from([
            ((Split::Train, 30), values(9.0)),
            ((Split::Eval, 10), values(1.0)),
            ((Split::Eval, 20), values(2.0)),
            ((Split::Eval, 30), [("loss".to_owned(), 0.5)].into()),
        ]);
        let health = last(&points).unwrap();
        assert_eq!(
            (health.step, health.bins.len(), health.bins[0].n_pairs),
            (20, 1, 2.0)
        );
    }
}
