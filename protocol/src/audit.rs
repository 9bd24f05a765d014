//! The audit log: who changed what, and when. Entries are added and never changed.

use crate::ids::{AuditId, ProjectId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Grows in the order in which the changes were made.
    pub id: AuditId,
    pub at: Timestamp,
    /// The account's name at that time; of a trainer its token's name.
    pub who: String,
    pub via: Via,
    /// The account, where a person did it.
    pub user: Option<UserId>,
    /// The name of the token that was shown, unless it was a session.
    pub token: Option<String>,
    pub verb: Verb,
    pub project: Option<ProjectId>,
    /// What was changed.
    pub kind: AuditSubject,
    /// Its number, where it has one.
    pub subject: Option<i64>,
    /// A few facts more, by verb; never a secret, a text or an answer.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub detail: serde_json::Value,
}

/// How the one who made a change came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// A browser's session, or a link that makes an account.
    Session,
    /// A script's token.
    Token,
    /// A trainer's token.
    Trainer,
    /// The server's command line.
    CommandLine,
    /// The server by itself: a lease ran out.
    Server,
}

/// What a change was made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditSubject {
    Account,
    Invite,
    Token,
    Project,
    CompletionJob,
    Task,
    Assignment,
    Battle,
    Round,
    Adapter,
    Scoring,
    Contest,
    PlannedRound,
    Webhook,
    Merge,
    Database,
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $verb:ident),* $(,)?) => {
        /// What was done. The names are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum Verb { $($(#[$doc])* $verb),* }

        impl Verb {
            pub const ALL: &[Self] = &[$(Self::$verb),*];
        }
    };
}

verbs! {
    AccountMade,
    RoleChanged,
    AccountDisabled,
    AccountEnabled,
    /// The person left: name, comments and notes are gone.
    AccountDeleted,
    SignedIn,
    SignedOut,
    InviteMade,
    InviteDeleted,
    TokenMade,
    TokenRevoked,
    ProjectCreated,
    ProjectChanged,
    /// Only members are given tasks from now on, or everybody is again.
    AccessChanged,
    MemberAdded,
    /// Another limit of tasks.
    MemberChanged,
    MemberRemoved,
    PrioritySet,
    PromptsImported,
    CompletionsOrdered,
    /// A trainer took the job up.
    CompletionsStarted,
    /// The job waits again: its trainer gave it back or fell silent.
    CompletionsReturned,
    CompletionsAbortAsked,
    CompletionsAborted,
    CompletionsFinished,
    CompletionsFailed,
    AnswerGiven,
    AnswerReplaced,
    /// Skipped after it had been answered.
    AnswerWithdrawn,
    TaskSkipped,
    /// Undo brought the task back; the answer stands until another replaces it.
    TaskReopened,
    GoldMade,
    GoldClosed,
    /// A reviewer decided in place of those who answered.
    TaskDecided,
    DecisionTakenBack,
    TaskRetired,
    TaskPutBack,
    NoteWritten,
    /// A person asked two hidden contenders.
    BattleBegun,
    /// Stopped, or skipped: nothing that was said is kept.
    BattleClosed,
    RoundOrdered,
    /// A trainer took the round up.
    RoundStarted,
    /// The round waits again: its trainer gave it back or fell silent.
    RoundReturned,
    RoundPauseAsked,
    RoundPaused,
    RoundResumed,
    RoundAbortAsked,
    RoundAborted,
    RoundFinished,
    RoundFailed,
    /// Another place among the rounds that wait for a trainer.
    RoundMoved,
    /// A round that starts once what it waits for has come.
    RoundPlanned,
    PlanChanged,
    PlanMoved,
    PlanLaunched,
    PlanFailed,
    PlanCancelled,
    /// It waits again, after it had failed or was cancelled.
    PlanRetried,
    WebhookMade,
    WebhookChanged,
    WebhookDeleted,
    AdapterAccepted,
    /// Two contenders meet before hidden judges.
    ContestBegun,
    /// One of them is better.
    ContestDecided,
    /// All is judged, and neither is clearly better.
    ContestUndecided,
    /// An admin ended it.
    ContestClosed,
    /// The project takes this adapter, or the base model, by default.
    AdapterPromoted,
    AdapterRolledBack,
    /// A scoring of the open tasks, for active selection.
    ScoringOrdered,
    ScoringStarted,
    /// The scoring waits again: its trainer gave it back or fell silent.
    ScoringReturned,
    ScoringAbortAsked,
    ScoringAborted,
    ScoringFinished,
    ScoringFailed,
    /// An adapter is to be merged into its base model.
    MergeOrdered,
    MergeStarted,
    /// The merge waits again: its trainer gave it back or fell silent.
    MergeReturned,
    MergeAbortAsked,
    MergeAborted,
    MergeFinished,
    MergeFailed,
    /// Merged files are gone: an admin deleted them, or their time was up.
    MergedDeleted,
    /// An adapter's files are gone; what it was made of stays.
    AdapterDeleted,
    ExportTaken,
    BackupTaken,
    /// This database is a backup that was restored.
    BackupRestored,
}

impl Verb {
    /// The name that it has in JSON.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            other => unreachable!("a verb is a JSON string, got {other:?}"),
        }
    }

    /// The verb of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }
}

/// A part of the log. `GET /audit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// The `after` of the next page; null on the last one.
    pub next: Option<AuditId>,
}

/// Which entries are asked for. All conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFilter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// An account's or a token's name; capital letters do not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<Verb>,
    /// From this time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_found_by_its_name() {
        for verb in Verb::ALL {
            assert_eq!(Verb::from_name(&verb.name()), Some(*verb));
        }
        assert_eq!(Verb::AnswerGiven.name(), "answer_given");
        assert_eq!(Verb::from_name("answer_taken"), None);
    }
}
