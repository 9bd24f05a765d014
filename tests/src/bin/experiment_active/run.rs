//! One seed: a truth, a crowd that labels tasks batch by batch, and how well what was learnt orders fresh pairs. Both ways
//! of choosing begin with the same batch, and a task has the same label in both. What comes out depends on the order in
//! which the tasks lie, so that several orders are tried and their mean is told.

use crate::{
    answers::{Answer, Answers},
    truth::{self, Kind, Worths, logistic},
};
use anyhow::{Context, Result};
use fastrand::Rng;
use laurel_protocol::{Scoring, Selection};
use laurel_trainer::select::{Comparison, Posterior, Space, worth};

/// Orders of the tasks that a seed's figures are the means over.
const N_ORDERS: usize = 4;

pub struct Size {
    /// Answers to each prompt: each two of them are a task.
    pub n_answers: usize,
    pub n_tokens: usize,
    /// Prompts of which no task is made.
    pub n_held_out: usize,
    pub n_labels: usize,
    /// Labels between two scorings.
    pub n_batch: usize,
}

impl Size {
    pub const FULL: Self = Self {
        n_answers: 6,
        n_tokens: 24,
        n_held_out: 44,
        n_labels: 200,
        n_batch: Scoring::EVERY_ANNOTATIONS as usize,
    };
    pub const QUICK: Self = Self {
        n_answers: 2,
        n_tokens: 8,
        n_labels: 50,
        ..Self::FULL
    };
}

pub struct Outcome {
    /// Share of held-out pairs in the right order, after each batch.
    pub active: Vec<f64>,
    pub random: Vec<f64>,
    pub n_labels: usize,
    pub n_tasks: usize,
    pub n_held_out: usize,
    /// Of the labels of all tasks.
    pub agreement: f64,
}

/// Two answers to a prompt and what the annotator who gets them says.
struct Task<'a> {
    sides: [&'a Answer; 2],
    first_is_better: bool,
}

struct Bench<'a> {
    tasks: Vec<Task<'a>>,
    /// Held-out pairs, the better answer first.
    fresh: Vec<[&'a Answer; 2]>,
    space: Space,
}

pub fn run(answers: &Answers, kind: Kind, seed: u64, size: &Size) -> Result<Outcome> {
    let mut rng = Rng::with_seed(seed);
    let worths = truth::worths(answers, kind, &mut rng);
    let (tasks, agreement) = tasks(answers, &worths, &mut rng);
    let width = answers.tasks[0][0].features.len();
    let sides = tasks.iter().map(|task| {
        (
            task.sides[0].features.as_slice(),
            task.sides[1].features.as_slice(),
        )
    });
    let bench = Bench {
        space: Space::of(width, sides),
        fresh: fresh(answers, &worths),
        tasks,
    };
    let n_batches = size.n_labels.div_ceil(size.n_batch);
    let (mut active, mut random) = (vec![0.0; n_batches], vec![0.0; n_batches]);
    for _ in 0..N_ORDERS {
        let mut order: Vec<usize> = (0..bench.tasks.len()).collect();
        rng.shuffle(&mut order);
        for (sums, is_active) in [(&mut active, true), (&mut random, false)] {
            for (sum, accuracy) in sums.iter_mut().zip(bench.labelled(&order, size, is_active)?) {
                *sum += accuracy / N_ORDERS as f64;
            }
        }
    }
    Ok(Outcome {
        active,
        random,
        n_labels: size.n_labels,
        n_tasks: bench.tasks.len(),
        n_held_out: bench.fresh.len(),
        agreement,
    })
}

impl Bench<'_> {
    /// The accuracy after each batch, tasks taken in this order or by their uncertainty.
    fn labelled(&self, order: &[usize], size: &Size, active: bool) -> Result<Vec<f64>> {
        let mut open = order.to_vec();
        let mut done: Vec<usize> = Vec::new();
        let mut curve = Vec::new();
        let mut scored: Option<Posterior> = None;
        while done.len() < size.n_labels {
            let batch = match (&scored, active) {
                (Some(posterior), true) => self.chosen(&open, posterior, size.n_batch)?,
                _ => open[..size.n_batch].to_vec(),
            };
            open.retain(|task| !batch.contains(task));
            done.extend(batch);
            let posterior = self.learn(&done)?;
            curve.push(self.accuracy(&posterior));
            scored = Some(posterior);
        }
        Ok(curve)
    }

    /// What the server would hand out: the most uncertain ones, and the usual share in the usual order.
    fn chosen(&self, open: &[usize], posterior: &Posterior, n: usize) -> Result<Vec<usize>> {
        let sides = |task: &usize| {
            self.tasks[*task]
                .sides
                .map(|side| side.features.as_slice())
                .to_vec()
        };
        let sides: Vec<Vec<&[f32]>> = open.iter().map(sides).collect();
        let worths = worth(posterior, &self.space, &sides, &|| true)?.context("nobody asked it to stop")?;
        let of = |(worth, task): (Option<f64>, &usize)| Ok((worth.context("a pair has a worth")?, *task));
        let mut scored: Vec<(f64, usize)> = worths.into_iter().zip(open).map(of).collect::<Result<_>>()?;
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let share = usize::from(Selection::default().explore_percent);
        let n_explored = (n * share).div_ceil(100);
        let mut batch: Vec<usize> = scored
            .iter()
            .take(n - n_explored)
            .map(|(_, task)| *task)
            .collect();
        let others: Vec<usize> = open
            .iter()
            .copied()
            .filter(|task| !batch.contains(task))
            .collect();
        batch.extend(others.iter().take(n_explored));
        Ok(batch)
    }

    fn learn(&self, done: &[usize]) -> Result<Posterior> {
        let compared: Vec<Comparison<'_>> = done
            .iter()
            .map(|&at| {
                let task = &self.tasks[at];
                let [first, second] = task.sides.map(|side| side.features.as_slice());
                let (chosen, rejected) = match task.first_is_better {
                    true => (first, second),
                    false => (second, first),
                };
                Comparison {
                    chosen,
                    rejected,
                    tie: false,
                }
            })
            .collect();
        Posterior::fit(&compared, &self.space, &|| true)?.context("nobody asked it to stop")
    }

    fn accuracy(&self, posterior: &Posterior) -> f64 {
        let score = |answer: &Answer| posterior.best_score(&answer.features);
        let right = self
            .fresh
            .iter()
            .filter(|[better, worse]| score(better) > score(worse));
        right.count() as f64 / self.fresh.len() as f64
    }
}

/// The tasks, each with a draw from Bradley-Terry's probability, and how often that names the better answer.
fn tasks<'a>(answers: &'a Answers, worths: &Worths, rng: &mut Rng) -> (Vec<Task<'a>>, f64) {
    let (mut tasks, mut n_right) = (Vec::new(), 0);
    for (answers, worths) in answers.tasks.iter().zip(&worths.tasks) {
        for first in 0..answers.len() {
            for second in first + 1..answers.len() {
                if answers[first].text == answers[second].text {
                    continue; // identical answers never meet
                }
                let gap = worths[first] - worths[second];
                let first_is_better = rng.f64() < logistic(gap);
                n_right += usize::from(first_is_better == (gap > 0.0));
                tasks.push(Task {
                    sides: [&answers[first], &answers[second]],
                    first_is_better,
                });
            }
        }
    }
    let agreement = n_right as f64 / tasks.len() as f64;
    (tasks, agreement)
}

fn fresh<'a>(answers: &'a Answers, worths: &Worths) -> Vec<[&'a Answer; 2]> {
    let mut pairs = Vec::new();
    for (answers, worths) in answers.held_out.iter().zip(&worths.held_out) {
        for first in 0..answers.len() {
            for second in first + 1..answers.len() {
                if worths[first] == worths[second] {
                    continue; // neither is better
                }
                let (better, worse) = match worths[first] > worths[second] {
                    true => (first, second),
                    false => (second, first),
                };
                pairs.push([&answers[better], &answers[worse]]);
            }
        }
    }
    pairs
}
