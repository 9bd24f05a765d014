//! Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"): one minus observed over expected
//! disagreement, for any number of people, with any of them missing from any thing.

use super::counts::{N_VALUES, Task};
use std::collections::BTreeMap;

/// How far two values are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// The same, or not.
    Nominal,
    /// By how many answers lie between them.
    Ordinal,
    /// Their difference.
    Interval,
}

/// How often each two values meet in the things of a task; a thing that m people judged counts m times. Symmetric, and
/// only what occurs.
#[derive(Clone, Debug)]
pub struct Coincidences(Vec<(usize, usize, f64)>);

impl Coincidences {
    pub fn of(task: &Task) -> Self {
        let mut table = BTreeMap::<(usize, usize), f64>::new();
        for thing in task.iter().filter(|thing| thing.n() > 1) {
            let weight = 1.0 / f64::from(thing.n() - 1);
            for (a, n_a) in thing.given() {
                for (b, n_b) in thing.given() {
                    let others = if a == b { n_b - 1 } else { n_b };
                    *table.entry((a, b)).or_default() += weight * f64::from(n_a * others);
                }
            }
        }
        Self(table.into_iter().map(|((a, b), n)| (a, b, n)).collect())
    }
}

/// Undefined where everybody gave one and the same value to everything.
pub fn krippendorff_alpha(tasks: &[Coincidences], times: &[u32], distance: Distance) -> Option<f64> {
    let mut coincidences = [[0.0; N_VALUES]; N_VALUES];
    for (task, &times) in tasks.iter().zip(times).filter(|(_, times)| **times > 0) {
        for &(a, b, n) in &task.0 {
            coincidences[a][b] += f64::from(times) * n;
        }
    }
    let by_value = coincidences.map(|row| row.iter().sum::<f64>());
    let n: f64 = by_value.iter().sum();
    let (mut observed, mut expected) = (0.0, 0.0);
    for low in 0..N_VALUES {
        for high in low + 1..N_VALUES {
            let squared = squared_distance(low, high, &by_value, distance);
            observed += coincidences[low][high] * squared;
            expected += by_value[low] * by_value[high] * squared;
        }
    }
    (expected > 0.0).then(|| 1.0 - (n - 1.0) * observed / expected)
}

fn squared_distance(low: usize, high: usize, by_value: &[f64; N_VALUES], distance: Distance) -> f64 {
    let apart = match distance {
        Distance::Nominal => 1.0,
        Distance::Ordinal => {
            by_value[low..=high].iter().sum::<f64>() - (by_value[low] + by_value[high]) / 2.0
        }
        Distance::Interval => (high - low) as f64,
    };
    apart * apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::counts::Counts;

    #[test]
    fn one_value_for_everything_says_nothing() {
        let tasks = [vec![Counts::of([3, 3, 3])], vec![Counts::of([1])]];
        assert_eq!(
            krippendorff_alpha(
                &tasks.each_ref().map(Coincidences::of),
                &[4, 1],
                Distance::Nominal
            ),
            None
        );
    }

    #[test]
    fn near_misses_count_less_than_far_ones_where_values_have_an_order() {
        let near = [
            vec![Counts::of([1, 2])],
            vec![Counts::of([4, 5])],
            vec![Counts::of([1, 1])],
        ];
        let alpha = |distance| {
            krippendorff_alpha(&near.each_ref().map(Coincidences::of), &[1, 1, 1], distance).unwrap()
        };
        assert!(alpha(Distance::Nominal) < 0.3, "{}", alpha(Distance::Nominal));
        assert!(alpha(Distance::Ordinal) > 0.7, "{}", alpha(Distance::Ordinal));
        assert!(alpha(Distance::Interval) > 0.8, "{}", alpha(Distance::Interval));
    }
}
