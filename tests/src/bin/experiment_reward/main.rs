//! How good reward models get, on comparisons from worlds that are known: by the trainer's own command line on the
//! default model. One line of JSON a reward model on standard output, and what they come to on standard error.
//!
//! Usage: experiment_reward ceiling|annotators FIRST_SEED N_SEEDS PRECISION

mod annotators;
mod ceiling;
mod statistics;
mod trainer;
mod world;

use anyhow::{Context, Result, bail, ensure};
use std::{env, fs};

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [what, first_seed, n_seeds, precision] = args.as_slice() else {
        bail!("usage: experiment_reward ceiling|annotators FIRST_SEED N_SEEDS PRECISION");
    };
    let first: u64 = first_seed.parse().context("FIRST_SEED is a whole number")?;
    let n: u64 = n_seeds.parse().context("N_SEEDS is a whole number")?;
    ensure!(n > 0, "N_SEEDS is at least 1");
    let precision = match precision.as_str() {
        "auto" if multiplies_bf16() => "bf16",
        "auto" => "f32",
        given => given,
    };
    match what.as_str() {
        "ceiling" => ceiling::run(first..first + n, precision),
        "annotators" => annotators::run(first..first + n, precision),
        other => bail!("there is no experiment {other:?}: ceiling or annotators"),
    }
}

fn multiplies_bf16() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("avx512_bf16"))
}
