//! A task under review: its completions, who said what, the decision, and the notes.

use super::{lineage, own::Own};
use crate::{
    api,
    components::{
        action::Action,
        label::{prompt::letter, spoken::spoken},
    },
    format,
    words::{fill, t},
};
use laurel_protocol::{Decision, Judgement, NewDecision, ReviewTask, TaskId, Voice};
use leptos::prelude::*;
use std::collections::BTreeMap;

pub fn card(task: ReviewTask) -> AnyView {
    let id = task.id;
    let task = RwSignal::new(task);
    let action = Action::default();
    let own = task.with_untracked(|task| {
        let said = task.voices.first().map(|voice| &voice.judgement);
        Own::like(said, task.completions.len())
    });
    let act = Act {
        task,
        action,
        own,
        reason: RwSignal::new(String::new()),
    };
    let prompt = task.with_untracked(|task| {
        task.prompt
            .iter()
            .map(|message| view! { <div class="prose" inner_html=message.html.clone()></div> })
            .collect_view()
    });
    let completions = task.with_untracked(|task| {
        let card = |(at, completion): (usize, &laurel_protocol::ShownCompletion)| {
            view! {
                <article class="completion" aria-label=fill("Answer {0}", &[&letter(at)])>
                    <header class="completion-head"><h3 class="completion-letter">{letter(at)}</h3></header>
                    <div class="prose" inner_html=completion.html.clone()></div>
                </article>
            }
        };
        task.completions.iter().enumerate().map(card).collect_view()
    });
    view! {
        <li class="card review" data-test="review-task" data-task=id.to_string()>
            <h2>{fill("Task {0}", &[&id])}</h2>
            {prompt}
            <div class="sheet-cards">{completions}</div>
            {move || said(act)}
            {action.error_line()}
            {notes(act)}
        </li>
    }
    .into_any()
}

/// What the buttons of a card work on.
#[derive(Clone, Copy)]
pub(super) struct Act {
    task: RwSignal<ReviewTask>,
    pub(super) action: Action,
    own: Own,
    /// Why it is decided so, as far as it is typed.
    reason: RwSignal<String>,
}

impl Act {
    fn id(self) -> TaskId {
        self.task.with_untracked(|task| task.id)
    }

    pub(super) fn decide(self, judgement: Judgement, ratings: BTreeMap<String, Vec<u8>>) {
        let id = self.id();
        let new = NewDecision {
            judgement,
            ratings,
            comment: self.reason.get_untracked().trim().to_owned(),
        };
        self.action
            .run(async move { api::review::decide(id, &new).await }, move |task| {
                self.show(task)
            });
    }

    fn take_back(self) {
        self.action
            .run(api::review::take_back(self.id()), move |task| self.show(task));
    }

    fn show(self, task: ReviewTask) {
        if !self.task.is_disposed() {
            self.task.set(task);
        }
    }
}

/// The decision, or the voices with a button each.
fn said(act: Act) -> AnyView {
    let task = act.task.get();
    let is_decided = task.decision.is_some();
    let voices = task
        .voices
        .into_iter()
        .map(|voice| voice_row(act, voice, is_decided))
        .collect_view();
    let decision = task.decision.map(|decision| decided(act, &decision));
    let own = (!is_decided).then(|| act.own.view(act));
    let reason = (!is_decided).then(|| reason_field(act));
    view! {
        <ul class="rows">{voices}</ul>
        {decision}
        {reason}
        {own}
    }
    .into_any()
}

fn voice_row(act: Act, voice: Voice, is_decided: bool) -> AnyView {
    let words = spoken(&voice.judgement, &voice.ratings);
    let comment = (!voice.comment.is_empty()).then(|| view! { <span class="fine">{voice.comment}</span> });
    let adopt = (!is_decided).then(|| {
        let (judgement, ratings) = (voice.judgement, voice.ratings);
        let is_rate = matches!(judgement, Judgement::Rate);
        let adopt = move |_| {
            let ratings = if is_rate { ratings.clone() } else { BTreeMap::new() };
            act.decide(judgement.clone(), ratings);
        };
        view! {
            <button
                type="button"
                class="button button-quiet"
                data-test="adopt"
                disabled=move || act.action.busy()
                on:click=adopt
            >
                {t("Decide so")}
            </button>
        }
    });
    view! {
        <li class="row row-head" data-test="voice">
            <b>{voice.name}</b>
            <span data-test="voice-said">{words}</span>
            {comment}
            <span class="fine">{format::duration(voice.seconds)}</span>
            {lineage::of(voice.annotation_id)}
            {adopt}
        </li>
    }
    .into_any()
}

fn reason_field(act: Act) -> AnyView {
    view! {
        <input
            class="note-field"
            type="text"
            data-test="decision-reason"
            aria-label=fill("Why task {0} is decided so", &[&act.id()])
            placeholder=t("Why you decide so (optional)")
            maxlength="2000"
            prop:value=act.reason
            on:input=move |event| act.reason.set(event_target_value(&event))
        />
    }
    .into_any()
}

fn decided(act: Act, decision: &Decision) -> AnyView {
    let comment = decision.comment.clone();
    let reason = (!comment.is_empty()).then(|| view! { <span>{comment}</span> });
    view! {
        <p class="notice" data-test="decision" role="status">
            <span>
                <b>{t("Decided:")} " "</b> {spoken(&decision.judgement, &decision.ratings)} {t(", by")} " " {decision.name.clone()}
                {t(". It counts in place of what the annotators said.")}
            </span>
            {reason}
            <button
                type="button"
                class="button button-quiet"
                data-test="take-back"
                disabled=move || act.action.busy()
                on:click=move |_| act.take_back()
            >
                {t("Take the decision back")}
            </button>
        </p>
    }
    .into_any()
}

fn notes(act: Act) -> AnyView {
    let text = RwSignal::new(String::new());
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let said = text.get_untracked();
        if said.trim().is_empty() {
            return;
        }
        act.action
            .run(api::review::add_note(act.id(), said), move |notes| {
                if !act.task.is_disposed() {
                    act.task.update(|task| task.notes = notes);
                    text.set(String::new());
                }
            });
    };
    let list = move || {
        act.task.with(|task| {
            task.notes
                .iter()
                .map(|note| {
                    view! {
                        <li data-test="note">
                            <b>{note.name.clone()}</b> " " {note.text.clone()} " "
                            <span class="fine">{format::moment(note.at)}</span>
                        </li>
                    }
                })
                .collect_view()
        })
    };
    let name = fill("Note on task {0}", &[&act.id()]);
    view! {
        <ul class="rows">{list}</ul>
        <form class="actions" on:submit=send>
            <input
                class="note-field"
                type="text"
                data-test="note-text"
                aria-label=name
                placeholder=t("A note to the annotators")
                maxlength="8000"
                prop:value=text
                on:input=move |event| text.set(event_target_value(&event))
            />
            <button class="button button-quiet" data-test="note-send" disabled=move || act.action.busy()>{t("Send")}</button>
        </form>
    }
    .into_any()
}
