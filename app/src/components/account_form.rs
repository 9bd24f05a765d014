//! Name and password: the form of sign-in, of the set-up link and of an invite.

use crate::{
    components::{
        action::Action,
        field::{Errors, Field, text_field},
    },
    error::AppError,
};
use laurel_protocol::{Credentials, Session, User, Validation};
use leptos::prelude::*;
use std::future::Future;

const NAME: Field = Field {
    name: "name",
    label: "Name",
    help: "",
    hook: "name",
};
const PASSWORD: Field = Field {
    name: "password",
    label: "Password",
    help: "",
    hook: "password",
};

/// `send` makes the session; `check` refuses before anything is sent; `done` gets who signed in.
pub fn account_form<F>(
    send: impl Fn(Credentials) -> F + 'static,
    check: fn(&Credentials) -> Validation,
    button: &'static str,
    done: Callback<User>,
) -> AnyView
where
    F: Future<Output = Result<Session, AppError>> + 'static,
{
    let (name, password) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let errors: Errors = RwSignal::new(Vec::new());
    let action = Action::default();
    Effect::new(move || {
        if let Some(error) = action.error() {
            errors.set(error.fields());
        }
    });
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let credentials = Credentials {
            name: name.get_untracked().trim().to_owned(),
            password: password.get_untracked(),
        };
        errors.set(check(&credentials).err().unwrap_or_default());
        if errors.with_untracked(Vec::is_empty) {
            action.run(send(credentials), move |session| done.run(session.user));
        }
    };
    view! {
        <form class="form" on:submit=submit novalidate>
            {text_field(NAME, "text", name, errors)}
            {text_field(PASSWORD, "password", password, errors)}
            {action.error_line()}
            <button class="button button-main" data-test="submit-credentials" disabled=move || action.busy()>
                {button}
            </button>
        </form>
    }
    .into_any()
}
