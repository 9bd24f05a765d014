//! "Are you sure?": a modal dialog of the browser, which keeps the focus inside and closes on Escape.

use crate::words::t;
use leptos::{html::Dialog, prelude::*};

/// The words of a question, in English: they are translated where it is asked.
#[derive(Clone, Copy)]
pub struct Question {
    pub title: &'static str,
    pub text: &'static str,
    pub yes: &'static str,
    pub no: &'static str,
}

/// A question that waits to be asked.
#[derive(Clone, Copy)]
pub struct Asking(NodeRef<Dialog>);

impl Asking {
    pub fn ask(self) {
        if let Some(dialog) = self.0.get_untracked() {
            // It fails only for a dialog outside the document.
            let _ = dialog.show_modal();
        }
    }
}

/// The dialog of a question, closed at first; `act` follows a yes.
pub fn confirm(question: Question, act: Callback<()>) -> (Asking, AnyView) {
    let dialog = NodeRef::<Dialog>::new();
    let close = move || {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    let view = view! {
        <dialog class="dialog" node_ref=dialog aria-label=t(question.title)>
            <h2>{t(question.title)}</h2>
            <p>{t(question.text)}</p>
            <div class="actions">
                <button type="button" class="button" on:click=move |_| close()>{t(question.no)}</button>
                <button
                    type="button"
                    class="button button-danger"
                    data-test="confirm"
                    on:click=move |_| { close(); act.run(()) }
                >
                    {t(question.yes)}
                </button>
            </div>
        </dialog>
    };
    (Asking(dialog), view.into_any())
}

/// A button that asks before it acts. `hook` is the button's `data-test` name; `label` is translated.
pub fn confirm_button(
    label: &'static str,
    hook: &'static str,
    question: Question,
    act: Callback<()>,
) -> AnyView {
    let (asking, dialog) = confirm(question, act);
    view! {
        <button type="button" class="button button-quiet" data-test=hook on:click=move |_| asking.ask()>{label}</button>
        {dialog}
    }
    .into_any()
}
