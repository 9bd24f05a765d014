//! Sign-in. Stands in the place of any page while nobody is signed in, so that signing in leads back there;
//! at its own address it leads to the projects.

use crate::{api, components::account_form::account_form, session::use_session, words::t};
use laurel_protocol::Credentials;
use leptos::prelude::*;
use leptos_router::{
    NavigateOptions,
    hooks::{use_location, use_navigate},
};

pub fn page() -> AnyView {
    let session = use_session();
    let navigate = use_navigate();
    let location = use_location();
    let done = Callback::new(move |user| {
        let own_address = location.pathname.get_untracked() == "/sign-in";
        session.sign_in(user);
        if own_address {
            navigate(
                "/",
                NavigateOptions {
                    replace: true,
                    ..Default::default()
                },
            );
        }
    });
    let send = move |credentials: Credentials| async move { api::account::sign_in(&credentials).await };
    view! {
        <div class="page page-gate">
            <h1>{t("Sign in")}</h1>
            <p class="lead">{t("Compare answers. Train on what you chose.")}</p>
            {account_form(send, |_| Ok(()), t("Sign in"), done)}
            <p class="fine">{t("No account? Ask an admin of this Laurel for an invite link.")}</p>
        </div>
    }
    .into_any()
}
