//! Generation: prompts in, sampled completions out.
//!
//! A [`batch`] of sequences goes through the [`network`] over a key/value [`cache`]; a finished sequence's slot is
//! refilled at once, and k samples of a prompt share the prompt's cache. Each completion draws from its own stream
//! (seed, prompt key, index), so on the CPU what else is in the batch changes no token. [`Engine`] completes a list of
//! prompts: for completion jobs, the samples of rounds, rollouts, and `laurel-trainer generate`. [`Live`] takes orders
//! while it runs, each with its own adapter and sampling: for `laurel-trainer serve`.

mod batch;
mod cache;
pub mod cli;
mod engine;
mod layered;
mod live;
mod network;
mod sample;
#[cfg(test)]
mod tests;
mod text;

pub use batch::{Batch, Event, Order, Piece, PieceToken};
pub use engine::{Engine, Finished, MOST_SLOTS, Request, SLOTS};
pub use live::{Bounds, Live, Refused};
pub use network::Network;
