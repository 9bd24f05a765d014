//! Handlers, a file a noun. Extractors are the guards; a handler validates, stores and answers. The table of routes is
//! in `router.rs`.

pub mod accounts;
pub mod adapters;
pub mod arena;
pub mod audit;
pub mod chat;
pub mod completion_jobs;
pub mod contests;
pub mod events;
pub mod figures;
pub mod health;
pub mod labelling;
pub mod lineage;
pub mod lines;
pub mod members;
pub mod merges;
pub mod planned;
pub mod plans;
pub mod projects;
pub mod quality;
pub mod review;
pub mod rounds;
pub mod scorings;
pub mod storage;
pub mod webhooks;
pub mod worker;
