//! The prompts of a project: import them, find and read them, say which come first, and see the completions of each with
//! their origin.

mod list;
mod priority;

use crate::{
    api::{self, project::Lines},
    components::{
        action::Action,
        field::{Errors, Field, area_field, switch_field},
    },
    error::AppError,
    format,
    load::Loaded,
    words::{fill, t, t_owned},
};
use laurel_protocol::{ImportReport, ProjectId, PromptPage};
use leptos::{html, prelude::*};
use leptos_router::components::A;
use wasm_bindgen_futures::JsFuture;

const LINES: Field = Field {
    name: "lines",
    label: "Or paste lines",
    help: "One JSON object a line: {\"prompt\": \"text\"} or {\"prompt\": [{\"role\": \"user\", \"content\": \"text\"}]}; with \"priority\", \
           from -100 to 100, if it comes first or last.",
    hook: "import-text",
};
const SKIP: Field = Field {
    name: "skip_bad_lines",
    label: "Skip bad lines",
    help: "Otherwise one bad line keeps the whole file out.",
    hook: "skip-bad-lines",
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
    let text = RwSignal::new(String::new());
    let skip = RwSignal::new(false);
    let errors: Errors = RwSignal::new(Vec::new());
    let report = RwSignal::new(None::<ImportReport>);
    let action = Action::default();
    let input = NodeRef::<html::Input>::new();
    // The file itself stays with the browser until it is sent.
    let file = StoredValue::new_local(None::<web_sys::File>);
    let chosen = RwSignal::new(None::<String>);
    let choose = move |new: Option<web_sys::File>| {
        let line = |file: &web_sys::File| format!("{}, {}", file.name(), format::size(file.size() as u64));
        chosen.set(new.as_ref().map(line));
        file.set_value(new);
    };
    let clear = move || {
        if let Some(input) = input.get_untracked() {
            input.set_value("");
        }
        choose(None);
    };
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        report.set(None);
        let lines = match file.get_value() {
            Some(file) => Lines::File(file),
            None => Lines::Text(text.get_untracked()),
        };
        let is_file = matches!(lines, Lines::File(_));
        let skip = skip.get_untracked();
        let work = async move {
            if let Lines::File(file) = &lines {
                must_be_readable(file).await?;
            }
            api::project::import_prompts(id, lines, skip).await
        };
        action.run(work, move |outcome| {
            // The page may be gone by now.
            if report.is_disposed() {
                return;
            }
            report.set(Some(outcome));
            if is_file {
                clear();
            } else {
                text.set(String::new());
            }
            prompts.reload();
        });
    };
    let outcome = move || {
        let bad = action.error().map(|error| refused(&error));
        let good = report.get().map(imported);
        view! { <div class="report" data-test="import-report" role="status">{bad}{good}</div> }
    };
    view! {
        <section class="card" aria-labelledby="import-title">
            <h2 id="import-title">{t("Import")}</h2>
            <form class="form" on:submit=submit novalidate>
                <div class="field">
                    <label for="import-file">{t("A JSON Lines file")}</label>
                    <input
                        id="import-file"
                        type="file"
                        accept=".jsonl,.json,.txt,application/jsonl"
                        data-test="import-file"
                        aria-describedby="import-file-chosen"
                        node_ref=input
                        // Without this, choosing the same file again after it was corrected would change nothing.
                        on:click=move |_| clear()
                        on:change=move |_| {
                            let files = input.get_untracked().and_then(|input| input.files());
                            choose(files.and_then(|files| files.get(0)));
                        }
                    />
                    <span class="field-help" id="import-file-chosen" role="status" data-test="import-file-chosen">
                        {move || chosen.get().map(|chosen| fill("To be imported: {0}", &[&chosen]))}
                    </span>
                </div>
                {area_field(LINES, 5, text, errors)}
                {switch_field(SKIP, skip)}
                <div class="actions">
                    <button
                        class="button button-main"
                        data-test="import-submit"
                        disabled=move || {
                            let has_text = text.with(|text| !text.trim().is_empty());
                            action.busy() || !has_text && chosen.with(Option::is_none)
                        }
                    >
                        {t("Import")}
                    </button>
                </div>
                {outcome}
            </form>
        </section>
    }
    .into_any()
}

/// An error if the browser cannot read the file: it was moved or changed since it was chosen. The request itself
/// would fail like a lost connection.
async fn must_be_readable(file: &web_sys::File) -> Result<(), AppError> {
    let unreadable = |_| AppError::File(file.name());
    let start = file.slice_with_i32_and_i32(0, 1).map_err(unreadable)?;
    JsFuture::from(start.text()).await.map(drop).map_err(unreadable)
}

/// Nothing was imported: the sentence, and the bad lines.
fn refused(error: &AppError) -> AnyView {
    let lines = error
        .fields()
        .into_iter()
        .map(|field| view! { <li><code>{t_owned(&field.field)}</code>" "{t_owned(&field.reason)}</li> });
    let lines = lines.collect_view();
    view! { <p class="form-error">{error.sentence()}</p> <ul class="bad-lines">{lines}</ul> }.into_any()
}

fn imported(report: ImportReport) -> AnyView {
    let duplicates = (report.n_duplicates > 0).then(|| {
        format::counted(
            report.n_duplicates,
            t(" {0} was already there."),
            t(" {0} were already there."),
        )
    });
    let bad = (report.n_bad > 0).then(|| {
        format::counted(
            report.n_bad,
            t(" {0} bad line skipped:"),
            t(" {0} bad lines skipped:"),
        )
    });
    let lines = report
        .bad_lines
        .into_iter()
        .map(|bad| view! { <li><code>{fill("line {0}", &[&bad.line])}</code>" "{t_owned(&bad.reason)}</li> });
    let lines = lines.collect_view();
    view! {
        <p>{format::counted(report.n_imported, t("{0} prompt imported."), t("{0} prompts imported."))}{duplicates}{bad}</p>
        <ul class="bad-lines">{lines}</ul>
    }
    .into_any()
}
