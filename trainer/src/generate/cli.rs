//! The subcommand `generate`: prompts from a file, one JSON line a completion.

use super::{Engine, Request};
use crate::{
    adapters::Adapter,
    data::{Tokenizer, template},
    device, hub,
    model::Model,
};
use anyhow::{Context, Result, bail};
use laurel_protocol::{FinishReason, Precision, PromptText, Sampling};
use serde::Deserialize;
use serde_json::json;
use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
};

/// Sample completions of prompts, one JSON line a completion.
#[derive(clap::Args)]
pub struct GenerateArgs {
    /// GGUF file, Hugging Face folder or hub id
    #[arg(long)]
    model: PathBuf,
    /// PEFT folder
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// JSON Lines: {"prompt": "text"} or {"prompt": [{"role", "content"}, …]}
    #[arg(long)]
    prompts: PathBuf,
    /// model, alpaca, alpaca_lf, chatml, plain, or a file with a Jinja template
    #[arg(long, default_value = "model")]
    template: String,
    /// Completions a prompt
    #[arg(long, default_value_t = 1)]
    n: u32,
    /// New tokens at most
    #[arg(long, default_value_t = 200)]
    max_tokens: u32,
    /// 0 is greedy
    #[arg(long, default_value_t = 0.9)]
    temperature: f64,
    #[arg(long, default_value_t = 0.95)]
    top_p: f64,
    /// Only the so many likeliest tokens; 0 keeps all
    #[arg(long, default_value_t = 0)]
    top_k: u32,
    /// Only tokens with at least this share of the likeliest one's probability
    #[arg(long, default_value_t = 0.0)]
    min_p: f64,
    /// Divides the scores of tokens that are there already; 1 changes nothing
    #[arg(long, default_value_t = 1.0)]
    repetition_penalty: f64,
    /// Taken off the score of each token that the completion has already
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f64,
    /// The same, once for each time that it has it
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f64,
    /// Text that ends a completion and is no part of it; up to four times
    #[arg(long)]
    stop: Vec<String>,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// auto, cpu, cuda:N or metal
    #[arg(long, default_value = "auto")]
    device: String,
    /// What the base model is held in: f32, bf16 or quantized
    #[arg(long, default_value = "f32", value_parser = crate::job::cli::precision)]
    precision: Precision,
}

#[derive(Deserialize)]
struct Line {
    prompt: PromptText,
}

pub fn run(args: &GenerateArgs) -> Result<()> {
    let sampling = Sampling {
        temperature: args.temperature,
        top_p: args.top_p,
        top_k: args.top_k,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        presence_penalty: args.presence_penalty,
        frequency_penalty: args.frequency_penalty,
        stop: args.stop.clone(),
        max_tokens: args.max_tokens,
        seed: args.seed,
    };
    if let Err(errors) = sampling.validate() {
        bail!("{} {}", errors[0].field, errors[0].reason);
    }
    let file = std::fs::File::open(&args.prompts).with_context(|| format!("open {:?}", args.prompts))?;
    let path = hub::locate(&args.model)?.path;
    let tokenizer = Tokenizer::read(&path)?.with_template(&template::named(&args.template)?)?;
    let mut requests = Vec::new();
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("read {:?}", args.prompts))?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(line.trim_start_matches('\u{feff}'))
            .with_context(|| format!("{:?}, line {}", args.prompts, at + 1))?;
        requests.push(Request {
            key: at as u64,
            prompt: tokenizer.prompt_ids(&line.prompt.into_messages())?,
            indexes: (0..args.n).collect(),
        });
    }
    let model = Model::load_in(&path, &device::open(&args.device)?, args.precision)?;
    let adapter = args
        .adapter
        .as_deref()
        .map(|path| Adapter::load_peft(path, &model))
        .transpose()?;
    let engine = Engine::new(&model, adapter.as_ref(), &sampling, tokenizer.stop_ids())?.reading(&tokenizer);
    let mut out = std::io::stdout().lock();
    engine.run(requests, &mut |done| {
        let reason = match done.reason {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        };
        let line = json!({
            "prompt_index": done.key, "index": done.index, "completion": done.text(&tokenizer)?,
            "n_tokens": done.ids.len(), "finish_reason": reason,
            "logprob": done.logprobs.iter().sum::<f32>(),
        });
        writeln!(out, "{line}")?;
        Ok(true)
    })
}
