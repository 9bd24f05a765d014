//! A turn of a chat: one or two conversations in one batch, their answers told while they are written.

use super::{client::JobClient, heart::Wishes};
use crate::{
    adapters::Adapter,
    data::Tokenizer,
    generate::{Batch, Event, Network, Order, SLOTS},
    model::Model,
};
use anyhow::{Result, bail};
use laurel_protocol::{ChatAnswer, ChatReport, ChatWork, Directive, Outcome, Sampling};
use std::time::{Duration, Instant};

/// How often the answers so far are told.
const EVERY: Duration = Duration::from_millis(300);

pub struct Task<'a> {
    pub client: &'a JobClient,
    pub model: &'a Model,
    pub tokenizer: &'a Tokenizer,
    pub sides: &'a [ChatWork],
    /// Those that the sides name, each once.
    pub adapters: &'a [Adapter],
    /// Which of them answers on each side.
    pub chosen: &'a [Option<usize>],
    pub sampling: &'a Sampling,
    pub wishes: &'a Wishes,
}

/// Answers. `None` when it was stopped without an end of its own.
pub fn run(task: &Task<'_>) -> Result<Option<Outcome>> {
    let adapters: Vec<&Adapter> = task.adapters.iter().collect();
    let network = Network::new(task.model, &adapters)?;
    let mut batch = Batch::new(&network, task.tokenizer.stop_ids(), Some(task.tokenizer), SLOTS);
    let most = task.model.config.max_positions;
    for (at, (side, adapter)) in task.sides.iter().zip(task.chosen).enumerate() {
        let prompt = task.tokenizer.prompt_ids(&side.messages)?;
        if prompt.len() >= most {
            let n = prompt.len();
            let error =
                format!("the conversation has {n} tokens and the model reads at most {most}: begin anew");
            return Ok(super::ends::outcome(task.wishes, Outcome::Failed { error }));
        }
        batch.push(Order {
            id: at as u64,
            // Both sides draw from the same stream, so that they differ by the model alone.
            key: 0,
            prompt,
            indexes: vec![0],
            sampling: task.sampling.clone(),
            adapter: *adapter,
            streams: true,
            n_top: 0,
        });
    }
    let mut answers = vec![ChatAnswer::default(); task.sides.len()];
    let mut last_told = Instant::now();
    while !batch.is_empty() && !task.wishes.stop() {
        for event in rayon::scope(|_| batch.advance())? {
            take(event, &mut answers, task.tokenizer)?;
        }
        if last_told.elapsed() > EVERY {
            tell(task, &answers)?;
            last_told = Instant::now();
        }
    }
    tell(task, &answers)?;
    Ok(super::ends::outcome(
        task.wishes,
        Outcome::Done { made_with: None },
    ))
}

fn take(event: Event, answers: &mut [ChatAnswer], tokenizer: &Tokenizer) -> Result<()> {
    match event {
        Event::Begun { .. } => {}
        Event::Piece { order, piece, .. } => {
            let answer = &mut answers[order as usize];
            answer.text.push_str(&piece.text);
            answer.n_tokens += piece.tokens.len() as u32;
        }
        Event::Finished { order, completion } => {
            answers[order as usize] = ChatAnswer {
                text: completion.text(tokenizer)?,
                n_tokens: completion.ids.len() as u32,
                finish_reason: Some(completion.reason),
            };
        }
        Event::Failed { error, .. } => bail!(error),
    }
    Ok(())
}

fn tell(task: &Task<'_>, answers: &[ChatAnswer]) -> Result<()> {
    let report = ChatReport {
        answers: answers.to_vec(),
        template_hash: Some(task.tokenizer.template_hash()),
    };
    task.wishes.heed(task.client.post::<Directive>("chat", &report)?);
    Ok(())
}
