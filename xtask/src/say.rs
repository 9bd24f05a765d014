//! What a person sees while a command works: one line a step, with a spinner or a bar on a terminal and plain
//! lines elsewhere (a log of a build machine).

use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

/// A step that takes a while.
pub struct Step {
    name: String,
    start: Instant,
    bar: Option<ProgressBar>,
}

/// Announces a step whose own output stays visible (cargo, the tests).
pub fn step(name: &str) -> Step {
    eprintln!("▸ {name}");
    Step {
        name: name.to_owned(),
        start: Instant::now(),
        bar: None,
    }
}

/// Announces a quiet step: a spinner turns on a terminal.
pub fn spin(name: &str) -> Step {
    if !stderr().is_terminal() {
        return step(name);
    }
    let bar = ProgressBar::new_spinner().with_message(name.to_owned());
    bar.set_style(
        ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}").expect("the template is well formed"),
    );
    bar.enable_steady_tick(Duration::from_millis(100));
    Step {
        name: name.to_owned(),
        start: Instant::now(),
        bar: Some(bar),
    }
}

impl Step {
    /// Turns the spinner into a bar with time left; on a log it stays one line.
    pub fn progress(&self, at: u64, total: u64) {
        let Some(bar) = &self.bar else { return };
        if bar.length() != Some(total) {
            bar.set_length(total);
            bar.set_style(
                ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent} % {eta:.dim}")
                    .expect("the template is well formed"),
            );
        }
        bar.set_position(at);
    }

    pub fn done(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.start.elapsed().as_secs_f32();
        if seconds >= 0.5 || self.bar.is_none() {
            eprintln!("✓ {} ({seconds:.1} s)", self.name);
        }
    }
}

pub fn line(text: &str) {
    eprintln!("{text}");
}
