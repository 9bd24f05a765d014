//! How reliable each annotator is, estimated jointly with how strong the completions are, after Crowd-BT (Chen et al. 2013,
//! "Pairwise ranking aggregation in a crowdsourced setting"): with probability η a person's verdict follows the strengths,
//! P(i ≻ j) = σ(s_i - s_j), and with 1 - η it says the opposite. η has a Beta prior, strengths a normal one.
//!
//! Crowd-BT fits all s and η at once. Here a completion has only a handful of verdicts, so that its fitted strength
//! would follow each of them and everybody would look reliable (who answers at random at 0.98 where three people judge each
//! pair). So the difference of strengths of each pair is integrated out, and the spread of the differences is fitted
//! along: a composite likelihood over pairs, maximised by EM. Ties are left out.

mod model;

use self::model::Model;
use super::sample::{Sample, quantile};
use laurel_protocol::{Estimate, Interval};
use std::collections::BTreeMap;

const MAX_STEPS: usize = 500;
const TOLERANCE: f64 = 1e-5;
/// An interval's fits begin at the estimate and need be no nearer than its ends are sure.
const STEPS_OF_A_RESAMPLE: usize = 25;
const MAX_RESAMPLES: usize = 200;
const MIN_RESAMPLES: usize = 100;
/// Votes that all fits of the intervals may read.
const MAX_VOTES: usize = 20_000_000;
/// Of fewer verdicts that others gave as well, nothing is told.
const MIN_VERDICTS: u32 = 10;

/// A person's verdict on a pair, people by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vote {
    pub who: usize,
    pub first_is_better: bool,
}

/// The strict verdicts on one pair of completions, by at least two people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contest(Vec<Vote>);

impl Contest {
    /// Which of the two is called the first makes no difference: contests that differ in this alone are the same.
    pub fn of(mut votes: Vec<Vote>) -> Option<Self> {
        votes.sort_unstable();
        let is_turned = !votes.first()?.first_is_better;
        for vote in &mut votes {
            vote.first_is_better ^= is_turned;
        }
        (votes.len() > 1).then_some(Self(votes))
    }
}

/// The η of each of so many people, with the bootstrap's interval over tasks; `None` of whom too little is known.
pub fn reliabilities(tasks: Vec<Vec<Contest>>, n_people: usize) -> Vec<Option<Estimate>> {
    let tasks = Sample::merged(tasks);
    let contests = Contests::of(tasks.kinds());
    let times = tasks.original();
    let model = contests.fit(&contests.weights(&times), Model::new(n_people), MAX_STEPS);
    let n_verdicts = contests.n_verdicts(&times, n_people);
    let intervals = intervals(&tasks, &contests, &model);
    let told = |who: usize| Estimate {
        value: model.eta[who],
        interval: intervals.as_ref().map(|intervals| intervals[who]),
    };
    (0..n_people)
        .map(|who| (n_verdicts[who] >= MIN_VERDICTS).then(|| told(who)))
        .collect()
}

/// The η of each alone, without intervals.
pub fn values(tasks: Vec<Vec<Contest>>, n_people: usize) -> Vec<Option<f64>> {
    let tasks = Sample::merged(tasks);
    let contests = Contests::of(tasks.kinds());
    let times = tasks.original();
    let model = contests.fit(&contests.weights(&times), Model::new(n_people), MAX_STEPS);
    let told = contests.n_verdicts(&times, n_people).into_iter().zip(model.eta);
    told.map(|(n, eta)| (n >= MIN_VERDICTS).then_some(eta)).collect()
}

fn intervals(tasks: &Sample<Vec<Contest>>, contests: &Contests, model: &Model) -> Option<Vec<Interval>> {
    let n_votes: usize = contests.distinct.iter().map(|contest| contest.0.len()).sum();
    let n_resamples = (MAX_VOTES / STEPS_OF_A_RESAMPLE / n_votes.max(1)).min(MAX_RESAMPLES);
    if n_resamples < MIN_RESAMPLES || !tasks.is_large_enough() {
        return None;
    }
    let fits: Vec<Model> = tasks
        .resamples(n_resamples)
        .map(|times| contests.fit(&contests.weights(&times), model.clone(), STEPS_OF_A_RESAMPLE))
        .collect();
    let interval = |who: usize| {
        let mut values: Vec<f64> = fits.iter().map(|fit| fit.eta[who]).collect();
        values.sort_by(f64::total_cmp);
        Interval {
            low: quantile(&values, 0.025),
            high: quantile(&values, 0.975),
        }
    };
    Some((0..model.eta.len()).map(interval).collect())
}

/// Like contests once, and which of them each kind of task has.
struct Contests {
    distinct: Vec<Contest>,
    of_task: Vec<Vec<usize>>,
}

impl Contests {
    fn of(tasks: &[Vec<Contest>]) -> Self {
        let mut numbers = BTreeMap::<&Contest, usize>::new();
        for contest in tasks.iter().flatten() {
            let next = numbers.len();
            numbers.entry(contest).or_insert(next);
        }
        let of_task = |task: &Vec<Contest>| task.iter().map(|contest| numbers[contest]).collect();
        let of_task = tasks.iter().map(of_task).collect();
        let mut distinct: Vec<_> = numbers.into_iter().collect();
        distinct.sort_by_key(|(_, number)| *number);
        Self {
            distinct: distinct.into_iter().map(|(contest, _)| contest.clone()).collect(),
            of_task,
        }
    }

    /// How often each contest occurs where each kind of task occurs so often.
    fn weights(&self, times: &[u32]) -> Vec<f64> {
        let mut weights = vec![0.0; self.distinct.len()];
        for (contests, times) in self.of_task.iter().zip(times) {
            for &contest in contests {
                weights[contest] += f64::from(*times);
            }
        }
        weights
    }

    fn n_verdicts(&self, times: &[u32], n_people: usize) -> Vec<u32> {
        let mut n_verdicts = vec![0; n_people];
        for (contests, times) in self.of_task.iter().zip(times) {
            for vote in contests.iter().flat_map(|contest| &self.distinct[*contest].0) {
                n_verdicts[vote.who] += times;
            }
        }
        n_verdicts
    }

    /// EM until η moves no more.
    fn fit(&self, weights: &[f64], start: Model, max_steps: usize) -> Model {
        let mut model = start;
        for _ in 0..max_steps {
            let weighted = self.distinct.iter().zip(weights.iter().copied());
            let next = model.step(weighted);
            let moved = next
                .eta
                .iter()
                .zip(&model.eta)
                .map(|(new, old)| (new - old).abs());
            let is_there = moved.fold(0.0, f64::max) < TOLERANCE;
            model = next;
            if is_there {
                break;
            }
        }
        model
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::sample::SplitMix64;

    fn uniform(random: &mut SplitMix64) -> f64 {
        (random.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The sum of twelve is near enough to a normal one.
    fn normal(random: &mut SplitMix64) -> f64 {
        (0..12).map(|_| uniform(random)).sum::<f64>() - 6.0
    }

    /// Tasks of `k` completions, each judged pair by pair by `overlap` people of these reliabilities.
    fn simulated(
        seed: u64,
        etas: &[f64],
        n_tasks: usize,
        k: usize,
        overlap: usize,
        spread: f64,
    ) -> Vec<Vec<Contest>> {
        let mut random = SplitMix64(seed);
        let task = |_| {
            let strengths: Vec<f64> = (0..k).map(|_| spread * normal(&mut random)).collect();
            let mut people: Vec<usize> = (0..etas.len()).collect();
            for last in (1..people.len()).rev() {
                people.swap(last, random.below(last + 1));
            }
            people.truncate(overlap);
            let mut contests = Vec::new();
            for (a, b) in (0..k).flat_map(|a| (a + 1..k).map(move |b| (a, b))) {
                let better = 1.0 / (1.0 + (strengths[b] - strengths[a]).exp());
                let vote = |&who: &usize| Vote {
                    who,
                    first_is_better: uniform(&mut random)
                        < etas[who] * better + (1.0 - etas[who]) * (1.0 - better),
                };
                contests.extend(Contest::of(people.iter().map(vote).collect()));
            }
            contests
        };
        (0..n_tasks).map(task).collect()
    }

    const ETAS: [f64; 6] = [0.98, 0.95, 0.9, 0.8, 0.65, 0.5];

    #[track_caller]
    fn are_found(tasks: Vec<Vec<Contest>>, etas: &[f64], tolerance: f64) {
        let found = reliabilities(tasks, etas.len());
        let values: Vec<f64> = found.iter().map(|found| found.unwrap().value).collect();
        let near = |(value, eta): (&f64, &f64)| (value - eta).abs() < tolerance;
        assert!(values.iter().zip(etas).all(near), "{values:.3?} for {etas:?}");
    }

    #[test]
    fn known_reliabilities_are_found_again_within_a_tenth() {
        for seed in 0..3 {
            are_found(simulated(seed, &ETAS, 1500, 2, 5, 1.5), &ETAS, 0.1);
            are_found(simulated(seed, &ETAS, 400, 4, 3, 1.5), &ETAS, 0.1);
        }
    }

    #[test]
    fn who_answers_at_random_comes_out_near_a_half_and_who_contradicts_below() {
        let etas = [0.9, 0.9, 0.9, 0.5, 0.15];
        let found = reliabilities(simulated(7, &etas, 800, 2, 4, 1.5), etas.len());
        let of = |who: usize| found[who].unwrap();
        assert!((of(3).value - 0.5).abs() < 0.08, "{:?}", of(3));
        let interval = of(3).interval.unwrap();
        assert!(interval.low < 0.5 && interval.high > 0.5, "{interval:?}");
        assert!(of(4).value < 0.3 && of(0).value > 0.8, "{found:?}");
    }

    #[test]
    fn the_same_answers_always_give_the_same_figures() {
        let once = || reliabilities(simulated(1, &ETAS, 100, 2, 3, 1.5), ETAS.len());
        assert_eq!(once(), once());
    }

    #[test]
    fn of_who_shares_little_nothing_is_told() {
        let alone = Contest::of(vec![Vote {
            who: 2,
            first_is_better: true,
        }]);
        assert_eq!(alone, None);
        let mut tasks = simulated(1, &ETAS[..2], 30, 2, 2, 1.5);
        let vote = |who| Vote {
            who,
            first_is_better: true,
        };
        tasks.push(Contest::of(vec![vote(0), vote(2)]).into_iter().collect());
        let found = reliabilities(tasks, 3);
        assert!(found[0].is_some() && found[1].is_some());
        assert_eq!(found[2], None);
    }
}
