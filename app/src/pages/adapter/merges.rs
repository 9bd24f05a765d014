//! Merged models: ordered here, made by a trainer, downloaded, deleted.

use crate::{
    api,
    components::{
        action::Action,
        badge::{status_badge, status_name},
        dialog::{Question, confirm_button},
        progress::{Amount, progress_bar},
    },
    format,
    load::Loaded,
    words::{later, t, t_owned},
};
use laurel_protocol::{AdapterFacts, JobStatus, Merge, MergeFormat, Merged, RoundKind};
use leptos::prelude::*;

const DELETE: Question = Question {
    title: "Delete the merged files?",
    text: "A trainer can make them again.",
    yes: "Delete the files",
    no: "Keep them",
};

/// The formats with their names in tests and for people.
const FORMATS: [(MergeFormat, &str, &str); 2] = [
    (
        MergeFormat::Safetensors,
        "safetensors",
        later("Safetensors folder, for transformers and vLLM"),
    ),
    (MergeFormat::Gguf, "gguf", later("GGUF file, for llama.cpp")),
];

pub fn is_under_way(facts: Loaded<AdapterFacts>) -> bool {
    let is_open = |now: &AdapterFacts| now.merges.iter().any(|merge| !merge.status.is_over());
    untrack(|| facts.with_ready(is_open)) == Some(true)
}

pub fn view(facts: Loaded<AdapterFacts>, is_gone: Memo<bool>) -> AnyView {
    let is_reward = untrack(|| facts.with_ready(|now| now.adapter.kind == RoundKind::Reward)) == Some(true);
    let rows = FORMATS
        .into_iter()
        .filter(|(format, ..)| !(is_reward && *format == MergeFormat::Gguf))
        .map(|(format, hook, name)| row(facts, is_gone, format, hook, t(name)))
        .collect_view();
    view! {
        <section class="card" aria-labelledby="merges-title">
            <h2 id="merges-title">{t("Merged with the base model")}</h2>
            <p class="fine">{t("A trainer makes them, and hands them in once they say what base and adapter say apart.")}</p>
            <ul class="rows">{rows}</ul>
        </section>
    }
    .into_any()
}

/// The newest merge of a format that counts: one under way, one that is there, or the last failure.
fn newest(facts: &AdapterFacts, format: MergeFormat) -> Option<Merge> {
    let mut all = facts.merges.iter().filter(|merge| merge.format == format);
    all.next().filter(|merge| merge.deleted_at.is_none()).cloned()
}

fn row(
    facts: Loaded<AdapterFacts>,
    is_gone: Memo<bool>,
    format: MergeFormat,
    hook: &'static str,
    name: &'static str,
) -> AnyView {
    let merge = Memo::new(move |_| facts.with_ready(|now| newest(now, format)).flatten());
    let action = Action::default();
    let adapter = untrack(|| facts.with_ready(|now| now.adapter.id));
    let take = move |merge: Merge| {
        facts.update(|now| {
            now.merges.retain(|known| known.id != merge.id);
            now.merges.insert(0, merge);
        });
    };
    let order = move |_| {
        if let Some(id) = adapter {
            action.run(api::adapter::merge(id, format), take);
        }
    };
    let abort = move |_| {
        if let Some(merge) = merge.get_untracked() {
            action.run(api::adapter::abort_merge(merge.id), take);
        }
    };
    let delete = Callback::new(move |()| {
        if let Some(merge) = merge.get_untracked() {
            action.run(api::adapter::delete_merge(merge.id), move |()| facts.reload());
        }
    });
    let status = Memo::new(move |_| merge.with(|merge| merge.as_ref().map(|merge| merge.status)));
    let is_open = move || status.get().is_some_and(|status| !status.is_over());
    let is_there = move || status.get() == Some(JobStatus::Done);
    view! {
        <li
            class="row"
            data-test=format!("merge-{hook}")
            data-status=move || status.get().map_or("none", status_name)
        >
            <div class="row-head">
                <b>{name}</b>
                {move || status.get().map(status_badge)}
                <button
                    type="button"
                    class="button"
                    data-test=format!("order-{hook}")
                    hidden=move || is_open() || is_there() || is_gone.get()
                    disabled=move || action.busy()
                    on:click=order
                >
                    {t("Make it")}
                </button>
                <button
                    type="button"
                    class="button button-quiet"
                    data-test=format!("abort-{hook}")
                    hidden=move || !is_open()
                    disabled=move || action.busy()
                    on:click=abort
                >
                    {t("Abort")}
                </button>
                <span hidden=move || !is_there()>
                    {confirm_button(t("Delete"), "delete-merge", DELETE, delete)}
                </span>
            </div>
            {move || merge.get().map(standing)}
            {action.error_line()}
        </li>
    }
    .into_any()
}

/// How far it is, why it failed, or its files.
fn standing(merge: Merge) -> AnyView {
    if let Some(merged) = merge.result.as_ref().filter(|_| merge.is_there()) {
        return files(&merge, merged);
    }
    if let Some(error) = &merge.error {
        return view! { <p class="form-error">{t_owned(error)}</p> }.into_any();
    }
    if merge.status != JobStatus::Running {
        return ().into_any();
    }
    let amount = (merge.n_total > 0).then(|| {
        let mega = |bytes: u64| bytes / 1_000_000;
        let amount = Amount {
            n_done: mega(merge.n_done),
            n_total: mega(merge.n_total),
            seconds_left: None,
        };
        progress_bar(amount, "MB")
    });
    view! {
        <p class="fine" role="status" data-test="merge-stage">{stage_words(&merge.stage)}</p>
        {amount}
    }
    .into_any()
}

/// What the trainer is at, in the person's language where it is one of the known stages.
fn stage_words(stage: &str) -> String {
    let known = [
        later("Read base and adapter"),
        later("Compute with base and adapter apart"),
        later("Compute with the merged weights"),
        later("Write the merged weights"),
        later("Read it back and compare"),
        later("Hand the files in"),
        later("Check what was handed in"),
    ];
    match known.into_iter().find(|text| *text == stage) {
        Some(text) => t(text).to_owned(),
        None => stage.to_owned(),
    }
}

fn files(merge: &Merge, merged: &Merged) -> AnyView {
    let id = merge.id;
    let links = merged
        .files
        .iter()
        .map(|file| {
            let href = api::adapter::merged_file_url(id, &file.name);
            view! {
                <a href=href download=file.name.clone() rel="external" title=file.sha256.clone()>
                    {file.name.clone()} " (" {format::size(file.size_bytes)} ")"
                </a>
            }
        })
        .collect_view();
    let notes = merged
        .notes
        .iter()
        .map(|note| view! { <p class="fine">{note.clone()}</p> })
        .collect_view();
    let archive = (merged.files.len() > 1).then(|| {
        view! {
            <a href=api::adapter::merged_archive_url(id) rel="external" data-test="merged-archive">
                {t("All files (.tar)")} ", " {format::size(merged.size_bytes())}
            </a>
        }
    });
    view! {
        <p class="links" data-test="merged-files">{archive} {links}</p>
        <p class="fine">{merged.dtype.clone()} ". " {merged.check.clone()}</p>
        {notes}
    }
    .into_any()
}
