//! The keyboard of the arena: the labelling page's keys for a pick, while a vote is awaited.

use super::{ring::Ring, view};
use crate::{
    components::label::letters::{OwnLetters, Press, use_letters},
    pages::label::keys::{Command, Mode, command},
};
use laurel_protocol::BattleStatus;
use leptos::{ev, prelude::*};
use wasm_bindgen::JsCast;

/// Reads keys, and whether the person is there.
pub fn listen(ring: Ring) {
    let letters = use_letters();
    let input = move || {
        let _ = ring
            .clock
            .try_update_value(|clock| clock.input(super::ring::now()));
    };
    let visibility = move || {
        let is_visible = document().visibility_state() == web_sys::VisibilityState::Visible;
        let _ = ring
            .clock
            .try_update_value(|clock| clock.set_visible(super::ring::now(), is_visible));
    };
    let handles = [
        window_event_listener(ev::keydown, move |event| {
            input();
            on_key(ring, letters, &event);
        }),
        window_event_listener(ev::pointerdown, move |_| input()),
        window_event_listener(ev::wheel, move |_| input()),
        window_event_listener(ev::scroll, move |_| input()),
        window_event_listener_untyped("visibilitychange", move |_| visibility()),
    ];
    on_cleanup(move || {
        for handle in handles {
            handle.remove();
        }
    });
}

fn on_key(ring: Ring, letters: OwnLetters, event: &web_sys::KeyboardEvent) {
    if ring.battle.is_disposed()
        || ring.status_now() != Some(BattleStatus::Answered)
        || event.default_prevented()
    {
        return;
    }
    let target = event
        .target()
        .and_then(|target| target.dyn_into::<web_sys::HtmlElement>().ok());
    let name = target
        .as_ref()
        .map(|target| target.tag_name())
        .unwrap_or_default();
    if matches!(name.as_str(), "INPUT" | "TEXTAREA" | "SELECT") {
        if event.key() == "Escape" {
            let _ = target.map(|target| target.blur());
        }
        return;
    }
    let (key, code) = (event.key(), event.code());
    let press = Press {
        key: &key,
        code: &code,
        shift: event.shift_key(),
        modified: event.ctrl_key() || event.alt_key() || event.meta_key(),
        repeat: event.repeat(),
    };
    let mode = match ring.waits.get_untracked() {
        true => Mode::Strength,
        false => Mode::Pick,
    };
    match command(press, mode, |letter| letters.meant(letter)) {
        Some(Command::Choose(choice)) => ring.choose(choice),
        Some(Command::Strength(strength)) => ring.choose_strength(strength),
        Some(Command::Differences) => ring.differences.update(|on| *on = !*on),
        Some(Command::Escape) => ring.take_back(),
        Some(Command::Comment) => view::unfold("arena-comment"),
        Some(Command::Skip) => view::unfold("arena-skip-first"),
        _ => return,
    }
    event.prevent_default();
}
