//! The types that cross a process boundary: browser ↔ server ↔ trainer ↔ scripts.
//!
//! No I/O here, and it builds for wasm32. What a person enters is validated by methods of these types, so the
//! browser and the server run the same checks. Field names are the JSON names; all bodies are JSON unless a
//! type says JSON Lines.

pub mod account;
pub mod adapter;
pub mod adapter_config;
pub mod arena;
pub mod audit;
pub mod chat;
pub mod checks;
pub mod completion;
pub mod error;
pub mod hyper;
pub mod ids;
pub mod label;
pub mod leaving;
pub mod lineage;
pub mod loss;
pub mod members;
pub mod merge;
pub mod message;
pub mod own;
pub mod ppo;
pub mod preview;
pub mod progress;
pub mod project;
pub mod quality;
pub mod questions;
pub mod review;
pub mod round;
pub mod row;
pub mod scoring;
pub mod selection;
pub mod storage;
pub mod template;
pub mod version;
pub mod worker;

pub use account::*;
pub use adapter::*;
pub use arena::*;
pub use audit::*;
pub use chat::*;
pub use checks::{Checks, Feedback, Gold, GoldItem, NewGold, Said, Stopped};
pub use completion::*;
pub use error::*;
pub use hyper::*;
pub use ids::*;
pub use label::*;
pub use leaving::*;
pub use lineage::*;
pub use loss::*;
pub use members::*;
pub use merge::*;
pub use message::*;
pub use own::*;
pub use ppo::*;
pub use preview::*;
pub use progress::*;
pub use project::*;
pub use quality::*;
pub use questions::*;
pub use review::*;
pub use round::*;
pub use row::*;
pub use scoring::*;
pub use selection::*;
pub use storage::*;
pub use template::*;
pub use version::*;
pub use worker::*;
