//! Laurel's trainer as a library: one decoder, adapters, losses, rounds, generation, and the worker that
//! takes rounds and completion jobs from a server. `main.rs` is the command line over it.

pub mod adapters;
pub mod checkpoint;
pub mod data;
pub mod device;
pub mod generate;
pub mod hub;
pub mod inspect;
pub mod job;
pub mod losses;
pub mod memory;
pub mod merge;
pub mod model;
pub mod ops;
pub mod optim;
pub mod report;
pub mod rng;
pub mod rounds;
pub mod select;
pub mod serve;
pub mod version;
