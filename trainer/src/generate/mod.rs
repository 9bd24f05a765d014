//! Generation: prompts in, sampled completions out.
//!
//! [`Engine`] batches sequences over a key/value cache and refills a finished sequence's slot at once; k samples
//! of a prompt share the prompt's cache. Each completion draws from its own stream (seed, prompt key, index), so
//! on the CPU what else is in the batch changes no token. Used by completion jobs, the samples of rounds, and
//! `laurel-trainer generate`.

mod cache;
pub mod cli;
mod engine;
mod merged;
mod sample;

pub use engine::{Engine, Finished, Request};
