//! Server-sent events: the state now, then what changes. Events are read from the database when a notice comes, so a
//! listener that lagged behind or came back gets the newest state and misses nothing. A stream ends when its
//! listener's session or token does.

use crate::{
    error::Failure,
    events::Notice,
    extract::Path,
    guards::Watcher,
    state::AppState,
    store::{self, completion_jobs, metrics, projects, rounds, scorings},
    thin::thin,
};
use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, KeepAliveStream, Sse},
};
use futures_util::{Stream, StreamExt, stream};
use laurel_protocol::{
    FiguresQuery, JobStatus, LogLine, MetricPoint, Preview, ProjectEvent, ProjectId, RoundEvent, RoundId,
    Sample, Split,
};
use serde::Serialize;
use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    pin::Pin,
    time::Duration,
};
use tokio::sync::{
    broadcast::{
        self,
        error::{RecvError, TryRecvError},
    },
    watch,
};

/// Notices that come within this time are answered by one read.
const GATHER: Duration = Duration::from_millis(250);
/// Where nothing happens, whether the listener may still listen is asked this often.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// Jobs and rounds that are over and still part of a project's state.
const N_NEWEST: usize = 5;

pub type Events = Sse<KeepAliveStream<Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>>>>;

pub fn event(value: &impl Serialize) -> Event {
    let event = Event::default().event("update");
    event
        .json_data(value)
        .unwrap_or_else(|_| Event::default().comment("unreadable"))
}

/// What happens in a project: counts, completion jobs, rounds.
#[utoipa::path(get, path = "/projects/{id}/events", tag = "projects", params(("id" = i64, Path)),
    responses((status = 200, body = ProjectEvent, content_type = "text/event-stream")))]
pub async fn project(
    State(app): State<AppState>,
    watcher: Watcher,
    Path(id): Path<ProjectId>,
) -> Result<Events, Failure> {
    // First the ear, then the eye: what changes in between is heard.
    let news = News::new(&app, watcher);
    let first = project_state(&app, id).await?;
    let state = (news, VecDeque::from(first), app);
    let events = stream::unfold(state, move |(mut news, mut waiting, app)| async move {
        loop {
            if let Some(next) = waiting.pop_front() {
                return Some((Ok(event(&next)), (news, waiting, app)));
            }
            let notices = news.next().await?;
            match read_project(&app, id, &notices).await {
                Ok(events) => waiting.extend(events),
                Err(error) => news.missed(&error),
            }
        }
    });
    Ok(Sse::new(events.boxed()).keep_alive(KeepAlive::default()))
}

/// All that a page shows of a project: its counts, what is under way, and what ended last, each oldest first.
async fn project_state(app: &AppState, id: ProjectId) -> store::Result<Vec<ProjectEvent>> {
    let mut events = vec![ProjectEvent::Counts {
        counts: projects::get(&app.db, id).await?.counts,
    }];
    let jobs = newest(completion_jobs::list(&app.db, id).await?, |job| job.status);
    events.extend(jobs.map(|job| ProjectEvent::CompletionJob { job: Box::new(job) }));
    let rounds = newest(rounds::list(&app.db, id).await?, |round| round.status);
    events.extend(rounds.map(|round| ProjectEvent::Round {
        round: Box::new(round),
    }));
    events.extend(newest_scoring(app, id).await?);
    Ok(events)
}

/// It goes with the counts: answers order scorings, and tasks get their uncertainty from them.
async fn newest_scoring(app: &AppState, id: ProjectId) -> store::Result<Option<ProjectEvent>> {
    let newest = scorings::newest(&app.db, id).await?;
    Ok(newest.map(|scoring| ProjectEvent::Scoring {
        scoring: Box::new(scoring),
    }))
}

/// From a list with the newest first: what is not over and the newest few, oldest first.
fn newest<T>(list: Vec<T>, status: impl Fn(&T) -> JobStatus) -> impl Iterator<Item = T> {
    let mut kept: Vec<T> = list
        .into_iter()
        .enumerate()
        .filter(|(at, item)| *at < N_NEWEST || !status(item).is_over())
        .map(|(_, item)| item)
        .collect();
    kept.reverse();
    kept.into_iter()
}

/// The events that the notices stand for; after a gap, all of them.
async fn read_project(app: &AppState, id: ProjectId, notices: &Notices) -> store::Result<Vec<ProjectEvent>> {
    if notices.gap {
        return project_state(app, id).await;
    }
    let mut events = Vec::new();
    for notice in &notices.list {
        events.push(match notice {
            Notice::Counts(project) if *project == id => ProjectEvent::Counts {
                counts: projects::counts(&app.db, id).await?,
            },
            Notice::CompletionJob(project, job) if *project == id => ProjectEvent::CompletionJob {
                job: Box::new(completion_jobs::get(&app.db, *job).await?),
            },
            Notice::Round(project, round) if *project == id => ProjectEvent::Round {
                round: Box::new(rounds::get(&app.db, *round).await?),
            },
            _ => continue,
        });
    }
    if notices.list.contains(&Notice::Counts(id)) {
        events.extend(newest_scoring(app, id).await?);
    }
    Ok(events)
}

/// What happens in a round: status, preview, figures, log lines, samples.
#[utoipa::path(get, path = "/rounds/{id}/events", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = RoundEvent, content_type = "text/event-stream")))]
pub async fn round(
    State(app): State<AppState>,
    watcher: Watcher,
    Path(id): Path<RoundId>,
) -> Result<Events, Failure> {
    let news = News::new(&app, watcher);
    let mut seen = Seen::default();
    let first = read_round(&app, id, &mut seen).await?;
    let state = (news, VecDeque::from(first), seen, app);
    let events = stream::unfold(state, move |(mut news, mut waiting, mut seen, app)| async move {
        loop {
            if let Some(next) = waiting.pop_front() {
                return Some((Ok(event(&next)), (news, waiting, seen, app)));
            }
            let notices = news.next().await?;
            let mine = |notice: &Notice| matches!(notice, Notice::Round(_, round) if *round == id);
            if notices.gap || notices.list.iter().any(mine) {
                match read_round(&app, id, &mut seen).await {
                    Ok(events) => waiting.extend(events),
                    Err(error) => news.missed(&error),
                }
            }
        }
    });
    Ok(Sse::new(events.boxed()).keep_alive(KeepAlive::default()))
}

/// What a listener has been sent.
#[derive(Default)]
struct Seen {
    /// Where figures may still come or change: the last step that had any, or that the round is back at.
    from: Option<u64>,
    /// The figures from there on.
    points: HashMap<(u64, Split), MetricPoint>,
    log: Vec<LogLine>,
    samples: Option<Vec<Sample>>,
    preview: Option<Preview>,
}

impl Seen {
    /// What of these points, those from a step on, the listener has not been sent; a long round's first ones thinned out.
    fn news(&mut self, mut points: Vec<MetricPoint>, from: Option<u64>) -> Vec<MetricPoint> {
        let next = points.iter().map(|point| point.step).max().or(from);
        let is_recent = |point: &&MetricPoint| Some(point.step) >= next;
        let recent: HashMap<_, _> = points
            .iter()
            .filter(is_recent)
            .map(|point| ((point.step, point.split), point.clone()))
            .collect();
        match self.from {
            None => points = thin(points, FiguresQuery::OF_A_CHART as usize),
            // A resumed round repeats steps: a point with other values is news.
            Some(_) => points.retain(|point| self.points.get(&(point.step, point.split)) != Some(point)),
        }
        self.from = Some(next.unwrap_or(0));
        self.points = recent;
        points
    }
}

async fn read_round(app: &AppState, id: RoundId, seen: &mut Seen) -> store::Result<Vec<RoundEvent>> {
    // All is read before any of it counts as seen: a read that fails is made good by the next.
    let round = rounds::get(&app.db, id).await?;
    let from = seen.from.map(|from| from.min(round.step));
    let points = metrics::since(&app.db, id, from.unwrap_or(0)).await?;
    let log = metrics::log(&app.db, id).await?;
    let samples = rounds::samples(&app.db, id).await?;
    let preview = rounds::preview(&app.db, id).await?;
    let points = seen.news(points, from);
    let lines: Vec<_> = log
        .iter()
        .filter(|line| !seen.log.contains(line))
        .cloned()
        .collect();
    seen.log = log;
    let mut events = Vec::new();
    if !points.is_empty() {
        events.push(RoundEvent::Metrics { points });
    }
    if !lines.is_empty() {
        events.push(RoundEvent::Log { lines });
    }
    if seen.samples.as_ref() != Some(&samples) {
        seen.samples = Some(samples.clone());
        events.push(RoundEvent::Samples { samples });
    }
    if let Some(preview) = preview
        && seen.preview.as_ref() != Some(&preview)
    {
        seen.preview = Some(preview.clone());
        events.push(RoundEvent::Preview { preview });
    }
    // Last, so that whoever sees the end has seen all of it.
    events.push(RoundEvent::Round {
        round: Box::new(round),
    });
    Ok(events)
}

/// Notices gathered over a short while.
struct Notices {
    list: Vec<Notice>,
    /// Some were lost because the listener was slow.
    gap: bool,
}

struct News {
    notices: broadcast::Receiver<Notice>,
    stopping: watch::Receiver<bool>,
    watcher: Watcher,
    /// What the last notices stood for could not be read.
    missed: bool,
}

impl News {
    fn new(app: &AppState, watcher: Watcher) -> Self {
        Self {
            notices: app.events.listen(),
            stopping: app.stopping.clone(),
            watcher,
            missed: false,
        }
    }

    /// The next notices, each once; `None` when the server stops or the watcher may not watch any more.
    async fn next(&mut self) -> Option<Notices> {
        let mut gathered = Notices {
            list: Vec::new(),
            gap: std::mem::take(&mut self.missed),
        };
        let mut look = tokio::time::interval(LOOK_AGAIN);
        look.tick().await; // the first comes at once
        loop {
            if *self.stopping.borrow() {
                return None;
            }
            tokio::select! {
                first = self.notices.recv() => {
                    gathered.add(first)?;
                    break;
                }
                _ = self.stopping.changed() => return None,
                _ = look.tick() => {
                    if !self.watcher.may_still_watch().await {
                        return None;
                    }
                    if gathered.gap {
                        break;
                    }
                }
            }
        }
        tokio::time::sleep(GATHER).await;
        loop {
            match self.notices.try_recv() {
                Ok(notice) => gathered.add(Ok(notice))?,
                Err(TryRecvError::Lagged(n)) => gathered.add(Err(RecvError::Lagged(n)))?,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        self.watcher.may_still_watch().await.then_some(gathered)
    }

    /// The next look takes in everything.
    fn missed(&mut self, error: &store::Error) {
        tracing::warn!(%error, "Events could not be read");
        self.missed = true;
    }
}

impl Notices {
    fn add(&mut self, received: Result<Notice, RecvError>) -> Option<()> {
        match received {
            Ok(notice) if !self.list.contains(&notice) => self.list.push(notice),
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => self.gap = true,
            Err(RecvError::Closed) => return None,
        }
        Some(())
    }
}
