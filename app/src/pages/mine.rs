//! What a person has answered in a project: to look up, and to change.

use crate::{
    api,
    components::{
        action::Action,
        label::{skipped::reason_text, spoken::spoken},
    },
    format,
    load::Loaded,
    session::use_session,
    words::{fill, t},
};
use laurel_protocol::{Note, OwnAnswer, OwnAnswers, ProjectId, Role, TaskId};
use leptos::prelude::*;
use leptos_router::components::A;

const PAGE_SIZE: u32 = 50;

pub fn page(id: ProjectId) -> AnyView {
    let answers = Loaded::new(move || api::label::own_answers(id, None, PAGE_SIZE));
    let list = answers.view(move |page| listing(id, answers, page));
    view! {
        <div class="page">
            <p class="crumbs">
                <A href="/">{t("Projects")}</A>
                <A href=format!("/projects/{id}/label")>{t("Back to labelling")}</A>
            </p>
            <h1>{t("Your answers")}</h1>
            {list}
        </div>
    }
    .into_any()
}

fn listing(id: ProjectId, loaded: Loaded<OwnAnswers>, page: OwnAnswers) -> AnyView {
    if page.answers.is_empty() {
        return view! {
            <div class="empty">
                <h2>{t("Nothing yet")}</h2>
                <p>{t("What you answer or skip in this project is listed here and can be changed.")}</p>
            </div>
        }
        .into_any();
    }
    let action = Action::default();
    let more = page.next.map(|next| {
        let ask = move |_| {
            action.run(api::label::own_answers(id, Some(next), PAGE_SIZE), move |page| {
                loaded.update(|known| {
                    known.answers.extend(page.answers);
                    known.next = page.next;
                });
            });
        };
        view! {
            <button type="button" class="button" data-test="more-answers" disabled=move || action.busy() on:click=ask>
                {t("Show more")}
            </button>
        }
    });
    let rows = page
        .answers
        .into_iter()
        .map(|answer| row(id, answer))
        .collect_view();
    view! {
        <ul class="prompts">{rows}</ul>
        <div class="actions">{more}</div>
        {action.error_line()}
    }
    .into_any()
}

fn row(project: ProjectId, own: OwnAnswer) -> AnyView {
    let said = match (&own.answer, own.skipped) {
        (Some(answer), _) => spoken(&answer.judgement, &answer.extras.ratings),
        (None, reason) => fill("Skipped: {0}", &[&reason.map_or(t("no reason"), reason_text)]),
    };
    let comment = own.answer.map(|answer| answer.comment);
    let comment = comment
        .filter(|comment| !comment.is_empty())
        .map(|comment| view! { <p class="fine">{comment}</p> });
    let change = match &own.decision {
        None if own.live => {
            view! { <p class="fine">{t("From the arena: the names were told after the vote, so it stays as it is.")}</p> }.into_any()
        }
        None => {
            let href = format!("/projects/{project}/label?change={}", own.assignment_id);
            view! {
                <A href=href attr:class="button button-quiet" attr:data-test="change-answer">{t("Look at it or change it")}</A>
            }
            .into_any()
        }
        Some(decision) => {
            let said = spoken(&decision.judgement, &decision.ratings);
            let reason = decision.comment.clone();
            let reason = (!reason.is_empty()).then(|| view! { <span>{reason}</span> });
            view! {
                <p class="notice" data-test="own-decision"><span>{t("A reviewer decided:")} " "{said}</span>{reason}</p>
            }
            .into_any()
        }
    };
    let notes = talk(own.task_id, own.notes);
    let is_admin = use_session().user().is_some_and(|user| user.role == Role::Admin);
    let gold = (is_admin && own.skipped.is_none() && !own.live).then(|| {
        let href = format!("/projects/{project}/gold?from={}", own.assignment_id);
        view! { <A href=href attr:class="button button-quiet" attr:data-test="to-gold">{t("Make it a gold item")}</A> }
    });
    view! {
        <li class="card prompt" data-test="own-answer">
            <p class="turn">{own.prompt}</p>
            <p><b data-test="own-said">{said}</b> " " <span class="fine">{format::moment(own.at)}</span></p>
            {comment}
            <div class="actions">
                {change}
                {gold}
            </div>
            {notes}
        </li>
    }
    .into_any()
}

/// Notes on a task, and a field to answer where somebody wrote one.
fn talk(task: TaskId, notes: Vec<Note>) -> AnyView {
    if notes.is_empty() {
        return ().into_any();
    }
    let notes = RwSignal::new(notes);
    let text = RwSignal::new(String::new());
    let action = Action::default();
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let said = text.get_untracked();
        if said.trim().is_empty() {
            return;
        }
        action.run(api::review::add_note(task, said), move |now| {
            if !notes.is_disposed() {
                notes.set(now);
                text.set(String::new());
            }
        });
    };
    let list = move || {
        let row = |note: Note| {
            view! {
                <li data-test="note">
                    <b>{note.name}</b> " " {note.text} " " <span class="fine">{format::moment(note.at)}</span>
                </li>
            }
        };
        notes.get().into_iter().map(row).collect_view()
    };
    view! {
        <ul class="rows">{list}</ul>
        <form class="actions" on:submit=send>
            <input
                class="note-field"
                type="text"
                data-test="note-text"
                aria-label=fill("Answer to the notes on task {0}", &[&task])
                maxlength="8000"
                prop:value=text
                on:input=move |event| text.set(event_target_value(&event))
            />
            <button class="button button-quiet" data-test="note-send" disabled=move || action.busy()>{t("Send")}</button>
        </form>
        {action.error_line()}
    }
    .into_any()
}
