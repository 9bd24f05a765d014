//! What the comparisons say about a reward head on frozen features, r(x, y) = w·φ(x, y): its most likely weights under
//! Bradley-Terry's likelihood and a normal prior w ~ N(0, s²), and how sure they are, by Laplace's approximation,
//! w ~ N(ŵ, H⁻¹) with H the curvature at ŵ (MacKay 1992).
//!
//! How far the prior reaches, s, is not set by hand: of some candidates it is the one under which the comparisons are
//! likeliest, with the head integrated out (the evidence: MacKay 1992, "The evidence framework applied to classification
//! networks").

use super::{
    cholesky::Cholesky,
    matrix,
    newton::{Problem, dot, sigmoid},
    space::Space,
};
use anyhow::{Context, Result};
use rayon::prelude::*;
use std::f64::consts::PI;

/// Candidates for s, in units of the margin of a usual pair; the first where nothing can be told.
const SPREADS: [f64; 5] = [2.0, 1.0, 4.0, 0.5, 8.0];
/// What someone said about two completions of a prompt, by their features.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    pub chosen: &'a [f32],
    pub rejected: &'a [f32],
    /// Both are equally good.
    pub tie: bool,
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
    /// Learns from the comparisons. `None` when `go_on` said no in between.
    pub fn fit(
        comparisons: &[Comparison<'_>],
        space: &Space,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Self>> {
        let data = Data::new(comparisons, space);
        let fits: Vec<Option<Fit>> = SPREADS
            .par_iter()
            .map(|spread| go_on().then(|| data.fit(*spread)).transpose())
            .collect::<Result<_>>()?;
        let mut best: Option<Fit> = None;
        for fit in fits {
            let Some(fit) = fit else { return Ok(None) };
            if best.as_ref().is_none_or(|best| fit.evidence > best.evidence) {
                best = Some(fit);
            }
        }
        let best = best.context("there are candidates")?;
        let covariance = best.curvature.inverse();
        Ok(go_on().then(|| Self {
            weights: space.weights(&best.head),
            head: best.head,
            covariance,
            spread: best.spread,
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
}

/// The likeliest head under a prior.
struct Fit {
    spread: f64,
    head: Vec<f64>,
    /// H
    curvature: Cholesky,
    /// log p(comparisons | s), but for what all candidates share.
    evidence: f64,
}

impl Data {
    fn new(comparisons: &[Comparison<'_>], space: &Space) -> Self {
        let mut rows = Vec::with_capacity(comparisons.len() * space.dimensions());
        for comparison in comparisons {
            space.push_difference(comparison.chosen, comparison.rejected, &mut rows);
        }
        let target = |comparison: &Comparison<'_>| if comparison.tie { 0.5 } else { 1.0 };
        Self {
            rows,
            width: space.dimensions(),
            targets: comparisons.iter().map(target).collect(),
        }
    }

    fn fit(&self, spread: f64) -> Result<Fit> {
        let precision = spread.powi(-2);
        let problem = Problem {
            rows: &self.rows,
            width: self.width,
            targets: &self.targets,
            precision,
        };
        let head = problem.solve();
        let slopes = self.rows.chunks_exact(self.width.max(1)).map(|row| {
            let share = sigmoid(dot(row, &head));
            share * (1.0 - share)
        });
        // H = Σ σ' x xᵀ + s⁻² 1
        let mut curvature = matrix::gram(&self.rows, self.width, &slopes.collect::<Vec<_>>())?;
        for at in 0..self.width {
            curvature[at * self.width + at] += precision;
        }
        let curvature = Cholesky::of(&curvature, self.width)
            .context("the features of the completions are not finite: are the model's weights sound?")?;
        // log p(D | ŵ) + log N(ŵ; 0, s²) + (d/2) log 2π − ½ log |H|
        let volume = self.width as f64 * precision.ln() - curvature.log_determinant();
        Ok(Fit {
            evidence: volume / 2.0 - problem.loss_at(&head),
            spread,
            head,
            curvature,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::design::tests::{comparisons, space, world};

    fn fit(pairs: &[[Vec<f32>; 2]], first: &[bool]) -> Posterior {
        let learnt = comparisons(pairs, first);
        Posterior::fit(&learnt, &space(pairs), &|| true).unwrap().unwrap()
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
    fn a_comparison_makes_its_own_direction_surer_than_others() {
        let (pairs, first) = world(101, 4, 2);
        let space = space(&pairs);
        let at = |n: usize| {
            let learnt = comparisons(&pairs[..n], &first[..n]);
            Posterior::fit(&learnt, &space, &|| true).unwrap().unwrap()
        };
        let (before, after) = (at(10), at(11));
        let variance = |posterior: &Posterior, pair: &[Vec<f32>; 2]| {
            let mut row = Vec::new();
            space.push_difference(&pair[0], &pair[1], &mut row);
            matrix::quadratic(&row, row.len(), &posterior.covariance).unwrap()[0]
        };
        let told = variance(&after, &pairs[10]) / variance(&before, &pairs[10]);
        let others = pairs[20..].iter();
        let mean = |posterior| others.clone().map(|pair| variance(posterior, pair)).sum::<f64>();
        // The prior may have become another one, which concerns all alike.
        let usual = mean(&after) / mean(&before);
        assert!(told < 0.99 * usual, "{told} {usual}");
    }

    /// With one feature the integral over heads is a sum.
    #[test]
    fn the_evidence_is_that_of_the_integral_over_heads() {
        let rows: Vec<f32> = vec![1.0, 0.4, -0.7, 2.0, 0.2, 1.5];
        let data = Data {
            targets: vec![1.0, 1.0, 1.0, 1.0, 0.5, 1.0],
            rows,
            width: 1,
        };
        let exact = |spread: f64| {
            let step = 1e-3;
            let at = (-30_000..30_000).map(|at| f64::from(at) * step);
            let density = at.map(|w| {
                let likelihood = data.rows.iter().zip(&data.targets).map(|(x, y)| {
                    let margin = f64::from(*x) * w;
                    y * sigmoid(margin).ln() + (1.0 - y) * sigmoid(-margin).ln()
                });
                (likelihood.sum::<f64>() - (w / spread).powi(2) / 2.0).exp() / spread
            });
            (density.sum::<f64>() * step / (2.0 * PI).sqrt()).ln()
        };
        for spread in [0.5, 1.0, 2.0] {
            let told = data.fit(spread).unwrap().evidence;
            assert!(
                (told - exact(spread)).abs() < 0.1,
                "{spread}: {told} {}",
                exact(spread)
            );
        }
    }

    #[test]
    fn without_comparisons_all_is_as_the_prior_has_it() {
        let (pairs, _) = world(50, 4, 6);
        let posterior = Posterior::fit(&[], &space(&pairs), &|| true).unwrap().unwrap();
        assert_eq!(posterior.best_score(&pairs[0][0]), 0.0);
        let diagonal = posterior.covariance.iter().step_by(posterior.head.len() + 1);
        for variance in diagonal {
            assert!((variance - SPREADS[0].powi(2)).abs() < 1e-9);
        }
    }

    #[test]
    fn the_same_comparisons_give_the_same_and_a_stop_gives_none() {
        let (pairs, first) = world(60, 4, 4);
        assert_eq!(fit(&pairs, &first), fit(&pairs, &first));
        let learnt = comparisons(&pairs, &first);
        assert!(
            Posterior::fit(&learnt, &space(&pairs), &|| false)
                .unwrap()
                .is_none()
        );
    }
}
