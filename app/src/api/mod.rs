//! Thin calls of the REST API, one file a noun, with the types of `protocol`.
//!
//! This file holds the one `fetch` that all of them share. A 401 `not_signed_in` anywhere is told to the
//! app once (see [`on_signed_out`]), which then shows the sign-in page and comes back afterwards.

pub mod account;
pub mod adapter;
pub mod arena;
pub mod audit;
pub mod chat;
pub mod completion;
pub mod contest;
pub mod events;
pub mod label;
pub mod lineage;
pub mod members;
pub mod planned;
pub mod project;
pub mod review;
pub mod round;
pub mod scoring;
pub mod webhook;

use crate::error::AppError;
use laurel_protocol::{ApiError, ErrorCode};
use serde::{Serialize, de::DeserializeOwned};
use std::cell::RefCell;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{RequestInit, Response};

pub type Result<T> = std::result::Result<T, AppError>;

/// The path of an API resource, for links that the browser follows itself (downloads).
pub fn url(path: &str) -> String {
    format!("/api/v1{path}")
}

thread_local! {
    static SIGNED_OUT: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// Calls `listener` whenever the server says that nobody is signed in.
pub fn on_signed_out(listener: impl Fn() + 'static) {
    SIGNED_OUT.with(|slot| *slot.borrow_mut() = Some(Box::new(listener)));
}

/// The verbs that the API uses.
#[derive(Clone, Copy)]
enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// How long a call may take before it counts as failed. A connection that died silently never answers.
#[derive(Clone, Copy)]
enum Patience {
    /// What only reads, or may be sent again without harm.
    Short,
    /// What a second try would do twice: the server gets its time.
    Long,
    /// A file on its way takes as long as it takes.
    Endless,
}

impl Patience {
    fn limit_ms(self) -> Option<u32> {
        match self {
            Self::Short => Some(15_000),
            Self::Long => Some(90_000),
            Self::Endless => None,
        }
    }
}

/// What goes out with a call.
struct Payload {
    content: JsValue,
    content_type: &'static str,
    /// Whether it may outlive the page. A small write does: leaving right after a click does not lose it. 64 KiB is
    /// the browsers' limit for all such requests together, and Chromium sends no file like this.
    may_outlive: bool,
}

impl Payload {
    fn json(body: &impl Serialize) -> Self {
        let text = serde_json::to_string(body).expect("protocol types are plain data: they always serialise");
        Self::text(&text, JSON)
    }

    fn text(text: &str, content_type: &'static str) -> Self {
        Self {
            content: JsValue::from_str(text),
            content_type,
            may_outlive: text.len() < 16 * 1024,
        }
    }

    /// The bytes as they lie on disk, whatever they are.
    fn file(file: &web_sys::File, content_type: &'static str) -> Self {
        Self {
            content: JsValue::from(file),
            content_type,
            may_outlive: false,
        }
    }
}

async fn get<T: DeserializeOwned>(path: &str) -> Result<T> {
    read(&send(Method::Get, path, None, Patience::Short).await?)
}

async fn post<T: DeserializeOwned>(path: &str, body: &impl Serialize) -> Result<T> {
    read(&send(Method::Post, path, Some(Payload::json(body)), Patience::Long).await?)
}

/// A POST that may be sent again without harm.
async fn post_again<T: DeserializeOwned>(path: &str, body: &impl Serialize) -> Result<T> {
    read(&send(Method::Post, path, Some(Payload::json(body)), Patience::Short).await?)
}

/// A POST that says all it has to say by its path.
async fn post_empty<T: DeserializeOwned>(path: &str) -> Result<T> {
    read(&send(Method::Post, path, None, Patience::Long).await?)
}

/// A POST of what is no JSON document, such as JSON Lines.
async fn post_payload<T: DeserializeOwned>(path: &str, payload: Payload) -> Result<T> {
    read(&send(Method::Post, path, Some(payload), Patience::Endless).await?)
}

async fn put<T: DeserializeOwned>(path: &str, body: &impl Serialize) -> Result<T> {
    read(&send(Method::Put, path, Some(Payload::json(body)), Patience::Long).await?)
}

async fn patch<T: DeserializeOwned>(path: &str, body: &impl Serialize) -> Result<T> {
    read(&send(Method::Patch, path, Some(Payload::json(body)), Patience::Long).await?)
}

/// A POST that says all by its path and is answered by nothing.
async fn post_empty_for_nothing(path: &str) -> Result<()> {
    send(Method::Post, path, None, Patience::Long).await.map(drop)
}

/// A DELETE that is answered by what is left.
async fn delete_for<T: DeserializeOwned>(path: &str) -> Result<T> {
    read(&send(Method::Delete, path, None, Patience::Long).await?)
}

async fn delete(path: &str) -> Result<()> {
    send(Method::Delete, path, None, Patience::Long).await.map(drop)
}

const JSON: &str = "application/json";

/// The text of a successful answer with its status.
struct Body {
    status: u16,
    text: String,
}

fn read<T: DeserializeOwned>(body: &Body) -> Result<T> {
    serde_json::from_str(&body.text).map_err(|_| AppError::Unreadable { status: body.status })
}

async fn send(method: Method, path: &str, payload: Option<Payload>, patience: Patience) -> Result<Body> {
    let init = RequestInit::new();
    init.set_method(method.as_str());
    let headers = web_sys::Headers::new().map_err(|_| AppError::Offline)?;
    // The names are constants that the standard allows, so neither call can fail.
    let _ = headers.set("accept", JSON);
    if let Some(payload) = payload {
        let _ = headers.set("content-type", payload.content_type);
        if payload.may_outlive {
            let _ = js_sys::Reflect::set(&init, &"keepalive".into(), &JsValue::TRUE);
        }
        init.set_body(&payload.content);
    }
    if let Some(limit_ms) = patience.limit_ms() {
        init.set_signal(Some(&web_sys::AbortSignal::timeout_with_u32(limit_ms)));
    }
    init.set_headers(&headers);
    let window = web_sys::window().expect("the app runs in a window");
    let answer = JsFuture::from(window.fetch_with_str_and_init(&url(path), &init))
        .await
        .map_err(|_| AppError::Offline)?;
    let response: Response = answer.unchecked_into();
    let status = response.status();
    let text = JsFuture::from(response.text().map_err(|_| AppError::Offline)?)
        .await
        .map_err(|_| AppError::Offline)?
        .as_string()
        .unwrap_or_default();
    if response.ok() {
        return Ok(Body { status, text });
    }
    let error = match serde_json::from_str::<ApiError>(&text) {
        Ok(error) => AppError::Api(Box::new(error)),
        Err(_) => AppError::Unreadable { status },
    };
    if error.code() == Some(ErrorCode::NotSignedIn) {
        SIGNED_OUT.with(|slot| {
            if let Some(listener) = slot.borrow().as_ref() {
                listener();
            }
        });
    }
    Err(error)
}
