//! What uses an adapter, and taking its files away.

use crate::{
    api,
    components::{
        action::Action,
        badge::status_badge,
        dialog::{Question, confirm_button},
    },
    load::Loaded,
    words::{fill, t},
};
use laurel_protocol::{AdapterFacts, AdapterUse, ProjectId, UseKind};
use leptos::prelude::*;
use leptos_router::components::A;

const DELETE: Question = Question {
    title: "Delete this adapter's files?",
    text: "Nothing new can use it. What it was made of stays, and what has used it stays as it is.",
    yes: "Delete the files",
    no: "Keep them",
};

pub fn view(facts: Loaded<AdapterFacts>, is_gone: Memo<bool>) -> AnyView {
    let action = Action::default();
    let id = untrack(|| facts.with_ready(|now| now.adapter.id));
    let delete = Callback::new(move |()| {
        if let Some(id) = id {
            action.run(api::adapter::delete_files(id), move |now| facts.set(now));
        }
    });
    let uses = Memo::new(move |_| facts.with_ready(|now| (now.adapter.project_id, now.uses.clone())));
    let is_needed = move || {
        uses.with(|now| {
            now.as_ref()
                .is_some_and(|(_, all)| all.iter().any(|one| one.blocks))
        })
    };
    let list = move || uses.get().map(|(project, all)| listing(project, all));
    view! {
        <section class="card" aria-labelledby="uses-title">
            <h2 id="uses-title">{t("What uses it")}</h2>
            {list}
            <p class="notice" hidden=move || is_gone.get() || !is_needed() data-test="needed">
                {t("Its files cannot be deleted while something needs them: wait for its end, abort it, or take it out of the arena.")}
            </p>
            <div class="actions" hidden=move || is_gone.get() || is_needed()>
                {confirm_button(t("Delete the files"), "delete-adapter", DELETE, delete)}
            </div>
            {action.error_line()}
        </section>
    }
    .into_any()
}

fn listing(project: ProjectId, uses: Vec<AdapterUse>) -> AnyView {
    if uses.is_empty() {
        return view! { <p class="fine">{t("Nothing yet.")}</p> }.into_any();
    }
    let rows = uses.into_iter().map(|one| row(project, one)).collect_view();
    view! { <ul class="rows">{rows}</ul> }.into_any()
}

fn row(project: ProjectId, one: AdapterUse) -> AnyView {
    let words = match one.kind {
        UseKind::Start => fill("The round {0} began from it", &[&one.name]),
        UseKind::Reward => fill("It scored the round {0}", &[&one.name]),
        UseKind::Completions => fill("It wrote the completions of job {0}", &[&one.id]),
        UseKind::Scoring => t("A scoring of open tasks").to_owned(),
        UseKind::Merge => t("A merge").to_owned(),
        UseKind::Arena => t("It is a contender in the arena").to_owned(),
        UseKind::Current => t("It is the project's current adapter").to_owned(),
        UseKind::Contest => t("People judge its answers in a contest").to_owned(),
        UseKind::Planned => t("A planned round waits for it").to_owned(),
    };
    let href = match one.kind {
        UseKind::Start | UseKind::Reward => format!("/rounds/{}", one.id),
        UseKind::Arena => format!("/projects/{project}/arena"),
        UseKind::Current => format!("/projects/{project}/ladder"),
        UseKind::Contest => format!("/contests/{}", one.id),
        UseKind::Planned => format!("/projects/{project}/plan"),
        UseKind::Completions | UseKind::Scoring | UseKind::Merge => format!("/projects/{project}"),
    };
    let needs = one.blocks.then(|| view! { <b>{t("needs its files")}</b> });
    view! {
        <li class="row row-head" data-test="adapter-use">
            <A href>{words}</A>
            {one.status.map(status_badge)}
            {needs}
        </li>
    }
    .into_any()
}
