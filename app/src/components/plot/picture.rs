//! The picture of a plot. It is drawn as wide as it is shown, so that its letters have the same size on a phone and on a desk,
//! and as many names stand below it as there is room for.

use super::{Column, Kind, Line, Plot};
use crate::{components::chart::ticks, words::fill};
use leptos::{ev, prelude::*, svg};

/// Until it is known how wide it is shown.
const USUAL_WIDTH: f64 = 480.0;
/// Of a narrower one nothing could be told.
const LEAST_WIDTH: f64 = 160.0;
const HEIGHT: f64 = 200.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 10.0;
/// Between two names, and between one and the picture.
const GAP: f64 = 6.0;
/// From one line of a name to the next.
const LINE: f64 = 13.0;
/// Lines of a name at most.
const N_LINES: usize = 3;

pub(super) fn view(plot: &Plot) -> AnyView {
    let node = NodeRef::<svg::Svg>::new();
    let width = RwSignal::new(USUAL_WIDTH);
    let measure = move || {
        let shown = node
            .get_untracked()
            .map(|node| node.get_bounding_client_rect().width());
        if let Some(shown) = shown.filter(|shown| *shown >= LEAST_WIDTH) {
            width.set(shown);
        }
    };
    Effect::new(move |_| {
        if node.get().is_some() {
            measure();
        }
    });
    let resized = window_event_listener(ev::resize, move |_| measure());
    on_cleanup(move || resized.remove());
    let label = fill("{0}: a picture of the table below", &[&plot.title]);
    let plot = plot.clone();
    view! {
        <svg
            class="plot"
            node_ref=node
            viewBox=move || format!("0 0 {:.1} {HEIGHT}", width.get())
            role="img"
            aria-label=label
        >
            {move || drawn(&plot, width.get())}
        </svg>
    }
    .into_any()
}

fn drawn(plot: &Plot, width: f64) -> AnyView {
    let frame = Frame::around(plot, width);
    let marks = plot.lines.iter().enumerate().map(|(at, line)| match plot.kind {
        Kind::Bars => bars(&frame, line, at, plot.lines.len()),
        Kind::Points => points(&frame, line),
    });
    let marks = marks.collect_view();
    view! { {grid(plot, &frame)} {marks} }.into_any()
}

/// Where values and columns lie in the picture.
struct Frame {
    low: f64,
    high: f64,
    n_columns: usize,
    left: f64,
    width: f64,
    names: Names,
}

impl Frame {
    fn around(plot: &Plot, width: f64) -> Self {
        let marks = plot.lines.iter().flat_map(|line| line.marks.iter().flatten());
        let (mut low, mut high) = (0.0_f64, plot.top);
        for mark in marks {
            let (from, to) = mark.interval.unwrap_or((mark.value, mark.value));
            low = low.min(from).min(mark.value);
            high = high.max(to).max(mark.value);
        }
        let high = if high > low { high } else { low + 1.0 };
        let values = ticks((low, high), 4.0).into_iter();
        let widest = values
            .map(|y| letters_width(&(plot.write)(y)))
            .fold(0.0, f64::max);
        let left = widest + 2.0 * GAP;
        let n_columns = plot.columns.len().max(1);
        Self {
            low,
            high,
            n_columns,
            left,
            width,
            names: Names::of(&plot.columns, (width - left - RIGHT) / n_columns as f64),
        }
    }

    fn bottom(&self) -> f64 {
        HEIGHT - LINE * self.names.n_lines() as f64 - GAP
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (self.high - value) / (self.high - self.low) * (self.bottom() - TOP)
    }

    fn column(&self) -> f64 {
        (self.width - self.left - RIGHT) / self.n_columns as f64
    }

    /// The middle of a column.
    fn x(&self, column: usize) -> f64 {
        self.left + (column as f64 + 0.5) * self.column()
    }
}

/// The names below the columns, those that have room.
#[derive(Debug)]
struct Names {
    /// By column, in lines.
    shown: Vec<(usize, Vec<String>)>,
}

impl Names {
    /// Each name in one line; else each in a few lines; else some of them, from the last one back: the newest is the one that
    /// is looked for.
    fn of(columns: &[Column], column_width: f64) -> Self {
        let room = column_width - GAP;
        let whole = |column: &Column| vec![column.short.clone()];
        let widest = columns
            .iter()
            .map(|column| letters_width(&column.short))
            .fold(0.0, f64::max);
        if widest <= room {
            return Self {
                shown: columns.iter().map(whole).enumerate().collect(),
            };
        }
        let broken: Option<Vec<_>> = columns.iter().map(|column| broken(&column.short, room)).collect();
        if let Some(broken) = broken {
            return Self {
                shown: broken.into_iter().enumerate().collect(),
            };
        }
        let every = ((widest + GAP) / column_width).ceil().max(1.0) as usize;
        let last = columns.len().saturating_sub(1);
        let named = columns.iter().map(whole).enumerate();
        Self {
            shown: named
                .filter(|(at, _)| (last - at).is_multiple_of(every))
                .collect(),
        }
    }

    fn n_lines(&self) -> usize {
        self.shown.iter().map(|(_, lines)| lines.len()).max().unwrap_or(1)
    }
}

/// A name in lines that are no wider than this, broken between words; `None` where that cannot be.
fn broken(name: &str, room: f64) -> Option<Vec<String>> {
    let mut lines = Vec::<String>::new();
    for word in name.split_whitespace() {
        match lines.last_mut() {
            Some(line) if letters_width(line) + letters_width(" ") + letters_width(word) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    let fits = lines.len() <= N_LINES && lines.iter().all(|line| letters_width(line) <= room);
    fits.then_some(lines)
}

/// About how wide letters of the picture are; those of Korean are as wide as high.
fn letters_width(text: &str) -> f64 {
    text.chars()
        .map(|letter| if letter.is_ascii() { 6.6 } else { 11.5 })
        .sum()
}

fn grid(plot: &Plot, frame: &Frame) -> AnyView {
    let (left, right) = (frame.left, frame.width - RIGHT);
    let rows = ticks((frame.low, frame.high), 4.0).into_iter().map(|y| {
        let top = format!("{:.1}", frame.y(y));
        view! {
            <line
                class="chart-grid"
                x1=format!("{left:.1}")
                x2=format!("{right:.1}")
                y1=top.clone()
                y2=top.clone()
            ></line>
            <text class="chart-label chart-label-y" x=format!("{:.1}", left - GAP) y=top dy="0.32em">
                {(plot.write)(y)}
            </text>
        }
    });
    let names = frame.names.shown.iter().flat_map(|(at, lines)| {
        let x = format!("{:.1}", frame.x(*at));
        lines.iter().enumerate().map(move |(line, words)| {
            let y = frame.bottom() + LINE * (line as f64 + 1.0);
            view! {
                <text class="chart-label chart-label-x" x=x.clone() y=format!("{y:.1}")>
                    {words.clone()}
                </text>
            }
        })
    });
    let (rows, names) = (rows.collect_view(), names.collect_view());
    view! { {rows} {names} }.into_any()
}

/// The bars of one of `n` lines, side by side within a column.
fn bars(frame: &Frame, line: &Line, at: usize, n: usize) -> AnyView {
    let width = frame.column() * 0.84 / n as f64;
    let class = format!("plot-bar {}", line.class);
    let zero = frame.y(0.0);
    let marks = line.marks.iter().enumerate().filter_map(|(column, mark)| {
        let top = frame.y(mark.as_ref()?.value);
        let x = frame.x(column) - frame.column() * 0.42 + width * at as f64;
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

fn points(frame: &Frame, line: &Line) -> AnyView {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::plot::Mark;

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

    fn columns(names: &[&str]) -> Vec<Column> {
        names.iter().map(|&name| Column::named(name.to_owned())).collect()
    }

    #[test]
    fn bars_stand_on_zero_and_the_highest_reaches_the_top() {
        let frame = Frame::around(&counts(&[0, 5, 10]), 480.0);
        assert_eq!((frame.y(10.0), frame.y(0.0)), (TOP, frame.bottom()));
        assert!(frame.x(0) > frame.left && frame.x(2) < 480.0 - RIGHT);
    }

    #[test]
    fn nothing_at_all_still_has_a_frame() {
        for nothing in [&[][..], &[0, 0]] {
            let frame = Frame::around(&counts(nothing), 300.0);
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
        let frame = Frame::around(&plot, 480.0);
        assert_eq!((frame.low, frame.high), (-0.4, 0.6));
    }

    #[test]
    fn names_never_touch_however_narrow_the_picture_is() {
        let days: Vec<String> = (1..=30).map(|day| format!("11-{day:02}")).collect();
        let days: Vec<&str> = days.iter().map(String::as_str).collect();
        let answers = ["A is better", "B is better", "Tie", "Both bad"];
        for names in [&days[..], &answers, &["먼저 보인 답변", "나중 답변"]] {
            for width in [200.0, 300.0, 480.0, 900.0] {
                let column = width / names.len() as f64;
                let shown = Names::of(&columns(names), column).shown;
                assert_eq!(shown.last().map(|(at, _)| *at), Some(names.len() - 1));
                for two in shown.windows(2) {
                    let apart = (two[1].0 - two[0].0) as f64 * column;
                    let widest = two.iter().flat_map(|(_, lines)| lines);
                    let widest = widest.map(|line| letters_width(line)).fold(0.0, f64::max);
                    assert!(widest < apart, "{names:?} at {width}: {shown:?}");
                }
            }
        }
    }

    #[test]
    fn a_name_is_broken_between_words_where_it_is_too_wide() {
        let narrow = Names::of(&columns(&["A is better", "Both bad"]), 60.0);
        assert_eq!(narrow.n_lines(), 2);
        assert_eq!(narrow.shown[0].1, ["A is", "better"]);
        assert_eq!(Names::of(&columns(&["A is better"]), 100.0).n_lines(), 1);
    }
}
