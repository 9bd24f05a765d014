//! A step's figures, gathered over its passes.

use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// Weighted means of a step's figures.
#[derive(Default)]
pub struct Tally {
    sums: BTreeMap<&'static str, (f64, f64)>,
    pub n_tokens: usize,
}

impl Tally {
    pub fn add(&mut self, name: &'static str, value: f64, weight: usize) {
        let (sum, total) = self.sums.entry(name).or_default();
        *sum += value * weight as f64;
        *total += weight as f64;
    }

    /// A pair's rewards, and from them margin and accuracy.
    pub fn add_rewards(&mut self, chosen: f64, rejected: f64) {
        self.add("chosen_reward", chosen, 1);
        self.add("rejected_reward", rejected, 1);
        self.add("margin", chosen - rejected, 1);
        self.add("accuracy", if chosen > rejected { 1.0 } else { 0.0 }, 1);
    }

    pub fn means(&self) -> BTreeMap<String, f64> {
        self.sums
            .iter()
            .map(|(&name, (sum, total))| (name.to_owned(), sum / total))
            .collect()
    }
}

/// What to do about a round whose numbers have run away. The learning rate is part of a round's fingerprint, so
/// that this one cannot go on with a lower one.
pub const ADVICE: &str = "this round cannot go on, start another one with a lower learning rate";

/// A figure that is no number is an error that names it: the round has gone astray, and JSON has no word for it.
pub fn check_finite(values: &BTreeMap<String, f64>, place: &str) -> Result<()> {
    match values.iter().find(|(_, value)| !value.is_finite()) {
        Some((name, _)) => bail!("{place}{name} is not a finite number; {ADVICE}"),
        None => Ok(()),
    }
}
