//! The browser's storage, where each verdict stands from before it is sent until the server has it.

use super::Unsent;
use laurel_protocol::{AssignmentId, UserId};
use leptos::prelude::window;
use web_sys::Storage;

fn prefix(user: UserId) -> String {
    format!("laurel-unsent-{user}-")
}

/// The key of a verdict in the storage.
pub fn key(user: UserId, assignment: AssignmentId, revision: u32) -> String {
    format!("{}{assignment}-{revision}", prefix(user))
}

/// Writes one to the browser's storage and says whether that worked.
pub fn store(user: UserId, unsent: &Unsent) -> bool {
    let Ok(text) = serde_json::to_string(unsent) else {
        return false;
    };
    let key = key(user, unsent.assignment, unsent.revision);
    storage().is_some_and(|storage| storage.set_item(&key, &text).is_ok())
}

pub fn erase(user: UserId, unsent: &Unsent) {
    if let Some(storage) = storage() {
        // What cannot be erased is sent again later, which does no harm.
        let _ = storage.remove_item(&key(user, unsent.assignment, unsent.revision));
    }
}

/// Whether a page has tried to send it: another tab may be at it.
pub fn was_tried(user: UserId, unsent: &Unsent) -> bool {
    storage()
        .and_then(|storage| {
            let key = key(user, unsent.assignment, unsent.revision);
            storage.get_item(&key).ok().flatten()
        })
        .and_then(|text| serde_json::from_str::<Unsent>(&text).ok())
        .is_some_and(|stored| stored.was_tried)
}

/// Everything that waits for this person, of all projects.
pub fn load(user: UserId) -> Vec<Unsent> {
    entries(&prefix(user))
        .into_iter()
        .filter_map(|(_, text)| serde_json::from_str(&text).ok())
        .collect()
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
