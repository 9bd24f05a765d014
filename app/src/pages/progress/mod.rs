//! How the work in a project goes, for those who lead it: what is left and until when, how much is done and by whom,
//! whether people come to agree, and what they answer.

mod answers;
mod over_time;
mod queue;
mod throughput;

use crate::{
    api,
    components::field::{Errors, Field, select_field},
    format,
    load::Loaded,
    words::{fill, t},
};
use laurel_protocol::{ProgressQuery, ProjectEvent, ProjectId, ProjectProgress};
use leptos::prelude::*;
use leptos_router::components::A;

const DAYS: Field = Field {
    name: "days",
    label: "Answers of",
    help: "",
    hook: "progress-days",
};

pub fn page(id: ProjectId) -> AnyView {
    let days = RwSignal::new("30".to_owned());
    let progress = Loaded::new(move || {
        let query = query(&days.get_untracked());
        async move { api::project::progress(id, query).await }
    });
    Effect::new(move |before: Option<String>| {
        let now = days.get();
        if before.is_some_and(|before| before != now) {
            progress.reload();
        }
        now
    });
    // How many annotations there are by now: the figures stand still until they are asked for anew.
    let n_now = RwSignal::new(0);
    let on_event = move |event| {
        if let ProjectEvent::Counts { counts } = event {
            n_now.set(counts.n_annotations);
        }
    };
    let stream = api::events::follow_project(id, on_event, |_| {});
    // Held by the page: leaving it closes the stream.
    let _stream = StoredValue::new_local(stream);
    // Whose answers the pictures show stays so when the figures come anew.
    let who = RwSignal::new(String::new());
    let options = [
        ("7", t("The last 7 days")),
        ("30", t("The last 30 days")),
        ("90", t("The last 90 days")),
        ("365", t("The last 365 days")),
    ];
    let options = options.map(|(value, words)| (value.to_owned(), words.to_owned()));
    let errors: Errors = RwSignal::new(Vec::new());
    view! {
        <div class="page page-wide">
            <div class="page-head">
                <div>
                    <p class="crumbs"><A href="/">{t("Projects")}</A><A href=format!("/projects/{id}")>{t("Overview")}</A></p>
                    <h1>{t("Progress")}</h1>
                    {as_of(progress, n_now)}
                </div>
                {select_field(DAYS, options.to_vec(), days, errors)}
            </div>
            {progress.view(move |progress| body(&progress, who))}
        </div>
    }
    .into_any()
}

/// So many days, beginning at this browser's midnight.
fn query(days: &str) -> ProgressQuery {
    let behind = js_sys::Date::new_0().get_timezone_offset();
    ProgressQuery {
        tz_offset_minutes: -behind as i32,
        days: days.parse().unwrap_or(ProgressQuery::default().days),
    }
}

/// When the figures were counted, and whether there is more by now.
fn as_of(progress: Loaded<ProjectProgress>, n_now: RwSignal<u64>) -> AnyView {
    let words = move || {
        let counted = progress.with_ready(|report| (report.as_of, report.n_annotations))?;
        let since = n_now.get().saturating_sub(counted.1);
        let more = (since > 0).then(|| {
            format::counted(
                since,
                t(" {0} answer has come since."),
                t(" {0} answers have come since."),
            )
        });
        Some(fill("Counted at {0}.", &[&format::clock(counted.0)]) + &more.unwrap_or_default())
    };
    view! {
        <p class="muted">
            <span data-test="progress-as-of">{words}</span>
            " "
            <button type="button" class="button button-quiet" data-test="progress-reload" on:click=move |_| progress.reload()>
                {t("Count again")}
            </button>
        </p>
    }
    .into_any()
}

fn body(progress: &ProjectProgress, who: RwSignal<String>) -> AnyView {
    view! {
        {queue::view(progress)}
        {throughput::view(progress, who)}
        {over_time::view(progress)}
        {answers::view(progress)}
    }
    .into_any()
}
