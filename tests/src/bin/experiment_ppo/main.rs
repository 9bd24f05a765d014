//! What the default model learns from 400 comparisons of its own answers that VADER's sentiment lexicon labels: a reward
//! round on them, a PPO round from that reward model, and a DPO round on the same comparisons, by the trainer's own
//! command line. Lines of JSON on standard output; the time of each phase, and what it all comes to, on standard error.
//!
//! Usage: experiment_ppo FIRST_SEED N_SEEDS PRECISION [quick]

mod policy;
mod prompts;
mod scorer;
mod seed;
mod summary;

use anyhow::{Context, Result, bail, ensure};
use laurel_tests::experiment;
use seed::{FULL, QUICK};
use std::env;

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let (size, args) = match args.split_last() {
        Some((last, rest)) if last == "quick" => (QUICK, rest),
        _ => (FULL, &args[..]),
    };
    let [first_seed, n_seeds, precision] = args else {
        bail!("usage: experiment_ppo FIRST_SEED N_SEEDS PRECISION [quick]");
    };
    let first: u64 = first_seed.parse().context("FIRST_SEED is a whole number")?;
    let n: u64 = n_seeds.parse().context("N_SEEDS is a whole number")?;
    ensure!(n > 0, "N_SEEDS is at least 1");
    let precision = experiment::precision(precision);
    let mut points = Vec::new();
    for seed in first..first + n {
        points.extend(seed::run(seed, precision, &size)?);
    }
    summary::print(&points);
    Ok(())
}
