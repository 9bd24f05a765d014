//! Many scripted annotators at once against one real server, which is ended with SIGKILL in the middle and started again:
//! how fast answers are taken, and whether each is there afterwards exactly once. For `cargo xtask bench labels` and, in
//! small, a test.

mod books;
mod load;
mod person;
mod wire;

pub use books::Findings;
pub use load::Cores;

use crate::{Scripted, TestServer, scene};
use anyhow::{Context, Result};
use laurel_protocol::{CreatedInvite, NewInvite, ProjectId, Role, WorkPrompt};
use load::Watch;
use person::{Diary, Pace, Person};
use std::{
    thread,
    time::{Duration, Instant},
};
use tokio::{runtime, task::JoinSet};

/// One stretch of work.
#[derive(Clone, Copy)]
pub struct Stretch {
    pub overlap: u8,
    /// Tasks that there are.
    pub n_tasks: usize,
    pub seconds: f64,
    /// Of one annotator between two answers; zero for none.
    pub seconds_between: f64,
}

/// How a stretch went.
#[derive(Clone, Debug)]
pub struct Report {
    pub findings: Findings,
    /// Until the last answer.
    pub seconds: f64,
    /// From the SIGKILL until the server answered again.
    pub seconds_away: f64,
    /// Requests sent again.
    pub n_resent: u64,
    /// The tasks ran out before the time was over.
    pub ran_out: bool,
    /// From sending an answer to having the next task, of those that were sent once; sorted.
    pub ms: Vec<f64>,
    pub cores: Cores,
}

impl Report {
    pub fn answers_per_second(&self) -> f64 {
        // Nobody can answer a server that is away.
        self.findings.n_acknowledged as f64 / (self.seconds - self.seconds_away)
    }

    /// The smallest time that so large a share of answers did not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        let at = (share * self.ms.len() as f64).ceil() as usize;
        self.ms
            .get(at.clamp(1, self.ms.len().max(1)) - 1)
            .copied()
            .unwrap_or(f64::NAN)
    }
}

/// A server, and people with accounts and sessions.
pub struct Crowd {
    scripted: Scripted,
    people: Vec<Person>,
    runtime: runtime::Runtime,
}

impl Crowd {
    pub fn gather(n: usize) -> Result<Self> {
        let scripted = Scripted::start()?;
        let links: Vec<String> = (0..n).map(|_| invite(&scripted)).collect::<Result<_>>()?;
        // One thread: the other core is the server's.
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let address = scripted.server.address();
        let people = runtime.block_on(async {
            let mut people = Vec::with_capacity(n);
            for (at, link) in links.iter().enumerate() {
                let name = format!("annotator {at}");
                let joined = Person::join(&address, &name, link, at as u64).await;
                people.push(joined.with_context(|| format!("make the account of {name}"))?);
            }
            anyhow::Ok(people)
        })?;
        Ok(Self {
            scripted,
            people,
            runtime,
        })
    }

    /// Everybody annotates in a new project; in the middle of the time the server is ended and started again.
    pub fn annotate(&mut self, stretch: Stretch) -> Result<Report> {
        let project = self.project(stretch)?;
        let mut watch = Watch::start(self.scripted.server.pid())?;
        let begun = Instant::now();
        let pace = Pace {
            until: begun + Duration::from_secs_f64(stretch.seconds),
            seconds_between: stretch.seconds_between,
        };
        let (people, runtime, server) = (
            std::mem::take(&mut self.people),
            &self.runtime,
            &mut self.scripted.server,
        );
        let (worked, away) = thread::scope(|scope| {
            let crowd = scope.spawn(|| runtime.block_on(all_at_once(people, project, pace)));
            thread::sleep(Duration::from_secs_f64(stretch.seconds / 2.0));
            let away = end_and_restart(server, &mut watch);
            (crowd.join().expect("the crowd does not panic"), away)
        });
        let (people, diaries) = worked?;
        let seconds = begun.elapsed().as_secs_f64();
        let cores = watch.stop()?;
        self.people = people;
        let mut ms: Vec<f64> = Vec::new();
        for answer in diaries.iter().flat_map(|diary| &diary.answers) {
            ms.extend((!answer.was_resent).then_some(answer.ms));
        }
        ms.sort_by(f64::total_cmp);
        let export = self.scripted.export(project, "ranking")?;
        let n_done = self.scripted.counts(project)?.n_tasks_done;
        Ok(Report {
            findings: books::audit(&diaries, &export, stretch.overlap, n_done)?,
            seconds,
            seconds_away: away?,
            n_resent: diaries.iter().map(|diary| diary.n_resent).sum(),
            ran_out: diaries.iter().any(|diary| diary.ran_out),
            ms,
            cores,
        })
    }

    fn project(&self, stretch: Stretch) -> Result<ProjectId> {
        let settings = scene::pick(stretch.overlap);
        self.scripted
            .project_with(&settings, stretch.n_tasks, &completion)
    }
}

/// As long as in `bench_label_studio.py`, with some markdown to render.
fn completion(prompt: &WorkPrompt, index: u32) -> String {
    let id = prompt.prompt_id;
    format!("**Answer {index}** to {id}.\n\n") + &format!("It says *something* about {id}. ").repeat(16)
}

/// Gives the seconds until it answered again.
fn end_and_restart(server: &mut TestServer, watch: &mut Watch) -> Result<f64> {
    watch.before_end()?;
    let killed = Instant::now();
    server.kill_and_restart()?;
    watch.go_on_with(server.pid());
    Ok(killed.elapsed().as_secs_f64())
}

fn invite(scripted: &Scripted) -> Result<String> {
    let role = Role::Annotator;
    let made: CreatedInvite = scripted.admin.post("/invites", &NewInvite { role })?;
    let secret = made.path.rsplit('/').next();
    secret
        .map(str::to_owned)
        .context("the path of an invite ends with its secret")
}

async fn all_at_once(
    people: Vec<Person>,
    project: ProjectId,
    pace: Pace,
) -> Result<(Vec<Person>, Vec<Diary>)> {
    let mut tasks = JoinSet::new();
    for mut person in people {
        tasks.spawn(async move {
            let diary = person.annotate(project.0, pace).await?;
            anyhow::Ok((person, diary))
        });
    }
    let mut done = (Vec::new(), Vec::new());
    for each in tasks.join_all().await {
        let (person, diary) = each?;
        done.0.push(person);
        done.1.push(diary);
    }
    Ok(done)
}
