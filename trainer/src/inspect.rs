//! The subcommand `inspect`: what a model is and what it takes in memory, from its files' headers alone.

use crate::{
    data::Tokenizer,
    hub,
    memory::{WeightBytes, bytes},
    model::Facts,
};
use anyhow::Result;
use serde_json::json;
use std::{collections::BTreeMap, path::PathBuf};

/// Print what a model is: family, parameters, types, context, vocabulary, chat template, memory.
#[derive(clap::Args)]
pub struct InspectArgs {
    /// GGUF file, Hugging Face folder or hub id
    #[arg(long)]
    model: PathBuf,
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

pub fn run(args: &InspectArgs) -> Result<()> {
    let path = hub::locate(&args.model)?.path;
    let facts = Facts::read(&path)?;
    let (config, weights) = (&facts.config, WeightBytes::of(&facts));
    let n_parameters: usize = facts.tensors.iter().map(|tensor| tensor.n_numbers()).sum();
    // By numbers, the commonest first.
    let mut types: BTreeMap<&str, usize> = BTreeMap::new();
    for tensor in &facts.tensors {
        *types.entry(&tensor.dtype).or_default() += tensor.n_numbers();
    }
    let mut types: Vec<(&str, usize)> = types.into_iter().collect();
    types.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    // A model can be trained without a tokenizer that Laurel reads, but not on texts.
    let tokenizer = Tokenizer::load(&path);
    let template = tokenizer.as_ref().is_ok_and(|it| !it.template_hash().is_empty());
    if args.json {
        let line = json!({
            "family": config.family.hf_name(), "parameters": n_parameters,
            "types": types.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<BTreeMap<_, _>>(),
            "layers": config.n_layers, "hidden": config.hidden, "heads": config.n_heads,
            "key_value_heads": config.n_kv_heads, "context": config.max_positions, "vocabulary": config.vocab,
            "tied": config.tied, "tokenizer": tokenizer.is_ok(), "chat_template": template,
            "weight_bytes": weights,
        });
        println!("{line}");
        return Ok(());
    }
    let types: Vec<String> = types
        .iter()
        .map(|(name, n)| format!("{name} {:.1} %", 100.0 * *n as f64 / n_parameters.max(1) as f64))
        .collect();
    println!("family       {}", config.family.hf_name());
    println!("parameters   {:.1} million", n_parameters as f64 / 1e6);
    println!("types        {}", types.join(", "));
    println!(
        "shape        {} blocks of {}, {} heads over {}",
        config.n_layers, config.hidden, config.n_heads, config.n_kv_heads
    );
    println!("context      {} tokens", config.max_positions);
    println!("vocabulary   {} tokens", config.vocab);
    println!(
        "template     {}",
        match (&tokenizer, template) {
            (Err(error), _) => format!("no tokenizer that can be read: {error:#}"),
            (Ok(_), true) => "has a chat template".to_owned(),
            (Ok(_), false) => "no chat template: rows of messages cannot be used".to_owned(),
        }
    );
    println!("weights      {}", weights.text());
    println!(
        "file         {} of tensors",
        bytes(facts.tensors.iter().map(|tensor| tensor.n_bytes).sum())
    );
    Ok(())
}
