//! The only place that knows SQL. A file a noun; time is a parameter; a public function that writes opens its own
//! transaction. Errors say what a caller can do about them; `error.rs` turns them into answers.

pub mod accounts;
pub mod adapters;
pub mod agreement;
pub mod annotations;
pub mod assignments;
pub mod audit;
pub mod battles;
pub mod chat_jobs;
pub mod checks;
pub mod comparisons;
pub mod completion_jobs;
pub mod completions;
pub mod contests;
pub mod db;
pub mod exports;
mod import;
pub mod integrity;
pub mod invites;
mod job_events;
pub mod jobs;
pub mod judgements;
pub mod ladder;
pub mod leases;
pub mod lineage;
pub mod members;
pub mod merges;
pub mod metrics;
pub mod new_rounds;
pub mod own;
pub mod people;
pub mod plan_data;
pub mod planned;
pub mod progress;
pub mod projects;
pub mod promotions;
pub mod prompts;
pub mod queue;
pub mod review;
pub mod rounds;
mod row_weights;
pub mod scorings;
mod selection;
pub mod snapshots;
pub mod storage;
pub mod tasks;
pub mod text;
mod together;
pub mod tokens;
pub mod undo;
pub mod webhooks;
mod written;

pub use db::Db;
use laurel_protocol::FieldError;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no such thing")]
    NotFound,
    /// A sentence for the person who asked.
    #[error("{0}")]
    Conflict(String),
    #[error("the lease is lost")]
    LeaseLost,
    #[error("only members work on this project")]
    NotAssigned,
    #[error("invalid input: {0:?}")]
    Invalid(Vec<FieldError>),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("file: {0}")]
    File(#[from] std::io::Error),
}

pub type Result<T> = std::result::Result<T, Error>;
