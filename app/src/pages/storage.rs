//! What lies on the server's disk, and what of it may go.

use crate::{
    api,
    components::{
        action::Action,
        dialog::{Question, confirm_button},
    },
    format,
    load::Loaded,
    session::Admin,
    words::{fill, t},
};
use laurel_protocol::{MergeFormat, Storage, StoredAdapter, StoredMerge, StoredProject};
use leptos::prelude::*;
use leptos_router::components::A;

const DELETE: Question = Question {
    title: "Delete the merged files?",
    text: "A trainer can make them again.",
    yes: "Delete the files",
    no: "Keep them",
};

pub fn page(_admin: Admin) -> AnyView {
    let storage = Loaded::new(api::lineage::storage);
    let body = storage.view(move |now| body(storage, now));
    view! {
        <div class="page page-wide">
            <h1>{t("Storage")}</h1>
            {body}
        </div>
    }
    .into_any()
}

fn body(loaded: Loaded<Storage>, now: Storage) -> AnyView {
    let adapter_bytes = adapter_bytes(&now.adapters);
    let merged_bytes: u64 = now.merges.iter().map(|merge| merge.size_bytes).sum();
    let kept = match now.keep_merged_days {
        Some(days) => fill(
            "Merged files are deleted {0} days after they were made.",
            &[&days],
        ),
        None => {
            t("Merged files stay until somebody deletes them; --keep-merged-days of the server sets a time.")
                .to_owned()
        }
    };
    let size = |hook: &'static str, name: &'static str, bytes: u64| {
        view! { <dt>{name}</dt><dd data-test=hook>{format::size(bytes)}</dd> }
    };
    view! {
        <section class="card" aria-labelledby="sizes-title">
            <h2 id="sizes-title">{t("Sizes")}</h2>
            <dl class="facts">
                {size("size-database", t("Database"), now.database_bytes)}
                {size("size-free", t("Of it free for what comes"), now.database_free_bytes)}
                {size("size-adapters", t("Adapters"), adapter_bytes)}
                {size("size-merged", t("Merged models"), merged_bytes)}
                {size("size-uploads", t("Being handed in"), now.upload_bytes)}
            </dl>
        </section>
        {projects(now.projects)}
        {adapters(now.adapters)}
        <section class="card" aria-labelledby="merged-title">
            <h2 id="merged-title">{t("Merged models")}</h2>
            <p class="fine">{kept}</p>
            {merges(loaded, now.merges)}
        </section>
    }
    .into_any()
}

/// Adapters with the same weights share their files: those count once.
fn adapter_bytes(adapters: &[StoredAdapter]) -> u64 {
    let own: u64 = adapters
        .iter()
        .filter(|one| !one.shared)
        .map(|one| one.size_bytes)
        .sum();
    let mut shared: Vec<_> = adapters
        .iter()
        .filter(|one| one.shared)
        .map(|one| one.size_bytes)
        .collect();
    shared.sort_unstable();
    shared.dedup();
    own + shared.iter().sum::<u64>()
}

fn head(names: &[(&'static str, bool)]) -> AnyView {
    let cells = names
        .iter()
        .map(|(name, is_number)| view! { <th scope="col" class:number=*is_number>{*name}</th> })
        .collect_view();
    view! { <thead><tr>{cells}</tr></thead> }.into_any()
}

fn projects(projects: Vec<StoredProject>) -> AnyView {
    let rows = projects
        .into_iter()
        .map(|one| {
            let sizes = [
                one.prompt_bytes,
                one.completion_bytes,
                one.annotation_bytes,
                one.snapshot_bytes,
                one.round_bytes,
                one.total(),
            ];
            let cells = sizes
                .map(|bytes| view! { <td class="number">{format::size(bytes)}</td> })
                .collect_view();
            view! {
                <tr data-test="stored-project">
                    <th scope="row"><A href=format!("/projects/{}", one.id)>{one.name}</A></th>
                    {cells}
                </tr>
            }
        })
        .collect_view();
    let names = [
        (t("Project"), false),
        (t("Prompts"), true),
        (t("Completions"), true),
        (t("Annotations"), true),
        (t("Snapshots"), true),
        (t("Rounds"), true),
        (t("Together"), true),
    ];
    view! {
        <section class="card" aria-labelledby="by-project-title">
            <h2 id="by-project-title">{t("Texts in the database, by project")}</h2>
            <p class="fine">{t("The rest of the file is indexes, numbers, the audit log and accounts.")}</p>
            <div class="table-frame" tabindex="0" role="region" aria-labelledby="by-project-title">
                <table>{head(&names)}<tbody>{rows}</tbody></table>
            </div>
        </section>
    }
    .into_any()
}

fn adapters(adapters: Vec<StoredAdapter>) -> AnyView {
    if adapters.is_empty() {
        return ().into_any();
    }
    let row = |one: StoredAdapter| {
        let state = match (&one.deleted_at, one.n_blockers, one.n_uses) {
            (Some(at), ..) => fill("files deleted {0}", &[&format::moment(*at)]),
            (None, 0, 0) => t("nothing uses it").to_owned(),
            (None, 0, n) => format::counted(n, "used by {0}", "used by {0}"),
            (None, n, _) => format::counted(n, "{0} needs it now", "{0} need it now"),
        };
        let shared = one.shared.then(|| view! { " · " {t("files shared")} });
        view! {
            <tr data-test="stored-adapter">
                <th scope="row"><A href=format!("/adapters/{}", one.id)>{one.name}</A></th>
                <td><A href=format!("/projects/{}", one.project_id)>{one.project_name}</A></td>
                <td class="number">{format::size(one.size_bytes)}</td>
                <td>{state} {shared}</td>
                <td>{format::moment(one.created_at)}</td>
            </tr>
        }
    };
    let rows = adapters.into_iter().map(row).collect_view();
    let names = [
        (t("Adapter"), false),
        (t("Project"), false),
        (t("Size"), true),
        (t("Uses"), false),
        (t("Made"), false),
    ];
    view! {
        <section class="card" aria-labelledby="stored-adapters-title">
            <h2 id="stored-adapters-title">{t("Adapters")}</h2>
            <p class="fine">{t("An adapter's own page lists what uses it, and deletes its files.")}</p>
            <div class="table-frame" tabindex="0" role="region" aria-labelledby="stored-adapters-title">
                <table>{head(&names)}<tbody>{rows}</tbody></table>
            </div>
        </section>
    }
    .into_any()
}

fn merges(loaded: Loaded<Storage>, merges: Vec<StoredMerge>) -> AnyView {
    if merges.is_empty() {
        return view! { <p class="fine" data-test="no-merges">{t("None.")}</p> }.into_any();
    }
    let rows = merges
        .into_iter()
        .map(|one| merge_row(loaded, one))
        .collect_view();
    view! { <ul class="rows">{rows}</ul> }.into_any()
}

fn merge_row(loaded: Loaded<Storage>, one: StoredMerge) -> AnyView {
    let id = one.id;
    let action = Action::default();
    let delete =
        Callback::new(move |()| action.run(api::adapter::delete_merge(id), move |()| loaded.reload()));
    let format = match one.format {
        MergeFormat::Safetensors => "safetensors",
        MergeFormat::Gguf => "GGUF",
    };
    let until = one
        .expires_at
        .map(|at| fill(", until {0}", &[&format::moment(at)]));
    view! {
        <li class="row" data-test="stored-merge">
            <div class="row-head">
                <A href=format!("/adapters/{}", one.adapter_id)>{one.adapter_name}</A>
                <span class="fine">
                    {one.project_name} " · " {format} " · " {format::size(one.size_bytes)} {until}
                </span>
                {confirm_button(t("Delete"), "delete-merge", DELETE, delete)}
            </div>
            {action.error_line()}
        </li>
    }
    .into_any()
}
