//! The trainer process: its command line. Each subcommand lives beside the part of the library that it runs.

use anyhow::Result;
use clap::{Parser, Subcommand};
use laurel_trainer::{generate, inspect, job, merge, rounds, serve};
use std::process::ExitCode;

/// Activations are large and short-lived; this allocator keeps their pages instead of returning them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The option's place in mimalloc's header, which the crate's list leaves out.
const MI_OPTION_PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Freed pages go back to the system after ten minutes instead of ten milliseconds: within a step they are handed
/// out again as they are, where else the system would clear them anew for each layer.
fn keep_freed_pages() {
    // SAFETY: sets a number in the allocator's table of options.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set_default(MI_OPTION_PURGE_DELAY, 600_000);
    }
}

/// Laurel's trainer: rounds of training on preferences, with or without a server.
#[derive(Parser)]
#[command(name = "laurel-trainer", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Round(rounds::cli::RoundArgs),
    Preview(rounds::preview::PreviewArgs),
    Logprobs(rounds::cli::LogprobsArgs),
    Score(rounds::cli::ScoreArgs),
    Generate(generate::cli::GenerateArgs),
    Inspect(inspect::InspectArgs),
    Merge(merge::cli::MergeArgs),
    Serve(serve::cli::ServeArgs),
    Work(job::cli::WorkArgs),
}

fn main() -> ExitCode {
    keep_freed_pages();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: each cause's first, since candle's errors may carry a backtrace behind it.
            let causes: Vec<String> = error
                .chain()
                .filter_map(|cause| cause.to_string().lines().next().map(str::to_owned))
                .collect();
            eprintln!("laurel-trainer: {}", causes.join(": "));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Round(args) => rounds::cli::round(&args),
        Command::Preview(args) => rounds::preview::run(&args),
        Command::Logprobs(args) => rounds::cli::logprobs(&args),
        Command::Score(args) => rounds::cli::score(&args),
        Command::Generate(args) => generate::cli::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Merge(args) => merge::cli::run(&args),
        Command::Serve(args) => serve::cli::run(&args),
        Command::Work(args) => job::cli::run(&args),
    }
}
