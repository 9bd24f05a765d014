//! What stands around every page: the name, the navigation, who is signed in, the theme, the messages.

use crate::{
    api,
    components::{
        action::Action,
        dialog::{Question, confirm},
        toast::toast_area,
    },
    language,
    outbox::use_outbox,
    session::use_session,
    theme::{Theme, use_theme},
    words::t,
};
use laurel_protocol::{Role, User};
use leptos::prelude::*;
use leptos_router::{NavigateOptions, components::A, hooks::use_navigate};

const UNSENT: Question = Question {
    title: "Sign out now?",
    text: "Some of your answers have not reached the server yet. They stay in this browser, and are sent when you \
           sign in here again.",
    yes: "Sign out",
    no: "Stay signed in",
};

#[component]
pub fn Shell(children: Children) -> impl IntoView {
    let session = use_session();
    let user = Memo::new(move |_| session.user());
    view! {
        <a class="skip-link" href="#main">{t("Skip to the content")}</a>
        <header class="top">
            <A href="/" attr:class="brand">{leaf()}<span>"Laurel"</span></A>
            {move || user.get().map(navigation)}
            <div class="top-end">
                {language::menu()}
                {theme_button()}
                {move || user.get().map(user_menu)}
            </div>
        </header>
        <main id="main" tabindex="-1">{children()}</main>
        {toast_area()}
    }
}

fn navigation(user: User) -> AnyView {
    let admin = (user.role == Role::Admin).then(|| {
        view! {
            <A href="/people" attr:data-test="people-link">{t("People")}</A>
            <A href="/tokens">{t("Tokens")}</A>
            <A href="/storage" attr:data-test="storage-link">{t("Storage")}</A>
            <A href="/audit" attr:data-test="audit-link">{t("Audit log")}</A>
        }
    });
    view! {
        <nav class="top-nav" aria-label=t("Main")>
            <A href="/" exact=true>{t("Projects")}</A>
            {admin}
        </nav>
    }
    .into_any()
}

fn user_menu(user: User) -> AnyView {
    let session = use_session();
    let navigate = use_navigate();
    let action = Action::default();
    let sign_out = Callback::new(move |()| {
        let navigate = navigate.clone();
        action.run(api::account::sign_out(), move |()| {
            session.sign_out();
            navigate("/sign-in", NavigateOptions::default());
        });
    });
    let outbox = use_outbox();
    let (asking, dialog) = confirm(UNSENT, sign_out);
    let leave = move |_| {
        if untrack(|| outbox.is_waiting()) {
            asking.ask();
        } else {
            sign_out.run(());
        }
    };
    view! {
        <span class="user-name">{user.name}</span>
        <button
            type="button"
            class="button button-quiet"
            data-test="sign-out"
            disabled=move || action.busy()
            on:click=leave
        >
            {t("Sign out")}
        </button>
        {dialog}
    }
    .into_any()
}

fn theme_button() -> AnyView {
    let theme = use_theme();
    let next = move || match theme.get() {
        Theme::System => Theme::Light,
        Theme::Light => Theme::Dark,
        Theme::Dark => Theme::System,
    };
    let name = move || match theme.get() {
        Theme::System => t("Theme: as the system"),
        Theme::Light => t("Theme: light"),
        Theme::Dark => t("Theme: dark"),
    };
    let sign = move || match theme.get() {
        Theme::System => "◐",
        Theme::Light => "☀",
        Theme::Dark => "☾",
    };
    view! {
        <button
            type="button"
            class="button button-quiet button-sign"
            aria-label=name
            title=name
            data-test="theme"
            on:click=move |_| theme.set(next())
        >
            {sign}
        </button>
    }
    .into_any()
}

/// The mark: a sprig of laurel.
fn leaf() -> AnyView {
    view! {
        <svg class="brand-mark" viewBox="0 0 24 24" aria-hidden="true">
            <path d="M12 22V9"></path>
            <path d="M12 9c0-3 1.2-5.2 0-7-1.200 1.800 0 4 0 7z"></path>
            <path d="M12 13c.6-3.200 3-5 6.500-5 0 3.300-2.800 5.200-6.500 5z"></path>
            <path d="M12 13c-.6-3.200-3-5-6.500-5 0 3.300 2.800 5.200 6.500 5z"></path>
            <path d="M12 19c.6-3.200 3-5 6.500-5 0 3.300-2.800 5.200-6.500 5z"></path>
            <path d="M12 19c-.6-3.200-3-5-6.500-5 0 3.300 2.800 5.200 6.500 5z"></path>
        </svg>
    }
    .into_any()
}
