//! An ensemble of small reward heads on frozen features, r(x, y) = w·φ(x, y), each learnt from the comparisons by
//! Bradley-Terry's likelihood. What they disagree about is what the comparisons have left open (Lakshminarayanan et al.
//! 2017; for reward models of language Gleave and Irving 2022).
//!
//! Two things keep the heads apart: each learns from a bootstrap resample of its own, and each is drawn towards a random
//! point of its own, w₀ ~ N(0, s²) (Osband et al. 2018), so that they differ also where no comparison says anything. How
//! strong that draw is, 1/s², is not set by hand: it is the strength at which comparisons that a resample left out are
//! likeliest (Breiman 1996).

use super::newton::{Problem, dot};
use crate::rng::Rng;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Heads of an ensemble.
pub const N_HEADS: usize = 16;
/// Candidates for s, the spread of the heads where nothing is known, in units of the margin of a usual pair.
const SPREADS: [f64; 5] = [0.5, 1.0, 2.0, 4.0, 8.0];
/// With fewer prompts than this nothing can be told about the spread.
const MIN_GROUPS: usize = 20;
const USUAL_SPREAD: f64 = 2.0;
/// Resamples that choose the spread.
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

/// What each feature is multiplied by, so that differences between two completions of a task have the same size in every
/// direction and a mean square of 1 in all.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale(Vec<f32>);

impl Scale {
    /// From the pairs of completions that there are, judged or not.
    pub fn of<'a>(width: usize, pairs: impl IntoIterator<Item = (&'a [f32], &'a [f32])>) -> Self {
        let (mut squares, mut n) = (vec![0.0_f64; width], 0.0);
        for (first, second) in pairs {
            for ((square, a), b) in squares.iter_mut().zip(first).zip(second) {
                *square += f64::from(a - b).powi(2);
            }
            n += 1.0;
        }
        let factor = |square: &f64| match *square > 0.0 {
            true => (n / (square * width as f64)).sqrt() as f32,
            false => 0.0, // nothing ever differs there
        };
        Self(squares.iter().map(factor).collect())
    }

    pub fn width(&self) -> usize {
        self.0.len()
    }
}

/// Heads that learnt from the same comparisons.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    /// One vector a head, over features as they are.
    heads: Vec<Vec<f64>>,
    /// The head that learnt from every comparison once, drawn towards 0: the best guess.
    centre: Vec<f64>,
    /// The s that was chosen.
    pub spread: f64,
}

impl Ensemble {
    /// Learns from the comparisons, the same from the same seed. `None` when `go_on` said no in between.
    pub fn fit(
        comparisons: &[Comparison<'_>],
        scale: &Scale,
        seed: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Option<Self> {
        let data = Data::new(comparisons, scale);
        let rng = Rng::new(seed);
        let spread = data.choose_spread(rng, go_on)?;
        let zero = vec![0.0; scale.width()];
        let centre = data.solve(&vec![1.0; comparisons.len()], &zero, spread);
        let numbers = 0..N_HEADS as u64;
        let heads: Option<Vec<Vec<f64>>> = numbers
            .into_par_iter()
            .map(|head| {
                let mut draws = rng.stream("prior", head);
                let prior: Vec<f64> = (0..scale.width()).map(|_| spread * draws.normal()).collect();
                let counts = data.resample(rng, "bootstrap", head);
                go_on().then(|| scaled(data.solve(&counts, &prior, spread), scale))
            })
            .collect();
        Some(Self {
            heads: heads?,
            centre: scaled(centre, scale),
            spread,
        })
    }

    /// What each head makes of a completion. Only differences within a prompt mean something.
    pub fn scores(&self, features: &[f32]) -> Vec<f64> {
        self.heads.iter().map(|head| dot(features, head)).collect()
    }

    /// The best guess at a completion's score.
    pub fn best_score(&self, features: &[f32]) -> f64 {
        dot(features, &self.centre)
    }
}

fn scaled(mut weights: Vec<f64>, scale: &Scale) -> Vec<f64> {
    for (weight, factor) in weights.iter_mut().zip(&scale.0) {
        *weight *= f64::from(*factor);
    }
    weights
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
    fn new(comparisons: &[Comparison<'_>], scale: &Scale) -> Self {
        let mut places = BTreeMap::new();
        let mut rows = Vec::with_capacity(comparisons.len() * scale.width());
        let mut groups = Vec::with_capacity(comparisons.len());
        for comparison in comparisons {
            let sides = comparison.chosen.iter().zip(comparison.rejected);
            rows.extend(sides.zip(&scale.0).map(|((a, b), factor)| (a - b) * factor));
            let n = places.len();
            groups.push(*places.entry(comparison.group).or_insert(n));
        }
        let target = |comparison: &Comparison<'_>| if comparison.tie { 0.5 } else { 1.0 };
        Self {
            rows,
            width: scale.width(),
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

    fn solve(&self, counts: &[f64], prior: &[f64], spread: f64) -> Vec<f64> {
        let problem = Problem {
            rows: &self.rows,
            width: self.width,
            targets: &self.targets,
            counts,
            prior,
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
        let weights = self.solve(&counts, &vec![0.0; self.width], spread);
        let out = (0..counts.len()).filter(|at| counts[*at] == 0.0);
        out.map(|at| {
            let margin = dot(&self.rows[at * self.width..][..self.width], &weights);
            // y log σ(m) + (1 − y) log σ(−m)
            -softplus(-margin) - (1.0 - self.targets[at]) * margin
        })
        .sum()
    }
}

/// log(1 + eˣ)
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::uncertainty;

    const WIDTH: usize = 12;

    /// Completions with random features, those of a "prompt" two by two, and comparisons by a hidden head that uses only
    /// the first four features.
    fn world(n: usize, n_used: usize, seed: u64) -> (Vec<[Vec<f32>; 2]>, Vec<bool>) {
        let mut draws = Rng::new(seed).stream("world", 0);
        let mut side = || {
            (0..WIDTH)
                .map(|at| if at < n_used { draws.normal() as f32 } else { 0.25 })
                .collect::<Vec<f32>>()
        };
        let pairs: Vec<[Vec<f32>; 2]> = (0..n).map(|_| [side(), side()]).collect();
        let value = |x: &[f32]| 2.0 * x[0] - x[1] + 0.5 * x[2];
        let first = pairs.iter().map(|[a, b]| value(a) > value(b)).collect();
        (pairs, first)
    }

    fn comparisons<'a>(pairs: &'a [[Vec<f32>; 2]], first: &[bool]) -> Vec<Comparison<'a>> {
        let sides = pairs.iter().zip(first).enumerate();
        sides
            .map(|(at, ([a, b], first))| Comparison {
                chosen: if *first { a } else { b },
                rejected: if *first { b } else { a },
                tie: false,
                group: at as u64,
            })
            .collect()
    }

    fn fit(pairs: &[[Vec<f32>; 2]], first: &[bool]) -> Ensemble {
        let scale = Scale::of(WIDTH, pairs.iter().map(|[a, b]| (a.as_slice(), b.as_slice())));
        Ensemble::fit(&comparisons(pairs, first), &scale, 7, &|| true).unwrap()
    }

    fn mean_uncertainty(ensemble: &Ensemble, pairs: &[[Vec<f32>; 2]]) -> f64 {
        let each = pairs.iter().map(|[a, b]| uncertainty(ensemble, &[a, b]).unwrap());
        each.sum::<f64>() / pairs.len() as f64
    }

    #[test]
    fn the_best_guess_finds_the_hidden_head() {
        let (pairs, first) = world(400, 4, 1);
        let ensemble = fit(&pairs[..200], &first[..200]);
        let right = pairs[200..].iter().zip(&first[200..]);
        let right =
            right.filter(|([a, b], first)| (ensemble.best_score(a) > ensemble.best_score(b)) == **first);
        assert!(right.count() > 185);
    }

    #[test]
    fn more_comparisons_leave_less_uncertain() {
        let (pairs, first) = world(440, 4, 2);
        let fresh = &pairs[400..];
        let uncertain = [10, 40, 400].map(|n| mean_uncertainty(&fit(&pairs[..n], &first[..n]), fresh));
        assert!(
            uncertain[0] > uncertain[1] && uncertain[1] > uncertain[2],
            "{uncertain:?}"
        );
    }

    #[test]
    fn what_no_comparison_speaks_of_is_more_uncertain_than_what_many_do() {
        let (mut pairs, first) = world(100, 4, 3);
        // Both pairs differ in one feature alone, as much as is usual: one that many comparisons have, and a new one.
        let base = vec![0.25; WIDTH];
        let differing = |at: usize| {
            let mut other = base.clone();
            other[at] += 1.4;
            [base.clone(), other]
        };
        let known = differing(0);
        let unknown = differing(9);
        pairs.push(unknown.clone());
        let scale = Scale::of(WIDTH, pairs.iter().map(|[a, b]| (a.as_slice(), b.as_slice())));
        let learnt = comparisons(&pairs[..100], &first);
        let ensemble = Ensemble::fit(&learnt, &scale, 7, &|| true).unwrap();
        let of = |[a, b]: &[Vec<f32>; 2]| uncertainty(&ensemble, &[a, b]).unwrap();
        assert!(of(&unknown) > 3.0 * of(&known), "{} {}", of(&unknown), of(&known));
    }

    #[test]
    fn the_same_seed_gives_the_same_heads_and_another_seed_others() {
        let (pairs, first) = world(30, 4, 4);
        let scale = Scale::of(WIDTH, pairs.iter().map(|[a, b]| (a.as_slice(), b.as_slice())));
        let learnt = comparisons(&pairs, &first);
        let with = |seed| Ensemble::fit(&learnt, &scale, seed, &|| true).unwrap();
        assert_eq!(with(5), with(5));
        assert_ne!(with(5), with(6));
        assert_eq!(Ensemble::fit(&learnt, &scale, 5, &|| false), None);
    }

    #[test]
    fn the_size_of_a_feature_does_not_matter() {
        let (pairs, first) = world(60, 4, 5);
        let grown = |side: &Vec<f32>| {
            side.iter()
                .enumerate()
                .map(|(at, x)| x * 2f32.powi(at as i32))
                .collect()
        };
        let large: Vec<[Vec<f32>; 2]> = pairs.iter().map(|[a, b]| [grown(a), grown(b)]).collect();
        let (one, other) = (fit(&pairs, &first), fit(&large, &first));
        let (small, large) = (mean_uncertainty(&one, &pairs), mean_uncertainty(&other, &large));
        assert!((small - large).abs() < 1e-4 * small, "{small} {large}");
    }

    #[test]
    fn without_comparisons_the_heads_are_what_they_are_drawn_towards() {
        let (pairs, _) = world(50, 4, 6);
        let scale = Scale::of(WIDTH, pairs.iter().map(|[a, b]| (a.as_slice(), b.as_slice())));
        let ensemble = Ensemble::fit(&[], &scale, 1, &|| true).unwrap();
        assert!(mean_uncertainty(&ensemble, &pairs) > 0.1);
        assert_eq!(ensemble.best_score(&pairs[0][0]), 0.0);
    }
}
