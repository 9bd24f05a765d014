//! How much is done: by day and by hour, by everybody or by one person, and how long an answer takes.

use crate::{
    components::{
        field::{Errors, Field, select_field},
        plot::{Column, Kind, Line, Plot, plot},
    },
    format,
    load::living,
    words::{fill, later, t},
};
use laurel_protocol::{AnnotatorProgress, ProjectProgress};
use leptos::prelude::*;
use std::sync::Arc;

const WHO: Field = Field {
    name: "who",
    label: "By",
    help: "",
    hook: "progress-who",
};

pub fn view(progress: &ProjectProgress, who: RwSignal<String>) -> AnyView {
    let people = progress
        .annotators
        .iter()
        .map(|one| (one.user.to_string(), one.name.clone()));
    let options = std::iter::once((String::new(), t("Everybody").to_owned())).chain(people);
    let errors: Errors = RwSignal::new(Vec::new());
    let shared = Arc::new(progress.clone());
    let pictures = living(move || {
        let who = who.get();
        let one = shared.annotators.iter().find(|one| one.user.to_string() == who);
        view! { {by_day(&shared, one)} {by_hour(&shared, one)} }.into_any()
    });
    view! {
        <section class="card" aria-labelledby="throughput-title">
            <div class="row-head">
                <h2 id="throughput-title">{t("Throughput")}</h2>
                {select_field(WHO, options.collect(), who, errors)}
            </div>
            <div class="charts">{pictures}{seconds(progress)}</div>
            {people_table(progress)}
        </section>
    }
    .into_any()
}

fn days(progress: &ProjectProgress) -> Vec<Column> {
    let day = |day: &laurel_protocol::DayFigures| Column {
        short: format::short_day(day.starts),
        long: format::day(day.starts),
    };
    progress.days.iter().map(day).collect()
}

fn by_day(progress: &ProjectProgress, one: Option<&AnnotatorProgress>) -> AnyView {
    let counts = match one {
        Some(one) => one.by_day.clone(),
        None => progress.days.iter().map(|day| day.n_annotations).collect(),
    };
    plot(Plot {
        title: t("Answers by day").to_owned(),
        hook: "plot-days",
        kind: Kind::Bars,
        x: later("Day"),
        columns: days(progress),
        lines: vec![Line::of_counts(later("Answers"), counts)],
        write: format::figure,
        top: 1.0,
    })
}

fn by_hour(progress: &ProjectProgress, one: Option<&AnnotatorProgress>) -> AnyView {
    let counts = match one {
        Some(one) => one.by_hour.clone(),
        None => progress.hours.iter().map(|hour| hour.n_annotations).collect(),
    };
    let columns = progress.hours.iter().map(|hour| Column {
        short: format::short_clock(hour.starts),
        long: format::moment(hour.starts),
    });
    plot(Plot {
        title: t("Answers by hour, the last 48").to_owned(),
        hook: "plot-hours",
        kind: Kind::Bars,
        x: later("Hour"),
        columns: columns.collect(),
        lines: vec![Line::of_counts(later("Answers"), counts)],
        write: format::figure,
        top: 1.0,
    })
}

/// Of everybody: each person's own stands on the page of quality.
fn seconds(progress: &ProjectProgress) -> AnyView {
    let marks = progress.days.iter().map(|day| day.median_seconds.map(Into::into));
    let line = Line {
        name: t("Median time").to_owned(),
        class: "line-c",
        marks: marks.collect(),
    };
    plot(Plot {
        title: t("Active time per answer, median of the day").to_owned(),
        hook: "plot-seconds",
        kind: Kind::Points,
        x: later("Day"),
        columns: days(progress),
        lines: vec![line],
        write: in_words,
        top: 1.0,
    })
}

/// A quick answer takes less than a second.
fn in_words(seconds: f64) -> String {
    match seconds < 60.0 {
        true => fill("{0} s", &[&format::figure(seconds)]),
        false => format::duration(seconds),
    }
}

fn people_table(progress: &ProjectProgress) -> AnyView {
    if progress.annotators.is_empty() {
        return view! { <p class="fine" data-test="nobody-answered">{t("Nobody has answered in these days.")}</p> }
            .into_any();
    }
    let row = |one: &AnnotatorProgress| {
        let n_days = one.by_day.iter().filter(|n| **n > 0).count() as u64;
        let n: u64 = one.by_day.iter().sum();
        let a_day = if n_days > 0 {
            format::figure((n as f64 / n_days as f64).round())
        } else {
            "–".to_owned()
        };
        view! {
            <tr data-test="progress-person" data-name=one.name.clone()>
                <th scope="row">{one.name.clone()}</th>
                <td class="number">{format::count(n)}</td>
                <td class="number">{format::count(n_days)}</td>
                <td class="number">{a_day}</td>
                <td class="number">{format::count(one.by_hour.iter().sum())}</td>
            </tr>
        }
    };
    let rows = progress.annotators.iter().map(row).collect_view();
    view! {
        <div class="table-frame" tabindex="0" role="region" aria-label=t("Throughput by person")>
            <table>
                <thead>
                    <tr>
                        <th scope="col">{t("Name")}</th>
                        <th scope="col" class="number">{t("Answers in these days")}</th>
                        <th scope="col" class="number">{t("Days with answers")}</th>
                        <th scope="col" class="number">{t("Answers on such a day")}</th>
                        <th scope="col" class="number">{t("In the last 48 hours")}</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}
