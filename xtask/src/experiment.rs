//! `cargo xtask experiment …`: what training reaches on data whose truth is known. Lines of JSON on standard output,
//! one a result, and a summary on standard error.

use crate::{build, model, place::Place, shell};
use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use std::{path::PathBuf, process::Command};

#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Reward models on comparisons from a known Bradley-Terry world, beside the best that is possible.
    Reward(Reward),
    /// Active selection of tasks beside random selection, on simulated annotators with a known truth.
    Active(Active),
    /// PPO and DPO from 400 comparisons that VADER's sentiment lexicon labels, and the reward model between.
    Ppo(Ppo),
}

#[derive(Args)]
struct Reward {
    /// One of the two experiments; else both
    #[arg(long)]
    part: Option<Part>,
    /// The first seed: of the world, the data and the round
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Seeds; 3 for `ceiling` and 12 for `annotators` unless told
    #[arg(long)]
    seeds: Option<u64>,
    /// f32, bf16 or quantized: what the frozen weights are kept in; auto is bf16 where the CPU multiplies it
    #[arg(long, default_value = "auto")]
    precision: String,
}

#[derive(Args)]
struct Active {
    /// The first seed: of the truth, the labels and the heads
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Few short answers, to see that it works
    #[arg(long)]
    quick: bool,
}

#[derive(Args)]
struct Ppo {
    /// The first seed: of the answers, the comparisons and the rounds
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// f32, bf16 or quantized: what the frozen weights are kept in; auto is bf16 where the CPU multiplies it
    #[arg(long, default_value = "auto")]
    precision: String,
    /// A few steps on a few rows, to see that it works
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// How near the default model comes to the Bayes ceiling
    Ceiling,
    /// Losses compared where 30 % of the annotators answer at random
    Annotators,
}

pub fn run(place: &Place, options: &Options) -> Result<()> {
    match &options.what {
        What::Reward(reward) => run_reward(place, reward),
        What::Active(active) => {
            let folder = |path: PathBuf| path.display().to_string();
            let mut args = vec![
                active.first_seed.to_string(),
                active.seeds.to_string(),
                folder(place.cache.join("experiment-active")),
                folder(place.root.join("assets/sample/prompts.jsonl")),
            ];
            args.extend(active.quick.then(|| "quick".to_owned()));
            run_program(place, "experiment_active", &args)
        }
        What::Ppo(ppo) => {
            let mut args = vec![
                ppo.first_seed.to_string(),
                ppo.seeds.to_string(),
                ppo.precision.clone(),
            ];
            args.extend(ppo.quick.then(|| "quick".to_owned()));
            run_program(place, "experiment_ppo", &args)
        }
    }
}

fn run_reward(place: &Place, reward: &Reward) -> Result<()> {
    let parts = match reward.part {
        Some(part) => vec![part],
        None => vec![Part::Ceiling, Part::Annotators],
    };
    for part in parts {
        let (name, n_seeds) = match part {
            Part::Ceiling => ("ceiling", 3),
            Part::Annotators => ("annotators", 12),
        };
        let args = [
            name.to_owned(),
            reward.first_seed.to_string(),
            reward.seeds.unwrap_or(n_seeds).to_string(),
            reward.precision.clone(),
        ];
        run_program(place, "experiment_reward", &args)?;
    }
    Ok(())
}

fn run_program(place: &Place, name: &str, args: &[String]) -> Result<()> {
    let model = model::ensure(place)?;
    let binaries = build::binaries_and_tests(place)?;
    let program = place.native_target.join("debug").join(name);
    shell::run(
        Command::new(program)
            .current_dir(&place.root)
            .env("LAUREL_TRAINER_BIN", &binaries.trainer)
            .env("LAUREL_MODEL", &model)
            .args(args),
    )
}
