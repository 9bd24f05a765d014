//! What of a job goes into the audit log: what becomes of a round, a completion job, a scoring or a merge. A turn of a chat leaves nothing
//! behind, here neither.

use super::{
    Result,
    audit::{self, Actor, Event},
    jobs::{Job, JobKind},
};
use laurel_protocol::{AuditSubject, JobStatus, Timestamp, Verb};
use serde_json::Value;
use sqlx::SqliteConnection;

/// What happens to a job.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Ordered,
    Status(JobStatus, JobStatus),
    AbortAsked,
    PauseAsked,
    /// A pause that was asked for is called off.
    Unpaused,
}

pub(super) async fn note(
    conn: &mut SqliteConnection,
    by: &Actor,
    job: &Job,
    change: Change,
    detail: Value,
    now: Timestamp,
) -> Result<()> {
    let Some(verb) = verb(job.kind, change) else {
        return Ok(());
    };
    let (kind, sql) = match job.kind {
        JobKind::Round => (AuditSubject::Round, "select id from round where job_id = ?1"),
        JobKind::Scoring => (AuditSubject::Scoring, "select id from scoring where job_id = ?1"),
        JobKind::Merge => (AuditSubject::Merge, "select id from merge where job_id = ?1"),
        JobKind::Completions | JobKind::Chat => (
            AuditSubject::CompletionJob,
            "select id from completion_job where job_id = ?1",
        ),
    };
    let subject: Option<i64> = sqlx::query_scalar(sql)
        .bind(job.id.0)
        .fetch_optional(&mut *conn)
        .await?;
    let event = Event {
        verb,
        project: Some(job.project_id),
        kind,
        subject,
        detail,
    };
    audit::note(conn, by, event, now).await
}

fn verb(kind: JobKind, change: Change) -> Option<Verb> {
    use JobStatus::{Aborted, Done, Failed, Paused, Queued, Running};
    let [of_round, of_completions, of_scoring, of_merge] = match change {
        Change::Ordered => [
            Verb::RoundOrdered,
            Verb::CompletionsOrdered,
            Verb::ScoringOrdered,
            Verb::MergeOrdered,
        ],
        Change::AbortAsked => [
            Verb::RoundAbortAsked,
            Verb::CompletionsAbortAsked,
            Verb::ScoringAbortAsked,
            Verb::MergeAbortAsked,
        ],
        Change::PauseAsked => return (kind == JobKind::Round).then_some(Verb::RoundPauseAsked),
        Change::Unpaused => return (kind == JobKind::Round).then_some(Verb::RoundResumed),
        Change::Status(from, to) => match (from, to) {
            (Paused, Queued) => return (kind == JobKind::Round).then_some(Verb::RoundResumed),
            (_, Paused) => return (kind == JobKind::Round).then_some(Verb::RoundPaused),
            (_, Queued) => [
                Verb::RoundReturned,
                Verb::CompletionsReturned,
                Verb::ScoringReturned,
                Verb::MergeReturned,
            ],
            (_, Running) => [
                Verb::RoundStarted,
                Verb::CompletionsStarted,
                Verb::ScoringStarted,
                Verb::MergeStarted,
            ],
            (_, Done) => [
                Verb::RoundFinished,
                Verb::CompletionsFinished,
                Verb::ScoringFinished,
                Verb::MergeFinished,
            ],
            (_, Failed) => [
                Verb::RoundFailed,
                Verb::CompletionsFailed,
                Verb::ScoringFailed,
                Verb::MergeFailed,
            ],
            (_, Aborted) => [
                Verb::RoundAborted,
                Verb::CompletionsAborted,
                Verb::ScoringAborted,
                Verb::MergeAborted,
            ],
        },
    };
    match kind {
        JobKind::Round => Some(of_round),
        JobKind::Completions => Some(of_completions),
        JobKind::Scoring => Some(of_scoring),
        JobKind::Merge => Some(of_merge),
        JobKind::Chat => None,
    }
}
