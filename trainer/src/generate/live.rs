//! An engine that goes on: a thread that takes orders while it works on others, each with its own adapter, sampling and
//! seed. The events of an order come through a channel; who drops its end cancels the order.

use super::{
    batch::{Batch, Event, Order},
    network::Network,
};
use crate::{adapters::Adapter, data::Tokenizer, model::Model};
use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};
use tokio::sync::mpsc::UnboundedSender;

/// How much is taken at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Sequences in one batch.
    pub slots: usize,
    /// Completions that wait for a slot.
    pub queue: usize,
    /// Tokens of a prompt and its completion together.
    pub context: usize,
}

/// Why an order is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The prompt has no token.
    Empty,
    /// The prompt leaves no room in the context.
    TooLong { n_tokens: usize },
    /// As many completions as may wait are waiting.
    Full,
    /// The engine is ending.
    Closing,
}

pub struct Live {
    shared: Arc<Shared>,
    bounds: Bounds,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    inbox: Vec<(Order, UnboundedSender<Event>)>,
    next_id: u64,
    /// Completions that were ordered and have not ended.
    n_pending: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Takes no more orders and ends when those that it has are done.
    Draining,
    Ended,
}

/// An order that was taken.
struct Open {
    sender: UnboundedSender<Event>,
    n_left: usize,
}

impl Live {
    pub fn start(
        model: &Model,
        adapters: &[&Adapter],
        tokenizer: &Tokenizer,
        bounds: Bounds,
    ) -> Result<Self> {
        let network = Network::new(model, adapters)?;
        let tokenizer = tokenizer.clone();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                inbox: Vec::new(),
                next_id: 0,
                n_pending: 0,
                phase: Phase::Running,
            }),
            changed: Condvar::new(),
        });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || {
                let end = End(of_thread);
                work(&end.0, &network, &tokenizer, bounds.slots);
            })
            .context("start the engine's thread")?;
        Ok(Self {
            shared,
            bounds,
            thread: Some(thread),
        })
    }

    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether orders are taken.
    pub fn is_running(&self) -> bool {
        self.shared.lock().phase == Phase::Running
    }

    /// Takes an order, whose events go to `sender`. Its `id` is given here, and its completions end where the context
    /// does.
    pub fn submit(&self, mut order: Order, sender: &UnboundedSender<Event>) -> Result<u64, Refused> {
        let n_tokens = order.prompt.len();
        if n_tokens == 0 {
            return Err(Refused::Empty);
        }
        let room = self.bounds.context.saturating_sub(n_tokens);
        if room == 0 {
            return Err(Refused::TooLong { n_tokens });
        }
        let most = &mut order.sampling.max_tokens;
        *most = (*most).min(u32::try_from(room).unwrap_or(u32::MAX));
        let mut state = self.shared.lock();
        if state.phase != Phase::Running {
            return Err(Refused::Closing);
        }
        let n = order.indexes.len();
        if state.n_pending + n > self.bounds.slots + self.bounds.queue {
            return Err(Refused::Full);
        }
        state.n_pending += n;
        let id = state.next_id;
        state.next_id += 1;
        order.id = id;
        state.inbox.push((order, sender.clone()));
        self.shared.changed.notify_all();
        Ok(id)
    }

    /// Takes no more orders; the engine ends when it has done those that it has.
    pub fn drain(&self) {
        self.shared.end(Phase::Draining);
    }

    /// Ends the engine before its next step; the channels of orders that are not done close.
    pub fn end(&self) {
        self.shared.end(Phase::Ended);
    }

    /// Whether the thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            // A panic was printed where it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, phase: Phase) {
        let mut state = self.lock();
        if state.phase != Phase::Ended {
            state.phase = phase;
        }
        self.changed.notify_all();
    }
}

/// However the thread ends, no more orders are taken, and those that wait hear of it.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.phase = Phase::Ended;
        state.inbox.clear();
    }
}

fn work(shared: &Shared, network: &Network, tokenizer: &Tokenizer, slots: usize) {
    let new_batch = || Batch::new(network, tokenizer.stop_ids(), Some(tokenizer), slots);
    let mut batch = new_batch();
    let mut open: BTreeMap<u64, Open> = BTreeMap::new();
    loop {
        let mut state = shared.lock();
        // What has ended, or has nobody who listens, makes room.
        open.retain(|&id, order| {
            let goes_on = order.n_left > 0 && !order.sender.is_closed();
            if !goes_on {
                batch.cancel(id);
                state.n_pending -= order.n_left;
            }
            goes_on
        });
        while state.phase == Phase::Running && state.inbox.is_empty() && batch.is_empty() {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        for (order, sender) in std::mem::take(&mut state.inbox) {
            let n_left = order.indexes.len();
            open.insert(order.id, Open { sender, n_left });
            batch.push(order);
        }
        if state.phase == Phase::Ended || (state.phase == Phase::Draining && batch.is_empty()) {
            return;
        }
        drop(state);
        let events = match rayon::scope(|_| batch.advance()) {
            Ok(events) => events,
            Err(error) => {
                tracing::error!("A step of the engine failed: {error:#}");
                batch = new_batch();
                let error = |&order: &u64| Event::Failed {
                    order,
                    error: format!("{error:#}"),
                };
                open.keys().map(error).collect()
            }
        };
        let mut n_ended = 0;
        for event in events {
            let (id, n_done) = match &event {
                Event::Begun { order } | Event::Piece { order, .. } => (*order, Some(0)),
                Event::Finished { order, .. } => (*order, Some(1)),
                Event::Failed { order, .. } => (*order, None),
            };
            if let Some(order) = open.get_mut(&id) {
                let n = n_done.unwrap_or(order.n_left);
                order.n_left -= n;
                n_ended += n;
                // Nobody listens: the order is dropped before the next step.
                let _ = order.sender.send(event);
            }
        }
        shared.lock().n_pending -= n_ended;
    }
}
