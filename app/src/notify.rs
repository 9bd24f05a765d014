//! Notifications of the browser, for whoever has asked for them in it: a round ended, failed or warns. Only pages for
//! admins call this, so that it lies in their part of the program.

use crate::words::{fill, t};
use laurel_protocol::{JobStatus, Round, RoundId};
use std::{cell::RefCell, collections::HashMap};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{Notification, NotificationOptions, NotificationPermission};

/// Where the wish is kept.
const WISH: &str = "laurel-notify";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Off,
    On,
    /// The browser lets no page of this address notify.
    Refused,
}

fn storage() -> Option<web_sys::Storage> {
    web_sys::window()?.local_storage().ok()?
}

/// Browsers offer notifications to pages from https and from this machine alone.
fn exists() -> bool {
    js_sys::Reflect::has(&js_sys::global(), &"Notification".into()).unwrap_or(false)
}

pub fn state() -> State {
    if !exists() || Notification::permission() == NotificationPermission::Denied {
        return State::Refused;
    }
    let wish = storage().and_then(|storage| storage.get_item(WISH).ok()?);
    match wish.is_some() && Notification::permission() == NotificationPermission::Granted {
        true => State::On,
        false => State::Off,
    }
}

/// Turns them on, asking the person if the browser wants that, or off.
pub fn switch(then: impl Fn(State) + 'static) {
    let Some(storage) = storage() else { return };
    // A storage that is full or closed keeps no wish: they stay off.
    if state() == State::On {
        let _ = storage.remove_item(WISH);
        then(State::Off);
        return;
    }
    let _ = storage.set_item(WISH, "1");
    let Ok(asked) = Notification::request_permission() else {
        then(state());
        return;
    };
    leptos::task::spawn_local(async move {
        let _ = wasm_bindgen_futures::JsFuture::from(asked).await;
        then(state());
    });
}

thread_local! {
    /// How each round stood when it was seen last.
    static SEEN: RefCell<HashMap<RoundId, JobStatus>> = RefCell::default();
}

/// Takes note of how a round stands, and tells if it has just come to an end.
pub fn see(round: &Round) {
    let before = SEEN.with(|seen| seen.borrow_mut().insert(round.id, round.status));
    if before.is_none_or(|before| before.is_over()) || before == Some(round.status) {
        return;
    }
    let text = match round.status {
        JobStatus::Done => fill("{0} is done.", &[&round.name]),
        JobStatus::Failed => fill("{0} has failed.", &[&round.name]),
        JobStatus::Aborted => fill("{0} was aborted.", &[&round.name]),
        JobStatus::Paused => fill("{0} is paused.", &[&round.name]),
        JobStatus::Queued | JobStatus::Running => return,
    };
    show(&text, round.id);
}

/// A warning of a round.
pub fn warn(round: &Round, text: &str) {
    show(&fill("{0} warns: {1}", &[&round.name, &text]), round.id);
}

fn show(text: &str, round: RoundId) {
    if state() != State::On {
        return;
    }
    let options = NotificationOptions::new();
    options.set_body(text);
    // Of two open pages one notification: the later takes the place of the former.
    options.set_tag(&format!("laurel-round-{round}"));
    let Ok(shown) = Notification::new_with_options(t("Round"), &options) else {
        return;
    };
    let open = Closure::once_into_js(move || {
        if let Some(window) = web_sys::window() {
            let _ = window.focus();
            let _ = window.location().set_href(&format!("/rounds/{round}"));
        }
    });
    shown.set_onclick(Some(open.unchecked_ref()));
}
