//! Server-sent events: live updates of a project and of a round.
//!
//! The browser reconnects by itself after a lost connection; the server then sends the whole state again,
//! so that a listener only ever merges.

use super::url;
use laurel_protocol::{ProjectEvent, ProjectId, RoundEvent, RoundId};
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{Event, EventSource, MessageEvent};

/// An open stream; it closes when this is dropped.
pub struct Stream {
    source: EventSource,
    // The closures must live as long as the source may call them.
    _on_update: Closure<dyn FnMut(MessageEvent)>,
    _on_state: Closure<dyn FnMut(Event)>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.source.close();
    }
}

/// Follows a project: counts, completion jobs, rounds. `on_live` hears whether the stream is connected.
pub fn follow_project(
    id: ProjectId,
    on_event: impl Fn(ProjectEvent) + 'static,
    on_live: impl Fn(bool) + 'static,
) -> Option<Stream> {
    follow(&format!("/projects/{id}/events"), on_event, on_live)
}

/// Follows a round: its state, metrics, log, samples.
pub fn follow_round(
    id: RoundId,
    on_event: impl Fn(RoundEvent) + 'static,
    on_live: impl Fn(bool) + 'static,
) -> Option<Stream> {
    follow(&format!("/rounds/{id}/events"), on_event, on_live)
}

fn follow<T: DeserializeOwned>(
    path: &str,
    on_event: impl Fn(T) + 'static,
    on_live: impl Fn(bool) + 'static,
) -> Option<Stream> {
    let source = EventSource::new(&url(path)).ok()?;
    let on_update = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        let text = event.data().as_string().unwrap_or_default();
        // An event of a kind that this page does not know yet is left alone: the server may be newer.
        if let Ok(update) = serde_json::from_str(&text) {
            on_event(update);
        }
    });
    let on_state = Closure::<dyn FnMut(Event)>::new(move |event: Event| on_live(event.type_() == "open"));
    let update = on_update.as_ref().unchecked_ref();
    let state = on_state.as_ref().unchecked_ref();
    source.add_event_listener_with_callback("update", update).ok()?;
    source.set_onopen(Some(state));
    source.set_onerror(Some(state));
    Some(Stream {
        source,
        _on_update: on_update,
        _on_state: on_state,
    })
}
