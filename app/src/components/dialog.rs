//! "Are you sure?": a modal dialog of the browser, which keeps the focus inside and closes on Escape.

use leptos::{html::Dialog, prelude::*};

/// The words of a question.
#[derive(Clone, Copy)]
pub struct Question {
    pub title: &'static str,
    pub text: &'static str,
    pub yes: &'static str,
    pub no: &'static str,
}

/// A button that asks before it acts. `hook` is the button's `data-test` name.
pub fn confirm_button(
    label: &'static str,
    hook: &'static str,
    question: Question,
    act: Callback<()>,
) -> AnyView {
    let dialog = NodeRef::<Dialog>::new();
    let open = move |_| {
        if let Some(dialog) = dialog.get() {
            let _ = dialog.show_modal();
        }
    };
    let close = move || {
        if let Some(dialog) = dialog.get() {
            dialog.close();
        }
    };
    view! {
        <button type="button" class="button button-quiet" data-test=hook on:click=open>{label}</button>
        <dialog class="dialog" node_ref=dialog aria-label=question.title>
            <h2>{question.title}</h2>
            <p>{question.text}</p>
            <div class="actions">
                <button type="button" class="button" on:click=move |_| close()>{question.no}</button>
                <button
                    type="button"
                    class="button button-danger"
                    data-test="confirm"
                    on:click=move |_| { close(); act.run(()) }
                >
                    {question.yes}
                </button>
            </div>
        </dialog>
    }
    .into_any()
}
