//! The worker: leases jobs from a server over HTTP, runs them, and hands in what comes out. A turn of a chat goes before
//! other work, and between two steps of what is under way. It needs a URL, a token and base models on its disk, nothing
//! else. Killed at any moment, it loses no more than the steps since the last checkpoint: the lease runs out, the job is
//! leased again, and goes on from the work folder.

mod chat;
pub mod cli;
mod client;
mod completions;
mod ends;
mod heart;
mod merge;
mod round;
mod scoring;
mod worker;
