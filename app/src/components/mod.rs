//! Pieces of view that several pages use. They take values and callbacks and call no API.

pub mod account_form;
pub mod action;
pub mod badge;
pub mod chart;
pub mod copy;
pub mod dialog;
pub mod field;
pub mod import;
pub mod label;
pub mod notice;
pub mod plot;
pub mod progress;
pub mod toast;
