//! The labelling page: one task on screen, the next ones already here.
//!
//! `desk.rs` holds the tasks, `task.rs` shows one of them, `verdicts.rs` hands what the person says to the app's
//! outbox, which sees that nothing is lost, `keys.rs` reads the keyboard.

pub mod clock;
mod desk;
mod draft;
mod hand;
pub mod keys;
mod task;
mod undo;
mod verdicts;

use crate::{
    api,
    components::{
        copy::copy_button,
        label::{
            dialogs::{Dialogs, Panel, dialogs},
            letters::{self, OwnLetters, Press, use_letters},
            sheet::{focus_demonstration, focus_unrated},
            spoken::spoken,
            top::{Top, Ways, resting, top},
        },
        notice::notice,
    },
    load::{Loaded, waiting},
    outbox::{Link, Verdict},
    session::use_session,
    words::{fill, t},
};
use desk::{Desk, Stage};
use keys::{Command, command};
use laurel_protocol::{AssignmentId, Project, ProjectId, Skip, Stopped, UserId};
use leptos::{ev, prelude::*};
use leptos_router::hooks::use_query_map;
use std::time::Duration;
use verdicts::SaveState;
use wasm_bindgen::JsCast;

const TICK: Duration = Duration::from_secs(3);

/// The page, for the project in its address.
pub fn page(project: ProjectId) -> AnyView {
    let Some(user) = use_session().user() else {
        return ().into_any();
    };
    let user = user.id;
    letters::provide();
    let loaded = Loaded::new(move || api::project::load(project));
    loaded.view(move |project| desk_view(&project, user))
}

fn desk_view(project: &Project, user: UserId) -> AnyView {
    let ways = Ways {
        mine: format!("/projects/{}/mine", project.id),
        arena: project
            .settings
            .arena
            .on
            .then(|| format!("/projects/{}/arena", project.id)),
    };
    let desk = Desk::open(project.id, user, asked_for());
    let open = RwSignal::new(None);
    listen(desk, open);
    let panels = Dialogs {
        open,
        label_type: project.settings.label_type,
        has_sheet: project.settings.questions.any(),
        guidelines_html: StoredValue::new(project.guidelines_html.clone()),
        skip: Callback::new(move |skip: Skip| desk.decide(Verdict::Skip(skip))),
    };
    let current = Memo::new(move |_| desk.hand.with(|hand| hand.first().cloned()));
    let bar = Top {
        n_mine: Signal::derive(move || desk.n_mine()),
        progress: desk.progress.into(),
        saved: Signal::derive(move || saved(desk)),
        can_undo: desk.can_undo.into(),
        has_task: Signal::derive(move || current.with(Option::is_some)),
        open,
        undo: Callback::new(move |()| desk.undo()),
    };
    let main = move || match current.get() {
        Some(assignment) => untrack(|| task::task(desk, assignment)),
        None => rest(desk),
    };
    view! {
        <div class="label-page">
            {top(project.settings.name.clone(), ways, bar)}
            {move || refused(desk)}
            {move || feedback(desk)}
            {main}
            <p class="visually-hidden" role="status" aria-live="polite">{desk.said}</p>
            {dialogs(panels)}
        </div>
    }
    .into_any()
}

/// The answer that the address asks to change.
fn asked_for() -> Option<AssignmentId> {
    let asked = use_query_map().with_untracked(|query| query.get("change"));
    asked?.parse().ok().map(AssignmentId)
}

/// What stands there when there is no task.
fn rest(desk: Desk) -> AnyView {
    desk.board.set_value(None);
    match desk.stage.get() {
        Stage::Loading => return waiting(),
        Stage::Failed(error) => {
            let retry = Callback::new(move |()| {
                desk.stage.set(Stage::Loading);
                desk.hold();
            });
            return notice(&error, Some(retry));
        }
        Stage::Ready => {}
    }
    let n_unsent = desk.outbox.waiting_in(desk.project).len();
    let Some(progress) = desk.progress.get() else {
        return waiting();
    };
    if n_unsent > 0 {
        return match desk.outbox.link() {
            Link::Fine => waiting(),
            Link::Offline | Link::Failing(_) => resting(
                "offline",
                t("Waiting for the connection"),
                t("Your answers are safe in this browser. They are sent, and the next task comes, as soon as the \
                 server answers again.")
                    .to_owned(),
            ),
        };
    }
    if progress.n_tasks == 0 {
        let text = t("There is nothing to judge in this project yet. New tasks appear here by themselves.");
        return resting("nothing-yet", t("Nothing yet"), text.to_owned());
    }
    match desk.stopped.get() {
        Some(Stopped::Limit) => {
            let text = fill(
                "You have judged {0} tasks here, as many as one person may in this project. Thank you.",
                &[&progress.n_mine],
            );
            return resting("limit", t("All done"), text);
        }
        Some(Stopped::NotQualified) => {
            let text = t(
                "Too few of the first tasks, whose right answers are known, were answered as the guidelines \
                        say. Ask whoever runs this project how to go on.",
            );
            return resting("not-qualified", t("No more tasks for you here"), text.to_owned());
        }
        Some(Stopped::NotAssigned) => {
            let text = t(
                "This project is for the people who are assigned to it. Ask whoever leads it; what you answered stays.",
            );
            return resting("not-assigned", t("No more tasks for you here"), text.to_owned());
        }
        None => {}
    }
    if progress.n_left_for_me == 0 {
        let text = fill("You have judged {0} tasks here. Thank you.", &[&progress.n_mine]);
        return resting("all-done", t("All done"), text);
    }
    let text = t("Every open task is with someone else right now. This page looks again by itself.");
    resting("all-held", t("One moment"), text.to_owned())
}

fn saved(desk: Desk) -> (&'static str, String) {
    let state = desk.save_state();
    let text = match state {
        SaveState::Saved => t("Saved").to_owned(),
        SaveState::Saving => t("Saving …").to_owned(),
        SaveState::Offline => t("Offline: kept in this browser").to_owned(),
        SaveState::Error => match desk.outbox.link() {
            Link::Failing(sentence) => sentence,
            Link::Fine | Link::Offline => t("An answer was refused").to_owned(),
        },
    };
    (state.name(), text)
}

/// What became of a gold item.
fn feedback(desk: Desk) -> AnyView {
    let Some(feedback) = desk.feedback.get() else {
        return ().into_any();
    };
    let said = match feedback.right {
        true => t("That task was a check, and your answer was right.").to_owned(),
        false => fill(
            "That task was a check. The right answer was: {0}.",
            &[&spoken(&feedback.expected, &feedback.expected_ratings)],
        ),
    };
    let explanation = (!feedback.explanation.is_empty()).then(|| view! { <p>{feedback.explanation}</p> });
    view! {
        <div
            class="notice label-refused"
            class:notice-error=!feedback.right
            data-test="feedback"
            data-right=feedback.right.to_string()
            role="status"
        >
            <p>{said}</p>
            {explanation}
            <div class="actions">
                <button
                    type="button"
                    class="button"
                    data-test="feedback-look"
                    on:click=move |_| desk.reopen(feedback.assignment_id)
                >
                    {t("Look at it")}
                </button>
                <button type="button" class="button" data-test="feedback-read" on:click=move |_| desk.feedback.set(None)>
                    {t("Go on")}
                </button>
            </div>
        </div>
    }
    .into_any()
}

/// Verdicts that the server will not take: the person may copy them before they go.
fn refused(desk: Desk) -> AnyView {
    let mut refused = desk.outbox.of(desk.project);
    refused.retain(|unsent| !unsent.is_waiting());
    refused
        .into_iter()
        .map(|unsent| {
            let sentence = unsent.refused.clone().unwrap_or_default();
            let text = unsent.as_text();
            view! {
                <div class="notice notice-error label-refused" data-test="refused" role="alert">
                    <p>{t("An answer was not taken.")} " " {sentence}</p>
                    <pre>{text.clone()}</pre>
                    {copy_button(text)}
                    <button type="button" class="button" on:click=move |_| desk.outbox.remove(&unsent)>
                        {t("Dismiss")}
                    </button>
                </div>
            }
        })
        .collect_view()
        .into_any()
}

/// Keys, and whether the person is there.
fn listen(desk: Desk, open: RwSignal<Option<Panel>>) {
    let letters = use_letters();
    let handles = [
        window_event_listener(ev::keydown, move |event| on_key(desk, open, letters, &event)),
        window_event_listener(ev::pointerdown, move |_| desk.note_input()),
        window_event_listener(ev::wheel, move |_| desk.note_input()),
        window_event_listener(ev::scroll, move |_| desk.note_input()),
        // It bubbles from the document to the window.
        window_event_listener_untyped("visibilitychange", move |_| desk.note_visibility()),
    ];
    let tick = set_interval_with_handle(move || desk.tick(), TICK).ok();
    on_cleanup(move || {
        for handle in handles {
            handle.remove();
        }
        if let Some(tick) = tick {
            tick.clear();
        }
    });
}

fn on_key(desk: Desk, open: RwSignal<Option<Panel>>, letters: OwnLetters, event: &web_sys::KeyboardEvent) {
    desk.note_input();
    // An open dialog reads its own keys: one of this page, or the question at signing out.
    let is_asked = document()
        .query_selector("dialog[open]")
        .is_ok_and(|dialog| dialog.is_some());
    if is_asked || open.get_untracked().is_some() || event.default_prevented() {
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
    // Enter presses a button that has the focus; but a click on a card's rank leaves the focus there, and Enter
    // then still means "submit".
    let is_rank_button = target.as_ref().is_some_and(|target| {
        let classes = target.class_list();
        classes.contains("rank-button") || classes.contains("rating-button")
    });
    let is_pressed_by_enter = matches!(name.as_str(), "BUTTON" | "A" | "SUMMARY") && !is_rank_button;
    if event.key() == "Enter" && is_pressed_by_enter {
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
    let meant = |letter| letters.meant(letter);
    let Some(command) = command(press, desk.mode.get_untracked(), meant) else {
        return;
    };
    event.prevent_default();
    match command {
        Command::Skip if desk.on_screen().is_some() => open.set(Some(Panel::Skip)),
        Command::Guidelines => open.set(Some(Panel::Guidelines)),
        Command::Shortcuts => open.set(Some(Panel::Shortcuts)),
        Command::Undo => desk.undo(),
        Command::Comment => focus_comment(),
        Command::Ratings => focus_unrated(),
        Command::Demonstration => focus_demonstration(),
        command => {
            if let Some(board) = desk.board.get_value() {
                board.run(command);
            }
        }
    }
}

fn focus_comment() {
    let Some(field) = document().get_element_by_id("label-comment") else {
        return;
    };
    if let Some(details) = field.closest("details").ok().flatten() {
        let _ = details.set_attribute("open", "");
    }
    if let Some(field) = field.dyn_ref::<web_sys::HtmlElement>() {
        let _ = field.focus();
    }
}
