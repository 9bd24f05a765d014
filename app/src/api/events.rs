//! Server-sent events: live updates of a project, of a round, of a turn of a chat and of a battle.
//!
//! The browser reconnects by itself after a lost connection, but gives up for good when it is refused (a proxy that
//! answers 502 while the server restarts, a session that ran out): then this module tries again. What happened
//! between two connections is not told again: a listener that hears of a new connection asks for what it may have
//! missed.

use super::{account, url};
use laurel_protocol::{
    Battle, BattleId, ChatTurn, CompletionJob, ErrorCode, JobId, LogLine, MetricPoint, Preview,
    ProjectCounts, ProjectEvent, ProjectId, Round, RoundEvent, RoundId, Sample, Scoring,
};
use leptos::{prelude::set_timeout, task::spawn_local};
use serde::Deserialize;
use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{Event, EventSource, MessageEvent};

/// A stream that is followed until this is dropped.
pub struct Stream(#[expect(dead_code, reason = "held, never read")] Rc<Line>);

/// Follows a project: counts, completion jobs, rounds, scorings. `on_live` hears of each connection, and of its loss.
pub fn follow_project(
    id: ProjectId,
    on_event: impl Fn(ProjectEvent) + 'static,
    on_live: impl Fn(bool) + 'static,
) -> Stream {
    let on_update = move |update: Update| update.of_project().into_iter().for_each(&on_event);
    follow(
        &format!("/projects/{id}/events"),
        Box::new(on_update),
        Box::new(on_live),
    )
}

/// Follows a round: its state, preview, metrics, log, samples.
pub fn follow_round(
    id: RoundId,
    on_event: impl Fn(RoundEvent) + 'static,
    on_live: impl Fn(bool) + 'static,
) -> Stream {
    let on_update = move |update: Update| update.of_round().into_iter().for_each(&on_event);
    follow(
        &format!("/rounds/{id}/events"),
        Box::new(on_update),
        Box::new(on_live),
    )
}

/// Follows a turn of a chat: as it stands, again and again. It is given up a while after this is dropped.
pub fn follow_chat(
    project: ProjectId,
    turn: JobId,
    on_turn: impl Fn(ChatTurn) + 'static,
    on_live: impl Fn(bool) + 'static,
) -> Stream {
    let on_update = move |update: Update| update.turn.into_iter().for_each(|turn| on_turn(*turn));
    follow(
        &format!("/projects/{project}/chat/{turn}/events"),
        Box::new(on_update),
        Box::new(on_live),
    )
}

/// Follows a battle while both contenders answer. The try is given up a while after this is dropped.
pub fn follow_battle(
    battle: BattleId,
    on_battle: impl Fn(Battle) + 'static,
    on_live: impl Fn(bool) + 'static,
) -> Stream {
    let on_update = move |update: Update| update.battle.into_iter().for_each(|battle| on_battle(*battle));
    follow(
        &format!("/battles/{battle}/events"),
        Box::new(on_update),
        Box::new(on_live),
    )
}

fn follow(path: &str, on_update: Box<dyn Fn(Update)>, on_live: Box<dyn Fn(bool)>) -> Stream {
    let line = Rc::new(Line {
        url: url(path),
        on_update,
        on_live,
        open: RefCell::new(None),
        n_tries: Cell::new(0),
    });
    line.connect();
    Stream(line)
}

/// An event as it is written: the enums of the protocol, whose name says which of these is there. Read like this,
/// it shares its code with the answers of the API; read as tagged enums, all of it comes into the wasm twice.
#[derive(Deserialize)]
struct Update {
    counts: Option<ProjectCounts>,
    job: Option<Box<CompletionJob>>,
    round: Option<Box<Round>>,
    points: Option<Vec<MetricPoint>>,
    lines: Option<Vec<LogLine>>,
    samples: Option<Vec<Sample>>,
    preview: Option<Preview>,
    turn: Option<Box<ChatTurn>>,
    battle: Option<Box<Battle>>,
    scoring: Option<Box<Scoring>>,
}

impl Update {
    /// Nothing for an event of a kind that this page does not know yet: the server may be newer.
    fn of_project(self) -> Option<ProjectEvent> {
        let counts = self.counts.map(|counts| ProjectEvent::Counts { counts });
        let job = self.job.map(|job| ProjectEvent::CompletionJob { job });
        let round = self.round.map(|round| ProjectEvent::Round { round });
        let scoring = self.scoring.map(|scoring| ProjectEvent::Scoring { scoring });
        counts.or(job).or(round).or(scoring)
    }

    fn of_round(self) -> Option<RoundEvent> {
        let round = self.round.map(|round| RoundEvent::Round { round });
        let points = self.points.map(|points| RoundEvent::Metrics { points });
        let lines = self.lines.map(|lines| RoundEvent::Log { lines });
        let samples = self.samples.map(|samples| RoundEvent::Samples { samples });
        let preview = self.preview.map(|preview| RoundEvent::Preview { preview });
        round.or(points).or(lines).or(samples).or(preview)
    }
}

/// One stream over all its connections.
struct Line {
    url: String,
    on_update: Box<dyn Fn(Update)>,
    on_live: Box<dyn Fn(bool)>,
    open: RefCell<Option<Connection>>,
    /// Refused connections in a row.
    n_tries: Cell<u32>,
}

struct Connection {
    source: EventSource,
    // The closures must live as long as the source may call them.
    _on_update: Closure<dyn FnMut(MessageEvent)>,
    _on_state: Closure<dyn FnMut(Event)>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.source.close();
    }
}

impl Line {
    fn connect(self: &Rc<Self>) {
        let Ok(source) = EventSource::new(&self.url) else {
            return;
        };
        let line = Rc::downgrade(self);
        let on_update = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            let text = event.data().as_string().unwrap_or_default();
            if let (Some(line), Ok(update)) = (line.upgrade(), serde_json::from_str(&text)) {
                (line.on_update)(update);
            }
        });
        let line = Rc::downgrade(self);
        let on_state = Closure::<dyn FnMut(Event)>::new(move |event: Event| {
            if let Some(line) = line.upgrade() {
                line.note(event.type_() == "open");
            }
        });
        // It fails only for a source that is gone.
        let _ = source.add_event_listener_with_callback("update", on_update.as_ref().unchecked_ref());
        source.set_onopen(Some(on_state.as_ref().unchecked_ref()));
        source.set_onerror(Some(on_state.as_ref().unchecked_ref()));
        *self.open.borrow_mut() = Some(Connection {
            source,
            _on_update: on_update,
            _on_state: on_state,
        });
    }

    fn note(self: &Rc<Self>, is_live: bool) {
        (self.on_live)(is_live);
        if is_live {
            self.n_tries.set(0);
            return;
        }
        let is_given_up = self
            .open
            .borrow()
            .as_ref()
            .is_some_and(|connection| connection.source.ready_state() == EventSource::CLOSED);
        if is_given_up {
            self.try_later();
        }
    }

    /// After 1, 2, 4 … 30 seconds.
    fn try_later(self: &Rc<Self>) {
        let n_tries = self.n_tries.get();
        self.n_tries.set(n_tries + 1);
        let seconds = (1 << n_tries.min(5)).min(30);
        let line = Rc::downgrade(self);
        set_timeout(move || spawn_local(try_now(line)), Duration::from_secs(seconds));
    }
}

async fn try_now(line: Weak<Line>) {
    // A session that ran out shows here, and leads to the sign-in page; the stream would not say why.
    let session = account::session().await;
    let Some(line) = line.upgrade() else { return };
    match session {
        Ok(_) => line.connect(),
        Err(error) if error.code() == Some(ErrorCode::NotSignedIn) => {}
        Err(_) => line.try_later(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_read_as_the_protocol_writes_them() {
        let counts = ProjectEvent::Counts {
            counts: ProjectCounts {
                n_ties: 3,
                ..ProjectCounts::default()
            },
        };
        let text = serde_json::to_string(&counts).unwrap();
        let update: Update = serde_json::from_str(&text).unwrap();
        assert_eq!(update.of_project(), Some(counts));

        let point = json!({"step": 2, "split": "train", "values": {"loss": 0.5}});
        let line = json!({"at": 1, "level": "warning", "text": "hot"});
        let sample = json!({"prompt_id": 1, "prompt": [], "before": "b", "after": "a"});
        for event in [
            json!({"type": "metrics", "points": [point]}),
            json!({"type": "log", "lines": [line]}),
            json!({"type": "samples", "samples": [sample]}),
            json!({"type": "preview", "preview": {"template_hash": "h", "findings": [], "rows": []}}),
        ] {
            let own: RoundEvent = serde_json::from_value(event.clone()).unwrap();
            let update: Update = serde_json::from_value(event).unwrap();
            assert_eq!(update.of_round(), Some(own));
        }
    }

    #[test]
    fn an_event_of_an_unknown_kind_is_left_alone() {
        let update: Update = serde_json::from_value(json!({"type": "weather", "rain": true})).unwrap();
        assert_eq!(update.of_project(), None);
    }
}
