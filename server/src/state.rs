//! What every handler can reach: the database, the settings, who listens for events, and who signs in too often.

use crate::{events::Events, store::Db};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Settings of `laurel serve`.
#[derive(Clone, Debug)]
pub struct Settings {
    pub data: PathBuf,
    /// The sample project: `project.json` and `prompts.jsonl`.
    pub sample: Option<PathBuf>,
    /// The built front end.
    pub dist: Option<PathBuf>,
    /// The address that browsers use, where a proxy stands before the server.
    pub public_url: Option<String>,
    /// How long a trainer holds a job without a sign of life.
    pub lease_seconds: u32,
    /// How long an annotator holds a task.
    pub assignment_seconds: u32,
}

impl Settings {
    /// Whether browsers reach the server over TLS only.
    pub fn is_https(&self) -> bool {
        self.public_url
            .as_deref()
            .is_some_and(|url| url.starts_with("https://"))
    }
}

#[derive(Clone)]
pub struct AppState {
    pub db: Db,
    pub settings: Arc<Settings>,
    pub events: Events,
    pub sign_ins: Arc<SignIns>,
    /// Turns true when the server stops: streams end then.
    pub stopping: watch::Receiver<bool>,
}

/// Sign-ins by (name, address) in the last minutes that did not succeed.
#[derive(Default)]
pub struct SignIns(Mutex<HashMap<(String, String), Vec<Instant>>>);

const WINDOW: Duration = Duration::from_secs(5 * 60);
const MAX_FAILURES: usize = 8;
const MAX_KEYS: usize = 10_000;
/// Longer names belong to nobody; they are not kept whole.
const MAX_NAME_CHARS: usize = 64;

impl SignIns {
    /// Whether this name may be tried from this address now. The try counts as failed until [`Self::forget`], so
    /// that tries at the same time cannot get past the limit.
    pub fn may_try(&self, name: &str, address: &str) -> bool {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(name, address);
        if failures.len() >= MAX_KEYS && !failures.contains_key(&key) {
            failures.retain(|_, times| times.iter().any(|time| time.elapsed() < WINDOW));
            if failures.len() >= MAX_KEYS {
                // So many tries in a window buy a handful more: memory is worth more.
                failures.clear();
            }
        }
        let times = failures.entry(key).or_default();
        times.retain(|time| time.elapsed() < WINDOW);
        if times.len() >= MAX_FAILURES {
            return false;
        }
        times.push(Instant::now());
        true
    }

    /// The name signed in: what failed before no longer counts.
    pub fn forget(&self, name: &str, address: &str) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&key(name, address));
    }
}

fn key(name: &str, address: &str) -> (String, String) {
    let name = name.trim().chars().take(MAX_NAME_CHARS).collect::<String>();
    (name.to_lowercase(), address.to_owned())
}
