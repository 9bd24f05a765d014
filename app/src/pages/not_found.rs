//! What stands in the place of a page that does not exist, or that this person may not see.

use crate::words::t;
use leptos::prelude::*;

pub fn page() -> AnyView {
    empty_page(
        t("There is no page at this address"),
        t("The link may be old, or mistyped."),
    )
}

pub fn for_admins_only() -> AnyView {
    empty_page(
        t("This page is for admins"),
        t("Ask an admin of this Laurel if you think that you should see it."),
    )
}

fn empty_page(title: &'static str, text: &'static str) -> AnyView {
    view! {
        <div class="page page-narrow">
            <h1>{title}</h1>
            <p>{text}</p>
            <p><a class="button" href="/">{t("To the projects")}</a></p>
        </div>
    }
    .into_any()
}
