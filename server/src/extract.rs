//! What a handler reads of a request: path, query, body. Each is axum's own extractor, but what cannot be read is
//! answered as problem details like every other error. Handlers take these and never axum's.

use crate::error::Failure;
use axum::{
    Json,
    body::Bytes,
    extract::{
        self, FromRequest, FromRequestParts, Request,
        rejection::{BytesRejection, JsonRejection},
    },
    http::{StatusCode, request::Parts},
};
use laurel_protocol::ErrorCode;
use serde::de::DeserializeOwned;

/// The variable parts of the path.
pub struct Path<T>(pub T);
/// The query after the question mark.
pub struct Query<T>(pub T);
/// A JSON body.
pub struct Body<T>(pub T);
/// A body as it came.
pub struct RawBody(pub Bytes);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(extract::Path(value)) => Ok(Self(value)),
            Err(rejection) if rejection.status().is_server_error() => Err(Failure::internal(rejection)),
            Err(rejection) => Err(unreadable("path", &rejection.body_text())),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(unreadable("query", &rejection.body_text())),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::BytesRejection(rejection)) => Err(broken_body(&rejection)),
            Err(rejection) => Err(unreadable("body", &rejection.body_text())),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) => Err(broken_body(&rejection)),
        }
    }
}

fn unreadable(part: &str, reason: &str) -> Failure {
    let detail = format!("The {part} of the request cannot be read: {reason}.");
    Failure::new(ErrorCode::BadRequest, detail)
}

fn broken_body(rejection: &BytesRejection) -> Failure {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = "The request is too large: send less at once.";
        return Failure::new(ErrorCode::TooLarge, detail);
    }
    Failure::new(ErrorCode::BadRequest, "The request broke off: send it again.")
}
