//! A picture of figures that stand in columns, as bars or as points with their intervals, and the same figures as a table
//! for those who want the numbers or do not see it. Columns are days, hours, answers, whatever has a name.

use super::chart::ticks;
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

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;
/// Names under the picture.
const N_NAMES: usize = 6;

/// Where values and columns lie in the picture.
#[derive(Clone, Copy)]
struct Frame {
    low: f64,
    high: f64,
    n_columns: usize,
}

impl Frame {
    fn around(plot: &Plot) -> Self {
        let marks = plot.lines.iter().flat_map(|line| line.marks.iter().flatten());
        let (mut low, mut high) = (0.0_f64, plot.top);
        for mark in marks {
            let (from, to) = mark.interval.unwrap_or((mark.value, mark.value));
            low = low.min(from).min(mark.value);
            high = high.max(to).max(mark.value);
        }
        Self {
            low,
            high: if high > low { high } else { low + 1.0 },
            n_columns: plot.columns.len().max(1),
        }
    }

    fn y(self, value: f64) -> f64 {
        TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)
    }

    fn width(self) -> f64 {
        (WIDTH - LEFT - RIGHT) / self.n_columns as f64
    }

    /// The middle of a column.
    fn x(self, column: usize) -> f64 {
        LEFT + (column as f64 + 0.5) * self.width()
    }
}

pub fn plot(plot: Plot) -> AnyView {
    let frame = Frame::around(&plot);
    let n_points: usize = plot
        .lines
        .iter()
        .map(|line| line.marks.iter().flatten().count())
        .sum();
    let marks = plot.lines.iter().enumerate().map(|(at, line)| match plot.kind {
        Kind::Bars => bars(frame, line, at, plot.lines.len()),
        Kind::Points => points(frame, line),
    });
    let marks = marks.collect_view();
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
            <svg
                viewBox=format!("0 0 {WIDTH} {HEIGHT}")
                role="img"
                aria-label=fill("{0}: a picture of the table below", &[&plot.title])
            >
                {grid(&plot, frame)}
                {marks}
            </svg>
            {table(&plot)}
        </figure>
    }
    .into_any()
}

fn grid(plot: &Plot, frame: Frame) -> AnyView {
    let rows = ticks((frame.low, frame.high), 4.0).into_iter().map(|y| {
        let top = format!("{:.1}", frame.y(y));
        view! {
            <line class="chart-grid" x1=LEFT.to_string() x2=(WIDTH - RIGHT).to_string() y1=top.clone() y2=top.clone()></line>
            <text class="chart-label chart-label-y" x=(LEFT - 6.0).to_string() y=top dy="0.32em">{(plot.write)(y)}</text>
        }
    });
    let every = plot.columns.len().div_ceil(N_NAMES).max(1);
    // From the last one back: the newest is the one that is looked for.
    let last = plot.columns.len().saturating_sub(1);
    let named = plot
        .columns
        .iter()
        .enumerate()
        .filter(|(at, _)| (last - at).is_multiple_of(every));
    let names = named.map(|(at, column)| {
        let x = format!("{:.1}", frame.x(at));
        view! { <text class="chart-label chart-label-x" x=x y=(HEIGHT - 6.0).to_string()>{column.short.clone()}</text> }
    });
    let (rows, names) = (rows.collect_view(), names.collect_view());
    view! { {rows} {names} }.into_any()
}

/// The bars of one of `n` lines, side by side within a column.
fn bars(frame: Frame, line: &Line, at: usize, n: usize) -> AnyView {
    let width = frame.width() * 0.84 / n as f64;
    let class = format!("plot-bar {}", line.class);
    let zero = frame.y(0.0);
    let marks = line.marks.iter().enumerate().filter_map(|(column, mark)| {
        let top = frame.y(mark.as_ref()?.value);
        let x = frame.x(column) - frame.width() * 0.42 + width * at as f64;
        Some(view! {
            <rect
                class=class.clone()
                x=format!("{x:.2}")
                y=format!("{:.2}", top.min(zero))
                width=format!("{width:.2}")
                height=format!("{:.2}", (zero - top).abs())
            ></rect>
        })
    });
    marks.collect_view().into_any()
}

fn points(frame: Frame, line: &Line) -> AnyView {
    let marks = || {
        let marks = line.marks.iter().enumerate();
        marks.filter_map(|(column, mark)| Some((frame.x(column), mark.as_ref()?)))
    };
    let mut path = String::new();
    for (x, mark) in marks() {
        let verb = if path.is_empty() { 'M' } else { 'L' };
        path.push_str(&format!("{verb}{x:.1} {:.1}", frame.y(mark.value)));
    }
    let class = |shape: &str| format!("{shape} {}", line.class);
    let dots = marks().map(|(x, mark)| {
        let x = format!("{x:.1}");
        let whisker = mark.interval.map(|(low, high)| {
            let (from, to) = (format!("{:.1}", frame.y(low)), format!("{:.1}", frame.y(high)));
            view! { <line class=class("plot-whisker") x1=x.clone() x2=x.clone() y1=from y2=to></line> }
        });
        let y = format!("{:.1}", frame.y(mark.value));
        view! { {whisker} <circle class=class("chart-dot") cx=x.clone() cy=y r="3"></circle> }
    });
    let dots = dots.collect_view();
    view! { <path class=class("chart-line") d=path></path> {dots} }.into_any()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[u64]) -> Plot {
        Plot {
            title: "t".into(),
            hook: "h",
            kind: Kind::Bars,
            x: "x",
            columns: vec![Column::named("a".into()); counts.len()],
            lines: vec![Line::of_counts("n", counts.iter().copied())],
            write: |value| value.to_string(),
            top: 0.0,
        }
    }

    #[test]
    fn bars_stand_on_zero_and_the_highest_reaches_the_top() {
        let frame = Frame::around(&counts(&[0, 5, 10]));
        assert_eq!((frame.y(10.0), frame.y(0.0)), (TOP, HEIGHT - BOTTOM));
        assert!(frame.x(0) > LEFT && frame.x(2) < WIDTH - RIGHT);
    }

    #[test]
    fn nothing_at_all_still_has_a_frame() {
        for nothing in [&[][..], &[0, 0]] {
            let frame = Frame::around(&counts(nothing));
            assert!(frame.y(0.0).is_finite() && frame.x(0).is_finite());
        }
    }

    #[test]
    fn an_interval_below_zero_is_inside_the_picture() {
        let mut plot = counts(&[1]);
        plot.lines[0].marks[0] = Some(Mark {
            value: 0.1,
            interval: Some((-0.4, 0.6)),
        });
        let frame = Frame::around(&plot);
        assert_eq!((frame.low, frame.high), (-0.4, 0.6));
    }
}
