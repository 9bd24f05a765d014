//! Errors in the shape of OpenAI's API: `{"error": {"message", "type", "param", "code"}}`.

use crate::generate::Refused;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub status: StatusCode,
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    pub code: Option<&'static str>,
}

impl Error {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    /// A field of the request that is wrong.
    pub fn field(param: impl Into<String>, reason: &str) -> Self {
        let param = param.into();
        Self {
            message: format!("`{param}` {reason}"),
            param: Some(param),
            ..Self::new(StatusCode::BAD_REQUEST, "")
        }
    }

    pub fn with_code(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    /// An order that the engine did not take. `param` is the field with the prompt.
    pub fn refused(refused: Refused, param: &str, context: usize) -> Self {
        match refused {
            Refused::Empty => Self::field(param, "has no tokens"),
            Refused::TooLong { n_tokens } => Self::field(
                param,
                &format!(
                    "has {n_tokens} tokens, but the context is {context} tokens for the prompt and its completion \
                     together"
                ),
            )
            .with_code("context_length_exceeded"),
            Refused::Full => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "As many completions as may wait are waiting: try again later",
            )
            .with_code("queue_full"),
            Refused::Closing => Self::ending(),
        }
    }

    /// The server ends, or its engine has.
    pub fn ending() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The server is shutting down").with_code("shutting_down")
    }

    /// OpenAI's name of the kind of error.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    pub fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message, "type": self.kind(), "param": self.param, "code": self.code,
        } })
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
