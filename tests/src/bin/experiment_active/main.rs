//! Whether active selection beats random selection: simulated annotators with a known truth compare answers that the
//! default model gave to the sample project's prompts, and what a reward head has learnt from 200 comparisons is measured on
//! pairs of answers to other prompts. Tasks are chosen by the trainer's own code (`laurel_trainer::select`).
//!
//! Usage: experiment_active FIRST_SEED N_SEEDS CACHE_FOLDER PROMPTS_FILE [quick]

mod answers;
mod run;
mod truth;

use anyhow::{Context, Result, bail, ensure};
use laurel_tests::experiment::statistics::Mean;
use serde_json::json;
use std::{env, path::Path};

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let (first_seed, n_seeds, cache, prompts, quick) = match args.as_slice() {
        [first, n, cache, prompts] => (first, n, cache, prompts, false),
        [first, n, cache, prompts, word] if word == "quick" => (first, n, cache, prompts, true),
        _ => bail!("usage: experiment_active FIRST_SEED N_SEEDS CACHE_FOLDER PROMPTS_FILE [quick]"),
    };
    let first: u64 = first_seed.parse().context("FIRST_SEED is a whole number")?;
    let n: u64 = n_seeds.parse().context("N_SEEDS is a whole number")?;
    ensure!(n > 0, "N_SEEDS is at least 1");
    let size = if quick { run::Size::QUICK } else { run::Size::FULL };
    let answers = answers::load(Path::new(cache), Path::new(prompts), &size)?;
    for kind in truth::Kind::ALL {
        let mut ahead: Vec<Vec<f64>> = Vec::new();
        let (mut actives, mut randoms) = (Vec::new(), Vec::new());
        for seed in first..first + n {
            let result = run::run(&answers, kind, seed, &size)?;
            let line = json!({
                "experiment": "active", "truth": kind.name(), "seed": seed, "labels": result.n_labels,
                "active": result.active, "random": result.random, "tasks": result.n_tasks,
                "held_out_pairs": result.n_held_out, "annotators_agree_with_truth": result.agreement,
            });
            println!("{line}");
            let gaps = result.active.iter().zip(&result.random).map(|(a, r)| a - r);
            ahead.push(gaps.collect());
            actives.push(last(&result.active)?);
            randoms.push(last(&result.random)?);
        }
        eprintln!(
            "{}: after {} labels active {}, random {} ({} seeds, means and 95 % intervals)",
            kind.name(),
            size.n_labels,
            Mean::of(&actives),
            Mean::of(&randoms),
            ahead.len()
        );
        for at in 0..ahead[0].len() {
            let gaps: Vec<f64> = ahead.iter().map(|seed| seed[at]).collect();
            let n_ahead = gaps.iter().filter(|gap| **gap > 0.0).count();
            let n_labels = size.n_batch * (at + 1);
            eprintln!(
                "  {n_labels:4} labels: active ahead by {}, in {n_ahead} seeds",
                Mean::of(&gaps)
            );
        }
    }
    Ok(())
}

fn last(curve: &[f64]) -> Result<f64> {
    curve.last().copied().context("there was no batch of labels")
}
