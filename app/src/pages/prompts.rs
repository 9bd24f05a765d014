//! The prompts of a project: import them, find and read them, say which come first, and see the completions of each with
//! their origin.

mod list;
mod priority;

use crate::{
    api,
    components::{field::Field, import::Import},
    format,
    load::Loaded,
    words::t,
};
use laurel_protocol::{ProjectId, PromptPage};
use leptos::prelude::*;
use leptos_router::components::A;

const LINES: Field = Field {
    name: "lines",
    label: "Or paste lines",
    help: "One JSON object a line: {\"prompt\": \"text\"} or {\"prompt\": [{\"role\": \"user\", \"content\": \"text\"}]}; with \"priority\", \
           from -100 to 100, if it comes first or last.",
    hook: "import-text",
};
pub fn page(id: ProjectId) -> AnyView {
    let shelf = list::Shelf::of(id);
    let list = shelf.prompts.view(move |page| list::view(shelf, page));
    view! {
        <div class="page">
            <p class="crumbs"><A href="/">{t("Projects")}</A><A href=format!("/projects/{id}")>{t("Overview")}</A></p>
            <h1>{t("Prompts")}</h1>
            {import(id, shelf.prompts)}
            {priority::view(shelf)}
            {list}
        </div>
    }
    .into_any()
}

fn import(id: ProjectId, prompts: Loaded<PromptPage>) -> AnyView {
    let import = Import {
        title: t("Import"),
        file_label: t("A JSON Lines file"),
        accept: ".jsonl,.json,.txt,application/jsonl",
        lines: LINES,
        counted: |n| format::counted(n, t("{0} prompt imported."), t("{0} prompts imported.")),
        send: move |lines, skip| api::project::import_prompts(id, lines, skip),
        done: move || prompts.reload(),
    };
    import.view()
}
