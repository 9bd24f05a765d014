//! A reward service over HTTP: it is sent prompts and completions and answers a score for each.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{thread, time::Duration};
use ureq::Agent;

/// Waits before another try, where the service cannot be reached or says that it is at fault.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// A longer answer is not read.
const ANSWER_BYTES: u64 = 16 << 20;

pub struct Endpoint {
    agent: Agent,
    url: String,
    timeout_seconds: u32,
}

#[derive(Serialize)]
struct Question<'a> {
    prompts: &'a [String],
    completions: &'a [String],
}

#[derive(Deserialize)]
struct Answer {
    scores: Vec<Option<f64>>,
}

/// Whether another try may help.
enum Failure {
    Passing(anyhow::Error),
    Lasting(anyhow::Error),
}

impl Endpoint {
    pub fn new(url: &str, timeout_seconds: u32) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(timeout_seconds.into())))
            .build()
            .into();
        Self {
            agent,
            url: url.to_owned(),
            timeout_seconds,
        }
    }

    pub fn scores(&self, prompts: &[String], completions: &[String]) -> Result<Vec<f64>> {
        let question = serde_json::to_vec(&Question { prompts, completions })?;
        let mut pauses = PAUSES.iter();
        let text = loop {
            match (self.ask(&question), pauses.next()) {
                (Ok(text), _) => break text,
                (Err(Failure::Passing(_)), Some(pause)) => thread::sleep(*pause),
                (Err(Failure::Passing(error) | Failure::Lasting(error)), _) => return Err(error),
            }
        };
        read(&text, completions.len()).with_context(|| self.named("does not answer as it should"))
    }

    fn ask(&self, question: &[u8]) -> Result<String, Failure> {
        let request = self.agent.post(&self.url).content_type("application/json");
        let mut answer = request.send(question).map_err(|error| match error {
            ureq::Error::Timeout(_) => {
                let text = format!("did not answer within {} s", self.timeout_seconds);
                // It had all the time that it was given.
                Failure::Lasting(anyhow::anyhow!(self.named(&text)))
            }
            error => Failure::Passing(anyhow::anyhow!("{}: {error}", self.named("cannot be reached"))),
        })?;
        let status = answer.status();
        let text = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES)
            .read_to_string();
        let refusal = || anyhow::anyhow!(self.named(&format!("answered with the status {status}")));
        match (status.as_u16(), text) {
            (200..=299, Ok(text)) => Ok(text),
            (200..=299, Err(ureq::Error::Timeout(_))) => {
                let text = format!("did not answer within {} s", self.timeout_seconds);
                Err(Failure::Lasting(anyhow::anyhow!(self.named(&text))))
            }
            (200..=299, Err(error)) => Err(Failure::Passing(anyhow::anyhow!(
                "{}: {error}",
                self.named("broke off its answer")
            ))),
            (500..=599, _) => Err(Failure::Passing(refusal())),
            _ => Err(Failure::Lasting(refusal())),
        }
    }

    /// Without what may be secret in the address.
    fn named(&self, what: &str) -> String {
        let place = self.url.split('/').nth(2).unwrap_or_default();
        let host = place.rsplit('@').next().unwrap_or_default();
        format!("the reward service at {host} {what}")
    }
}

fn read(text: &str, n_wanted: usize) -> Result<Vec<f64>> {
    let answer: Answer = match serde_json::from_str(text) {
        Ok(answer) => answer,
        // Python's JSON writes these words for numbers that JSON does not have.
        Err(_) if text.contains("NaN") || text.contains("Infinity") => bail!("a score is no finite number"),
        Err(error) => bail!("expected {{\"scores\": [0.5, …]}}: {error}"),
    };
    ensure!(
        answer.scores.len() == n_wanted,
        "it sent {} scores for {n_wanted} completions",
        answer.scores.len()
    );
    let finite = |score: Option<f64>| score.filter(|score| score.is_finite());
    let scores: Option<Vec<f64>> = answer.scores.into_iter().map(finite).collect();
    scores.context("a score is no finite number")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    /// A service that answers the first call with these bytes, or keeps silent.
    fn service(answer: Option<&'static str>, timeout_seconds: u32) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://user:secret@{}/score", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).unwrap() > 0);
            match answer {
                Some(body) => {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all((head + body).as_bytes()).unwrap();
                }
                // Until the caller has hung up.
                None => while stream.read(&mut request).unwrap_or(0) > 0 {},
            }
        });
        Endpoint::new(&url, timeout_seconds)
    }

    fn ask(answer: Option<&'static str>) -> Result<Vec<f64>, String> {
        let two = ["a".to_owned(), "b".to_owned()];
        let scores = service(answer, 1).scores(&two, &two);
        scores.map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn scores_come_back_in_order() {
        assert_eq!(ask(Some(r#"{"scores": [0.5, -2]}"#)), Ok(vec![0.5, -2.0]));
    }

    #[test]
    fn silence_odd_numbers_and_wrong_counts_are_told_in_a_sentence_without_secrets() {
        for (answer, told) in [
            (None, "did not answer within 1 s"),
            (Some(r#"{"scores": [0.5, NaN]}"#), "no finite number"),
            (Some(r#"{"scores": [0.5, null]}"#), "no finite number"),
            (Some(r#"{"scores": [0.5]}"#), "1 scores for 2 completions"),
            (Some("<html>"), "expected"),
        ] {
            let error = ask(answer).unwrap_err();
            assert!(error.contains(told) && !error.contains("secret"), "{error}");
        }
    }
}
