//! One scripted annotator: holds two tasks as the labelling page does, answers, and takes the next from the answer. What
//! was not acknowledged is sent again as it was until it is.

use super::wire::{Reply, Wire};
use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Tasks in the hand: one on screen, one fetched beforehand.
pub const N_HELD: u8 = 2;
/// After a connection that failed.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest wait for a server that does not come back.
const AWAY: Duration = Duration::from_secs(60);

/// When annotators stop, and how long they think.
#[derive(Clone, Copy)]
pub struct Pace {
    pub until: Instant,
    /// Seconds between two answers of one annotator; zero sends the next at once.
    pub seconds_between: f64,
}

/// What an annotator remembers.
#[derive(Default)]
pub struct Diary {
    pub answers: Vec<Acknowledged>,
    /// Every task that was handed to this person, with the assignment; each once, in the order in which they came.
    pub handed: Vec<(i64, i64)>,
    /// Requests that were sent again.
    pub n_resent: u64,
    /// There was nothing left to do before the time was over.
    pub ran_out: bool,
}

/// An answer that the server has acknowledged.
pub struct Acknowledged {
    /// Stands in the comment of this answer and of no other.
    pub mark: String,
    /// The completion shown first was called better; else the second.
    pub is_first: bool,
    /// From sending the answer to having the next task.
    pub ms: f64,
    /// Sent more than once.
    pub was_resent: bool,
}

/// The part of `Held` that matters here.
#[derive(Deserialize)]
struct Hand {
    assignments: Vec<Task>,
}

#[derive(Clone, Copy, Deserialize)]
struct Task {
    id: i64,
    task_id: i64,
    revision: u32,
}

pub struct Person {
    name: String,
    wire: Wire,
    random: fastrand::Rng,
    diary: Diary,
}

impl Person {
    /// Someone who comes with an invite: `link` is its secret.
    pub async fn join(address: &str, name: &str, link: &str, seed: u64) -> Result<Self> {
        let mut wire = Wire::new(address);
        let credentials = json!({"name": name, "password": crate::server::PASSWORD}).to_string();
        let joined = wire
            .post(&format!("/invites/by-token/{link}"), &credentials)
            .await?;
        let cookie = joined.cookie.context("who joins has a session")?;
        wire.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        Ok(Self {
            name: name.to_owned(),
            wire,
            random: fastrand::Rng::with_seed(seed),
            diary: Diary::default(),
        })
    }

    /// Annotates until the time is over or nothing is left; gives what there is to remember.
    pub async fn annotate(&mut self, project: i64, pace: Pace) -> Result<Diary> {
        self.diary = Diary::default();
        if pace.seconds_between > 0.0 {
            // Not all at one moment.
            sleep(Duration::from_secs_f64(self.random.f64() * pace.seconds_between)).await;
        }
        let path = format!("/projects/{project}/assignments");
        let (held, _) = self.send(&path, &json!({"n": N_HELD}).to_string()).await?;
        let mut hand = self.take(held)?;
        while Instant::now() < pace.until {
            let Some(task) = hand.pop_front() else {
                self.diary.ran_out = true;
                break;
            };
            hand = self.answer(task).await?;
            if pace.seconds_between > 0.0 {
                let factor = 0.5 + self.random.f64();
                sleep(Duration::from_secs_f64(factor * pace.seconds_between)).await;
            }
        }
        Ok(std::mem::take(&mut self.diary))
    }

    async fn answer(&mut self, task: Task) -> Result<VecDeque<Task>> {
        let mark = format!("{} {}", self.name, task.id);
        let is_first = self.random.bool();
        let choice = if is_first { "first" } else { "second" };
        let body = json!({
            "judgement": {"type": "pick", "choice": choice}, "comment": mark, "seconds": 1.0, "revision": task.revision,
        });
        let begun = Instant::now();
        let path = format!("/assignments/{}/annotation", task.id);
        let (held, n_tries) = self.send(&path, &body.to_string()).await?;
        let hand = self.take(held)?;
        self.diary.answers.push(Acknowledged {
            mark,
            is_first,
            ms: begun.elapsed().as_secs_f64() * 1000.0,
            was_resent: n_tries > 1,
        });
        Ok(hand)
    }

    /// Sends until it is acknowledged; gives how many tries it took.
    async fn send(&mut self, path: &str, body: &str) -> Result<(Reply, u64)> {
        let begun = Instant::now();
        let mut n_tries = 0;
        loop {
            n_tries += 1;
            let failed = match self.wire.post(path, body).await {
                Ok(reply) if reply.status == 200 => return Ok((reply, n_tries)),
                // Busy: the server asks to come again.
                Ok(reply) if reply.status == 503 => anyhow!("the server is busy"),
                Ok(reply) => {
                    let said = String::from_utf8_lossy(&reply.body).into_owned();
                    bail!("{}: POST {path} answered {}: {said}", self.name, reply.status);
                }
                Err(error) => error,
            };
            if begun.elapsed() > AWAY {
                return Err(failed.context(format!("{}: POST {path}, {n_tries} tries", self.name)));
            }
            self.diary.n_resent += 1;
            sleep(PAUSE).await;
        }
    }

    fn take(&mut self, reply: Reply) -> Result<VecDeque<Task>> {
        let hand: Hand = serde_json::from_slice(&reply.body).context("read what is held")?;
        for task in &hand.assignments {
            let pair = (task.task_id, task.id);
            // What is held is the newest.
            let mut recent = self.diary.handed.iter().rev().take(usize::from(N_HELD) * 2);
            if !recent.any(|known| *known == pair) {
                self.diary.handed.push(pair);
            }
        }
        Ok(hand.assignments.into())
    }
}
