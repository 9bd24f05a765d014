//! Fewer points of a long round, such that a line through them looks like the line through all: of each stretch of steps the
//! last point whole, and the least and the greatest value of every figure, where they are (min-max decimation).

use laurel_protocol::{MetricPoint, Split};
use std::collections::BTreeMap;

type Values = BTreeMap<String, f64>;

/// Of a split with more than twice as many points as `n_stretches`, so many stretches; all of the others. In the order of the
/// steps, as they came.
pub fn thin(points: Vec<MetricPoint>, n_stretches: usize) -> Vec<MetricPoint> {
    let (train, eval): (Vec<_>, Vec<_>) = points.into_iter().partition(|point| point.split == Split::Train);
    let mut kept = thin_split(train, n_stretches);
    kept.extend(thin_split(eval, n_stretches));
    kept.sort_by_key(|point| (point.step, point.split));
    kept
}

fn thin_split(points: Vec<MetricPoint>, n_stretches: usize) -> Vec<MetricPoint> {
    if points.len() <= 2 * n_stretches {
        return points;
    }
    let length = points.len().div_ceil(n_stretches.max(1));
    points.chunks(length).flat_map(extremes).collect()
}

/// What is kept of a stretch, which has at least one point.
fn extremes(stretch: &[MetricPoint]) -> Vec<MetricPoint> {
    let mut ends: BTreeMap<&str, [(f64, usize); 2]> = BTreeMap::new();
    for (at, point) in stretch.iter().enumerate() {
        for (name, value) in point.values.iter().filter(|(_, value)| value.is_finite()) {
            let [least, most] = ends.entry(name).or_insert([(*value, at); 2]);
            if *value < least.0 {
                *least = (*value, at);
            }
            if *value > most.0 {
                *most = (*value, at);
            }
        }
    }
    let last = stretch.len() - 1;
    let mut kept: BTreeMap<usize, Values> = BTreeMap::from([(last, stretch[last].values.clone())]);
    for (name, ends) in ends {
        for (value, at) in ends {
            kept.entry(at).or_default().insert(name.to_owned(), value);
        }
    }
    let point = |(at, values): (usize, Values)| MetricPoint {
        step: stretch[at].step,
        split: stretch[at].split,
        values,
    };
    kept.into_iter().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(n: u64) -> Vec<MetricPoint> {
        let point = |step: u64| MetricPoint {
            step,
            split: Split::Train,
            values: [
                (
                    "loss".to_owned(),
                    if step == 777 { 9.0 } else { 1.0 / step as f64 },
                ),
                ("grad_norm".to_owned(), (step * 7919 % 101) as f64),
            ]
            .into(),
        };
        (1..=n).map(point).collect()
    }

    #[test]
    fn a_spike_of_one_step_stays_where_it_is() {
        let thinned = thin(points(100_000), 300);
        assert!(thinned.len() <= 300 * 5, "{}", thinned.len());
        let spike = thinned.iter().find(|point| point.step == 777).unwrap();
        assert_eq!(spike.values["loss"], 9.0);
        let last = thinned.last().unwrap();
        assert_eq!((last.step, last.values.len()), (100_000, 2));
        assert!(thinned.is_sorted_by_key(|point| point.step));
    }

    #[test]
    fn every_stretch_keeps_its_least_and_its_greatest_value_of_each_figure() {
        let all = points(10_000);
        let thinned = thin(all.clone(), 100);
        for stretch in all.chunks(100) {
            let (from, to) = (stretch[0].step, stretch[99].step);
            for name in ["loss", "grad_norm"] {
                let ends = |points: &[MetricPoint]| {
                    let inside = points.iter().filter(|point| (from..=to).contains(&point.step));
                    let values = inside.filter_map(|point| point.values.get(name).copied());
                    let ends = (f64::INFINITY, f64::NEG_INFINITY);
                    values.fold(ends, |(low, high), value| (low.min(value), high.max(value)))
                };
                assert_eq!(ends(stretch), ends(&thinned));
            }
        }
    }

    #[test]
    fn what_is_short_and_evaluations_stay_whole() {
        let mut all = points(600);
        all.push(MetricPoint {
            step: 600,
            split: Split::Eval,
            values: [("loss".to_owned(), 0.5)].into(),
        });
        assert_eq!(thin(all.clone(), 300), all);
        assert!(thin(Vec::new(), 300).is_empty());
    }
}
