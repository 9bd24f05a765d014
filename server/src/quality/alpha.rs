//! Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"): one minus observed over expected
//! disagreement, for any number of people, with any of them missing from any thing.

use super::counts::{N_VALUES, Task, things};

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

type Table = [[f64; N_VALUES]; N_VALUES];

/// Undefined where everybody gave one and the same value to everything.
pub fn krippendorff_alpha(tasks: &[Task], times: &[u32], distance: Distance) -> Option<f64> {
    let coincidences = coincidences(tasks, times);
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

/// How often each pair of values meets in a thing; a thing that m people judged counts m times. Symmetric.
fn coincidences(tasks: &[Task], times: &[u32]) -> Table {
    let mut table = [[0.0; N_VALUES]; N_VALUES];
    for (thing, times) in things(tasks, times) {
        let n = thing.n();
        if n < 2 {
            continue;
        }
        let weight = times / f64::from(n - 1);
        for (a, n_a) in thing.given() {
            for (b, n_b) in thing.given() {
                let others = if a == b { n_b - 1 } else { n_b };
                table[a][b] += weight * f64::from(n_a * others);
            }
        }
    }
    table
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
        assert_eq!(krippendorff_alpha(&tasks, &[4, 1], Distance::Nominal), None);
    }

    #[test]
    fn near_misses_count_less_than_far_ones_where_values_have_an_order() {
        let near = [
            vec![Counts::of([1, 2])],
            vec![Counts::of([4, 5])],
            vec![Counts::of([1, 1])],
        ];
        let alpha = |distance| krippendorff_alpha(&near, &[1, 1, 1], distance).unwrap();
        assert!(alpha(Distance::Nominal) < 0.3, "{}", alpha(Distance::Nominal));
        assert!(alpha(Distance::Ordinal) > 0.7, "{}", alpha(Distance::Ordinal));
        assert!(alpha(Distance::Interval) > 0.8, "{}", alpha(Distance::Interval));
    }
}
