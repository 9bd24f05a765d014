//! From what went wrong to what the caller sees: problem details (RFC 9457) with a stable code, a sentence that says
//! what to do, and the request id. The cause of an internal error is logged here, once, and never sent.

use crate::store;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use laurel_protocol::{ApiError, ErrorCode, FieldError};

tokio::task_local! {
    /// The id of the request in hand, set by the router's outermost layer.
    pub static REQUEST_ID: String;
}

/// An answer that is an error.
#[derive(Debug)]
pub struct Failure {
    code: ErrorCode,
    detail: String,
    fields: Vec<FieldError>,
}

impl Failure {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            fields: Vec::new(),
        }
    }

    pub fn invalid(fields: Vec<FieldError>) -> Self {
        let detail = fields
            .iter()
            .take(3)
            .map(|error| format!("{} {}", error.field, error.reason))
            .collect::<Vec<_>>()
            .join("; ");
        Self {
            code: ErrorCode::Invalid,
            detail: format!("Correct the input: {detail}."),
            fields,
        }
    }

    /// The same with a sentence of its own.
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            ..self
        }
    }

    pub fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "There is nothing here: check the address.")
    }

    pub fn forbidden() -> Self {
        Self::new(
            ErrorCode::Forbidden,
            "Your account may not do this: ask an admin.",
        )
    }

    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, request.id = %request_id(), "A request failed inside: {cause}");
        Self::new(
            ErrorCode::Internal,
            "Something went wrong on the server. Look whether your change was made before you try again, and give the \
             request id to an admin if this stays.",
        )
    }
}

fn request_id() -> String {
    REQUEST_ID.try_with(Clone::clone).unwrap_or_default()
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NotFound => Self::not_found(),
            store::Error::Conflict(detail) => Self::new(ErrorCode::Conflict, detail),
            store::Error::LeaseLost => Self::new(
                ErrorCode::LeaseLost,
                "The time for this ran out and it was given to someone else.",
            ),
            store::Error::NotAssigned => Self::new(
                ErrorCode::NotAssigned,
                "You are not assigned to this project, or no longer: ask whoever leads it.",
            ),
            store::Error::Invalid(fields) => Self::invalid(fields),
            store::Error::Database(sqlx_error) if is_busy(&sqlx_error.to_string()) => Self::new(
                ErrorCode::Unavailable,
                "The server is busy: try again in a moment.",
            ),
            other => Self::internal(other),
        }
    }
}

fn is_busy(message: &str) -> bool {
    message.contains("database is locked") || message.contains("pool timed out")
}

impl From<Vec<FieldError>> for Failure {
    fn from(fields: Vec<FieldError>) -> Self {
        Self::invalid(fields)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, title) = describe(self.code);
        let name = store::text::name_of(&self.code);
        let body = ApiError {
            kind: format!("about:blank#{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            code: self.code,
            detail: self.detail,
            request_id: request_id(),
            fields: self.fields,
        };
        let mut response = (status, Json(body)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::TOO_MANY_REQUESTS {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        response
    }
}

fn describe(code: ErrorCode) -> (StatusCode, &'static str) {
    match code {
        ErrorCode::BadRequest => (StatusCode::BAD_REQUEST, "The request cannot be read"),
        ErrorCode::NotSignedIn => (StatusCode::UNAUTHORIZED, "Not signed in"),
        ErrorCode::WrongCredentials => (StatusCode::UNAUTHORIZED, "Name and password do not match"),
        ErrorCode::Forbidden => (StatusCode::FORBIDDEN, "Not allowed"),
        ErrorCode::NotAssigned => (StatusCode::FORBIDDEN, "Not assigned"),
        ErrorCode::CrossOrigin => (StatusCode::FORBIDDEN, "From another site"),
        ErrorCode::NotFound => (StatusCode::NOT_FOUND, "Not found"),
        ErrorCode::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
        ErrorCode::Conflict => (StatusCode::CONFLICT, "Conflict"),
        ErrorCode::LeaseLost => (StatusCode::CONFLICT, "The lease is lost"),
        ErrorCode::LinkExpired => (StatusCode::GONE, "The link is used up"),
        ErrorCode::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Too large"),
        ErrorCode::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid input"),
        ErrorCode::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "Too many tries"),
        ErrorCode::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
        ErrorCode::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Not available now"),
    }
}
