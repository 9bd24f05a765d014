//! The prompts of a project: import them, read them, and see the completions of each with their origin.

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
use laurel_protocol::{Completion, FinishReason, ImportReport, ProjectId, Prompt, PromptPage, Speaker};
use leptos::{html, prelude::*};
use leptos_router::components::A;
use wasm_bindgen_futures::JsFuture;

const LINES: Field = Field {
    name: "lines",
    label: "Or paste lines",
    help: "One JSON object a line: {\"prompt\": \"text\"} or {\"prompt\": [{\"role\": \"user\", \"content\": \"text\"}]}",
    hook: "import-text",
};
const SKIP: Field = Field {
    name: "skip_bad_lines",
    label: "Skip bad lines",
    help: "Otherwise one bad line keeps the whole file out.",
    hook: "skip-bad-lines",
};
const PAGE_SIZE: u32 = 50;

pub fn page(id: ProjectId) -> AnyView {
    let prompts = Loaded::new(move || api::project::prompts(id, None, PAGE_SIZE));
    let list = prompts.view(move |page| listing(id, prompts, page));
    view! {
        <div class="page">
            <p class="crumbs"><A href="/">{t("Projects")}</A><A href=format!("/projects/{id}")>{t("Overview")}</A></p>
            <h1>{t("Prompts")}</h1>
            {import(id, prompts)}
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

fn listing(id: ProjectId, loaded: Loaded<PromptPage>, page: PromptPage) -> AnyView {
    if page.prompts.is_empty() {
        return view! {
            <div class="empty">
                <h2>{t("No prompts yet")}</h2>
                <p>{t("Import a file above, or paste a few lines to try.")}</p>
            </div>
        }
        .into_any();
    }
    let action = Action::default();
    let more = page.next.map(|next| {
        let ask = move |_| {
            action.run(api::project::prompts(id, Some(next), PAGE_SIZE), move |page| {
                loaded.update(|known| {
                    known.prompts.extend(page.prompts);
                    known.next = page.next;
                });
            });
        };
        view! {
            <button type="button" class="button" data-test="more-prompts" disabled=move || action.busy() on:click=ask>
                {t("Show more")}
            </button>
        }
    });
    let rows = page.prompts.into_iter().map(row).collect_view();
    view! {
        <ul class="prompts">{rows}</ul>
        <div class="actions">{more}</div>
        {action.error_line()}
    }
    .into_any()
}

fn role_name(role: Speaker) -> &'static str {
    match role {
        Speaker::System => t("system"),
        Speaker::User => t("user"),
        Speaker::Assistant => t("assistant"),
    }
}

fn row(prompt: Prompt) -> AnyView {
    let open = RwSignal::new(false);
    let id = prompt.id;
    let messages = prompt.messages.into_iter().map(|message| {
        view! { <p class="turn"><span class="turn-role">{role_name(message.role)}</span>{message.content}</p> }
    });
    let messages = messages.collect_view();
    let count = format::counted(prompt.n_completions, "{0} completion", "{0} completions");
    let completions = move || {
        open.get()
            .then(|| Loaded::new(move || api::project::completions(id)).view(completions))
    };
    let fold = (prompt.n_completions > 0).then(|| {
        view! {
            <button
                type="button"
                class="button button-quiet"
                data-test="show-completions"
                aria-expanded=move || if open.get() { "true" } else { "false" }
                on:click=move |_| open.update(|open| *open = !*open)
            >
                {count}
            </button>
        }
    });
    view! {
        <li class="card prompt" data-test="prompt-row">
            {messages}
            {fold}
            {completions}
        </li>
    }
    .into_any()
}

fn completions(completions: Vec<Completion>) -> AnyView {
    let rows = completions.into_iter().map(|completion| {
        let Some(origin) = completion.origin else {
            let author = completion.author.unwrap_or_default();
            return view! {
                <li class="row" data-test="completion-row">
                    <div class="prose" inner_html=completion.html></div>
                    <p class="fine">{fill("written by {0}", &[&author])}</p>
                </li>
            }
            .into_any();
        };
        let generator = match &origin.adapter_hash {
            Some(hash) => fill("{0} + adapter {1}", &[&origin.model, &format::short_hash(hash)]),
            None => origin.model,
        };
        let cut = match origin.finish_reason {
            FinishReason::Stop => "",
            FinishReason::Length => t(" · cut off"),
        };
        let sampling = fill(
            "{0} · temperature {1} · top-p {2} · seed {3} · number {4} · {5}{6}",
            &[
                &generator,
                &origin.sampling.temperature,
                &origin.sampling.top_p,
                &origin.sampling.seed,
                &origin.index,
                &format::counted(completion.n_tokens.into(), "{0} token", "{0} tokens"),
                &cut,
            ],
        );
        view! {
            <li class="row" data-test="completion-row">
                <div class="prose" inner_html=completion.html></div>
                <p class="fine">{sampling}</p>
            </li>
        }
        .into_any()
    });
    let rows = rows.collect_view();
    view! { <ul class="rows">{rows}</ul> }.into_any()
}
