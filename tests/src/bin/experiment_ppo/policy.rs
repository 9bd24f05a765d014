//! What a policy answers: sampled by the trainer, scored by VADER, and held against the base model.

use crate::scorer::score;
use anyhow::{Context, Result};
use laurel_tests::experiment::{statistics::Mean, trainer::Trainer};
use serde_json::{Value, json};
use std::path::Path;

/// New tokens of an answer at most.
pub const N_TOKENS: usize = 32;

pub struct Answer {
    pub prompt: usize,
    pub text: String,
    /// VADER's.
    pub score: f64,
    pub n_tokens: u64,
    ended: bool,
}

/// Answers as the policy samples them, at temperature 1: so many to each prompt, prompt by prompt.
pub fn answers(
    trainer: &mut Trainer,
    adapter: Option<&Path>,
    prompts: &[Value],
    n: usize,
    seed: u64,
    precision: &str,
) -> Result<Vec<Answer>> {
    let rows: Vec<Value> = prompts.iter().map(|prompt| json!({"prompt": prompt})).collect();
    let options = [
        ("--n", n.to_string()),
        ("--max-tokens", N_TOKENS.to_string()),
        ("--temperature", "1".to_owned()),
        ("--top-p", "1".to_owned()),
        ("--seed", seed.to_string()),
        ("--precision", precision.to_owned()),
    ];
    let lines = trainer.generate(adapter, &rows, &options)?;
    lines
        .iter()
        .map(|line| {
            let text = line["completion"].as_str().context("no completion")?;
            Ok(Answer {
                prompt: line["prompt_index"].as_u64().context("no prompt_index")? as usize,
                text: text.to_owned(),
                score: score(text),
                n_tokens: line["n_tokens"].as_u64().context("no n_tokens")?,
                ended: line["finish_reason"] == "stop",
            })
        })
        .collect()
}

/// The mean of a figure of answers over prompts: those to the same prompt are no independent draws.
pub fn by_prompt(n_prompts: usize, figures: impl Iterator<Item = (usize, f64)>) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0, 0.0); n_prompts];
    for (prompt, figure) in figures {
        sums[prompt].0 += figure;
        sums[prompt].1 += 1.0;
    }
    sums.iter().map(|(sum, n)| (*n > 0.0).then(|| sum / n)).collect()
}

/// Kullback-Leibler divergence from the base model in nats an answer: the mean of log π − log π_base over the policy's
/// own answers, the end token included where one was sampled. Answers without any text, which no row can hold, are left
/// out. Gives the number of answers too.
pub fn divergence(
    trainer: &mut Trainer,
    adapter: &Path,
    prompts: &[Value],
    answers: &[Answer],
) -> Result<(Mean, usize)> {
    let whole: Vec<&Answer> = answers.iter().filter(|answer| !answer.text.is_empty()).collect();
    let rows: Vec<Value> = whole
        .iter()
        .map(|answer| {
            let completion = [json!({"role": "assistant", "content": answer.text})];
            json!({"prompt": prompts[answer.prompt], "completion": completion})
        })
        .collect();
    let tokens = trainer.tokens(&rows)?;
    let mut sequences: Vec<(&[u64], usize)> = Vec::new();
    for (answer, (ids, n_prompt)) in whole.iter().zip(&tokens) {
        // Behind the text stand the end token and a line break, which nobody sampled.
        let n_behind = if answer.ended { 1 } else { 2 };
        sequences.push((&ids[..ids.len() - n_behind], *n_prompt));
    }
    let policy = trainer.logprobs(Some(adapter), &sequences)?;
    let base = trainer.logprobs(None, &sequences)?;
    let apart = whole
        .iter()
        .zip(policy.iter().zip(base))
        .map(|(answer, (policy, base))| (answer.prompt, policy - base));
    let means: Vec<f64> = by_prompt(prompts.len(), apart).into_iter().flatten().collect();
    Ok((Mean::of(&means), whole.len()))
}
