//! An invite link: makes the account that it offers.

use crate::{
    api,
    components::account_form::account_form,
    format,
    load::Loaded,
    session::use_session,
    words::{fill, t},
};
use laurel_protocol::{Credentials, Role};
use leptos::prelude::*;
use leptos_router::{NavigateOptions, hooks::use_navigate};

pub fn page(token: String) -> AnyView {
    let session = use_session();
    let token = StoredValue::new(token);
    let offer = Loaded::new(move || async move { api::account::invite_offer(&token.get_value()).await });
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
    let body = offer.view(move |offer| {
        let what = match offer.role {
            Role::Admin => t("You are invited as an admin."),
            Role::Reviewer => t("You are invited to compare answers and to review what others said."),
            Role::Annotator => t("You are invited to compare answers."),
        };
        let send = move |credentials: Credentials| async move {
            api::account::accept_invite(&token.get_value(), &credentials).await
        };
        view! {
            <p class="lead">{what}" " {t("Choose a name, and a password of at least 10 characters.")}</p>
            {account_form(send, Credentials::validate, t("Make the account"), done)}
            <p class="fine">{fill("The link works until {0}.", &[&format::moment(offer.expires_at)])}</p>
        }
        .into_any()
    });
    view! {
        <div class="page page-gate">
            <h1>{t("Join Laurel")}</h1>
            {body}
        </div>
    }
    .into_any()
}
