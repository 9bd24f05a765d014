//! What every handler can reach: the database, the settings, who listens for events, who chats, and who signs in too
//! often.

use crate::{
    chats::Chats, events::Events, plan::Kept, reports::Reports, sign_ins::SignIns, store::Db, webhooks::Reach,
};
use std::{net::IpAddr, path::PathBuf, sync::Arc};
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
    /// Merged files are deleted so many days after they were made; none: they stay.
    pub keep_merged_days: Option<u32>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Where webhooks may lead.
    pub reach: Reach,
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
    pub chats: Chats,
    pub sign_ins: Arc<SignIns>,
    pub reports: Reports,
    pub plans: Kept,
    /// Turns true when the server stops: streams end then.
    pub stopping: watch::Receiver<bool>,
}
