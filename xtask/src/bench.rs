//! `cargo xtask bench …`: measurements; each prints one line of JSON on standard output.

use crate::{build, parity, place::Place, seed, shell, test::Built};
use anyhow::Result;
use clap::{Args, Subcommand};
use std::{path::PathBuf, process::Command};

#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// First contentful paint of the labelling page on a throttled connection, and its size.
    Page,
    /// From a key press on the labelling page to the paint of the next task, in Chromium.
    Keys,
    /// Training speed and memory of SFT, reward and DPO rounds on the default model.
    Train(Train),
    /// Decode speed of the generation engine on the default model, for one sequence and for eight.
    Generate(Generate),
    /// 200 annotators at once through a SIGKILL of the server: answers a second, times, and that nothing is lost.
    Labels(Labels),
    /// What the server takes for what the dashboard's pages ask, in a large project (see `seed`).
    Dashboard(Dashboard),
    /// Seconds and memory of a PPO step on the default model: 8 prompts, 128 new tokens, one epoch.
    Ppo(Ppo),
}

#[derive(Args)]
struct Dashboard {
    /// Of each kind
    #[arg(long, default_value_t = 40)]
    requests: u32,
    /// A seeded data folder; else one is made in the cache folder and kept
    #[arg(long)]
    data: Option<PathBuf>,
}

#[derive(Args)]
struct Ppo {
    /// f32, bf16 or quantized: what the frozen weights are kept in
    #[arg(long, default_value = "f32")]
    precision: String,
    /// Counted steps
    #[arg(long, default_value_t = 3)]
    steps: u32,
}

#[derive(Args)]
struct Labels {
    /// Annotators at once, each with an account and a session
    #[arg(long, default_value_t = 200)]
    annotators: u32,
    /// Of each of the two parts, paced and without a pause
    #[arg(long, default_value_t = 120)]
    seconds: u32,
    /// Answers a second of all together in the paced part
    #[arg(long, default_value_t = 100)]
    per_second: u32,
    /// Ten seconds each
    #[arg(long, conflicts_with = "seconds")]
    quick: bool,
    /// Run Label Studio with as many annotators, too, and print the ratio
    #[arg(long)]
    vs_label_studio: bool,
    /// A Python environment that has Label Studio already; else one is made in the cache folder
    #[arg(long)]
    venv: Option<PathBuf>,
}

#[derive(Args)]
struct Train {
    /// f32, bf16 or quantized: what the frozen weights are kept in; auto is bf16 where the CPU multiplies it
    #[arg(long, default_value = "auto")]
    precision: String,
    /// Keep of each block its input alone and compute it again in the backward pass
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Counted steps of each round
    #[arg(long, default_value_t = 5)]
    steps: u32,
    /// Run TRL on the same rows, in turn, and print the ratios
    #[arg(long)]
    vs_trl: bool,
    /// A Python environment that has TRL already; else one is made in the cache folder (several GB)
    #[arg(long)]
    venv: Option<PathBuf>,
}

#[derive(Args)]
struct Generate {
    /// f32, bf16 or quantized, several with commas between them; +lora puts an adapter on
    #[arg(long, default_value = "f32,bf16,quantized,quantized+lora")]
    precision: String,
    /// Repetitions, of which the median counts
    #[arg(long, default_value_t = 3)]
    repetitions: u32,
    /// Run llama.cpp on the same file, in turn, and print the ratios
    #[arg(long)]
    vs_llamacpp: bool,
    /// A Python environment that has xllamacpp already; else one is made in the cache folder (several GB)
    #[arg(long)]
    venv: Option<PathBuf>,
}

pub fn run(place: &Place, options: &Options) -> Result<()> {
    let folder = place.root.join("tests").join("bench");
    let mut bench = match &options.what {
        What::Page => Built::make(place)?.program(place, "bench_page"),
        What::Keys => Built::make(place)?.program(place, "bench_keys"),
        What::Labels(labels) => labels_bench(place, labels)?,
        What::Dashboard(dashboard) => dashboard_bench(place, dashboard)?,
        What::Ppo(ppo) => {
            let mut bench = Built::make(place)?.program(place, "bench_ppo");
            bench.arg(folder);
            bench.args([ppo.precision.clone(), ppo.steps.to_string()]);
            bench
        }
        What::Train(train) => {
            let mut bench = Built::make(place)?.program(place, "bench_train");
            bench.arg(folder).args([
                train.precision.clone(),
                train.gradient_checkpointing.to_string(),
                train.steps.to_string(),
            ]);
            if train.vs_trl {
                bench.arg(parity::venv(place, train.venv.as_deref())?);
            }
            bench
        }
        What::Generate(generate) => {
            let mut bench = Built::make(place)?.program(place, "bench_generate");
            bench
                .arg(folder.join("peers"))
                .args([generate.precision.clone(), generate.repetitions.to_string()]);
            if generate.vs_llamacpp {
                bench.arg(parity::venv(place, generate.venv.as_deref())?);
            }
            bench
        }
    };
    shell::run(&mut bench)
}

fn dashboard_bench(place: &Place, dashboard: &Dashboard) -> Result<Command> {
    let data = match &dashboard.data {
        Some(data) => std::path::absolute(data)?,
        None => seed::kept(place)?,
    };
    let binaries = build::binaries_and_tests(place)?;
    let mut bench = Command::new(place.native_target.join("debug").join("bench_dashboard"));
    bench
        .current_dir(&place.root)
        .env("LAUREL_BIN", binaries.server)
        .env("LAUREL_DIST", place.dist())
        .env("LAUREL_SAMPLE", place.sample())
        .arg(data)
        .arg(dashboard.requests.to_string());
    Ok(bench)
}

/// It needs neither pages nor a model.
fn labels_bench(place: &Place, labels: &Labels) -> Result<Command> {
    let binaries = build::binaries_and_tests(place)?;
    let seconds = if labels.quick { 10 } else { labels.seconds };
    let mut bench = Command::new(place.native_target.join("debug").join("bench_labels"));
    bench
        .current_dir(&place.root)
        .env("LAUREL_BIN", binaries.server)
        .env("LAUREL_DIST", place.dist())
        .env("LAUREL_SAMPLE", place.sample())
        .args([labels.annotators, seconds, labels.per_second].map(|number| number.to_string()));
    if labels.vs_label_studio {
        bench.arg(place.root.join("tests").join("bench").join("peers"));
        bench.arg(parity::label_studio(place, labels.venv.as_deref())?);
    }
    Ok(bench)
}
