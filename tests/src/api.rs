//! The REST API as a script uses it.

use anyhow::{Context, Result, bail};
use laurel_protocol::{ApiError, ErrorCode};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use ureq::{Agent, Body, RequestExt, http::Request, http::Response};

/// One caller: an address and, unless it is a stranger, a token.
#[derive(Clone)]
pub struct Api {
    agent: Agent,
    base: String,
    token: Option<String>,
}

/// What came back, whatever the status.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub body: String,
    /// The value of `set-cookie`, if any.
    pub cookie: Option<String>,
}

impl Answered {
    pub fn code(&self) -> Option<ErrorCode> {
        serde_json::from_str::<ApiError>(&self.body)
            .ok()
            .map(|error| error.code)
    }

    fn value<T: DeserializeOwned>(self, what: &str) -> Result<T> {
        if !(200..300).contains(&self.status) {
            bail!("{what} answered {}: {}", self.status, self.body);
        }
        let text = if self.body.is_empty() { "null" } else { &self.body };
        serde_json::from_str(text).with_context(|| format!("{what} answered {}", self.body))
    }
}

impl Api {
    pub fn new(url: &str, token: Option<&str>) -> Self {
        Self {
            agent: agent(),
            base: format!("{url}/api/v1"),
            token: token.map(str::to_owned),
        }
    }

    /// The same server, seen by a stranger.
    pub fn signed_out(&self) -> Self {
        Self {
            token: None,
            ..self.clone()
        }
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send("GET", path, &[], "")?.value(&format!("GET {path}"))
    }

    /// The body as it is: JSON Lines, say.
    pub fn get_text(&self, path: &str) -> Result<String> {
        let answered = self.send("GET", path, &[], "")?;
        if answered.status != 200 {
            bail!("GET {path} answered {}: {}", answered.status, answered.body);
        }
        Ok(answered.body)
    }

    /// A file as it is.
    pub fn get_bytes(&self, path: &str) -> Result<Vec<u8>> {
        let token = self.token.as_deref().unwrap_or_default();
        let url = format!("{}{path}", self.base);
        let request = self
            .agent
            .get(url)
            .header("authorization", format!("Bearer {token}"));
        let mut response = request.call()?;
        if response.status() != 200 {
            bail!("GET {path} answered {}", response.status());
        }
        Ok(response.body_mut().with_config().limit(1 << 30).read_to_vec()?)
    }

    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let body = serde_json::to_string(body)?;
        self.post_text(path, &body)
    }

    pub fn post_text<T: DeserializeOwned>(&self, path: &str, body: &str) -> Result<T> {
        self.send("POST", path, &[], body)?.value(&format!("POST {path}"))
    }

    /// Any request; an error is a connection that failed, not a status.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answered> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = if body.is_empty() {
            request.body(())?.with_agent(&self.agent).run()
        } else {
            request.body(body.to_owned())?.with_agent(&self.agent).run()
        };
        read(response.with_context(|| format!("{method} {path}"))?)
    }
}

/// The status of a plain GET, or None when nothing answers.
pub fn get_status(url: &str) -> Option<u16> {
    agent()
        .get(url)
        .call()
        .ok()
        .map(|response| response.status().as_u16())
}

/// Sends JSON to any address (the browser's driver) and returns the answer.
pub fn post_json(url: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
    let response = agent()
        .post(url)
        .header("content-type", "application/json")
        .send(body.to_string())?;
    let answered = read(response)?;
    answered.value(url)
}

fn read(mut response: Response<Body>) -> Result<Answered> {
    let cookie = response.headers().get("set-cookie");
    Ok(Answered {
        cookie: cookie.and_then(|value| Some(value.to_str().ok()?.to_owned())),
        status: response.status().as_u16(),
        // An export is as long as its project is large.
        body: response
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_string()?,
    })
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}
