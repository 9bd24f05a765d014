//! Talking to the base model or an adapter of a project, or to two of them side by side. The conversation lives in this
//! page alone: leaving it forgets what was said and stops what is being written.

mod conversation;
mod settings;

use self::{
    conversation::Conversation,
    settings::{Draft, fields},
};
use crate::{
    api::{self, events::Stream},
    components::{action::Action, field::Errors},
    load::Loaded,
    words::{fill, t, t_owned},
};
use laurel_protocol::{Adapter, ChatSide, ChatTurn, JobId, JobStatus, NewChatTurn, Project, ProjectId};
use leptos::{ev::KeyboardEvent, prelude::*};
use leptos_router::{components::A, hooks::use_query_map};

pub fn page(id: ProjectId) -> AnyView {
    let ground =
        Loaded::new(
            move || async move { Ok((api::project::load(id).await?, api::adapter::list(id).await?)) },
        );
    let body = ground.view(|(project, adapters)| body(&project, &adapters));
    view! {
        <div class="page page-wide">
            <p class="crumbs"><A href="/">{t("Projects")}</A><A href=format!("/projects/{id}")>{t("Overview")}</A></p>
            <h1>{t("Chat")}</h1>
            {body}
        </div>
    }
    .into_any()
}

/// What the parts of the page share.
#[derive(Clone, Copy)]
struct Chat {
    project: ProjectId,
    sides: [Conversation; 2],
    has_two: RwSignal<bool>,
    /// What the user is about to say.
    text: RwSignal<String>,
    /// The turn that is being answered.
    turn: RwSignal<Option<ChatTurn>>,
    stream: StoredValue<Option<Stream>, LocalStorage>,
    is_live: RwSignal<bool>,
    action: Action,
    errors: Errors,
    draft: Draft,
}

impl Chat {
    fn open_sides(self) -> impl Iterator<Item = Conversation> {
        let n = if self.has_two.get_untracked() { 2 } else { 1 };
        self.sides.into_iter().take(n)
    }

    fn is_answering(self) -> bool {
        self.turn.with(Option::is_some)
    }

    fn send(self) {
        let said = self.text.with_untracked(|text| text.trim().to_owned());
        if said.is_empty() || untrack(|| self.is_answering()) || untrack(|| self.action.busy()) {
            return;
        }
        let sampling = match self.draft.read() {
            Ok(sampling) => sampling,
            Err(reasons) => return self.errors.set(reasons),
        };
        let sides = self.open_sides().map(|side| ChatSide {
            adapter: side.adapter(),
            messages: side.messages_with(&said),
        });
        let turn = NewChatTurn {
            sides: sides.collect(),
            sampling,
        };
        if let Err(reasons) = turn.validate() {
            return self.errors.set(reasons);
        }
        self.errors.set(Vec::new());
        let project = self.project;
        self.action.run(
            async move { api::chat::start(project, &turn).await },
            move |turn| {
                // Whoever has left the page watches no turn: the server gives it up.
                if self.text.is_disposed() {
                    return;
                }
                self.text.set(String::new());
                for side in self.open_sides() {
                    side.say(&said);
                }
                self.follow(turn.id);
                self.take(turn);
            },
        );
    }

    fn follow(self, id: JobId) {
        let on_live = move |on| {
            let _ = self.is_live.try_set(on);
        };
        let stream = api::events::follow_chat(self.project, id, move |turn| self.take(turn), on_live);
        self.stream.set_value(Some(stream));
    }

    fn take(self, turn: ChatTurn) {
        for (side, answer) in self.open_sides().zip(&turn.answers) {
            side.hear(answer);
        }
        if !turn.status.is_over() {
            return self.turn.set(Some(turn));
        }
        for (side, answer) in self.open_sides().zip(&turn.answers) {
            side.end(answer, turn.status, turn.error.as_deref());
        }
        self.turn.set(None);
        // Not from within its own call. That the server has closed it, too, is no interruption.
        let end = move || {
            drop(self.stream.try_update_value(Option::take));
            let _ = self.is_live.try_set(true);
        };
        set_timeout(end, std::time::Duration::ZERO);
    }

    fn stop(self) {
        if let Some(id) = self.turn.with_untracked(|turn| turn.as_ref().map(|turn| turn.id)) {
            let project = self.project;
            self.action
                .run(async move { api::chat::stop(project, id).await }, |()| {});
        }
    }

    fn begin_anew(self) {
        for side in self.sides {
            side.clear();
        }
    }
}

fn body(project: &Project, adapters: &[Adapter]) -> AnyView {
    // The address may name who talks: `?first=ADAPTER&second=ADAPTER`, without a number the base model.
    let asked = |name: &str| use_query_map().with_untracked(|query| query.get(name));
    let (first, second) = (asked("first"), asked("second"));
    let chat = Chat {
        project: project.id,
        has_two: RwSignal::new(second.is_some()),
        sides: [first, second].map(|adapter| Conversation::with(adapter.unwrap_or_default())),
        text: RwSignal::new(String::new()),
        turn: RwSignal::new(None),
        stream: StoredValue::new_local(None),
        is_live: RwSignal::new(true),
        action: Action::default(),
        errors: RwSignal::new(Vec::new()),
        draft: Draft::new(),
    };
    Effect::new(move || {
        if let Some(error) = chat.action.error() {
            chat.errors.set(error.fields());
        }
    });
    // Two sides are compared from their first word on.
    let compare = move |event| {
        chat.begin_anew();
        chat.has_two.set(event_target_checked(&event));
    };
    let second = {
        let adapters = adapters.to_vec();
        move || {
            chat.has_two
                .get()
                .then(|| chat.sides[1].view("second", &adapters, chat.turn))
        }
    };
    view! {
        <p class="muted">
            {t("A trainer answers before it takes other work. Nothing that is said here is stored, and no label comes of it.")}
        </p>
        <p class="notice" role="status" hidden=move || chat.is_live.get()>
            {t("The live connection is interrupted; trying again.")}
        </p>
        <div class="chat-top">
            <label class="chat-compare">
                <input
                    type="checkbox"
                    data-test="chat-compare"
                    prop:checked=move || chat.has_two.get()
                    disabled=move || chat.is_answering()
                    on:change=compare
                />
                {t("Two side by side")}
            </label>
            <button
                type="button"
                class="button button-quiet"
                data-test="chat-anew"
                disabled=move || chat.is_answering()
                on:click=move |_| chat.begin_anew()
            >
                {t("Begin anew")}
            </button>
        </div>
        <div class="chat-sides">{chat.sides[0].view("first", adapters, chat.turn)} {second}</div>
        {waiting(chat)}
        {entry(chat)}
        <details class="fold">
            <summary>{t("Sampling")}</summary>
            <div class="field-grid">{fields(chat.draft, chat.errors)}</div>
        </details>
    }
    .into_any()
}

/// The place in the queue, while there is one.
fn waiting(chat: Chat) -> AnyView {
    let words = Memo::new(move |_| {
        chat.turn.with(|turn| {
            let turn = turn.as_ref().filter(|turn| turn.status == JobStatus::Queued)?;
            Some(in_words(turn))
        })
    });
    (move || {
        words.get().map(|words| {
            view! { <p class="notice" role="status" data-test="chat-waits">{words}</p> }
        })
    })
    .into_any()
}

fn in_words(turn: &ChatTurn) -> String {
    let before = match turn.n_ahead {
        0 => t("It is the next to be answered.").to_owned(),
        1 => t("One other turn is answered before it.").to_owned(),
        n => fill("{0} other turns are answered before it.", &[&n]),
    };
    let busy = match turn.busy_with.as_slice() {
        [] => String::new(),
        names => fill(
            " A trainer is busy with {0}: it answers at its next chance. Pause a round to go first.",
            &[&names.join(", ")],
        ),
    };
    fill("Waits for a trainer. {0}{1}", &[&before, &busy])
}

fn entry(chat: Chat) -> AnyView {
    // Enter sends, Shift+Enter breaks the line; a word that is being composed takes Enter for itself.
    let keys = move |event: KeyboardEvent| {
        if event.key() == "Enter" && !event.shift_key() && !event.is_composing() {
            event.prevent_default();
            chat.send();
        }
    };
    let reason = move || {
        chat.errors.with(|errors| {
            let reasons: Vec<_> = errors
                .iter()
                .map(|error| fill("{0} {1}", &[&t_owned(&error.field), &t_owned(&error.reason)]))
                .collect();
            (!reasons.is_empty())
                .then(|| view! { <p class="form-error" role="alert">{reasons.join("; ")}</p> })
        })
    };
    view! {
        <form class="chat-entry" on:submit=move |event| { event.prevent_default(); chat.send() }>
            <label class="visually-hidden" for="chat-text">{t("What you say")}</label>
            <textarea
                id="chat-text"
                rows="3"
                placeholder=t("Say something. Enter sends, Shift+Enter starts a new line.")
                data-test="chat-text"
                on:keydown=keys
                prop:value=move || chat.text.get()
                on:input=move |event| chat.text.set(event_target_value(&event))
            ></textarea>
            <div class="actions">
                <button
                    class="button button-main"
                    data-test="chat-send"
                    disabled=move || chat.is_answering() || chat.action.busy()
                >
                    {t("Send")}
                </button>
                <button
                    type="button"
                    class="button"
                    data-test="chat-stop"
                    hidden=move || !chat.is_answering()
                    on:click=move |_| chat.stop()
                >
                    {t("Stop")}
                </button>
            </div>
            {reason}
            {chat.action.error_line()}
        </form>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_the_queue_is_told_in_words() {
        let mut turn = ChatTurn {
            id: JobId(1),
            status: JobStatus::Queued,
            n_ahead: 0,
            busy_with: Vec::new(),
            answers: Vec::new(),
            error: None,
        };
        assert_eq!(
            in_words(&turn),
            "Waits for a trainer. It is the next to be answered."
        );
        turn.n_ahead = 2;
        turn.busy_with = vec!["DPO 3".into()];
        let words = in_words(&turn);
        assert!(
            words.contains("2 other turns") && words.contains("busy with DPO 3"),
            "{words}"
        );
    }
}
