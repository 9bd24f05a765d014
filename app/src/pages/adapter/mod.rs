//! An adapter: what it was made of and how to make it again, what is downloaded of it, what uses it.

mod facts;
mod merges;
mod uses;

use super::overview::kind_name;
use crate::{api, components::copy::copy_line, format, load::Loaded, words::t};
use laurel_protocol::{AdapterFacts, AdapterId};
use leptos::prelude::*;
use leptos_router::components::A;

pub fn page(id: AdapterId) -> AnyView {
    let facts = Loaded::new(move || api::adapter::facts(id));
    let body = facts.view_once(move || body(facts));
    view! { <div class="page page-wide">{body}</div> }.into_any()
}

fn body(facts: Loaded<AdapterFacts>) -> AnyView {
    // `view_once` builds this only once the facts are there.
    let Some(first) = untrack(|| facts.get()) else {
        return ().into_any();
    };
    let (project, project_name) = (first.adapter.project_id, first.project_name.clone());
    // A merge's progress comes with the project's counts.
    let stream = api::events::follow_project(
        project,
        move |_| {
            if merges::is_under_way(facts) {
                facts.reload();
            }
        },
        move |on| {
            if on {
                facts.refresh();
            }
        },
    );
    // Held by the page: leaving it closes the stream.
    let _stream = StoredValue::new_local(stream);
    let is_gone = Memo::new(move |_| facts.with_ready(|now| now.adapter.deleted_at.is_some()) == Some(true));
    view! {
        <div class="page-head">
            <div>
                <p class="crumbs">
                    <A href="/">{t("Projects")}</A>
                    <A href=format!("/projects/{project}")>{project_name}</A>
                    <A href=format!("/projects/{project}/lineage")>{t("Lineage")}</A>
                </p>
                <h1>{first.adapter.name.clone()}</h1>
                <p class="muted">
                    {kind_name(first.adapter.kind)} " · " {format::size(first.adapter.size_bytes)} " · "
                    {format::moment(first.adapter.created_at)}
                </p>
            </div>
        </div>
        <p class="notice" role="status" data-test="files-deleted" hidden=move || !is_gone.get()>
            {t("The files of this adapter were deleted. What it was made of stays, and its kit makes them again.")}
        </p>
        <div class="columns">
            {facts::view(&first)}
            <div class="stack">
                {downloads(&first, is_gone)}
                {again(&first)}
                {merges::view(facts, is_gone)}
                {uses::view(facts, is_gone)}
            </div>
        </div>
    }
    .into_any()
}

fn downloads(first: &AdapterFacts, is_gone: Memo<bool>) -> AnyView {
    let id = first.adapter.id;
    let names = first.adapter.files.iter().filter(|name| *name != "README.md");
    let files = names
        .map(|name| {
            let href = api::adapter::file_url(id, name);
            view! { <a href=href download=name.clone() rel="external">{name.clone()}</a> }
        })
        .collect_view();
    view! {
        <section class="card" aria-labelledby="downloads-title">
            <h2 id="downloads-title">{t("Download")}</h2>
            <ul class="rows">
                <li class="row" hidden=move || is_gone.get()>
                    <a href=api::adapter::part_url(id, "archive") rel="external" data-test="adapter-archive">
                        {t("PEFT adapter with its card (.tar)")}
                    </a>
                    <p class="fine">{t("A folder as peft loads it, ready for the Hugging Face hub.")}</p>
                    <p class="links fine">{files}</p>
                </li>
                <li class="row">
                    <a href=api::adapter::part_url(id, "card") download="README.md" rel="external" data-test="adapter-card">
                        {t("Model card (README.md)")}
                    </a>
                    <p class="fine">{t("Fill in the licence before you publish it.")}</p>
                </li>
            </ul>
        </section>
    }
    .into_any()
}

/// How to make the same weights once more.
fn again(first: &AdapterFacts) -> AnyView {
    let id = first.adapter.id;
    view! {
        <section class="card" aria-labelledby="again-title">
            <h2 id="again-title">{t("Make it again")}</h2>
            <p>{t("Unpack the kit, put the base model where its HOW_TO.md says, and run there:")}</p>
            {copy_line(first.command.clone(), "again-command")}
            <p class="links">
                <a href=api::adapter::part_url(id, "kit") rel="external" data-test="adapter-kit">{t("Kit (.tar)")}</a>
                <a href=api::adapter::part_url(id, "spec") download="spec.json" rel="external">"spec.json"</a>
                <a href=api::round::rows_url(first.adapter.round_id) download="rows.jsonl" rel="external">"rows.jsonl"</a>
            </p>
            <p class="fine">
                {t("On the CPU the weights come out the same, bit for bit, with the same code on a machine of the same kind.")}
            </p>
        </section>
    }
    .into_any()
}
