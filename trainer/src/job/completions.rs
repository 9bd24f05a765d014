//! A completion job: prompts from the server, completions back as they finish.

use super::{client::JobClient, heart::Wishes};
use crate::{
    adapters::Adapter,
    data::Tokenizer,
    generate::{Engine, Request},
    model::Model,
};
use anyhow::{Context, Result, anyhow};
use laurel_protocol::{
    Directive, FinishedCompletion, FinishedCompletions, Outcome, PromptId, Report, Sampling, WorkPrompt,
};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// Finished completions wait this long at most for others to be sent with.
const GATHER: Duration = Duration::from_millis(1500);

/// Samples what is missing; `talk` answers a turn of a chat that waits meanwhile. `None` when the job was stopped without an end of its own.
pub fn run(
    client: &JobClient,
    model: &Model,
    tokenizer: &Tokenizer,
    adapter: Option<&Adapter>,
    sampling: &Sampling,
    wishes: &Wishes,
    talk: &dyn Fn(),
) -> Result<Option<Outcome>> {
    let lines = client.get("prompts")?;
    let mut requests = Vec::new();
    let (mut n_prompts, mut n_long) = (0, 0);
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let prompt: WorkPrompt = serde_json::from_slice(line).context("read a prompt of the job")?;
        let ids = tokenizer
            .prompt_ids(&prompt.messages)
            .map_err(|error| anyhow!("prompt {}: {error:#}", prompt.prompt_id))?;
        n_prompts += 1;
        if ids.len() >= model.config.max_positions {
            n_long += 1;
            continue;
        }
        requests.push(Request {
            key: prompt.prompt_id.0 as u64,
            prompt: ids,
            indexes: prompt.indexes,
        });
    }
    let n_total: usize = requests.iter().map(|request| request.indexes.len()).sum();
    let engine = Engine::new(model, adapter, sampling, tokenizer.stop_ids())?.reading(tokenizer);
    let begun = Instant::now();
    let mut n_done = 0;
    let mut last_sent = Instant::now();
    let mut batch: Vec<FinishedCompletion> = Vec::new();
    let send = |batch: &mut Vec<FinishedCompletion>| -> Result<()> {
        let finished = FinishedCompletions {
            template_hash: tokenizer.template_hash(),
            completions: std::mem::take(batch),
        };
        wishes.heed(client.post::<Directive>("completions", &finished)?);
        Ok(())
    };
    engine.run_until(&|| wishes.stop(), requests, &mut |done| {
        n_done += 1;
        batch.push(FinishedCompletion {
            prompt_id: PromptId(done.key as i64),
            index: done.index,
            text: done.text(tokenizer)?,
            n_tokens: done.ids.len() as u32,
            finish_reason: done.reason,
        });
        if last_sent.elapsed() > GATHER {
            send(&mut batch)?;
            last_sent = Instant::now();
            let rate = begun.elapsed().as_secs_f64() / f64::from(n_done);
            let report = Report {
                seconds_left: Some(rate * (n_total as f64 - f64::from(n_done))),
                ..Report::default()
            };
            wishes.heed(client.post::<Directive>("report", &report)?);
            if wishes.chat.swap(false, Ordering::SeqCst) {
                talk();
            }
        }
        Ok(true)
    })?;
    if !batch.is_empty() {
        send(&mut batch)?;
    }
    // All that could be made is stored: only then is what could not be made an error.
    let end = match n_long {
        0 => Outcome::Done { made_with: None },
        _ => Outcome::Failed {
            error: format!(
                "{n_long} of the {n_prompts} prompts are longer than the {} tokens that the model reads; the others \
                 have their completions",
                model.config.max_positions
            ),
        },
    };
    Ok(super::ends::outcome(wishes, end))
}
