//! How far a project's annotators agree and how each of them works, for those who have to trust the result.

mod agreement;
mod annotators;
mod habits;
mod reading;

pub use habits::{answer_name, first_place, title_of};

use crate::{
    api,
    components::field::{Errors, Field, select_field},
    format,
    load::Loaded,
    words::{fill, t},
};
use laurel_protocol::{AnnotatorFigures, Estimate, Interval, Period, ProjectId, Quality, Subject, Timestamp};
use leptos::prelude::*;
use leptos_router::components::A;

const PERIOD: Field = Field {
    name: "period",
    label: "Annotations of",
    help: "",
    hook: "quality-period",
};
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

pub fn page(id: ProjectId) -> AnyView {
    let days = RwSignal::new("all".to_owned());
    let quality = Loaded::new(move || {
        let period = period(&days.get_untracked());
        async move {
            let quality = api::project::quality(id, period).await?;
            let figures = api::project::annotators(id).await?;
            Ok((quality, figures))
        }
    });
    Effect::new(move |before: Option<String>| {
        let now = days.get();
        if before.is_some_and(|before| before != now) {
            quality.reload();
        }
        now
    });
    let options = [
        ("all", t("All time")),
        ("30", t("The last 30 days")),
        ("7", t("The last 7 days")),
    ];
    let options = options.map(|(value, words)| (value.to_owned(), words.to_owned()));
    let errors: Errors = RwSignal::new(Vec::new());
    view! {
        <div class="page page-wide">
            <div class="page-head">
                <div>
                    <p class="crumbs"><A href="/">{t("Projects")}</A><A href=format!("/projects/{id}")>{t("Overview")}</A></p>
                    <h1>{t("Quality")}</h1>
                </div>
                {select_field(PERIOD, options.to_vec(), days, errors)}
            </div>
            {quality.view(|(quality, figures)| body(&quality, &figures))}
        </div>
    }
    .into_any()
}

/// The last so many days, or all there is.
fn period(days: &str) -> Period {
    let now = js_sys::Date::now() as i64;
    let since = days
        .parse::<i64>()
        .ok()
        .map(|days| Timestamp(now - days * DAY_MS));
    Period { since, until: None }
}

fn body(quality: &Quality, figures: &[AnnotatorFigures]) -> AnyView {
    if quality.n_annotations == 0 {
        // Whoever was given nothing but checks so far has figures all the same.
        let annotators = (!figures.is_empty()).then(|| annotators::view(quality, figures));
        return view! {
            <p class="empty" data-test="quality-empty">{t("Nobody has labelled here in this time.")}</p>
            {annotators}
        }
        .into_any();
    }
    view! {
        {rests_on(quality)}
        {agreement::view(quality)}
        {annotators::view(quality, figures)}
        {habits::view(quality)}
    }
    .into_any()
}

fn rests_on(quality: &Quality) -> AnyView {
    let words = fill(
        "{0} of {1}. At least two people judged {2} of these: all agreement rests on them.",
        &[
            &format::counted(quality.n_annotations, "{0} annotation", "{0} annotations"),
            &format::counted(quality.n_tasks, "{0} task", "{0} tasks"),
            &format::count(quality.n_shared_tasks),
        ],
    );
    let advice = (quality.n_shared_tasks == 0).then(|| {
        view! {
            <p class="notice" data-test="nothing-shared">
                {t("Nobody's answers can be compared with another's yet. With a larger overlap in the project's settings, \
                 new tasks go to several people each.")}
            </p>
        }
    });
    view! { <p class="lead" data-test="quality-basis">{words}</p> {advice} }.into_any()
}

/// What people were asked, as a title.
pub fn about(subject: &Subject) -> String {
    match subject {
        Subject::Choice => t("Which answer is better").to_owned(),
        Subject::Best => t("Which answer is the best").to_owned(),
        Subject::Worst => t("Which answer is the worst").to_owned(),
        Subject::Verdict => t("Which of two answers is better").to_owned(),
        Subject::Order => t("The order of the answers").to_owned(),
        Subject::Rating { dimension } => fill("Rating: {0}", &[dimension]),
    }
}

/// A measure between -1 and 1.
fn value(value: f64) -> String {
    // No "-0.00".
    format!("{:.2}", if value.abs() < 0.005 { 0.0 } else { value }).replace('-', "−")
}

fn interval(interval: Option<Interval>, write: fn(f64) -> String) -> String {
    interval.map_or_else(
        || "–".to_owned(),
        |interval| fill("{0} to {1}", &[&write(interval.low), &write(interval.high)]),
    )
}

/// The value alone.
fn or_dash(estimate: Option<Estimate>, write: fn(f64) -> String) -> String {
    estimate.map_or_else(|| "–".to_owned(), |estimate| write(estimate.value))
}
