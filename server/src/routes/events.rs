//! Server-sent events: the state now, then what changes. Events are read from the database when a notice comes, so a
//! listener that lagged behind gets the newest state and misses nothing.

use crate::{
    error::Failure,
    events::Notice,
    extract::Path,
    guards::Admin,
    state::AppState,
    store::{self, completion_jobs, metrics, projects, rounds},
};
use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, KeepAliveStream, Sse},
};
use futures_util::{Stream, StreamExt, stream};
use laurel_protocol::{LogLine, MetricPoint, ProjectEvent, ProjectId, RoundEvent, RoundId, Split};
use serde::Serialize;
use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    pin::Pin,
    time::Duration,
};
use tokio::sync::{broadcast, watch};

/// Notices that come within this time are answered by one read.
const GATHER: Duration = Duration::from_millis(250);

type Events = Sse<KeepAliveStream<Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>>>>;

fn event(value: &impl Serialize) -> Event {
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
    _: Admin,
    Path(id): Path<ProjectId>,
) -> Result<Events, Failure> {
    projects::get(&app.db, id).await?;
    let mut first = vec![ProjectEvent::Counts {
        counts: projects::counts(&app.db, id).await?,
    }];
    for job in completion_jobs::list(&app.db, id)
        .await?
        .into_iter()
        .filter(|job| !job.status.is_over())
    {
        first.push(ProjectEvent::CompletionJob { job: Box::new(job) });
    }
    Ok(project_stream(app, id, first))
}

fn project_stream(app: AppState, id: ProjectId, first: Vec<ProjectEvent>) -> Events {
    let news = News::new(&app);
    let state = (news, VecDeque::from(first), app);
    let events = stream::unfold(state, move |(mut news, mut waiting, app)| async move {
        loop {
            if let Some(next) = waiting.pop_front() {
                return Some((Ok(event(&next)), (news, waiting, app)));
            }
            let notices = news.next().await?;
            waiting.extend(read_project(&app, id, &notices).await.unwrap_or_default());
        }
    });
    Sse::new(events.boxed()).keep_alive(KeepAlive::default())
}

/// The events that the notices stand for; after a gap, all of them.
async fn read_project(app: &AppState, id: ProjectId, notices: &Notices) -> store::Result<Vec<ProjectEvent>> {
    let mut events = Vec::new();
    let mut counts = notices.gap;
    for notice in &notices.list {
        match notice {
            Notice::Counts(project) if *project == id => counts = true,
            Notice::CompletionJob(project, job) if *project == id => {
                events.push(ProjectEvent::CompletionJob {
                    job: Box::new(completion_jobs::get(&app.db, *job).await?),
                })
            }
            Notice::Round(project, round) if *project == id => events.push(ProjectEvent::Round {
                round: Box::new(rounds::get(&app.db, *round).await?),
            }),
            _ => {}
        }
    }
    if counts {
        events.push(ProjectEvent::Counts {
            counts: projects::counts(&app.db, id).await?,
        });
    }
    Ok(events)
}

/// What happens in a round: status, figures, log lines, samples.
#[utoipa::path(get, path = "/rounds/{id}/events", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = RoundEvent, content_type = "text/event-stream")))]
pub async fn round(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<RoundId>,
) -> Result<Events, Failure> {
    let news = News::new(&app);
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
                waiting.extend(read_round(&app, id, &mut seen).await.unwrap_or_default());
            }
        }
    });
    Ok(Sse::new(events.boxed()).keep_alive(KeepAlive::default()))
}

/// What a listener has been sent.
#[derive(Default)]
struct Seen {
    points: HashMap<(u64, Split), MetricPoint>,
    log: Vec<LogLine>,
    samples_of: Option<(usize, bool)>,
}

async fn read_round(app: &AppState, id: RoundId, seen: &mut Seen) -> store::Result<Vec<RoundEvent>> {
    let round = rounds::get(&app.db, id).await?;
    let mut points = metrics::list(&app.db, id).await?;
    // A resumed round repeats steps: a point with other values is news.
    points.retain(|point| {
        let earlier = seen.points.insert((point.step, point.split), point.clone());
        earlier.as_ref() != Some(point)
    });
    let log = metrics::log(&app.db, id).await?;
    let lines: Vec<_> = log
        .iter()
        .filter(|line| !seen.log.contains(line))
        .cloned()
        .collect();
    seen.log = log;
    let samples = rounds::samples(&app.db, id).await?;
    let samples_of = (
        samples.len(),
        samples.iter().any(|sample| !sample.after.is_empty()),
    );
    let mut events = Vec::new();
    if !points.is_empty() {
        events.push(RoundEvent::Metrics { points });
    }
    if !lines.is_empty() {
        events.push(RoundEvent::Log { lines });
    }
    if seen.samples_of != Some(samples_of) {
        seen.samples_of = Some(samples_of);
        events.push(RoundEvent::Samples { samples });
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
}

impl News {
    fn new(app: &AppState) -> Self {
        Self {
            notices: app.events.listen(),
            stopping: app.stopping.clone(),
        }
    }

    /// The next notices, each once; `None` when the server stops.
    async fn next(&mut self) -> Option<Notices> {
        let mut gathered = Notices {
            list: Vec::new(),
            gap: false,
        };
        if *self.stopping.borrow() {
            return None;
        }
        let first = tokio::select! {
            first = self.notices.recv() => first,
            _ = self.stopping.changed() => return None,
        };
        gathered.add(first)?;
        tokio::time::sleep(GATHER).await;
        while let Ok(notice) = self.notices.try_recv() {
            gathered.add(Ok(notice))?;
        }
        Some(gathered)
    }
}

impl Notices {
    fn add(&mut self, received: Result<Notice, broadcast::error::RecvError>) -> Option<()> {
        match received {
            Ok(notice) if !self.list.contains(&notice) => self.list.push(notice),
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => self.gap = true,
            Err(broadcast::error::RecvError::Closed) => return None,
        }
        Some(())
    }
}
