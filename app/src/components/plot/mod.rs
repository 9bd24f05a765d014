//! A picture of figures that stand in columns, as bars or as points with their intervals, and the same figures as a table
//! for those who want the numbers or do not see it. Columns are days, hours, answers, whatever has a name.

mod picture;

use crate::words::{fill, t};
use leptos::prelude::*;

#[derive(Clone)]
pub struct Plot {
    pub title: String,
    /// Its `data-test` name.
    pub hook: &'static str,
    pub kind: Kind,
    /// What the columns are, as the head of the table's first column.
    pub x: &'static str,
    pub columns: Vec<Column>,
    pub lines: Vec<Line>,
    pub write: fn(f64) -> String,
    /// How far up the picture goes at least; it always begins at 0 or below.
    pub top: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bars,
    Points,
}

/// Its name under the picture, and in the table.
#[derive(Clone)]
pub struct Column {
    pub short: String,
    pub long: String,
}

impl Column {
    pub fn named(name: String) -> Self {
        Self {
            short: name.clone(),
            long: name,
        }
    }
}

/// One figure over all columns: its name, its colour (a class of the style sheet), a mark in each column that has one.
#[derive(Clone)]
pub struct Line {
    pub name: String,
    pub class: &'static str,
    pub marks: Vec<Option<Mark>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    pub value: f64,
    pub interval: Option<(f64, f64)>,
}

impl From<f64> for Mark {
    fn from(value: f64) -> Self {
        Self {
            value,
            interval: None,
        }
    }
}

impl Line {
    /// Of whole numbers, one in each column.
    pub fn of_counts(name: &'static str, counts: impl IntoIterator<Item = u64>) -> Self {
        let mark = |n| Some(Mark::from(n as f64));
        Self {
            name: t(name).to_owned(),
            class: "line-a",
            marks: counts.into_iter().map(mark).collect(),
        }
    }
}

pub fn plot(plot: Plot) -> AnyView {
    let n_points: usize = plot
        .lines
        .iter()
        .map(|line| line.marks.iter().flatten().count())
        .sum();
    let legend = (plot.lines.len() > 1).then(|| {
        let name = |line: &Line| {
            let class = format!("chart-value {}", line.class);
            view! { <span class=class>{line.name.clone()}</span> }
        };
        plot.lines.iter().map(name).collect_view()
    });
    view! {
        <figure class="chart" data-test=plot.hook data-points=n_points.to_string()>
            <figcaption>
                <span class="chart-title">{plot.title.clone()}</span>
                <span class="chart-values">{legend}</span>
            </figcaption>
            {picture::view(&plot)}
            {table(&plot)}
        </figure>
    }
    .into_any()
}

fn table(plot: &Plot) -> AnyView {
    let heads = plot.lines.iter().map(|line| {
        view! { <th scope="col" class="number">{line.name.clone()}</th> }
    });
    let heads = heads.collect_view();
    let row = |(at, column): (usize, &Column)| {
        let cells = plot.lines.iter().map(|line| {
            let words = match line.marks.get(at).copied().flatten() {
                None => "–".to_owned(),
                Some(Mark {
                    value,
                    interval: None,
                }) => (plot.write)(value),
                Some(Mark {
                    value,
                    interval: Some((low, high)),
                }) => fill(
                    "{0} ({1} to {2})",
                    &[&(plot.write)(value), &(plot.write)(low), &(plot.write)(high)],
                ),
            };
            view! { <td class="number">{words}</td> }
        });
        let cells = cells.collect_view();
        view! { <tr data-test="plot-row"><th scope="row">{column.long.clone()}</th>{cells}</tr> }
    };
    let rows = plot.columns.iter().enumerate().map(row).collect_view();
    view! {
        <details class="plot-table">
            <summary>{t("As a table")}</summary>
            <div class="table-frame" tabindex="0" role="region" aria-label=plot.title.clone()>
                <table>
                    <thead><tr><th scope="col">{t(plot.x)}</th>{heads}</tr></thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </details>
    }
    .into_any()
}
