//! The routes, who may use them, and how a body is read.

use super::{
    Named, Served,
    error::Error,
    request::{Kind, Wanted},
    respond,
};
use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};

const MOST_BODY_BYTES: usize = 4 << 20;
/// A body that takes longer is given up.
const BODY_TIME: Duration = Duration::from_secs(30);

pub fn router(served: Arc<Served>) -> Router {
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(served.clone(), let_in))
        // Whoever watches the process needs no key.
        .route("/health", get(health))
        .with_state(served)
}

async fn health(State(served): State<Arc<Served>>) -> Response {
    match served.live.is_running() {
        true => Json(json!({ "status": "ok" })).into_response(),
        false => Error::ending().into_response(),
    }
}

async fn models(State(served): State<Arc<Served>>) -> Json<Value> {
    let all: Vec<Value> = served.models.iter().map(|model| served.card(model)).collect();
    Json(json!({ "object": "list", "data": all }))
}

async fn model(State(served): State<Arc<Served>>, Path(name): Path<String>) -> Result<Json<Value>, Error> {
    Ok(Json(served.card(served.find(&name)?)))
}

async fn chat(State(served): State<Arc<Served>>, request: Request) -> Result<Response, Error> {
    let body = read(request).await?;
    respond::to(served, Wanted::parse(Kind::Chat, &body)?).await
}

async fn completions(State(served): State<Arc<Served>>, request: Request) -> Result<Response, Error> {
    let body = read(request).await?;
    respond::to(served, Wanted::parse(Kind::Text, &body)?).await
}

async fn no_route(request: Request) -> Error {
    Error::new(
        StatusCode::NOT_FOUND,
        format!("There is nothing at {}", request.uri().path()),
    )
}

async fn no_method(request: Request) -> Error {
    let message = format!(
        "{} cannot be asked with {}",
        request.uri().path(),
        request.method()
    );
    Error::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

/// Whoever has a key, where there are keys.
async fn let_in(State(served): State<Arc<Served>>, request: Request, next: Next) -> Result<Response, Error> {
    if served.keys.is_empty() || bearer(request.headers()).is_some_and(|key| served.has_key(key)) {
        return Ok(next.run(request).await);
    }
    let message = "The API key is missing or wrong: send it as `Authorization: Bearer KEY`";
    Err(Error::new(StatusCode::UNAUTHORIZED, message).with_code("invalid_api_key"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The body of a request that says it is JSON: a page of another origin cannot send such a one unasked.
async fn read(request: Request<Body>) -> Result<Bytes, Error> {
    let is_json = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| {
            kind.split(';')
                .next()
                .is_some_and(|kind| kind.trim() == "application/json")
        });
    if !is_json {
        let message = "The body must have the content type application/json";
        return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let too_large = || {
        let message = format!("The body must be at most {} MB", MOST_BODY_BYTES >> 20);
        Error::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > MOST_BODY_BYTES) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIME, to_bytes(request.into_body(), MOST_BODY_BYTES)).await {
        Ok(body) => body.map_err(|_| too_large()),
        Err(_) => Err(Error::new(
            StatusCode::REQUEST_TIMEOUT,
            "The body did not come in time",
        )),
    }
}

impl Served {
    /// The model that a request names.
    pub fn find(&self, name: &str) -> Result<&Named, Error> {
        self.models
            .iter()
            .find(|model| model.name == name)
            .ok_or_else(|| {
                let names: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
                Error {
                    param: Some("model".into()),
                    ..Error::new(
                        StatusCode::NOT_FOUND,
                        format!("There is no model `{name}`: choose one of {}", names.join(", ")),
                    )
                    .with_code("model_not_found")
                }
            })
    }

    fn card(&self, model: &Named) -> Value {
        let base = model.adapter.map(|_| self.models[0].name.as_str());
        json!({
            "id": model.name, "object": "model", "created": self.started, "owned_by": "laurel", "root": self.models[0].name,
            "parent": base, "max_model_len": self.live.bounds().context,
        })
    }

    /// Hashes are compared, so that the time it takes says nothing of a key.
    fn has_key(&self, key: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        self.keys.contains(&hash)
    }
}
