//! `cargo xtask COMMAND`: every command that this repository knows.
//!
//! Each does the set-up it needs, says what it is doing, and may be run again at any time: what is already
//! there is left alone. Input is the working tree; output goes to `target/`, to the cache folder
//! (`LAUREL_CACHE`, else `~/.cache/laurel`) and, for `run`, to the data folder.

mod axe;
mod bench;
mod browser;
mod build;
mod check;
mod compress;
mod cuda;
mod dist;
mod experiment;
mod literals;
mod model;
mod parity;
mod place;
mod run;
mod say;
mod screenshots;
mod seed;
mod shell;
mod split;
mod test;
mod wasm;
mod words;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set up, run, test and measure Laurel")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set up what is missing, build, and start the server with a local trainer.
    Run(run::Options),
    /// Set up what is missing, then run the quick checks and all tests, browser tests included.
    Test(test::Options),
    /// Fetch and build everything that the other commands need, and stop.
    Setup,
    /// Formatting, clippy for native and wasm32, and the arrows between the crates.
    Check,
    /// Compile the trainer for NVIDIA GPUs, without having one (installs NVIDIA's compiler, about 1 GB).
    CheckCuda,
    /// Build the front end into target/dist.
    Wasm,
    /// Make the README's screenshots from the running app.
    Screenshots,
    /// Fill a new data folder with a large project, to see what is slow.
    Seed(seed::Options),
    /// Measure something and print one line of JSON.
    Bench(bench::Options),
    /// Train on data whose truth is known, and print how near the models come to it.
    Experiment(experiment::Options),
    /// Compare export, adapter and log-probabilities with TRL and PEFT (installs several GB of Python packages).
    Parity(parity::Options),
}

fn main() -> ExitCode {
    match perform(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The causes on one line; a backtrace of this program would tell nobody anything.
            say::line(&format!("✗ {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    let place = place::Place::find()?;
    match task {
        Task::Run(options) => run::run(&place, &options),
        Task::Test(options) => test::run(&place, &options),
        Task::Setup => setup(&place),
        Task::Check => check::run(&place),
        Task::CheckCuda => cuda::run(&place),
        Task::Wasm => {
            let dist = dist::build(&place)?;
            say::line(&format!("The front end is in {}", dist.display()));
            Ok(())
        }
        Task::Screenshots => screenshots::run(&place),
        Task::Seed(options) => seed::run(&place, &options),
        Task::Bench(options) => bench::run(&place, &options),
        Task::Experiment(options) => experiment::run(&place, &options),
        Task::Parity(options) => parity::run(&place, &options),
    }
}

/// Everything that can be fetched beforehand: afterwards the other commands work without a network.
fn setup(place: &place::Place) -> Result<()> {
    wasm::Toolchain::ensure(place)?;
    model::ensure(place)?;
    browser::ensure()?;
    axe::ensure(place)?;
    test::ensure_nextest()?;
    build::binaries(place)?;
    dist::build(place)?;
    say::line("Ready: `cargo xtask run` starts Laurel, `cargo xtask test` tests it.");
    Ok(())
}
