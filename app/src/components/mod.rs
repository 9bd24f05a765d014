//! Pieces of view that several pages use. They take values and callbacks and call no API.

pub mod label;
pub mod notice;
pub mod toast;
