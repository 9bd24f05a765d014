//! The pages, one file or folder each. The table with their addresses and guards stands in `lib.rs`.

pub mod admin;
pub mod arena;
pub mod audit;
pub mod chat;
pub mod gold;
pub mod invite;
pub mod label;
pub mod mine;
pub mod not_found;
pub mod overview;
pub mod people;
pub mod person;
pub mod plan;
pub mod progress;
pub mod project_form;
pub mod project_new;
pub mod projects;
pub mod prompts;
pub mod quality;
pub mod review;
pub mod round;
pub mod round_new;
pub mod setup;
pub mod sign_in;
pub mod tokens;
