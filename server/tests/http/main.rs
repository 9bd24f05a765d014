//! The server through its whole router: who may do what, what errors look like, the pages, and a labelled project
//! from import to export. One test program, so that it is linked once.

#![allow(clippy::unwrap_used)] // a failed step fails the test

mod accounts;
mod app;
mod arena;
mod audit;
mod backup;
mod chat;
mod checks;
mod cli;
mod contest;
mod document;
mod errors;
mod events;
mod exports;
mod gold_import;
mod lineage;
mod members;
mod merges;
mod old;
mod origin;
mod own;
mod pages;
mod pause;
mod people;
mod plan;
mod planned;
mod ppo;
mod progress;
mod prompts;
mod quality;
mod questions;
mod review;
mod roles;
mod scene;
mod selection;
mod tasks;
mod trainer;
mod undo;
mod webhooks;
