//! The dialogs of the labelling page: why a task is skipped, the guidelines, the shortcuts. One native dialog
//! shows them all; it keeps the focus inside and closes on Escape by itself.

use super::shortcuts::shortcuts;
use crate::{
    error::said,
    words::{later, t},
};
use laurel_protocol::{LabelType, Skip, SkipReason};
use leptos::{html, prelude::*};
use std::time::Duration;
use wasm_bindgen::JsCast;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Panel {
    Skip,
    Guidelines,
    Shortcuts,
}

/// Why a task is skipped: its name in hooks, and words.
pub const REASONS: [(SkipReason, &str, &str); 5] = [
    (
        SkipReason::CannotJudge,
        "cannot_judge",
        later("I cannot judge this"),
    ),
    (
        SkipReason::PromptUnclear,
        "prompt_unclear",
        later("The prompt is unclear"),
    ),
    (SkipReason::Offensive, "offensive", later("It is offensive")),
    (SkipReason::Broken, "broken", later("Something is broken")),
    (SkipReason::Other, "other", later("Another reason")),
];

/// What the dialogs need to know.
#[derive(Clone, Copy)]
pub struct Dialogs {
    pub open: RwSignal<Option<Panel>>,
    pub label_type: LabelType,
    /// More is asked than the judgement.
    pub has_sheet: bool,
    pub guidelines_html: StoredValue<String>,
    pub skip: Callback<Skip>,
}

pub fn dialogs(dialogs: Dialogs) -> AnyView {
    let dialog = NodeRef::<html::Dialog>::new();
    Effect::new(move |_| {
        let Some(dialog) = dialog.get() else { return };
        if dialogs.open.get().is_some() {
            // After its content is there, so that the first reason gets the focus.
            let show = move || {
                if !dialog.open() && dialogs.open.get_untracked().is_some() {
                    // It fails only for a dialog outside the document.
                    let _ = dialog.show_modal();
                }
            };
            set_timeout(show, Duration::ZERO);
        } else {
            dialog.close();
        }
    });
    let comment = RwSignal::new(String::new());
    let refused = RwSignal::new(String::new());
    let skip = Callback::new(move |reason| {
        let skip = Skip {
            reason,
            comment: comment.get_untracked().trim().to_owned(),
            revision: 0, // the page fills in that of the task on screen
        };
        if let Err(reasons) = skip.validate() {
            refused.set(said(&reasons));
            return;
        }
        // Before the next task comes: nothing behind an open dialog can take the focus.
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
        dialogs.open.set(None);
        dialogs.skip.run(skip);
    });
    // What was written for one task must not go out with another's skip.
    let closed = move |_| {
        dialogs.open.set(None);
        comment.set(String::new());
        refused.set(String::new());
    };
    let title = move || match dialogs.open.get() {
        Some(Panel::Skip) => t("Skip this task"),
        Some(Panel::Guidelines) => t("Guidelines"),
        Some(Panel::Shortcuts) => t("Keyboard shortcuts"),
        None => "",
    };
    let body = move || match dialogs.open.get() {
        Some(Panel::Skip) => skip_body(skip, comment, refused),
        Some(Panel::Guidelines) => guidelines_body(dialogs),
        Some(Panel::Shortcuts) => shortcuts(dialogs.label_type, dialogs.has_sheet),
        None => ().into_any(),
    };
    view! {
        <dialog
            class="label-dialog"
            class:is-side=move || dialogs.open.get() == Some(Panel::Guidelines)
            node_ref=dialog
            aria-labelledby="label-dialog-title"
            on:close=closed
            on:keydown=move |event| {
                let reason = reason_of(&event).filter(|_| dialogs.open.get_untracked() == Some(Panel::Skip));
                if let Some(reason) = reason {
                    event.prevent_default();
                    skip.run(reason);
                }
            }
        >
            <header class="label-dialog-head">
                <h2 id="label-dialog-title">{title}</h2>
                <button
                    type="button"
                    class="label-tool"
                    aria-label=t("Close")
                    on:click=move |_| dialogs.open.set(None)
                >
                    "✕"
                </button>
            </header>
            {body}
        </dialog>
    }
    .into_any()
}

fn skip_body(skip: Callback<SkipReason>, comment: RwSignal<String>, refused: RwSignal<String>) -> AnyView {
    let buttons = REASONS
        .into_iter()
        .zip(1..)
        .map(|((reason, name, text), digit)| {
            view! {
                <button
                    type="button"
                    class="choice skip-reason"
                    data-test="skip-reason"
                    data-reason=name
                    autofocus=digit == 1
                    on:click=move |_| skip.run(reason)
                >
                    <span>{t(text)}</span>
                    <kbd aria-hidden="true">{digit}</kbd>
                </button>
            }
        })
        .collect_view();
    view! {
        <div class="skip-body">
            {buttons}
            <label class="label-field">
                <span>{t("Anything to add? (optional, before you choose)")}</span>
                <textarea
                    rows="2"
                    data-test="skip-comment"
                    on:input=move |event| comment.set(event_target_value(&event))
                ></textarea>
            </label>
            <p class="form-error" role="alert">{refused}</p>
        </div>
    }
    .into_any()
}

/// The reason whose digit was pressed, outside the comment.
fn reason_of(event: &web_sys::KeyboardEvent) -> Option<SkipReason> {
    let is_typing = event
        .target()
        .is_some_and(|target| target.dyn_ref::<web_sys::HtmlTextAreaElement>().is_some());
    if is_typing || event.repeat() || event.ctrl_key() || event.alt_key() || event.meta_key() {
        return None;
    }
    let digit: usize = event.key().parse().ok()?;
    REASONS.get(digit.checked_sub(1)?).map(|(reason, ..)| *reason)
}

fn guidelines_body(dialogs: Dialogs) -> AnyView {
    let html = dialogs.guidelines_html.get_value();
    if html.trim().is_empty() {
        return view! { <p>{t("This project has no guidelines. Choose the answer you would rather get.")}</p> }
            .into_any();
    }
    view! { <div class="prose" data-test="guidelines-text" inner_html=html></div> }.into_any()
}
