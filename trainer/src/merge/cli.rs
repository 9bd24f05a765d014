//! The subcommand `merge`.

use super::{Options, Report, WeightType, merge};
use crate::device;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::{path::PathBuf, time::Duration};

/// Merge an adapter into its base model, and check the files against the two apart.
///
/// A folder is what transformers, vLLM and others load; a GGUF file is for llama.cpp and what is built on it.
/// Nothing is written over: the place must be free. On an error nothing is left there.
#[derive(clap::Args)]
pub struct MergeArgs {
    /// GGUF file, Hugging Face folder or hub id
    #[arg(long)]
    model: PathBuf,
    /// PEFT folder
    #[arg(long)]
    adapter: PathBuf,
    /// New folder, or new file whose name ends with .gguf
    #[arg(long)]
    out: PathBuf,
    /// Type of the weights in a folder, or of those in a GGUF file that the adapter changes (from a folder: of all
    /// matrices). Default: the base's own; for a quantised base f16 in a folder, q8_0 in a GGUF file. q8_0 and keep (the
    /// type that each tensor has in the base) are for GGUF files.
    #[arg(long, value_enum)]
    dtype: Option<WeightType>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    /// auto, cpu, cuda:N or metal
    #[arg(long, default_value = "auto")]
    device: String,
}

pub fn run(args: &MergeArgs) -> Result<()> {
    let options = Options {
        dtype: args.dtype,
        device: device::open(&args.device)?,
        adapter_name: None,
    };
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    let report = merge(&args.model, &args.adapter, &args.out, &options, &mut |what| {
        bar.set_message(what.to_owned());
        Ok(())
    });
    bar.finish_and_clear();
    let report = report?;
    for note in &report.notes {
        eprintln!("Note: {note}");
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", told(&report));
    }
    Ok(())
}

fn told(report: &Report) -> String {
    let check = &report.verification;
    let line = |what: &str, found: &super::Difference| match report.is_reward_model {
        true => format!("  {what:<24} scores differ by {:.1e} at most\n", found.largest),
        false => format!(
            "  {what:<24} log-probabilities differ by {:.1e} at most, divergence {:.1e} nats, same likeliest token at \
             {:.1} %\n",
            found.largest,
            found.divergence,
            100.0 * found.top1_agreement
        ),
    };
    format!(
        "{}: {} of {} tensors changed, {}, {:.1} MB\n\
         Base and adapter apart, at {} positions, against\n{}{}{}",
        report.out.display(),
        report.n_changed,
        report.n_tensors,
        report.dtype,
        report.size_bytes as f64 / 1e6,
        check.n_positions,
        line("the base alone:", &check.adapter),
        line("the merged weights, f32:", &check.merged),
        line("the files, read back:", &check.written),
    )
}
