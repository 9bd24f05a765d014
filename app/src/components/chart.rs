//! A line chart of one or more series: over steps, or one figure against another as a path through time. Axes, a
//! read-out under the pointer, and the same figures as text for those who do not see it.

use crate::{
    format,
    words::{fill, later, t},
};
use leptos::prelude::*;

/// What a chart is called and what its x axis counts, in English: it is translated where it is shown.
#[derive(Clone, Copy)]
pub struct Chart {
    pub title: &'static str,
    /// Its `data-test` name.
    pub hook: &'static str,
    /// Of the x axis, for example `step`.
    pub x: &'static str,
    /// x are whole numbers: only those are written along the axis.
    pub is_whole: bool,
    /// Every point gets a dot: where x does not only grow, they tell where the line turns.
    pub has_dots: bool,
}

/// One line: its name, its colour (a class of the style sheet), and its points in the order in which they are joined.
#[derive(Clone, PartialEq)]
pub struct Series {
    pub name: &'static str,
    pub class: &'static str,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// The part of the plane that is drawn.
#[derive(Clone, Copy, PartialEq)]
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn around(series: &[Series]) -> Self {
        let points = || series.iter().flat_map(|line| line.points.iter().copied());
        let widen = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
        let empty = (f64::INFINITY, f64::NEG_INFINITY);
        let x = points().fold(empty, |range, (x, _)| widen(range, x));
        let y = points().fold(empty, |range, (_, y)| widen(range, y));
        let open = |(low, high): (f64, f64), pad: f64| {
            if low >= high {
                (low - pad, high + pad)
            } else {
                (low, high)
            }
        };
        // A flat line gets a frame around it: a tenth of its height, or one when it lies at 0.
        let y = open(y, if y.0 == 0.0 { 1.0 } else { y.0.abs() * 0.1 });
        let margin = (y.1 - y.0) * 0.06;
        Self {
            x: open(x, 1.0),
            y: (y.0 - margin, y.1 + margin),
        }
    }

    fn left(self, x: f64) -> f64 {
        LEFT + (x - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn top(self, y: f64) -> f64 {
        TOP + (self.y.1 - y) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }
}

/// Round numbers across a range, about `n` of them.
pub(super) fn ticks((low, high): (f64, f64), n: f64) -> Vec<f64> {
    let rough = (high - low) / n;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|m| m * power >= rough)
        .unwrap_or(10.0)
        * power;
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|at| at as f64 * step).collect()
}

impl Chart {
    pub const fn over_steps(title: &'static str, hook: &'static str) -> Self {
        Self {
            title,
            hook,
            x: later("step"),
            is_whole: true,
            has_dots: false,
        }
    }
}

/// Series without points are left out.
pub fn line_chart(chart: Chart, series: Memo<Vec<Series>>) -> AnyView {
    let hover = RwSignal::new(None::<f64>);
    let n_points = move || series.with(|lines| lines.iter().map(|line| line.points.len()).sum::<usize>());
    let summary = move || series.with(|lines| summary(chart, lines));
    let body = move || series.with(|lines| drawing(chart, lines));
    let cursor = move || {
        let at = hover.get()?;
        series.with(|lines| {
            let frame = Frame::around(lines);
            let x = nearest(lines, frame.x.0 + at * (frame.x.1 - frame.x.0))?;
            let left = format!("{:.1}", frame.left(x));
            let dots = lines.iter().filter_map(|line| {
                let (_, y) = line.points.iter().find(|point| point.0 == x)?;
                let class = format!("chart-dot {}", line.class);
                let top = format!("{:.1}", frame.top(*y));
                Some(view! { <circle class=class cx=left.clone() cy=top r="3.5"></circle> })
            });
            let dots = dots.collect_view();
            Some(view! {
                <line class="chart-cursor" x1=left.clone() x2=left y1=TOP.to_string() y2=(HEIGHT - BOTTOM).to_string()></line>
                {dots}
            })
        })
    };
    let read_out = move || {
        let at = hover.get();
        series.with(|lines| read_out(chart, lines, at))
    };
    let follow = move |event: leptos::ev::PointerEvent| {
        let target = event_target::<web_sys::Element>(&event);
        let area = target.get_bounding_client_rect();
        let scale = WIDTH / area.width().max(1.0);
        let x = (f64::from(event.client_x()) - area.left()) * scale;
        hover.set(Some(((x - LEFT) / (WIDTH - LEFT - RIGHT)).clamp(0.0, 1.0)));
    };
    view! {
        <figure class="chart" class:chart-path=chart.has_dots data-test=chart.hook data-points=move || n_points().to_string()>
            <figcaption>
                <span class="chart-title">{t(chart.title)}</span>
                <span class="chart-values figures">{read_out}</span>
            </figcaption>
            <svg
                viewBox=format!("0 0 {WIDTH} {HEIGHT}")
                role="img"
                aria-label=summary
                on:pointermove=follow
                on:pointerleave=move |_| hover.set(None)
            >
                <g class="chart-body">{body}</g>
                {cursor}
            </svg>
        </figure>
    }
    .into_any()
}

fn nearest(lines: &[Series], x: f64) -> Option<f64> {
    let points = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|point| point.0));
    points.min_by(|a, b| (a - x).abs().total_cmp(&(b - x).abs()))
}

/// Axes and lines as one view.
fn drawing(chart: Chart, lines: &[Series]) -> AnyView {
    if lines.iter().all(|line| line.points.is_empty()) {
        let (x, y) = ((WIDTH / 2.0).to_string(), (HEIGHT / 2.0).to_string());
        return view! { <text class="chart-empty" x=x y=y>{t("No figures yet")}</text> }.into_any();
    }
    let frame = Frame::around(lines);
    let rows = ticks(frame.y, 4.0).into_iter().map(|y| {
        let top = format!("{:.1}", frame.top(y));
        view! {
            <line class="chart-grid" x1=LEFT.to_string() x2=(WIDTH - RIGHT).to_string() y1=top.clone() y2=top.clone()></line>
            <text class="chart-label chart-label-y" x=(LEFT - 6.0).to_string() y=top dy="0.32em">{format::figure(y)}</text>
        }
    });
    let shown = |x: &f64| !chart.is_whole || x.fract() == 0.0;
    let columns = ticks(frame.x, 6.0).into_iter().filter(shown).map(|x| {
        let left = format!("{:.1}", frame.left(x));
        view! { <text class="chart-label chart-label-x" x=left y=(HEIGHT - 6.0).to_string()>{format::figure(x)}</text> }
    });
    let paths = lines.iter().filter(|line| !line.points.is_empty()).map(|line| {
        let mut path = String::new();
        for (at, (x, y)) in drawn(chart, &line.points).into_iter().enumerate() {
            let verb = if at == 0 { 'M' } else { 'L' };
            path.push_str(&format!("{verb}{:.1} {:.1}", frame.left(x), frame.top(y)));
        }
        // A line of one point has no length: a dot stands for it. The last dot is larger: that is where it stands.
        let last = line.points.len() - 1;
        let has_dots = chart.has_dots || last == 0;
        let dots = line
            .points
            .iter()
            .enumerate()
            .filter(|_| has_dots)
            .map(|(at, (x, y))| {
                let class = format!("chart-dot {}", line.class);
                let radius = if at == last { "4" } else { "2" };
                let (left, top) = (format!("{:.1}", frame.left(*x)), format!("{:.1}", frame.top(*y)));
                view! { <circle class=class cx=left cy=top r=radius></circle> }
            });
        let dots = dots.collect_view();
        let class = format!("chart-line {}", line.class);
        view! { <path class=class d=path></path> {dots} }
    });
    let (rows, columns, paths) = (rows.collect_view(), columns.collect_view(), paths.collect_view());
    view! { {rows} {columns} {paths} }.into_any()
}

/// Of more points than the chart has room for, the lowest and the highest of each stretch: the line looks the same.
fn drawn(chart: Chart, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let n_stretches = WIDTH as usize;
    if chart.has_dots || points.len() <= 2 * n_stretches {
        return points.to_vec();
    }
    let ends = |stretch: &[(f64, f64)]| {
        let order = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let low = stretch.iter().min_by(order).copied();
        let high = stretch.iter().max_by(order).copied();
        let mut ends: Vec<(f64, f64)> = low.into_iter().chain(high).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends
    };
    let stretches = points.chunks(points.len().div_ceil(n_stretches));
    stretches.flat_map(ends).chain(points.last().copied()).collect()
}

/// The values under the pointer, or the last ones.
fn read_out(chart: Chart, lines: &[Series], at: Option<f64>) -> AnyView {
    let frame = Frame::around(lines);
    let x = at.and_then(|at| nearest(lines, frame.x.0 + at * (frame.x.1 - frame.x.0)));
    let values = lines.iter().filter_map(|line| {
        let point = match x {
            Some(x) => line.points.iter().find(|point| point.0 == x),
            None => line.points.last(),
        };
        let value = format::figure(point?.1);
        let class = format!("chart-value {}", line.class);
        Some(view! { <span class=class>{t(line.name)}" "{value}</span> })
    });
    let values = values.collect_view();
    let step = x.map(|x| view! { <span class="chart-step">{t(chart.x)}" "{format::figure(x)}</span> });
    view! { {step} {values} }.into_any()
}

/// The chart in words.
fn summary(chart: Chart, lines: &[Series]) -> String {
    let mut text = t(chart.title).to_owned();
    for line in lines {
        if let (Some(first), Some(last)) = (line.points.first(), line.points.last()) {
            let (from, to) = (format::figure(first.1), format::figure(last.1));
            let (start, end) = (format::figure(first.0), format::figure(last.0));
            text.push_str(&fill(
                ". {0}: {1} points, from {2} at {3} {4} to {5} at {3} {6}",
                &[
                    &t(line.name),
                    &line.points.len(),
                    &from,
                    &t(chart.x),
                    &start,
                    &to,
                    &end,
                ],
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_inside_the_range() {
        assert_eq!(ticks((0.0, 10.0), 4.0), [0.0, 5.0, 10.0]);
        assert_eq!(ticks((-3.0, 47.0), 5.0), [0.0, 10.0, 20.0, 30.0, 40.0]);
    }

    #[test]
    fn a_line_of_a_hundred_thousand_points_is_drawn_with_few_and_keeps_its_spikes() {
        let chart = Chart::over_steps("Loss", "test");
        let value = |at: u32| {
            if at == 4321 {
                500.0
            } else {
                f64::from(at * 7919 % 97)
            }
        };
        let points: Vec<(f64, f64)> = (0..100_000).map(|at| (f64::from(at), value(at))).collect();
        let drawn = drawn(chart, &points);
        assert!(drawn.len() <= 2 * WIDTH as usize + 1, "{}", drawn.len());
        assert!(drawn.is_sorted_by(|a, b| a.0 <= b.0));
        assert!(drawn.contains(&(99_999.0, value(99_999))) && drawn.contains(&(4321.0, 500.0)));
        assert!(super::drawn(chart, &points[..800]).len() == 800);
    }

    #[test]
    fn a_single_point_still_has_a_frame() {
        let frame = Frame::around(&[Series {
            name: "train",
            class: "a",
            points: vec![(1.0, 0.5)],
        }]);
        assert!(frame.left(1.0).is_finite() && frame.top(0.5).is_finite());
    }
}
