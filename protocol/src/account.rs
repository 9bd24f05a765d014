//! People, sign-in, invites and API tokens.

use crate::{
    error::{Check, Validation},
    ids::{InviteId, Timestamp, TokenId, UserId},
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Admin,
    /// Labels, and decides what annotators see differently.
    Reviewer,
    Annotator,
}

impl Role {
    /// May decide on what others said.
    pub fn may_review(self) -> bool {
        matches!(self, Self::Admin | Self::Reviewer)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub role: Role,
    pub disabled: bool,
    pub created_at: Timestamp,
}

/// Who is signed in. `GET /session`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    pub user: User,
}

/// Whether the first admin account is still to be made. `GET /setup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetupState {
    pub needed: bool,
}

/// Name and password, to sign in or to make an account through a link (setup or invite).
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Credentials {
    pub name: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The shortest password for a new account, in characters.
pub const MIN_PASSWORD_CHARS: usize = 10;
/// The longest password, in bytes: argon2 would take more, a flood of megabytes should not.
pub const MAX_PASSWORD_BYTES: usize = 1024;

impl Credentials {
    /// The rules for a new account. Signing in checks nothing but the match.
    pub fn validate(&self) -> Validation {
        let name = self.name.trim();
        Check::default()
            .ensure(
                (2..=64).contains(&name.chars().count()),
                "name",
                "must have 2 to 64 characters",
            )
            .ensure(
                !name.chars().any(char::is_control),
                "name",
                "has characters that cannot be shown",
            )
            .ensure(
                self.password.chars().count() >= MIN_PASSWORD_CHARS,
                "password",
                "must have at least 10 characters",
            )
            .ensure(
                self.password.len() <= MAX_PASSWORD_BYTES,
                "password",
                "is longer than 1 KiB",
            )
            .finish()
    }
}

/// `PATCH /users/{id}`: only the fields present change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// `POST /invites`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewInvite {
    pub role: Role,
}

/// An invite as listed. The link itself is shown once, in [`CreatedInvite`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Invite {
    pub id: InviteId,
    pub role: Role,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub used_by: Option<UserId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedInvite {
    pub invite: Invite,
    /// Path of the page to send, for example `/invite/9f…`; the browser puts its own origin before it.
    pub path: String,
}

/// What an invite link offers, for the page that accepts it. `GET /invites/by-token/{token}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InviteOffer {
    pub role: Role,
    pub expires_at: Timestamp,
}

/// What a token may do: act as its maker through the API, or work as a trainer and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TokenScope {
    Script,
    Worker,
}

/// `POST /tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewToken {
    pub name: String,
    pub scope: TokenScope,
}

impl NewToken {
    pub fn validate(&self) -> Validation {
        let n_chars = self.name.trim().chars().count();
        Check::default()
            .ensure(
                (1..=64).contains(&n_chars),
                "name",
                "must have 1 to 64 characters",
            )
            .finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiToken {
    pub id: TokenId,
    pub name: String,
    pub scope: TokenScope,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

/// A new token with its secret, shown this once. Send it as `Authorization: Bearer <secret>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedToken {
    pub token: ApiToken,
    pub secret: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_passwords_and_blank_names_are_refused_with_their_field() {
        let bad = Credentials {
            name: " ".into(),
            password: "short".into(),
        };
        let fields: Vec<_> = bad
            .validate()
            .unwrap_err()
            .into_iter()
            .map(|error| error.field)
            .collect();
        assert_eq!(fields, ["name", "password"]);
    }

    #[test]
    fn debug_output_of_credentials_hides_the_password() {
        let shown = format!(
            "{:?}",
            Credentials {
                name: "ada".into(),
                password: "secret-secret".into()
            }
        );
        assert!(!shown.contains("secret"));
    }
}
