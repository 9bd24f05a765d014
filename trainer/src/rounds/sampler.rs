//! Which rows are trained on and in what order, and which prompts are held out. Both depend on the seed alone,
//! so the step number is the sampler's whole state; a rank of several would take every n-th row of a batch. A row is
//! here an element of a batch: a row of the data, or all rows of a ranking.

use crate::{data::PreferencePair, rng::Rng};
use laurel_protocol::round::Hyper;
use std::collections::BTreeSet;

pub struct Sampler {
    rng: Rng,
    n_rows: usize,
    batch_size: usize,
    pub n_steps: u64,
}

impl Sampler {
    pub fn new(rng: Rng, n_rows: usize, hyper: &Hyper) -> Self {
        let batch_size = hyper.batch_size as usize;
        let all = n_rows.div_ceil(batch_size) as u64 * u64::from(hyper.epochs);
        let n_steps = match hyper.max_steps {
            0 => all,
            limit => all.min(u64::from(limit)),
        };
        Self {
            rng,
            n_rows,
            batch_size,
            n_steps,
        }
    }

    /// The rows of a step's batch, by index. Each epoch has an order of its own; its last batch may be smaller.
    pub fn batch(&self, step: u64) -> Vec<usize> {
        let per_epoch = self.n_rows.div_ceil(self.batch_size) as u64;
        let mut order: Vec<usize> = (0..self.n_rows).collect();
        self.rng.stream("order", step / per_epoch).shuffle(&mut order);
        let from = (step % per_epoch) as usize * self.batch_size;
        order[from..(from + self.batch_size).min(self.n_rows)].to_vec()
    }
}

/// Splits rows into trained and held-out ones, whole prompts at a time.
pub fn hold_out(
    rows: Vec<PreferencePair>,
    share: f64,
    rng: Rng,
) -> (Vec<PreferencePair>, Vec<PreferencePair>) {
    let mut groups: Vec<u64> = rows
        .iter()
        .map(|row| row.group)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    rng.stream("held out", 0).shuffle(&mut groups);
    // At least one prompt is trained on; with very few prompts none is held out.
    let n_out = ((groups.len() as f64 * share).round() as usize).min(groups.len().saturating_sub(1));
    let out: BTreeSet<u64> = groups.into_iter().take(n_out).collect();
    let (eval, train) = rows.into_iter().partition(|row| out.contains(&row.group));
    (train, eval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_takes_each_row_once_and_the_next_in_another_order() {
        let hyper = Hyper {
            batch_size: 4,
            epochs: 2,
            ..Hyper::default()
        };
        let sampler = Sampler::new(Rng::new(1), 10, &hyper);
        assert_eq!(sampler.n_steps, 6);
        let epoch = |from: u64| -> Vec<usize> { (from..from + 3).flat_map(|s| sampler.batch(s)).collect() };
        let (first, second) = (epoch(0), epoch(3));
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        assert_ne!(first, second);
    }

    #[test]
    fn no_prompt_is_on_both_sides_of_the_split() {
        let row = |group| PreferencePair {
            prompt: vec![1],
            chosen: vec![2],
            rejected: vec![3],
            group,
            label: Default::default(),
        };
        let rows: Vec<_> = (0..40).map(|i| row(i / 4)).collect();
        let (train, eval) = hold_out(rows, 0.2, Rng::new(0));
        assert_eq!((train.len(), eval.len()), (32, 8));
        assert!(
            train
                .iter()
                .all(|row| eval.iter().all(|other| other.group != row.group))
        );
    }
}
