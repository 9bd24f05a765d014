//! Pieces of the labelling page. They take values and callbacks and call no API.

pub mod best_worst;
pub mod dialogs;
pub mod drag;
pub mod letters;
pub mod pick;
pub mod prompt;
pub mod rail;
pub mod rank;
pub mod ranking;
pub mod rate;
pub mod sheet;
pub mod shortcuts;
pub mod skipped;
pub mod spoken;
pub mod top;
