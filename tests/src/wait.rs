//! Waiting for real processes: ask again until the answer is there or the deadline has passed.

use anyhow::{Result, bail};
use std::{
    thread,
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(50);

/// Asks until `ask` gives a value; an error or the deadline ends the wait.
pub fn within<T>(seconds: u64, what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = ask()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {seconds} s in vain for {what}");
        }
        thread::sleep(PAUSE);
    }
}

/// Asks until `ask` says yes.
pub fn until(seconds: u64, what: &str, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    within(seconds, what, || Ok(ask()?.then_some(())))
}
