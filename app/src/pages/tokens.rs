//! API tokens: for scripts, and for trainers on other machines.

use crate::{
    api,
    components::{
        action::Action,
        copy::copy_line,
        dialog::{Question, confirm_button},
        field::{Errors, Field, select_field, text_field},
    },
    format,
    load::Loaded,
    session::Admin,
    words::{fill, t},
};
use laurel_protocol::{ApiToken, CreatedToken, NewToken, TokenScope};
use leptos::prelude::*;

const NAME: Field = Field {
    name: "name",
    label: "Name",
    help: "To tell it from others, for example the machine's.",
    hook: "token-name",
};
const SCOPE: Field = Field {
    name: "scope",
    label: "For",
    help: "",
    hook: "token-scope",
};
const REVOKE: Question = Question {
    title: "Revoke this token?",
    text: "Whatever uses it stops working at once.",
    yes: "Revoke",
    no: "Keep it",
};

pub fn page(_admin: Admin) -> AnyView {
    let tokens = Loaded::new(api::account::tokens);
    let (name, scope) = (RwSignal::new(String::new()), RwSignal::new("script".to_owned()));
    let errors: Errors = RwSignal::new(Vec::new());
    let created = RwSignal::new(None::<CreatedToken>);
    let action = Action::default();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let token = NewToken {
            name: name.get_untracked().trim().to_owned(),
            scope: if scope.get_untracked() == "worker" {
                TokenScope::Worker
            } else {
                TokenScope::Script
            },
        };
        errors.set(token.validate().err().unwrap_or_default());
        if errors.with_untracked(Vec::is_empty) {
            action.run(
                async move { api::account::create_token(&token).await },
                move |token| {
                    created.set(Some(token));
                    name.set(String::new());
                    tokens.reload();
                },
            );
        }
    };
    let scopes = vec![
        ("script".to_owned(), t("A script: acts as you").to_owned()),
        (
            "worker".to_owned(),
            t("A trainer: takes work, nothing else").to_owned(),
        ),
    ];
    let secret = move || {
        created.get().map(|created| {
            view! {
                <div class="once">
                    <p>{fill("The secret of “{0}”. Keep it now: it is shown only once.", &[&created.token.name])}</p>
                    {copy_line(created.secret, "token-secret")}
                </div>
            }
        })
    };
    let list = tokens.view(move |list| listing(tokens, list));
    view! {
        <div class="page">
            <h1>{t("API tokens")}</h1>
            <p class="lead">{t("Sent as")} " "<code>"Authorization: Bearer …"</code>{t(". The")} " "<a href="/api/docs" rel="external">{t("API")}</a>" " {t("is the one this page uses.")}</p>
            <section class="card" aria-labelledby="new-token-title">
                <h2 id="new-token-title">{t("New token")}</h2>
                <form class="form" on:submit=submit novalidate>
                    <div class="field-row">
                        {text_field(NAME, "text", name, errors)}
                        {select_field(SCOPE, scopes, scope, errors)}
                    </div>
                    {action.error_line()}
                    <div class="actions">
                        <button class="button button-main" data-test="create-token" disabled=move || action.busy()>
                            {t("Make the token")}
                        </button>
                    </div>
                </form>
                <div role="status">{secret}</div>
            </section>
            <section class="card" aria-labelledby="tokens-title">
                <h2 id="tokens-title">{t("Tokens")}</h2>
                {list}
            </section>
        </div>
    }
    .into_any()
}

fn listing(tokens: Loaded<Vec<ApiToken>>, list: Vec<ApiToken>) -> AnyView {
    if list.is_empty() {
        return view! { <p class="fine">{t("No tokens yet.")}</p> }.into_any();
    }
    let rows = list.into_iter().map(|token| row(tokens, token)).collect_view();
    view! { <ul class="rows">{rows}</ul> }.into_any()
}

fn row(tokens: Loaded<Vec<ApiToken>>, token: ApiToken) -> AnyView {
    let action = Action::default();
    let id = token.id;
    let revoke =
        Callback::new(move |()| action.run(api::account::revoke_token(id), move |()| tokens.reload()));
    let scope = match token.scope {
        TokenScope::Script => t("script"),
        TokenScope::Worker => t("trainer"),
    };
    let used = token.last_used_at.map_or_else(
        || t("never used").to_owned(),
        |at| fill("last used {0}", &[&format::moment(at)]),
    );
    view! {
        <li class="row row-head">
            <strong>{token.name}</strong>
            <span class="fine">{scope}" " {t("· made")} " "{format::moment(token.created_at)}" · "{used}</span>
            {confirm_button(t("Revoke"), "revoke-token", REVOKE, revoke)}
            {action.error_line()}
        </li>
    }
    .into_any()
}
