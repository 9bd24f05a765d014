//! The state of a completion job or a round, in one word and one colour.

use crate::words::t;
use laurel_protocol::JobStatus;
use leptos::prelude::*;

/// The status as the API spells it.
pub fn status_name(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Queued => "queued",
        JobStatus::Running => "running",
        JobStatus::Paused => "paused",
        JobStatus::Done => "done",
        JobStatus::Failed => "failed",
        JobStatus::Aborted => "aborted",
    }
}

fn status_word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Queued => t("Waiting for a trainer"),
        JobStatus::Running => t("Running"),
        JobStatus::Paused => t("Paused"),
        JobStatus::Done => t("Done"),
        JobStatus::Failed => t("Failed"),
        JobStatus::Aborted => t("Aborted"),
    }
}

pub fn status_badge(status: JobStatus) -> AnyView {
    let class = format!("badge badge-{}", status_name(status));
    view! { <span class=class>{status_word(status)}</span> }.into_any()
}
