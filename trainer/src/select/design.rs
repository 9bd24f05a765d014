//! How much each open task's label would settle: greedy Bayesian design of a batch (Ash et al. 2021, "Gone fishing", whose
//! objective is tr(F M⁻¹), with F the Fisher information of all open pairs and M that of the labels so far and the prior;
//! for preferences Mehta et al. 2023 and Das et al. 2024 select by the same covariance).
//!
//! A label of the pair with difference x adds a x xᵀ to M, with a = p (1 − p) of the predicted probability p, so that the
//! covariance C = M⁻¹ loses f (C x)(C x)ᵀ, f = a / (1 + a xᵀ C x), and the objective f xᵀ C F C x. The task that lowers it
//! most comes first, the one that lowers most what that leaves second, and so on: tasks that ask the same do not crowd
//! together, and a coin's throw that no label makes surer stays behind.

use super::{cholesky, matrix, newton::dot, posterior::Posterior, space::Space};
use anyhow::Result;
use rayon::prelude::*;

/// Tasks that are ordered with regard to each other; the others follow by what each would give alone.
const N_TOGETHER: usize = 256;
/// Pairs of which those tasks are chosen: the ones that would give most alone.
const N_CANDIDATES: usize = 4096;

/// A pair of completions of an open task.
struct Pair {
    task: usize,
    /// p (1 − p), times 2 / k where a task has k completions: their ranking says k − 1 independent things.
    information: f64,
}

/// The worth of each task, from the features of its completions: the share of the open pairs' total uncertainty, tr(F C),
/// that its label would settle when the tasks worth more are labelled before it; 0 to 1. `None` for a task of fewer than
/// two completions. `None` in all when `go_on` said no in between.
pub fn worth(
    posterior: &Posterior,
    space: &Space,
    tasks: &[Vec<&[f32]>],
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Vec<Option<f64>>>> {
    let width = space.dimensions();
    let (mut rows, mut pairs) = (Vec::new(), Vec::new());
    for (task, completions) in tasks.iter().enumerate() {
        for (at, first) in completions.iter().enumerate() {
            for second in &completions[at + 1..] {
                space.push_difference(first, second, &mut rows);
                pairs.push(Pair {
                    task,
                    information: 2.0 / completions.len() as f64,
                });
            }
        }
    }
    if pairs.is_empty() {
        return Ok(Some(vec![None; tasks.len()]));
    }
    let variances = matrix::quadratic(&rows, width, &posterior.covariance)?;
    let mut slopes = Vec::with_capacity(pairs.len());
    for ((pair, row), variance) in pairs.iter_mut().zip(rows.chunks_exact(width)).zip(&variances) {
        let share = posterior.probability(row, *variance);
        slopes.push(share * (1.0 - share));
        pair.information *= share * (1.0 - share);
    }
    let fisher = matrix::gram(&rows, width, &slopes)?;
    let spread = matrix::product(&fisher, &posterior.covariance, width)?; // F C
    let total: f64 = spread.iter().step_by(width + 1).sum();
    let settled = matrix::product(&posterior.covariance, &spread, width)?; // C F C
    let gains = matrix::quadratic(&rows, width, &settled)?;
    let mut alone = vec![0.0; tasks.len()];
    for ((pair, gain), variance) in pairs.iter().zip(&gains).zip(&variances) {
        alone[pair.task] += pair.information / (1.0 + pair.information * variance) * gain;
    }
    let Some(first) = together(posterior, &fisher, &rows, &pairs, &alone, go_on)? else {
        return Ok(None);
    };
    Ok(Some(shares(tasks, &first, &alone, total)))
}

/// The tasks that come first, in their order, each with what it gives there.
fn together(
    posterior: &Posterior,
    fisher: &[f64],
    rows: &[f32],
    pairs: &[Pair],
    alone: &[f64],
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Vec<(usize, f64)>>> {
    let width = posterior.head.len();
    let mut order: Vec<usize> = (0..alone.len()).collect();
    order.sort_by(|a, b| alone[*b].total_cmp(&alone[*a]).then(a.cmp(b)));
    let mut of_task: Vec<Vec<usize>> = vec![Vec::new(); alone.len()];
    for (at, pair) in pairs.iter().enumerate() {
        of_task[pair.task].push(at);
    }
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    for &task in &order {
        if !candidates.is_empty() && candidates.len() + of_task[task].len() > N_CANDIDATES {
            break;
        }
        let of_pair = |&at: &usize| Candidate::new(task, pairs[at].information, &rows[at * width..][..width]);
        candidates.extend(of_task[task].iter().map(of_pair));
    }
    candidates
        .par_iter_mut()
        .for_each(|candidate| candidate.begin(&posterior.covariance, fisher));
    let mut first: Vec<(usize, f64)> = Vec::new();
    let mut least = f64::INFINITY;
    while first.len() < N_TOGETHER {
        if !go_on() {
            return Ok(None);
        }
        // Pairs of a task stand side by side.
        let of_tasks = candidates.chunk_by(|a, b| a.task == b.task);
        let gains = of_tasks.map(|pairs| (pairs[0].task, pairs.iter().map(Candidate::gain).sum::<f64>()));
        let best = gains.reduce(|best, other| if other.1 > best.1 { other } else { best });
        let Some((task, gain)) = best else { break };
        least = gain.min(least);
        first.push((task, least.max(0.0)));
        let labelled: Vec<usize> = (0..candidates.len())
            .filter(|at| candidates[*at].task == task)
            .collect();
        for &at in &labelled {
            let told = candidates[at].told(fisher);
            candidates
                .par_iter_mut()
                .for_each(|candidate| candidate.learn(&told));
        }
        candidates.drain(labelled[0]..labelled[0] + labelled.len());
    }
    Ok(Some(first))
}

/// A pair that may be labelled next.
struct Candidate<'a> {
    task: usize,
    information: f64,
    /// x
    difference: &'a [f32],
    /// C x, as C is with the labels so far.
    spread: Vec<f64>,
    /// xᵀ C x
    variance: f64,
    /// xᵀ C F C x
    settled: f64,
}

/// What a label does to the covariance.
struct Told {
    /// C x of the labelled pair.
    spread: Vec<f64>,
    /// F C x
    fisher: Vec<f64>,
    /// xᵀ C F C x
    settled: f64,
    /// f
    factor: f64,
}

impl<'a> Candidate<'a> {
    fn new(task: usize, information: f64, difference: &'a [f32]) -> Self {
        Self {
            task,
            information,
            difference,
            spread: Vec::new(),
            variance: 0.0,
            settled: 0.0,
        }
    }

    fn begin(&mut self, covariance: &[f64], fisher: &[f64]) {
        let width = self.difference.len();
        self.spread = covariance
            .chunks_exact(width)
            .map(|row| dot(self.difference, row))
            .collect();
        self.variance = dot(self.difference, &self.spread);
        let weighed = fisher
            .chunks_exact(width)
            .map(|row| cholesky::dot(row, &self.spread));
        self.settled = weighed.zip(&self.spread).map(|(f, x)| f * x).sum();
    }

    fn factor(&self) -> f64 {
        self.information / (1.0 + self.information * self.variance)
    }

    fn gain(&self) -> f64 {
        self.factor() * self.settled
    }

    fn told(&self, fisher: &[f64]) -> Told {
        let rows = fisher.chunks_exact(self.spread.len());
        Told {
            spread: self.spread.clone(),
            fisher: rows.map(|row| cholesky::dot(row, &self.spread)).collect(),
            settled: self.settled,
            factor: self.factor(),
        }
    }

    /// C ← C − f (C x)(C x)ᵀ, as far as this pair sees it.
    fn learn(&mut self, told: &Told) {
        let shared = dot(self.difference, &told.spread);
        let moved = told.factor * shared;
        let crossed = cholesky::dot(&told.fisher, &self.spread);
        self.settled += moved * (moved * told.settled - 2.0 * crossed);
        self.variance -= moved * shared;
        for (x, other) in self.spread.iter_mut().zip(&told.spread) {
            *x -= moved * other;
        }
    }
}

/// The worths of all: those ordered together as they are, the others below the last of them.
fn shares(tasks: &[Vec<&[f32]>], first: &[(usize, f64)], alone: &[f64], total: f64) -> Vec<Option<f64>> {
    let mut worths: Vec<Option<f64>> = vec![None; tasks.len()];
    for (task, gain) in first {
        worths[*task] = Some(gain / total);
    }
    let last = first.last().map_or(0.0, |(_, gain)| gain / total);
    let is_left = |at: &usize| worths[*at].is_none() && tasks[*at].len() > 1;
    let left: Vec<usize> = (0..tasks.len()).filter(is_left).collect();
    let most = left.iter().map(|at| alone[*at]).fold(f64::MIN_POSITIVE, f64::max);
    for at in left {
        worths[at] = Some(last * alone[at] / most);
    }
    // Rounding may leave a hair outside.
    for worth in worths.iter_mut().flatten() {
        *worth = if worth.is_finite() {
            worth.clamp(0.0, 1.0)
        } else {
            0.0
        };
    }
    worths
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        rng::Rng,
        select::{Comparison, cholesky::Cholesky},
    };

    pub const WIDTH: usize = 12;

    /// Completions with random features, those of a "prompt" two by two, and what a hidden head says of them that uses
    /// only the first features.
    pub fn world(n: usize, n_used: usize, seed: u64) -> (Vec<[Vec<f32>; 2]>, Vec<bool>) {
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

    pub fn space(pairs: &[[Vec<f32>; 2]]) -> Space {
        Space::of(WIDTH, pairs.iter().map(|[a, b]| (a.as_slice(), b.as_slice())))
    }

    pub fn comparisons<'a>(pairs: &'a [[Vec<f32>; 2]], first: &[bool]) -> Vec<Comparison<'a>> {
        let sides = pairs.iter().zip(first);
        sides
            .map(|([a, b], first)| Comparison {
                chosen: if *first { a } else { b },
                rejected: if *first { b } else { a },
                tie: false,
            })
            .collect()
    }

    fn tasks(pairs: &[[Vec<f32>; 2]]) -> Vec<Vec<&[f32]>> {
        pairs
            .iter()
            .map(|pair| pair.iter().map(Vec::as_slice).collect())
            .collect()
    }

    fn worths(pairs: &[[Vec<f32>; 2]], learnt: &[Comparison<'_>], tasks: &[Vec<&[f32]>]) -> Vec<Option<f64>> {
        let space = space(pairs);
        let posterior = Posterior::fit(learnt, &space, &|| true).unwrap().unwrap();
        worth(&posterior, &space, tasks, &|| true).unwrap().unwrap()
    }

    /// tr(F C) by brute force after so many labels, each worth its information before the first.
    fn left(space: &Space, posterior: &Posterior, pairs: &[[Vec<f32>; 2]], labelled: &[usize]) -> f64 {
        let mut rows = Vec::new();
        for [a, b] in pairs {
            space.push_difference(a, b, &mut rows);
        }
        let variances = matrix::quadratic(&rows, WIDTH, &posterior.covariance).unwrap();
        let information = |at: usize| {
            let share = posterior.probability(&rows[at * WIDTH..][..WIDTH], variances[at]);
            share * (1.0 - share)
        };
        let all: Vec<f64> = (0..pairs.len()).map(information).collect();
        let fisher = matrix::gram(&rows, WIDTH, &all).unwrap();
        let mut precision = Cholesky::of(&posterior.covariance, WIDTH).unwrap().inverse();
        for &at in labelled {
            let row = &rows[at * WIDTH..][..WIDTH];
            for a in 0..WIDTH {
                for b in 0..WIDTH {
                    precision[a * WIDTH + b] += all[at] * f64::from(row[a]) * f64::from(row[b]);
                }
            }
        }
        let covariance = Cholesky::of(&precision, WIDTH).unwrap().inverse();
        let product = matrix::product(&fisher, &covariance, WIDTH).unwrap();
        product.iter().step_by(WIDTH + 1).sum()
    }

    #[test]
    fn each_task_is_worth_what_it_takes_off_the_objective_behind_those_before_it() {
        let (pairs, first) = world(40, WIDTH, 3);
        let (space, learnt) = (space(&pairs), comparisons(&pairs[..10], &first[..10]));
        let posterior = Posterior::fit(&learnt, &space, &|| true).unwrap().unwrap();
        let open = &pairs[10..];
        let worths = worth(&posterior, &space, &tasks(open), &|| true)
            .unwrap()
            .unwrap();
        let mut order: Vec<usize> = (0..open.len()).collect();
        order.sort_by(|a, b| worths[*b].unwrap().total_cmp(&worths[*a].unwrap()));
        let total = left(&space, &posterior, open, &[]);
        let mut before = total;
        for n in 1..=6 {
            let after = left(&space, &posterior, open, &order[..n]);
            let told = worths[order[n - 1]].unwrap();
            assert!(
                (told - (before - after) / total).abs() < 1e-4,
                "{n}: {told} {}",
                (before - after) / total
            );
            // No other task would have taken off more.
            for &other in &order[n..] {
                let instead = [&order[..n - 1], &[other]].concat();
                assert!(left(&space, &posterior, open, &instead) > after - 1e-4 * total);
            }
            before = after;
        }
    }

    #[test]
    fn a_task_that_asks_the_same_as_another_is_worth_less_behind_it() {
        let (pairs, _) = world(6, WIDTH, 5);
        let twice = [pairs.clone(), vec![pairs[0].clone(); 3]].concat();
        let worths = worths(&pairs, &[], &tasks(&twice));
        let mut same: Vec<f64> = [0, 6, 7, 8].map(|at| worths[at].unwrap()).to_vec();
        same.sort_by(|a, b| b.total_cmp(a));
        // Each of them would be worth as much alone.
        assert!(same[1] < 0.5 * same[0] && same[2] < 0.6 * same[1], "{same:?}");
    }

    #[test]
    fn what_no_comparison_speaks_of_is_worth_more_than_what_many_do() {
        let (pairs, first) = world(100, 4, 3);
        // Both pairs differ in one feature alone, as much as is usual: one that many comparisons have, and a new one.
        let base = vec![0.25; WIDTH];
        let differing = |at: usize| {
            let mut other = base.clone();
            other[at] += 1.4;
            [base.clone(), other]
        };
        let open = [differing(0), differing(9)];
        let all = [pairs.clone(), vec![differing(9)]].concat();
        let worths = worths(&all, &comparisons(&pairs, &first), &tasks(&open));
        assert!(worths[1].unwrap() > 3.0 * worths[0].unwrap(), "{worths:?}");
    }

    #[test]
    fn equal_completions_are_worth_nothing_and_one_alone_has_no_worth() {
        let (pairs, first) = world(30, 4, 8);
        let (a, b) = (pairs[0][0].as_slice(), pairs[0][1].as_slice());
        let open = [
            vec![a, a],
            vec![a],
            vec![a, b],
            vec![],
            vec![a, b, pairs[1][0].as_slice()],
        ];
        let worths = worths(&pairs, &comparisons(&pairs, &first), &open);
        assert_eq!([worths[0], worths[1], worths[3]], [Some(0.0), None, None]);
        assert!(worths[2] > Some(0.0) && worths[4] > Some(0.0));
    }

    #[test]
    fn more_tasks_than_are_ordered_together_follow_below() {
        let (pairs, first) = world(N_TOGETHER + 90, WIDTH, 9);
        let learnt = comparisons(&pairs[..20], &first[..20]);
        let worths = worths(&pairs, &learnt, &tasks(&pairs[20..]));
        assert!(
            worths
                .iter()
                .all(|worth| worth.is_some_and(|worth| (0.0..=1.0).contains(&worth)))
        );
        let mut sorted: Vec<f64> = worths.into_iter().flatten().collect();
        sorted.sort_by(|a, b| b.total_cmp(a));
        assert!(sorted[N_TOGETHER - 1] >= sorted[N_TOGETHER] && sorted[0] > sorted[N_TOGETHER]);
    }
}
