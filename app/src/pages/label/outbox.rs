//! Verdicts that the server has not acknowledged yet. Each is written to the browser's storage before it is
//! sent and erased when the server has it, so that neither a lost connection nor a closed tab loses one.

use laurel_protocol::{Answer, AssignmentId, ErrorCode, ProjectId, Skip, UserId};
use leptos::prelude::window;
use serde::{Deserialize, Serialize};
use web_sys::Storage;

/// What a person said about a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Answer(Answer),
    Skip(Skip),
}

/// A verdict on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unsent {
    pub project: ProjectId,
    pub assignment: AssignmentId,
    pub revision: u32,
    pub verdict: Verdict,
    /// When it was given, in milliseconds: verdicts are sent in the order in which they were given.
    pub at: f64,
    /// The server's sentence, if it will not take this verdict.
    #[serde(default)]
    pub refused: Option<String>,
}

impl Unsent {
    pub fn is_for(&self, assignment: AssignmentId, revision: u32) -> bool {
        self.assignment == assignment && self.revision == revision
    }

    /// Whether it will be one more annotation of this person (and not a replaced one, or a skip).
    pub fn is_new_answer(&self) -> bool {
        self.refused.is_none() && self.revision == 0 && matches!(self.verdict, Verdict::Answer(_))
    }

    /// For the clipboard, when the server refused it.
    pub fn as_text(&self) -> String {
        serde_json::to_string_pretty(&self.verdict).unwrap_or_default()
    }
}

/// What to do after a verdict could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Try again after a while.
    Retry,
    /// Wait until the person has signed in again.
    Wait,
    /// The server will never take it.
    Refused,
}

/// `code` is the server's code, if it answered with one; `is_passing` says that it may work later.
pub fn fate(code: Option<ErrorCode>, is_passing: bool) -> Fate {
    match code {
        Some(ErrorCode::NotSignedIn) => Fate::Wait,
        Some(_) if !is_passing => Fate::Refused,
        // An answer that cannot be read proves nothing: the verdict may be stored or not. Sending it again
        // is harmless.
        _ => Fate::Retry,
    }
}

/// 1, 2, 4 … 30 seconds.
pub fn delay_ms(n_tries: u32) -> u64 {
    (1000 << n_tries.min(5)).min(30_000)
}

fn prefix(user: UserId) -> String {
    format!("laurel-unsent-{user}-")
}

fn key(user: UserId, unsent: &Unsent) -> String {
    format!("{}{}-{}", prefix(user), unsent.assignment, unsent.revision)
}

/// Writes one to the browser's storage and says whether that worked.
pub fn store(user: UserId, unsent: &Unsent) -> bool {
    let Ok(text) = serde_json::to_string(unsent) else {
        return false;
    };
    storage().is_some_and(|storage| storage.set_item(&key(user, unsent), &text).is_ok())
}

pub fn erase(user: UserId, unsent: &Unsent) {
    if let Some(storage) = storage() {
        // What cannot be erased is sent again later, which does no harm.
        let _ = storage.remove_item(&key(user, unsent));
    }
}

/// What an earlier visit left behind, oldest first.
pub fn load(user: UserId, project: ProjectId) -> Vec<Unsent> {
    let mut left: Vec<Unsent> = entries(&prefix(user))
        .into_iter()
        .filter_map(|(_, text)| serde_json::from_str(&text).ok())
        .filter(|unsent: &Unsent| unsent.project == project)
        .collect();
    left.sort_by(|a, b| a.at.total_cmp(&b.at));
    left
}

pub fn storage() -> Option<Storage> {
    window().local_storage().ok().flatten()
}

/// All stored texts whose key starts so.
pub fn entries(prefix: &str) -> Vec<(String, String)> {
    let Some(storage) = storage() else {
        return Vec::new();
    };
    let n = storage.length().unwrap_or(0);
    (0..n)
        .filter_map(|at| storage.key(at).ok().flatten())
        .filter(|key| key.starts_with(prefix))
        .filter_map(|key| Some((storage.get_item(&key).ok().flatten()?, key)))
        .map(|(text, key)| (key, text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::SkipReason;

    #[test]
    fn a_lost_lease_or_a_bad_answer_is_refused_and_an_outage_is_not() {
        assert_eq!(fate(Some(ErrorCode::LeaseLost), false), Fate::Refused);
        assert_eq!(fate(Some(ErrorCode::Invalid), false), Fate::Refused);
        assert_eq!(fate(Some(ErrorCode::Unavailable), true), Fate::Retry);
        assert_eq!(fate(None, true), Fate::Retry);
        assert_eq!(fate(None, false), Fate::Retry);
        assert_eq!(fate(Some(ErrorCode::NotSignedIn), false), Fate::Wait);
    }

    #[test]
    fn retries_slow_down_to_half_a_minute() {
        let delays: Vec<_> = [0, 1, 2, 9].into_iter().map(delay_ms).collect();
        assert_eq!(delays, [1000, 2000, 4000, 30_000]);
    }

    #[test]
    fn a_stored_verdict_reads_back_the_same() {
        let unsent = Unsent {
            project: ProjectId(1),
            assignment: AssignmentId(7),
            revision: 2,
            verdict: Verdict::Skip(Skip {
                reason: SkipReason::Broken,
                comment: "half a sentence".into(),
            }),
            at: 5.0,
            refused: None,
        };
        let text = serde_json::to_string(&unsent).unwrap();
        assert_eq!(serde_json::from_str::<Unsent>(&text).unwrap(), unsent);
    }
}
