//! What a caller of the API sees when something goes wrong: RFC 9457 problem details with a stable code.

use serde::{Deserialize, Serialize};

/// The body of every error answer (`application/problem+json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiError {
    /// `about:blank#<code>`; the code below is what programs should compare.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short title that does not change from case to case.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: ErrorCode,
    /// One sentence that says what to do.
    pub detail: String,
    /// Names this request in the server's log.
    pub request_id: String,
    /// For invalid input: which fields, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldError>,
}

/// Why the value of one field was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    pub field: String,
    pub reason: String,
}

impl FieldError {
    pub fn new(field: &str, reason: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The outcome of a check of what a person entered.
pub type Validation = Result<(), Vec<FieldError>>;

/// Collects the reasons of several checks.
#[derive(Default)]
pub struct Check(Vec<FieldError>);

impl Check {
    /// Notes `reason` against `field` unless `holds`.
    pub fn ensure(&mut self, holds: bool, field: &str, reason: &str) -> &mut Self {
        if !holds {
            self.0.push(FieldError::new(field, reason));
        }
        self
    }

    pub fn finish(&mut self) -> Validation {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(std::mem::take(&mut self.0))
        }
    }
}

/// Stable error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the request could not be read (bad JSON, wrong type, bad path).
    BadRequest,
    /// 401: sign in, or send a token.
    NotSignedIn,
    /// 401: name and password do not match.
    WrongCredentials,
    /// 403: this role or token may not do this.
    Forbidden,
    /// 403: the project is for people who are assigned to it, and this one is not, or no more.
    NotAssigned,
    /// 403: a browser request that came from another site.
    CrossOrigin,
    /// 404
    NotFound,
    /// 405: the address takes other methods, which the header `Allow` names.
    MethodNotAllowed,
    /// 409: the thing changed in between, or the name is taken.
    Conflict,
    /// 409: the lease ran out and someone else has the slot now.
    LeaseLost,
    /// 410: a one-time link that was used or ran out.
    LinkExpired,
    /// 413
    TooLarge,
    /// 422: the input breaks a rule; see `fields`.
    Invalid,
    /// 429: too many tries; wait.
    RateLimited,
    /// 500: our fault; the request id finds the log line.
    Internal,
    /// 503: the database is busy or the server is stopping; try again.
    Unavailable,
}
