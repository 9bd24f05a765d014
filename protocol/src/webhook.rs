//! Webhooks: addresses that hear of a project's rounds.

use crate::{
    error::{Check, Validation},
    ids::{DeliveryId, ProjectId, RoundId, Timestamp, WebhookId},
    round::RoundKind,
};
use serde::{Deserialize, Serialize};

/// What a webhook hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum HookEvent {
    /// The round is done, and its adapter there.
    RoundDone,
    RoundFailed,
    RoundAborted,
    RoundPaused,
    /// The round warns of something, each warning once.
    Alarm,
    /// An admin tries the webhook. Every webhook hears of it.
    Test,
}

impl HookEvent {
    /// Those that a webhook chooses from.
    pub const CHOICES: [Self; 5] = [
        Self::RoundDone,
        Self::RoundFailed,
        Self::RoundAborted,
        Self::RoundPaused,
        Self::Alarm,
    ];
}

/// `POST /projects/{id}/webhooks` and `PUT /webhooks/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewWebhook {
    pub url: String,
    pub events: Vec<HookEvent>,
}

impl NewWebhook {
    pub fn validate(&self) -> Validation {
        let url = self.url.trim();
        let rest = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"));
        let has_host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']));
        let is_plain = url.chars().all(|char| char.is_ascii_graphic());
        Check::default()
            .ensure(
                has_host && is_plain,
                "url",
                "must be an address that begins with https:// or http://",
            )
            .ensure(url.len() <= 2000, "url", "must have at most 2000 characters")
            .ensure(
                !rest.is_some_and(|rest| rest.split('/').next().unwrap_or_default().contains('@')),
                "url",
                "must hold no name and password",
            )
            .ensure(
                self.events.iter().any(|event| *event != HookEvent::Test),
                "events",
                "must name one event at least",
            )
            .finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Webhook {
    pub id: WebhookId,
    pub project_id: ProjectId,
    pub url: String,
    pub events: Vec<HookEvent>,
    pub created_at: Timestamp,
    /// The last ten, newest first.
    pub deliveries: Vec<Delivery>,
}

/// The secret is shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedWebhook {
    pub webhook: Webhook,
    /// The key of the signatures.
    pub secret: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It is sent at `next_at`, for the first time or again.
    Pending,
    /// The receiver answered with a status of 200 to 299.
    Sent,
    /// The last try failed as well.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delivery {
    pub id: DeliveryId,
    pub event: HookEvent,
    pub status: DeliveryStatus,
    pub n_attempts: u32,
    pub created_at: Timestamp,
    pub next_at: Option<Timestamp>,
    /// What came of the last try: the receiver's status, or why there was none.
    pub http_status: Option<u16>,
    pub error: Option<NoAnswer>,
}

/// Why a try came to no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NoAnswer {
    /// The name leads nowhere, or to addresses that the server may not send to.
    NowhereAllowed,
    TimedOut,
    /// The receiver's certificate is not trusted.
    Untrusted,
    Unreachable,
}

/// The body of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notification {
    pub event: HookEvent,
    pub at: Timestamp,
    pub project: ProjectId,
    pub project_name: String,
    /// None in a test.
    pub round: Option<RoundId>,
    pub round_name: Option<String>,
    pub round_kind: Option<RoundKind>,
    /// Why it failed, or what it warns of.
    pub text: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_web_and_holds_no_password() {
        let refused = |url: &str| {
            let new = NewWebhook {
                url: url.to_owned(),
                events: vec![HookEvent::Alarm],
            };
            new.validate().is_err()
        };
        for good in ["https://example.org/hook?x=1", "http://10.0.0.7:8065/a@b"] {
            assert!(!refused(good), "{good}");
        }
        for bad in [
            "",
            "ftp://example.org",
            "https://",
            "https:///x",
            "https://a b",
            "https://me:pw@example.org",
        ] {
            assert!(refused(bad), "{bad}");
        }
    }
}
