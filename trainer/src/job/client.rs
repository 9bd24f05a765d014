//! The worker part of the API over HTTP. What can be repeated is repeated while the server is away; a lost lease and a
//! refusal are not.

use anyhow::{Context, Result, anyhow, bail};
use laurel_protocol::{ApiError, ErrorCode, JobId, LEASE_HEADER, LeaseRequest, LeasedJob};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use ureq::{Agent, Body, http::Response};

/// How long a call is repeated while the server does not answer.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long a body may take: a connection that has silently died must not hang a round for ever.
const BODY: Duration = Duration::from_secs(900);

/// Somebody else has the job now.
#[derive(Debug, thiserror::Error)]
#[error("the lease is lost")]
pub struct LeaseLost;

/// The token does not open the worker's part of the API: asking again cannot help.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server does not take the worker token ({0}): make a new one with `laurel token add --scope worker`"
)]
pub struct TokenRefused(String);

#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    token: String,
    /// Set when this process is told to stop: a call is then not repeated any more.
    quit: Arc<AtomicBool>,
}

/// A client with the lease of one job.
#[derive(Clone)]
pub struct JobClient {
    client: Client,
    job: JobId,
    lease: String,
}

enum Payload<'a> {
    Nothing,
    Json(&'a [u8]),
    Bytes(&'a [u8]),
}

impl Client {
    pub fn new(server: &str, token: &str, quit: Arc<AtomicBool>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_send_body(Some(BODY))
            .timeout_recv_body(Some(BODY))
            .build()
            .into();
        Self {
            agent,
            base: format!("{}/api/v1/worker", server.trim_end_matches('/')),
            token: token.to_owned(),
            quit,
        }
    }

    /// Waits for a job; `None` when none came in time. One try: the caller asks again.
    pub fn lease(&self, request: &LeaseRequest) -> Result<Option<LeasedJob>> {
        let body = serde_json::to_vec(request)?;
        let mut response = self.once("POST", "/lease", None, &Payload::Json(&body))?;
        if response.status() == 204 {
            return Ok(None);
        }
        check(&mut response)?;
        Ok(Some(read_json(&mut response)?))
    }

    pub fn with_lease(&self, job: &LeasedJob) -> JobClient {
        JobClient {
            client: self.clone(),
            job: job.job_id,
            lease: job.lease.clone(),
        }
    }

    fn once(
        &self,
        method: &str,
        path: &str,
        lease: Option<&str>,
        payload: &Payload<'_>,
    ) -> Result<Response<Body>> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.token));
        if let Some(lease) = lease {
            request = request.header(LEASE_HEADER, lease);
        }
        let answer = match payload {
            Payload::Nothing => self.agent.run(request.body(())?),
            Payload::Json(bytes) => self
                .agent
                .run(request.header("content-type", "application/json").body(*bytes)?),
            Payload::Bytes(bytes) => self.agent.run(
                request
                    .header("content-type", "application/octet-stream")
                    .body(*bytes)?,
            ),
        };
        answer.with_context(|| format!("ask the server at {}", self.base))
    }
}

impl JobClient {
    /// Posts JSON; repeats while the server is away.
    pub fn post<T: DeserializeOwned>(&self, what: &str, body: &impl Serialize) -> Result<T> {
        read_json(&mut self.post_raw(what, body)?)
    }

    /// Posts JSON to what answers without a body.
    pub fn post_raw(&self, what: &str, body: &impl Serialize) -> Result<Response<Body>> {
        let body = serde_json::to_vec(body)?;
        self.patient(
            "POST",
            &format!("/jobs/{}/{what}", self.job),
            &Payload::Json(&body),
        )
    }

    pub fn put(&self, what: &str, bytes: &[u8]) -> Result<()> {
        self.patient(
            "PUT",
            &format!("/jobs/{}/{what}", self.job),
            &Payload::Bytes(bytes),
        )
        .map(drop)
    }

    /// The whole of what the server streams for this job.
    pub fn get(&self, what: &str) -> Result<Vec<u8>> {
        self.bytes(&format!("/jobs/{}/{what}", self.job))
    }

    pub fn adapter_file(&self, adapter: laurel_protocol::AdapterId, name: &str) -> Result<Vec<u8>> {
        self.bytes(&format!("/adapters/{adapter}/files/{name}"))
    }

    fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let mut tries = 0;
        loop {
            let mut bytes = Vec::new();
            let mut response = self.patient("GET", path, &Payload::Nothing)?;
            match response.body_mut().as_reader().read_to_end(&mut bytes) {
                Ok(_) => return Ok(bytes),
                Err(error) if tries == 5 => return Err(error).context("read what the server sends"),
                Err(_) => tries += 1, // broke off half-way: from the start again
            }
        }
    }

    fn patient(&self, method: &str, path: &str, payload: &Payload<'_>) -> Result<Response<Body>> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(200);
        loop {
            let failure = match self.client.once(method, path, Some(&self.lease), payload) {
                Ok(mut response) if response.status().is_server_error() => check(&mut response)
                    .err()
                    .unwrap_or_else(|| anyhow!("the server failed")),
                Ok(mut response) => {
                    check(&mut response)?;
                    return Ok(response);
                }
                Err(error) => error,
            };
            if begun.elapsed() > PATIENCE || self.client.quit.load(Ordering::SeqCst) {
                return Err(failure);
            }
            tracing::warn!("The server does not answer ({failure:#}): trying again");
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}

fn read_json<T: DeserializeOwned>(response: &mut Response<Body>) -> Result<T> {
    response
        .body_mut()
        .with_config()
        .limit(256 << 20)
        .read_json()
        .context("read the server's answer")
}

/// Turns problem details into an error.
fn check(response: &mut Response<Body>) -> Result<()> {
    if response.status().is_success() {
        return Ok(());
    }
    let status = response.status();
    match response.body_mut().read_json::<ApiError>() {
        Ok(error) if error.code == ErrorCode::LeaseLost => Err(LeaseLost.into()),
        Ok(error) if matches!(error.code, ErrorCode::NotSignedIn | ErrorCode::Forbidden) => {
            Err(TokenRefused(error.detail).into())
        }
        Ok(error) => bail!(
            "the server refused ({status}): {} [request {}]",
            error.detail,
            error.request_id
        ),
        Err(_) => bail!("the server answered {status}"),
    }
}
