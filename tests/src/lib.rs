//! What the flows share: starting the real server, trainer and browser, and talking to them.
//!
//! Input: the programs that `cargo xtask test` built, named in the environment. Every process is ended by its
//! handle when its value is dropped, and its log is printed when a test fails.

pub mod annotator;
pub mod api;
pub mod browser;
pub mod crowd;
pub mod desk;
pub mod experiment;
pub mod process;
pub mod scene;
pub mod scripted;
pub mod seed;
pub mod server;
pub mod trainer;
pub mod wait;

pub use annotator::shorter_wins;
pub use api::{Answered, Api};
pub use browser::Browser;
pub use crowd::Crowd;
pub use desk::Desk;
pub use scene::Scene;
pub use scripted::Scripted;
pub use server::TestServer;
pub use trainer::TestTrainer;
pub use wait::{until, within};
