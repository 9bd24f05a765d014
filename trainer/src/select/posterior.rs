//! What the comparisons say about a reward head on frozen features, r(x, y) = w·φ(x, y): its most likely weights under
//! Bradley-Terry's likelihood and a normal prior w ~ N(0, s²), and how sure they are, by Laplace's approximation,
//! w ~ N(ŵ, H⁻¹) with H the curvature at ŵ (MacKay 1992).
//!
//! How far the prior reaches, s, is not set by hand: it is the one under which comparisons that a resample left out are
//! likeliest (Breiman 1996).

use super::{
    cholesky, matrix,
    newton::{Problem, dot, sigmoid, softplus},
    space::Space,
};
use crate::rng::Rng;
use anyhow::{Context, Result};
use rayon::prelude::*;
use std::{collections::BTreeMap, f64::consts::PI};

/// Candidates for s, in units of the margin of a usual pair.
const SPREADS: [f64; 5] = [0.5, 1.0, 2.0, 4.0, 8.0];
/// With fewer prompts than this nothing can be told about s.
const MIN_GROUPS: usize = 20;
const USUAL_SPREAD: f64 = 2.0;
/// Resamples that choose s.
const N_TRIALS: u64 = 3;

/// What someone said about two completions of a prompt, by their features.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    pub chosen: &'a [f32],
    pub rejected: &'a [f32],
    /// Both are equally good.
    pub tie: bool,
    /// Comparisons of one prompt hang together and are resampled together.
    pub group: u64,
}

/// A head and how sure it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Posterior {
    /// ŵ, in the space.
    pub(super) head: Vec<f64>,
    /// H⁻¹, square.
    pub(super) covariance: Vec<f64>,
    /// ŵ, by features as they are.
    weights: Vec<f64>,
    /// The s that was chosen.
    pub spread: f64,
}

impl Posterior {
    /// Learns from the comparisons, the same from the same seed. `None` when `go_on` said no in between.
    pub fn fit(
        comparisons: &[Comparison<'_>],
        space: &Space,
        seed: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Self>> {
        let data = Data::new(comparisons, space);
        let Some(spread) = data.choose_spread(Rng::new(seed), go_on) else {
            return Ok(None);
        };
        let head = data.solve(&vec![1.0; comparisons.len()], spread);
        let width = data.width;
        let slopes = data.rows.chunks_exact(width.max(1)).map(|row| {
            let share = sigmoid(dot(row, &head));
            share * (1.0 - share)
        });
        // H = Σ σ' x xᵀ + s⁻² 1
        let mut curvature = matrix::gram(&data.rows, width, &slopes.collect::<Vec<_>>())?;
        for at in 0..width {
            curvature[at * width + at] += spread.powi(-2);
        }
        let covariance = cholesky::inverse(&curvature, width)
            .context("the features of the completions are not finite: are the model's weights sound?")?;
        let weights = space.weights(&head);
        Ok(go_on().then_some(Self {
            head,
            covariance,
            weights,
            spread,
        }))
    }

    /// The best guess at a completion's score. Only differences within a prompt mean something.
    pub fn best_score(&self, features: &[f32]) -> f64 {
        dot(features, &self.weights)
    }

    /// The probability that the first completion is better, over all heads, of a difference whose margin has this
    /// variance (MacKay 1992, equation 10).
    pub(super) fn probability(&self, difference: &[f32], variance: f64) -> f64 {
        sigmoid(dot(difference, &self.head) / (1.0 + PI * variance / 8.0).sqrt())
    }
}

/// The comparisons as rows of a matrix: scaled differences, and the share of the first side.
struct Data {
    rows: Vec<f32>,
    width: usize,
    targets: Vec<f64>,
    /// For each comparison the place of its group among all.
    groups: Vec<usize>,
    n_groups: usize,
}

impl Data {
    fn new(comparisons: &[Comparison<'_>], space: &Space) -> Self {
        let mut places = BTreeMap::new();
        let mut rows = Vec::with_capacity(comparisons.len() * space.dimensions());
        let mut groups = Vec::with_capacity(comparisons.len());
        for comparison in comparisons {
            space.push_difference(comparison.chosen, comparison.rejected, &mut rows);
            let n = places.len();
            groups.push(*places.entry(comparison.group).or_insert(n));
        }
        let target = |comparison: &Comparison<'_>| if comparison.tie { 0.5 } else { 1.0 };
        Self {
            rows,
            width: space.dimensions(),
            targets: comparisons.iter().map(target).collect(),
            groups,
            n_groups: places.len(),
        }
    }

    /// How often each comparison counts in a resample of the groups with replacement.
    fn resample(&self, rng: Rng, name: &str, number: u64) -> Vec<f64> {
        let mut draws = rng.stream(name, number);
        let mut counts = vec![0.0; self.n_groups];
        for _ in 0..self.n_groups {
            counts[draws.below(self.n_groups)] += 1.0;
        }
        self.groups.iter().map(|group| counts[*group]).collect()
    }

    fn solve(&self, counts: &[f64], spread: f64) -> Vec<f64> {
        let problem = Problem {
            rows: &self.rows,
            width: self.width,
            targets: &self.targets,
            counts,
            precision: spread.powi(-2),
        };
        problem.solve()
    }

    fn choose_spread(&self, rng: Rng, go_on: &(dyn Fn() -> bool + Sync)) -> Option<f64> {
        if self.n_groups < MIN_GROUPS {
            return Some(USUAL_SPREAD);
        }
        let fits: Option<Vec<f64>> = SPREADS
            .par_iter()
            .map(|spread| -> Option<f64> {
                let trials = 0..N_TRIALS;
                trials
                    .map(|trial| go_on().then(|| self.left_out(rng, trial, *spread)))
                    .sum()
            })
            .collect();
        let mut best = (f64::NEG_INFINITY, USUAL_SPREAD);
        for (fit, spread) in fits?.into_iter().zip(SPREADS) {
            if fit > best.0 {
                best = (fit, spread);
            }
        }
        Some(best.1)
    }

    /// The log-likelihood of what a resample left out, by the head that learnt from the rest.
    fn left_out(&self, rng: Rng, trial: u64, spread: f64) -> f64 {
        let counts = self.resample(rng, "trial", trial);
        let weights = self.solve(&counts, spread);
        let out = (0..counts.len()).filter(|at| counts[*at] == 0.0);
        out.map(|at| {
            let margin = dot(&self.rows[at * self.width..][..self.width], &weights);
            // y log σ(m) + (1 − y) log σ(−m)
            -softplus(-margin) - (1.0 - self.targets[at]) * margin
        })
        .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::design::tests::{comparisons, space, world};

    fn fit(pairs: &[[Vec<f32>; 2]], first: &[bool]) -> Posterior {
        let learnt = comparisons(pairs, first);
        Posterior::fit(&learnt, &space(pairs), 7, &|| true)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn the_best_guess_finds_the_hidden_head() {
        let (pairs, first) = world(400, 4, 1);
        let posterior = fit(&pairs[..200], &first[..200]);
        let right = pairs[200..].iter().zip(&first[200..]);
        let right =
            right.filter(|([a, b], first)| (posterior.best_score(a) > posterior.best_score(b)) == **first);
        assert!(right.count() > 185);
    }

    #[test]
    fn a_comparison_makes_its_own_direction_surer_and_no_other_less_sure() {
        let (pairs, first) = world(101, 4, 2);
        let space = space(&pairs);
        let at = |n: usize| {
            let learnt = comparisons(&pairs[..n], &first[..n]);
            // One s for both: of fewer than 20 prompts nothing is told.
            Posterior::fit(&learnt, &space, 1, &|| true).unwrap().unwrap()
        };
        let (before, after) = (at(10), at(11));
        let variance = |posterior: &Posterior, pair: &[Vec<f32>; 2]| {
            let mut row = Vec::new();
            space.push_difference(&pair[0], &pair[1], &mut row);
            matrix::quadratic(&row, row.len(), &posterior.covariance).unwrap()[0]
        };
        let told = variance(&after, &pairs[10]) / variance(&before, &pairs[10]);
        assert!(told < 0.9, "{told}");
        let others = pairs[20..].iter();
        let mean = |posterior| others.clone().map(|pair| variance(posterior, pair)).sum::<f64>();
        assert!(mean(&after) < mean(&before));
    }

    #[test]
    fn without_comparisons_all_is_as_the_prior_has_it() {
        let (pairs, _) = world(50, 4, 6);
        let posterior = Posterior::fit(&[], &space(&pairs), 1, &|| true).unwrap().unwrap();
        assert_eq!(posterior.best_score(&pairs[0][0]), 0.0);
        let diagonal = posterior.covariance.iter().step_by(posterior.head.len() + 1);
        for variance in diagonal {
            assert!((variance - USUAL_SPREAD.powi(2)).abs() < 1e-9);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_and_a_stop_gives_none() {
        let (pairs, first) = world(60, 4, 4);
        assert_eq!(fit(&pairs, &first), fit(&pairs, &first));
        let learnt = comparisons(&pairs, &first);
        assert!(
            Posterior::fit(&learnt, &space(&pairs), 5, &|| false)
                .unwrap()
                .is_none()
        );
    }
}
