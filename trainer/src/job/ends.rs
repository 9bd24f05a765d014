//! How a piece of work ended, as the server is told.

use super::{client::LeaseLost, heart::Wishes};
use anyhow::Result;
use laurel_protocol::{LeasedJob, Outcome};
use std::sync::atomic::{AtomicBool, Ordering};

/// The end to report after a piece of work that came to `end`; `None` leaves the job to whoever leases it next.
pub fn outcome(wishes: &Wishes, end: Outcome) -> Option<Outcome> {
    if wishes.lost.load(Ordering::SeqCst) {
        return None;
    }
    if wishes.abort.load(Ordering::SeqCst) {
        return Some(Outcome::Aborted);
    }
    if wishes.quit.load(Ordering::SeqCst) {
        None
    } else {
        Some(end)
    }
}

/// The end to report of a round that was stopped before its own end.
pub fn stopped(wishes: &Wishes) -> Option<Outcome> {
    if wishes.lost.load(Ordering::SeqCst) {
        None
    } else if wishes.abort.load(Ordering::SeqCst) {
        Some(Outcome::Aborted)
    } else {
        // Told to quit, it is left to whoever leases it next.
        wishes.pause.load(Ordering::SeqCst).then_some(Outcome::Paused)
    }
}

/// One sentence about a failure: what was tried last. Why it failed stands in this program's log, for it may name
/// paths and addresses that are nobody's business elsewhere.
fn for_an_admin(error: &anyhow::Error) -> String {
    let tried = error.to_string();
    let tried = tried.lines().next().unwrap_or_default();
    match error.source() {
        Some(_) => format!("Failed at: {tried}. The trainer's log says why."),
        None => tried.to_owned(),
    }
}

/// The end to report of a piece of work, its failure in a sentence; none leaves the job to whoever takes it next.
pub fn settled(job: &LeasedJob, end: Result<Option<Outcome>>, quit: &AtomicBool) -> Option<Outcome> {
    match end {
        Ok(end) => end,
        Err(error) if error.is::<LeaseLost>() => None,
        Err(error) if quit.load(Ordering::SeqCst) => {
            tracing::warn!(job.id = %job.job_id, "Job {} is left as it is: {error:#}", job.job_id);
            None
        }
        Err(error) => {
            tracing::error!(job.id = %job.job_id, "Job {} failed: {error:#}", job.job_id);
            Some(Outcome::Failed {
                error: for_an_admin(&error),
            })
        }
    }
}
