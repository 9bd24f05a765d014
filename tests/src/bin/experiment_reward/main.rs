//! How good reward models get, on comparisons from worlds that are known: by the trainer's own command line on the
//! default model. One line of JSON a reward model on standard output, and what they come to on standard error.
//!
//! Usage: experiment_reward ceiling|annotators FIRST_SEED N_SEEDS PRECISION

mod annotators;
mod ceiling;
mod model;
mod world;

use anyhow::{Context, Result, bail, ensure};
use laurel_tests::experiment;
use std::env;

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [what, first_seed, n_seeds, precision] = args.as_slice() else {
        bail!("usage: experiment_reward ceiling|annotators FIRST_SEED N_SEEDS PRECISION");
    };
    let first: u64 = first_seed.parse().context("FIRST_SEED is a whole number")?;
    let n: u64 = n_seeds.parse().context("N_SEEDS is a whole number")?;
    ensure!(n > 0, "N_SEEDS is at least 1");
    let precision = experiment::precision(precision);
    match what.as_str() {
        "ceiling" => ceiling::run(first..first + n, precision),
        "annotators" => annotators::run(first..first + n, precision),
        other => bail!("there is no experiment {other:?}: ceiling or annotators"),
    }
}
