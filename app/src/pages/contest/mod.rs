//! The contests of a project, and the form that begins one.

mod form;
pub mod one;
pub mod words;

use crate::{
    api, format,
    load::Loaded,
    words::{fill, t},
};
use laurel_protocol::{Contest, ProjectId};
use leptos::prelude::*;
use leptos_router::components::A;

pub fn page(id: ProjectId) -> AnyView {
    let contests = Loaded::new(move || api::contest::list(id));
    let list = contests.view(|contests| {
        if contests.is_empty() {
            return view! { <p class="fine">{t("None yet.")}</p> }.into_any();
        }
        let rows = contests.iter().map(row).collect_view();
        view! { <ul class="rows">{rows}</ul> }.into_any()
    });
    view! {
        <div class="page page-wide">
            <p class="crumbs"><A href="/">{t("Projects")}</A><A href=format!("/projects/{id}")>{t("Overview")}</A></p>
            <h1>{t("Contests")}</h1>
            <p>
                {t("Two contenders answer the same prompts. People judge the pairs among their other tasks and cannot tell \
                 whose answers they see. The contest ends by itself as soon as it is clear who is better.")}
            </p>
            <div class="columns">
                <section class="card" aria-labelledby="new-contest-title">
                    <h2 id="new-contest-title">{t("New contest")}</h2>
                    {form::view(id)}
                </section>
                <section class="card" aria-labelledby="contests-title">
                    <h2 id="contests-title">{t("Contests so far")}</h2>
                    {list}
                </section>
            </div>
        </div>
    }
    .into_any()
}

fn row(contest: &Contest) -> AnyView {
    let names = fill(
        "{0} against {1}",
        &[&words::name(&contest.first), &words::name(&contest.second)],
    );
    view! {
        <li class="row" data-test="contest-row">
            <div class="row-head">
                <A href=format!("/contests/{}", contest.id)>{names}</A>
                {words::badge(contest)}
            </div>
            <p class="fine">{words::rate(contest)}</p>
            <p class="fine">{format::moment(contest.created_at)}</p>
        </li>
    }
    .into_any()
}
