//! The field for what the person says: the first words of a conversation, or the next ones.

use super::ring::Ring;
use crate::words::{fill, t, t_owned};
use laurel_protocol::BattleStatus;
use leptos::prelude::*;
use web_sys::KeyboardEvent;

pub fn entry(ring: Ring) -> AnyView {
    // Enter sends, Shift+Enter breaks the line; a word that is being composed takes Enter for itself.
    let keys = move |event: KeyboardEvent| {
        if event.key() == "Enter" && !event.shift_key() && !event.is_composing() {
            event.prevent_default();
            ring.send();
        }
    };
    let reason = move || {
        ring.errors.with(|errors| {
            let reasons: Vec<_> = errors.iter().map(|error| t_owned(&error.reason)).collect();
            let words = fill("Your message {0}.", &[&reasons.join("; ")]);
            (!reasons.is_empty()).then(|| view! { <p class="form-error" role="alert">{words}</p> })
        })
    };
    let goes_on = Memo::new(move |_| ring.after().is_some());
    let label = move || match goes_on.get() {
        true => t("Go on with the conversation"),
        false => t("Begin a conversation"),
    };
    let closed = move || {
        let is_idle = !matches!(ring.status(), Some(BattleStatus::Asked | BattleStatus::Answered));
        (!ring.on && is_idle).then(|| {
            view! {
                <p class="notice" data-test="arena-closed">
                    {t("The arena of this project is closed: an admin opens it in the project's settings.")}
                </p>
            }
        })
    };
    view! {
        {closed}
        <form
            class="chat-entry"
            hidden=move || !ring.may_speak()
            on:submit=move |event| { event.prevent_default(); ring.send() }
        >
            <label for="arena-text">{label}</label>
            <textarea
                id="arena-text"
                rows="3"
                placeholder=t("Say something. Enter sends, Shift+Enter starts a new line.")
                data-test="arena-text"
                on:keydown=keys
                prop:value=move || ring.text.get()
                on:input=move |event| ring.text.set(event_target_value(&event))
            ></textarea>
            <div class="actions">
                <button class="button button-main" data-test="arena-send" disabled=move || ring.action.busy()>
                    {t("Send")}
                </button>
                <button
                    type="button"
                    class="button button-quiet"
                    data-test="arena-anew"
                    hidden=move || !goes_on.get()
                    on:click=move |_| ring.begin_anew()
                >
                    {t("New conversation")}
                </button>
            </div>
            {reason}
            {ring.action.error_line()}
        </form>
    }
    .into_any()
}
