//! `laurel-trainer serve`: a model and its adapters behind OpenAI's API, over HTTP. The only part of the trainer that
//! knows axum. A [`request`] becomes orders of the live engine ([`crate::generate::Live`]); its events become an
//! [`answer`], whole or in chunks. The model's name in a request picks the base or an adapter.

mod answer;
pub mod cli;
mod error;
mod fields;
mod request;
mod respond;
mod routes;

use crate::{
    data::{TokenTexts, Tokenizer},
    generate::Live,
};
use std::sync::Arc;

/// A name that requests may give.
struct Named {
    name: String,
    /// Among the engine's adapters; none is the base.
    adapter: Option<usize>,
}

/// What the routes share.
struct Served {
    live: Live,
    tokenizer: Tokenizer,
    texts: Arc<TokenTexts<'static>>,
    vocab: usize,
    /// The base first.
    models: Vec<Named>,
    /// Seconds since 1970.
    started: u64,
    /// SHA-256 of the keys that are let in; everybody where there is none.
    keys: Vec<[u8; 32]>,
}
