//! Continuous batching. Each step takes one new token of every sequence in a slot through the model in one batch; a
//! sequence that ends frees its slot for the next order, whose prompt is read once for all its completions. Long prompts
//! are read in pieces between the steps of the others.

use super::{
    cache::{Cache, Segment},
    engine::Finished,
    network::{Network, Rows},
    sample::{self, Drawn, History, Scored},
    text::Text,
};
use crate::{
    data::Tokenizer,
    rng::{Rng, Stream},
};
use anyhow::Result;
use laurel_protocol::{FinishReason, Sampling};
use rayon::prelude::*;
use std::{collections::VecDeque, sync::Arc};

/// Rows of a prompt that are read at a time. A prompt's pieces depend on nothing but itself.
const PIECE: usize = 128;
/// Rows of prompts that are read between two steps of the sequences that go on already.
const MOST_BETWEEN: usize = 512;

/// A prompt with the completions that are wanted of it, and how they are drawn.
#[derive(Clone, Debug)]
pub struct Order {
    /// Names it in the events.
    pub id: u64,
    /// Names the prompt in the random streams: completion i is drawn from (seed, key, i).
    pub key: u64,
    /// At least one token, fewer than the model's context.
    pub prompt: Vec<u32>,
    pub indexes: Vec<u32>,
    pub sampling: Sampling,
    /// Among the engine's adapters; none for the base.
    pub adapter: Option<usize>,
    /// Whether pieces are told as they come.
    pub streams: bool,
    /// Likeliest tokens that are told with each token of a piece.
    pub n_top: usize,
}

/// What happens to an order.
#[derive(Clone, Debug)]
pub enum Event {
    /// Its prompt is being read: it waits no longer.
    Begun {
        order: u64,
    },
    Piece {
        order: u64,
        index: u32,
        piece: Piece,
    },
    Finished {
        order: u64,
        completion: Finished,
    },
    /// All its completions that have not ended have failed.
    Failed {
        order: u64,
        error: String,
    },
}

/// Text that is certain, and the tokens that have become part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    pub text: String,
    pub tokens: Vec<PieceToken>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PieceToken {
    pub id: u32,
    pub logprob: f32,
    pub top: Vec<Scored>,
    /// Where the token begins in the completion's text, in characters.
    pub offset: usize,
}

pub struct Batch<'a> {
    network: &'a Network,
    stop_ids: &'a [u32],
    tokenizer: Option<&'a Tokenizer>,
    n_slots: usize,
    waiting: VecDeque<Order>,
    reading: Option<Reading>,
    /// Their prompts are read; they have no slot yet.
    ready: VecDeque<Slot>,
    active: Vec<Slot>,
}

/// A prompt that is not read to its end.
struct Reading {
    order: Order,
    cache: Cache,
    n_read: usize,
}

struct Slot {
    order: Arc<Order>,
    index: u32,
    cache: Cache,
    position: usize,
    /// Drawn, not yet taken through the model.
    next: Drawn,
    ids: Vec<u32>,
    /// Of `ids`.
    drawn: Vec<(f32, Vec<Scored>)>,
    stream: Stream,
    history: Option<History>,
    /// Where stop texts are looked for, or pieces are told.
    text: Option<Text>,
    /// Tokens that were told.
    n_told: usize,
}

impl<'a> Batch<'a> {
    pub fn new(
        network: &'a Network,
        stop_ids: &'a [u32],
        tokenizer: Option<&'a Tokenizer>,
        n_slots: usize,
    ) -> Self {
        Self {
            network,
            stop_ids,
            tokenizer,
            n_slots,
            waiting: VecDeque::new(),
            reading: None,
            ready: VecDeque::new(),
            active: Vec::new(),
        }
    }

    pub fn push(&mut self, order: Order) {
        self.waiting.push_back(order);
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.reading.is_none() && self.ready.is_empty() && self.active.is_empty()
    }

    /// Whether a slot is free for an order that is not here yet.
    pub fn is_short(&self) -> bool {
        let n_to_come: usize = self.waiting.iter().map(|order| order.indexes.len()).sum();
        let n_reading = self
            .reading
            .as_ref()
            .map_or(0, |reading| reading.order.indexes.len());
        n_to_come + n_reading + self.ready.len() + self.active.len() < self.n_slots
    }

    /// Forgets an order: its slots are free at once.
    pub fn cancel(&mut self, order: u64) {
        self.waiting.retain(|waiting| waiting.id != order);
        self.reading.take_if(|reading| reading.order.id == order);
        self.ready.retain(|slot| slot.order.id != order);
        self.active.retain(|slot| slot.order.id != order);
    }

    /// One new token of each sequence in a slot, after the free slots were filled.
    pub fn advance(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        self.fill(&mut events)?;
        let mut going = Vec::with_capacity(self.active.len());
        for slot in std::mem::take(&mut self.active) {
            match self.accept(slot, &mut events) {
                Ok(Some(slot)) => going.push(slot),
                Ok(None) => {}
                Err((order, error)) => self.fail(order, &error, &mut events),
            }
        }
        self.active.append(&mut going);
        let failed = self.step()?;
        for (order, error) in failed {
            self.fail(order, &error, &mut events);
        }
        Ok(events)
    }

    fn fail(&mut self, order: u64, error: &anyhow::Error, events: &mut Vec<Event>) {
        self.cancel(order);
        let error = format!("{error:#}");
        events.push(Event::Failed { order, error });
    }

    fn fill(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let mut n_read = 0;
        while self.active.len() < self.n_slots {
            if let Some(slot) = self.ready.pop_front() {
                self.active.push(slot);
                continue;
            }
            if n_read >= MOST_BETWEEN && !self.active.is_empty() {
                break;
            }
            let reading = match self.reading.take() {
                Some(reading) => reading,
                None => {
                    let Some(order) = self.waiting.pop_front() else {
                        break;
                    };
                    events.push(Event::Begun { order: order.id });
                    Reading {
                        order,
                        cache: Cache {
                            prompt: None,
                            own: Segment::new(self.network.model.layers.len()),
                        },
                        n_read: 0,
                    }
                }
            };
            n_read += self.read(reading, events)?;
        }
        Ok(())
    }

    /// Takes the next piece of a prompt through the model, and at its end draws the first token of each completion.
    /// The number of rows.
    fn read(&mut self, mut reading: Reading, events: &mut Vec<Event>) -> Result<usize> {
        let prompt = &reading.order.prompt;
        let piece = &prompt[reading.n_read..prompt.len().min(reading.n_read + PIECE)];
        let n = piece.len();
        let last = self.network.forward(&mut [Rows {
            cache: &mut reading.cache,
            ids: piece,
            position: reading.n_read,
            adapter: reading.order.adapter,
        }])?;
        reading.n_read += n;
        if reading.n_read < prompt.len() {
            self.reading = Some(reading);
            return Ok(n);
        }
        let logits = self.network.logits(last)?;
        let order = Arc::new(reading.order);
        let (sampling, prompt) = (&order.sampling, Arc::new(reading.cache.own));
        let rng = Rng::new(sampling.seed);
        let history = History::matters(sampling).then(|| History::of(&order.prompt));
        let text = order.streams || !sampling.stop.is_empty();
        for &index in &order.indexes {
            let mut stream = rng.stream(&format!("completion {}", order.key), u64::from(index));
            let next = match sample::draw(&logits, sampling, history.as_ref(), order.n_top, &mut stream) {
                Ok(next) => next,
                Err(error) => {
                    self.fail(order.id, &error, events);
                    break;
                }
            };
            self.ready.push_back(Slot {
                order: order.clone(),
                index,
                cache: Cache {
                    prompt: Some(prompt.clone()),
                    own: Segment::new(self.network.model.layers.len()),
                },
                position: order.prompt.len(),
                next,
                ids: Vec::new(),
                drawn: Vec::new(),
                stream,
                history: history.clone(),
                text: text.then(|| Text::new(&sampling.stop)),
                n_told: 0,
            });
        }
        Ok(n)
    }

    /// Takes the token drawn last into the sequence, unless it ends it. The sequence, if it goes on.
    fn accept(&self, mut slot: Slot, events: &mut Vec<Event>) -> Result<Option<Slot>, (u64, anyhow::Error)> {
        let order = slot.order.id;
        if self.stop_ids.contains(&slot.next.token) {
            let end = Some((slot.next.token, slot.next.logprob));
            events.extend(slot.finished(FinishReason::Stop, end, None));
            return Ok(None);
        }
        let is_full = slot.position + 1 >= self.network.model.config.max_positions;
        if is_full || slot.ids.len() >= slot.order.sampling.max_tokens as usize {
            events.extend(slot.finished(FinishReason::Length, None, None));
            return Ok(None);
        }
        let id = slot.next.token;
        slot.ids.push(id);
        slot.drawn
            .push((slot.next.logprob, std::mem::take(&mut slot.next.top)));
        if let Some(history) = &mut slot.history {
            history.push(id);
        }
        if let (Some(text), Some(tokenizer)) = (&mut slot.text, self.tokenizer) {
            if text.push(tokenizer, id).map_err(|error| (order, error))? {
                let n_kept = text.n_kept();
                events.extend(slot.finished(FinishReason::Stop, None, Some(n_kept)));
                return Ok(None);
            }
            events.extend(slot.piece());
        }
        Ok(Some(slot))
    }

    /// Takes the newest token of each sequence through the model and draws the next. The orders that fail.
    fn step(&mut self) -> Result<Vec<(u64, anyhow::Error)>> {
        if self.active.is_empty() {
            return Ok(Vec::new());
        }
        // Rows of one adapter lie together.
        self.active.sort_by_key(|slot| slot.order.adapter);
        let mut rows: Vec<Rows<'_>> = self
            .active
            .iter_mut()
            .map(|slot| Rows {
                cache: &mut slot.cache,
                ids: slot.ids.last_chunk::<1>().expect("a token was accepted"),
                position: slot.position,
                adapter: slot.order.adapter,
            })
            .collect();
        let last = self.network.forward(&mut rows)?;
        let logits = self.network.logits(last)?;
        let failed = self
            .active
            .par_iter_mut()
            .zip(logits.par_chunks_exact(self.network.model.config.vocab))
            .filter_map(|(slot, logits)| {
                let order = &slot.order;
                let history = slot.history.as_ref();
                match sample::draw(logits, &order.sampling, history, order.n_top, &mut slot.stream) {
                    Ok(next) => slot.next = next,
                    Err(error) => return Some((order.id, error)),
                }
                slot.position += 1;
                None
            });
        Ok(failed.collect())
    }
}

impl Slot {
    /// What has become certain, where that is told as it comes.
    fn piece(&mut self) -> Option<Event> {
        if !self.order.streams {
            return None;
        }
        let (text, n_whole) = self.text.as_mut()?.release();
        let text = text.to_owned();
        self.event(text, n_whole)
    }

    fn event(&mut self, text: String, n_tokens: usize) -> Option<Event> {
        let told = self.n_told..n_tokens.max(self.n_told);
        if text.is_empty() && told.is_empty() {
            return None;
        }
        self.n_told = told.end;
        let texts = self.text.as_ref();
        let token = |at: usize| PieceToken {
            id: self.ids[at],
            logprob: self.drawn[at].0,
            top: self.drawn[at].1.clone(),
            offset: texts.map_or(0, |text| text.offset(at)),
        };
        let tokens = told.map(token).collect();
        Some(Event::Piece {
            order: self.order.id,
            index: self.index,
            piece: Piece { text, tokens },
        })
    }

    /// The last piece and the completion. `n_kept`: the tokens that a stop text leaves.
    fn finished(
        mut self,
        reason: FinishReason,
        end: Option<(u32, f32)>,
        n_kept: Option<usize>,
    ) -> impl Iterator<Item = Event> {
        self.ids.truncate(n_kept.unwrap_or(usize::MAX));
        let rest = self.text.as_mut().map(|text| text.release_all().to_owned());
        let last = match (self.order.streams, rest) {
            (true, Some(text)) => self.event(text, self.ids.len()),
            _ => None,
        };
        let logprobs = self
            .drawn
            .iter()
            .take(self.ids.len())
            .map(|(logprob, _)| *logprob);
        let completion = Finished {
            key: self.order.key,
            index: self.index,
            logprobs: logprobs.collect(),
            ids: self.ids,
            end,
            reason,
            cut: n_kept.and(self.text).map(Text::into_string),
        };
        let order = self.order.id;
        last.into_iter().chain([Event::Finished { order, completion }])
    }
}
