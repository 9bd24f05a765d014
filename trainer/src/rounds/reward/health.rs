//! How far a reward model's scores can be trusted, from its held-out rankings: whether the probabilities that follow from
//! the scores come true, and whether a score says more than the answer's length.

use crate::rounds::rankings::Ranking;
use std::collections::BTreeMap;

/// Equal widths from ½ to 1.
const N_BINS: usize = 5;
/// What each bin reports: mean predicted probability, observed share, pairs.
const BINS: [[&str; 3]; N_BINS] = [
    [
        "calibration_50_predicted",
        "calibration_50_observed",
        "calibration_50_pairs",
    ],
    [
        "calibration_60_predicted",
        "calibration_60_observed",
        "calibration_60_pairs",
    ],
    [
        "calibration_70_predicted",
        "calibration_70_observed",
        "calibration_70_pairs",
    ],
    [
        "calibration_80_predicted",
        "calibration_80_observed",
        "calibration_80_pairs",
    ],
    [
        "calibration_90_predicted",
        "calibration_90_observed",
        "calibration_90_pairs",
    ],
];

/// What each fifth of the answers by length reports: mean tokens, mean score, answers.
const BY_LENGTH: [[&str; 3]; 5] = [
    ["length_1_tokens", "length_1_score", "length_1_answers"],
    ["length_2_tokens", "length_2_score", "length_2_answers"],
    ["length_3_tokens", "length_3_score", "length_3_answers"],
    ["length_4_tokens", "length_4_score", "length_4_answers"],
    ["length_5_tokens", "length_5_score", "length_5_answers"],
];

#[derive(Default)]
pub struct Health {
    /// r_w − r_l of each strict pair.
    margins: Vec<f64>,
    /// Score and length in tokens of each different completion.
    answers: Vec<(f64, f64)>,
}

impl Health {
    /// Takes the scores of a pass, ranking by ranking.
    pub fn add(&mut self, pass: &[Ranking<'_>], scores: &[f32]) {
        let mut first = 0;
        for ranking in pass {
            let score = |at: usize| f64::from(scores[first + at]);
            for pair in ranking.pairs.iter().filter(|pair| !pair.label.tie) {
                self.margins.push(score(pair.chosen) - score(pair.rejected));
            }
            let lengths = ranking.completions.iter().map(|ids| ids.len() as f64);
            self.answers
                .extend(lengths.enumerate().map(|(at, length)| (score(at), length)));
            first += ranking.completions.len();
        }
    }

    /// What can be told; a figure that has no meaning, such as a correlation of equal lengths, is left out.
    pub fn figures(&self) -> BTreeMap<&'static str, f64> {
        let mut figures = calibration(&self.margins);
        if let Some(correlation) = correlation(&self.answers) {
            figures.insert("length_correlation", correlation);
            figures.extend(by_length(&self.answers));
        }
        figures
    }
}

/// The model gives the better-scored answer of a pair the probability p = σ(|r_w − r_l|) ≥ ½ (Bradley and Terry 1952); the
/// observed share is how often people chose that answer. With them the expected calibration error, Σ_b n_b/n ·
/// |observed_b − predicted_b| (Naeini et al. 2015). Equal scores count as half right.
fn calibration(margins: &[f64]) -> BTreeMap<&'static str, f64> {
    let mut bins = [(0.0, 0.0, 0.0); N_BINS];
    for &margin in margins {
        let p = 1.0 / (1.0 + (-margin.abs()).exp());
        let at = (((p - 0.5) * 2.0 * N_BINS as f64) as usize).min(N_BINS - 1);
        let right = match margin {
            0.0 => 0.5,
            _ => f64::from(u8::from(margin > 0.0)),
        };
        let (predicted, observed, n) = &mut bins[at];
        *predicted += p;
        *observed += right;
        *n += 1.0;
    }
    let mut figures = BTreeMap::new();
    let mut error = 0.0;
    for ((predicted, observed, n), names) in bins.into_iter().zip(BINS).filter(|((_, _, n), _)| *n > 0.0) {
        error += (observed - predicted).abs() / margins.len() as f64;
        figures.extend(names.into_iter().zip([predicted / n, observed / n, n]));
    }
    if !margins.is_empty() {
        figures.insert("calibration_error", error);
    }
    figures
}

/// The answers in the order of their lengths, cut into five groups of equal size: what a score is on average, by length.
fn by_length(answers: &[(f64, f64)]) -> BTreeMap<&'static str, f64> {
    let mut sorted = answers.to_vec();
    sorted.sort_by(|left, right| left.1.total_cmp(&right.1));
    let mut figures = BTreeMap::new();
    for (at, names) in BY_LENGTH.into_iter().enumerate() {
        let edge = |at: usize| at * sorted.len() / BY_LENGTH.len();
        let group = &sorted[edge(at)..edge(at + 1)];
        let n = group.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| group.iter().map(of).sum::<f64>() / n;
        if !group.is_empty() {
            figures.extend(names.into_iter().zip([mean(|it| it.1), mean(|it| it.0), n]));
        }
    }
    figures
}

/// Pearson's, of two columns; none where one does not vary.
fn correlation(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in points {
        let (dx, dy) = (x - mean_x, y - mean_y);
        xy += dx * dy;
        xx += dx * dx;
        yy += dy * dy;
    }
    let correlation = xy / (xx * yy).sqrt();
    correlation.is_finite().then_some(correlation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Label, PreferencePair};

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    #[test]
    fn calibration_sets_predicted_against_observed_bin_by_bin() {
        // σ(0.2) = 0.549834, σ(0.3) = 0.574443 and σ(3) = 0.952574.
        let figures = calibration(&[0.2, -0.3, 3.0, 3.0, -3.0]);
        close(figures["calibration_50_predicted"], (0.549_834 + 0.574_443) / 2.0);
        close(figures["calibration_50_observed"], 0.5);
        close(figures["calibration_90_predicted"], 0.952_574_1);
        close(figures["calibration_90_observed"], 2.0 / 3.0);
        close(figures["calibration_90_pairs"], 3.0);
        assert!(!figures.contains_key("calibration_70_pairs"));
        let error = (2.0 * 0.062_138_3 + 3.0 * (0.952_574_1 - 2.0 / 3.0)) / 5.0;
        close(figures["calibration_error"], error);
    }

    #[test]
    fn equal_scores_are_half_right_and_nothing_held_out_says_nothing() {
        close(calibration(&[0.0, 0.0])["calibration_50_observed"], 0.5);
        assert!(Health::default().figures().is_empty());
    }

    #[test]
    fn correlation_is_pearsons_and_needs_two_lengths() {
        // numpy.corrcoef([1, 2, 3, 4], [2, 1, 4, 3])
        close(
            correlation(&[(1.0, 2.0), (2.0, 1.0), (3.0, 4.0), (4.0, 3.0)]).unwrap(),
            0.6,
        );
        assert_eq!(correlation(&[(1.0, 2.0), (3.0, 2.0)]), None);
    }

    #[test]
    fn fifths_by_length_hold_every_answer_once() {
        let answers: Vec<(f64, f64)> = (0..7).map(|at| (f64::from(at), f64::from(10 - at))).collect();
        let figures = by_length(&answers);
        close(figures["length_1_tokens"], 4.0);
        close(figures["length_1_score"], 6.0);
        // The two longest.
        close(figures["length_5_tokens"], 9.5);
        close(figures["length_5_score"], 0.5);
        let n: f64 = BY_LENGTH.iter().map(|names| figures[names[2]]).sum();
        close(n, 7.0);
        assert_eq!(by_length(&answers[..1]).len(), 3);
    }

    #[test]
    fn scores_go_to_the_completions_of_their_ranking_and_ties_do_not_count() {
        let row = |chosen: &[u32], rejected: &[u32], tie| PreferencePair {
            prompt: vec![1],
            chosen: chosen.to_vec(),
            rejected: rejected.to_vec(),
            group: 0,
            label: Label {
                tie,
                ..Label::default()
            },
        };
        let rows = [row(&[5, 6, 7], &[8], false), row(&[9, 9], &[4], true)];
        let rankings: Vec<Ranking<'_>> = rows.iter().map(|row| Ranking::of(&[row])).collect();
        let mut health = Health::default();
        health.add(&rankings, &[1.0, 0.5, 2.0, 2.5]);
        assert_eq!(health.margins, [0.5]);
        assert_eq!(health.answers, [(1.0, 3.0), (0.5, 1.0), (2.0, 2.0), (2.5, 1.0)]);
    }
}
