//! Whether people come to agree, or drift apart: the shared tasks in equal parts, in the order in which they were judged.

use crate::{
    components::plot::{Column, Kind, Line, Mark, Plot, plot},
    format,
    pages::quality::about,
    words::{fill, later, t},
};
use laurel_protocol::{AgreementFigure, AgreementWindow, Measure, ProjectProgress, Subject};
use leptos::prelude::*;
use std::collections::BTreeSet;

pub fn view(progress: &ProjectProgress) -> AnyView {
    let windows = &progress.agreement;
    let subjects: BTreeSet<&Subject> = windows
        .iter()
        .flat_map(|window| window.figures.iter().map(|figure| &figure.about))
        .collect();
    let body = match subjects.is_empty() {
        true => view! {
            <p class="fine" data-test="nothing-shared">{t("No two people have judged the same task yet.")}</p>
        }
        .into_any(),
        false => {
            let pictures = subjects.into_iter().map(|subject| picture(windows, subject));
            view! {
                <p class="fine">{parts(windows)} " " {looked_at(progress)}</p>
                <div class="charts">{pictures.collect_view()}</div>
            }
            .into_any()
        }
    };
    view! {
        <section class="card" aria-labelledby="over-time-title">
            <h2 id="over-time-title">{t("Agreement over time")}</h2>
            {body}
        </section>
    }
    .into_any()
}

fn parts(windows: &[AgreementWindow]) -> String {
    let n_tasks = windows
        .iter()
        .map(|window| window.n_tasks)
        .max()
        .unwrap_or_default();
    let n_read = windows
        .iter()
        .map(|window| window.n_read)
        .max()
        .unwrap_or_default();
    let words = fill(
        "All tasks that at least two people judged, in equal parts of {0} by the time of the last answer; the lines show intervals \
         of 95 %.",
        &[&format::counted(n_tasks, "{0} task", "{0} tasks")],
    );
    match n_read < n_tasks {
        true => words + &fill(" Of each part {0} tasks spread evenly were compared.", &[&n_read]),
        false => words,
    }
}

/// When it was looked at, where that was before the other figures.
fn looked_at(progress: &ProjectProgress) -> Option<String> {
    let is_older = progress.agreement_as_of < progress.as_of;
    is_older.then(|| fill("As of {0}.", &[&format::moment(progress.agreement_as_of)]))
}

fn picture(windows: &[AgreementWindow], subject: &Subject) -> AnyView {
    let column = |window: &AgreementWindow| Column {
        short: format::short_day(window.until),
        long: fill(
            "{0} to {1}, {2}",
            &[
                &format::moment(window.since),
                &format::moment(window.until),
                &format::counted(window.n_tasks, "{0} task", "{0} tasks"),
            ],
        ),
    };
    let line = |name: &'static str, class, is_it: fn(Measure) -> bool| Line {
        name: name.to_owned(),
        class,
        marks: windows
            .iter()
            .map(|window| mark(window, subject, is_it))
            .collect(),
    };
    let lines = vec![
        line(t("Percent agreement"), "line-a", |measure| {
            measure == Measure::Percent
        }),
        line(t("Krippendorff's alpha"), "line-b", |measure| {
            measure != Measure::Percent
        }),
    ];
    plot(Plot {
        title: about(subject),
        hook: "plot-agreement",
        kind: Kind::Points,
        x: later("Tasks last answered"),
        columns: windows.iter().map(column).collect(),
        lines,
        write: |value| format!("{value:.2}"),
        top: 1.0,
    })
}

fn mark(window: &AgreementWindow, subject: &Subject, is_it: fn(Measure) -> bool) -> Option<Mark> {
    let is_wanted = |figure: &&AgreementFigure| figure.about == *subject && is_it(figure.measure);
    let estimate = window.figures.iter().find(is_wanted)?.estimate?;
    Some(Mark {
        value: estimate.value,
        interval: estimate.interval.map(|interval| (interval.low, interval.high)),
    })
}
