//! Import of a file or of pasted lines: the form, and what came of it. Prompts and gold items come in this way.

use crate::{
    api::{Result, project::Lines},
    components::{
        action::Action,
        field::{Errors, Field, area_field, switch_field},
    },
    error::AppError,
    format,
    words::{fill, t, t_owned},
};
use laurel_protocol::ImportReport;
use leptos::{html, prelude::*};
use wasm_bindgen_futures::JsFuture;

const SKIP: Field = Field {
    name: "skip_bad_lines",
    label: "Skip bad lines",
    help: "Otherwise one bad line keeps the whole file out.",
    hook: "skip-bad-lines",
};

/// What is imported.
pub struct Import<S, D> {
    /// In the page's language.
    pub title: &'static str,
    pub file_label: &'static str,
    /// Files that the browser offers.
    pub accept: &'static str,
    pub lines: Field,
    /// What so many imported are called.
    pub counted: fn(u64) -> String,
    /// Sends the lines; with `true`, bad ones are skipped.
    pub send: S,
    pub done: D,
}

impl<S, F, D> Import<S, D>
where
    S: Fn(Lines, bool) -> F + Copy + Send + Sync + 'static,
    F: Future<Output = Result<ImportReport>> + 'static,
    D: Fn() + Copy + Send + Sync + 'static,
{
    pub fn view(self) -> AnyView {
        let text = RwSignal::new(String::new());
        let skip = RwSignal::new(false);
        let errors: Errors = RwSignal::new(Vec::new());
        let report = RwSignal::new(None::<ImportReport>);
        let action = Action::default();
        let file = ChosenFile::new();
        let Self {
            send, done, counted, ..
        } = self;
        let submit = move |event: leptos::ev::SubmitEvent| {
            event.prevent_default();
            report.set(None);
            let lines = match file.file.get_value() {
                Some(file) => Lines::File(file),
                None => Lines::Text(text.get_untracked()),
            };
            let is_file = matches!(lines, Lines::File(_));
            let skip = skip.get_untracked();
            let work = async move {
                if let Lines::File(file) = &lines {
                    must_be_readable(file).await?;
                }
                send(lines, skip).await
            };
            action.run(work, move |outcome| {
                // The page may be gone by now.
                if report.is_disposed() {
                    return;
                }
                report.set(Some(outcome));
                if is_file {
                    file.clear();
                } else {
                    text.set(String::new());
                }
                done();
            });
        };
        let outcome = move || {
            let bad = action.error().map(|error| refused(&error));
            let good = report.get().map(|report| imported(counted, report));
            view! { <div class="report" data-test="import-report" role="status">{bad}{good}</div> }
        };
        let is_empty = move || text.with(|text| text.trim().is_empty()) && file.name.with(Option::is_none);
        view! {
            <section class="card" aria-labelledby="import-title">
                <h2 id="import-title">{self.title}</h2>
                <form class="form" on:submit=submit novalidate>
                    {file.field(self.file_label, self.accept)}
                    {area_field(self.lines, 5, text, errors)}
                    {switch_field(SKIP, skip)}
                    <div class="actions">
                        <button
                            class="button button-main"
                            data-test="import-submit"
                            disabled=move || action.busy() || is_empty()
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
}

/// The file stays with the browser until it is sent.
#[derive(Clone, Copy)]
struct ChosenFile {
    input: NodeRef<html::Input>,
    file: StoredValue<Option<web_sys::File>, LocalStorage>,
    name: RwSignal<Option<String>>,
}

impl ChosenFile {
    fn new() -> Self {
        Self {
            input: NodeRef::new(),
            file: StoredValue::new_local(None),
            name: RwSignal::new(None),
        }
    }

    fn choose(self, new: Option<web_sys::File>) {
        let line = |file: &web_sys::File| format!("{}, {}", file.name(), format::size(file.size() as u64));
        self.name.set(new.as_ref().map(line));
        self.file.set_value(new);
    }

    fn clear(self) {
        if let Some(input) = self.input.get_untracked() {
            input.set_value("");
        }
        self.choose(None);
    }

    fn field(self, label: &'static str, accept: &'static str) -> AnyView {
        let choose = move |_| {
            let files = self.input.get_untracked().and_then(|input| input.files());
            self.choose(files.and_then(|files| files.get(0)));
        };
        view! {
            <div class="field">
                <label for="import-file">{label}</label>
                <input
                    id="import-file"
                    type="file"
                    accept=accept
                    data-test="import-file"
                    aria-describedby="import-file-chosen"
                    node_ref=self.input
                    // Without this, choosing the same file again after it was corrected would change nothing.
                    on:click=move |_| self.clear()
                    on:change=choose
                />
                <span class="field-help" id="import-file-chosen" role="status" data-test="import-file-chosen">
                    {move || self.name.get().map(|name| fill("To be imported: {0}", &[&name]))}
                </span>
            </div>
        }
        .into_any()
    }
}

/// An error if the browser cannot read the file: it was moved or changed since it was chosen. The request itself
/// would fail like a lost connection.
async fn must_be_readable(file: &web_sys::File) -> Result<()> {
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

fn imported(counted: fn(u64) -> String, report: ImportReport) -> AnyView {
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
    view! { <p>{counted(report.n_imported)}{duplicates}{bad}</p> <ul class="bad-lines">{lines}</ul> }
        .into_any()
}
