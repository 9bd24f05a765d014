//! Server-sent events: live updates of a project and of a round.
//!
//! The browser reconnects by itself after a lost connection, but gives up for good when it is refused (a proxy that
//! answers 502 while the server restarts, a session that ran out): then this module tries again. What happened
//! between two connections is not told again: a listener that hears of a new connection asks for what it may have
//! missed.

use super::{account, url};
use laurel_protocol::{ErrorCode, ProjectEvent, ProjectId, RoundEvent, RoundId};
use leptos::{prelude::set_timeout, task::spawn_local};
use serde::de::DeserializeOwned;
use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{Event, EventSource, MessageEvent};

/// A stream that is followed until this is dropped.
pub struct Stream(#[expect(dead_code, reason = "held, never read")] Rc<Line>);

/// Follows a project: counts, completion jobs, rounds. `on_live` hears of each connection, and of its loss.
pub fn follow_project(
    id: ProjectId,
    on_event: impl Fn(ProjectEvent) + 'static,
    on_live: impl Fn(bool) + 'static,
) -> Stream {
    follow(&format!("/projects/{id}/events"), on_event, on_live)
}

/// Follows a round: its state, metrics, log, samples.
pub fn follow_round(
    id: RoundId,
    on_event: impl Fn(RoundEvent) + 'static,
    on_live: impl Fn(bool) + 'static,
) -> Stream {
    follow(&format!("/rounds/{id}/events"), on_event, on_live)
}

fn follow<T: DeserializeOwned>(
    path: &str,
    on_event: impl Fn(T) + 'static,
    on_live: impl Fn(bool) + 'static,
) -> Stream {
    let on_text = move |text: &str| {
        // An event of a kind that this page does not know yet is left alone: the server may be newer.
        if let Ok(update) = serde_json::from_str(text) {
            on_event(update);
        }
    };
    let line = Rc::new(Line {
        url: url(path),
        on_text: Box::new(on_text),
        on_live: Box::new(on_live),
        open: RefCell::new(None),
        n_tries: Cell::new(0),
    });
    line.connect();
    Stream(line)
}

/// One stream over all its connections.
struct Line {
    url: String,
    on_text: Box<dyn Fn(&str)>,
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
            if let Some(line) = line.upgrade() {
                (line.on_text)(&event.data().as_string().unwrap_or_default());
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
