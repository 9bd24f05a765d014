//! `cargo xtask experiment …`: what training reaches on data whose truth is known. Lines of JSON on standard output,
//! one a reward model, and a summary on standard error.

use crate::{build, model, place::Place, shell};
use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use std::process::Command;

#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Reward models on comparisons from a known Bradley-Terry world, beside the best that is possible.
    Reward(Reward),
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

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// How near the default model comes to the Bayes ceiling
    Ceiling,
    /// Losses compared where 30 % of the annotators answer at random
    Annotators,
}

pub fn run(place: &Place, options: &Options) -> Result<()> {
    let What::Reward(reward) = &options.what;
    let model = model::ensure(place)?;
    let binaries = build::binaries_and_tests(place)?;
    for part in reward
        .part
        .map_or(vec![Part::Ceiling, Part::Annotators], |part| vec![part])
    {
        let (name, n_seeds) = match part {
            Part::Ceiling => ("ceiling", 3),
            Part::Annotators => ("annotators", 12),
        };
        let program = place.native_target.join("debug").join("experiment_reward");
        shell::run(
            Command::new(program)
                .current_dir(&place.root)
                .env("LAUREL_TRAINER_BIN", &binaries.trainer)
                .env("LAUREL_MODEL", &model)
                .args([name, &reward.first_seed.to_string()])
                .args([&reward.seeds.unwrap_or(n_seeds).to_string(), &reward.precision]),
        )?;
    }
    Ok(())
}
