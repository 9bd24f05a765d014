//! The engine: prompts in, finished completions out, with one adapter and one way of sampling for all.

use super::{
    batch::{Batch, Event, Order},
    network::Network,
};
use crate::{adapters::Adapter, data::Tokenizer, model::Model};
use anyhow::{Result, bail, ensure};
use laurel_protocol::{FinishReason, Sampling};
use std::collections::VecDeque;

/// Sequences in one batch.
pub const SLOTS: usize = 32;
/// So many may be: a step of more rows would be another product, in which a row's bits depend on the others.
pub const MOST_SLOTS: usize = crate::ops::MOST_ROWS;

/// A prompt and which of its completions are wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names the prompt in the random streams, and in [`Finished`].
    pub key: u64,
    pub prompt: Vec<u32>,
    pub indexes: Vec<u32>,
}

/// A finished completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    pub key: u64,
    pub index: u32,
    /// Without the token that ended it; where a stop text did, the tokens before it, of which the last may hold the
    /// stop text's beginning.
    pub ids: Vec<u32>,
    /// Of each token of `ids`, at temperature 1.
    pub logprobs: Vec<f32>,
    /// The stop token that ended it and its log-probability, where one did.
    pub end: Option<(u32, f32)>,
    pub reason: FinishReason,
    /// What stands before the stop text, where one ended it.
    pub cut: Option<String>,
}

impl Finished {
    /// The completion's text, without special tokens.
    pub fn text(&self, tokenizer: &Tokenizer) -> Result<String> {
        match &self.cut {
            Some(text) => Ok(text.clone()),
            None => tokenizer.decode(&self.ids),
        }
    }
}

/// Samples from a model with an adapter or none. Over a base in f32 the adapter is merged into a copy of the layers
/// that it changes.
pub struct Engine {
    network: Network,
    sampling: Sampling,
    stop_ids: Vec<u32>,
    tokenizer: Option<Tokenizer>,
}

impl Engine {
    pub fn new(
        model: &Model,
        adapter: Option<&Adapter>,
        sampling: &Sampling,
        stop_ids: &[u32],
    ) -> Result<Self> {
        let network = match adapter {
            Some(adapter) => Network::merged(model, adapter)?,
            None => Network::new(model, &[])?,
        };
        Ok(Self {
            network,
            sampling: sampling.clone(),
            stop_ids: stop_ids.to_vec(),
            tokenizer: None,
        })
    }

    /// The same with the tokenizer, without which stop texts cannot be found.
    pub fn reading(self, tokenizer: &Tokenizer) -> Self {
        Self {
            tokenizer: Some(tokenizer.clone()),
            ..self
        }
    }

    /// Completes all requests. `finished` takes each completion as it ends and answers whether to go on.
    pub fn run(
        &self,
        requests: Vec<Request>,
        finished: &mut dyn FnMut(Finished) -> Result<bool>,
    ) -> Result<()> {
        self.run_until(&|| false, requests, finished)
    }

    /// The same, asked before every token whether to `stop`.
    pub fn run_until(
        &self,
        stop: &dyn Fn() -> bool,
        requests: Vec<Request>,
        finished: &mut dyn FnMut(Finished) -> Result<bool>,
    ) -> Result<()> {
        ensure!(
            self.sampling.stop.is_empty() || self.tokenizer.is_some(),
            "stop texts cannot be found without the tokenizer"
        );
        let most = self.network.model.config.max_positions;
        let mut batch = Batch::new(&self.network, &self.stop_ids, self.tokenizer.as_ref(), SLOTS);
        let mut requests = VecDeque::from(requests);
        let adapter = (self.network.n_adapters() > 0).then_some(0);
        loop {
            // Orders are handed on as slots fall free, so that a prompt that is no good is met in its turn.
            while batch.is_short()
                && let Some(request) = requests.pop_front()
            {
                let n = request.prompt.len();
                ensure!(n > 0, "a prompt is empty");
                ensure!(
                    n < most,
                    "a prompt has {n} tokens; the model reads at most {most}"
                );
                batch.push(Order {
                    id: request.key,
                    key: request.key,
                    prompt: request.prompt,
                    indexes: request.indexes,
                    sampling: self.sampling.clone(),
                    adapter,
                    streams: false,
                    n_top: 0,
                });
            }
            if batch.is_empty() || stop() {
                return Ok(());
            }
            // In a thread of the pool, so that the work inside is shared out without waking it anew.
            for event in rayon::scope(|_| batch.advance())? {
                match event {
                    Event::Finished { completion, .. } => {
                        if !finished(completion)? {
                            return Ok(());
                        }
                    }
                    Event::Failed { error, .. } => bail!(error),
                    Event::Begun { .. } | Event::Piece { .. } => {}
                }
            }
        }
    }
}
