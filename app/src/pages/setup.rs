//! The one-time link of the first start: makes the first admin.

use crate::{api, components::account_form::account_form, load::Loaded, session::use_session, words::t};
use laurel_protocol::Credentials;
use leptos::prelude::*;
use leptos_router::{NavigateOptions, hooks::use_navigate};

pub fn page(token: String) -> AnyView {
    let session = use_session();
    let state = Loaded::new(api::account::setup_state);
    let token = StoredValue::new(token);
    let navigate = use_navigate();
    let done = Callback::new(move |user| {
        session.sign_in(user);
        navigate(
            "/",
            NavigateOptions {
                replace: true,
                ..Default::default()
            },
        );
    });
    let body = state.view(move |state| {
        if !state.needed {
            return view! {
                <p>{t("This Laurel already has an admin, so the link is used up.")}</p>
                <p><a class="button" href="/sign-in">{t("Sign in")}</a></p>
            }
            .into_any();
        }
        let send = move |credentials: Credentials| async move {
            api::account::set_up(&token.get_value(), &credentials).await
        };
        view! {
            <p class="lead">{t("Make the admin account. A password has at least 10 characters.")}</p>
            {account_form(send, Credentials::validate, t("Make the account"), done)}
        }
        .into_any()
    });
    view! {
        <div class="page page-gate">
            <h1>{t("Welcome to Laurel")}</h1>
            {body}
        </div>
    }
    .into_any()
}
