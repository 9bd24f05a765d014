//! Identifiers and times. Each is one integer in JSON and in SQLite, and a type of its own in Rust.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

ids! {
    UserId, InviteId, TokenId, ProjectId, PromptId, CompletionId, CompletionJobId, TaskId, AssignmentId,
    AnnotationId, SnapshotId, RoundId, AdapterId, AuditId, BattleId, ScoringId,
    ContestId, PromotionId, PlannedId, WebhookId, DeliveryId, MergeId,
    /// A unit of work that a trainer leases: a round, a completion job, a scoring, a merge.
    JobId,
}

/// Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time `seconds` after this one.
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0 + seconds * 1000)
    }
}
