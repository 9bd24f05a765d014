//! Agreement beyond what chance gives on categories: Cohen's kappa of two people, Fleiss' of several. Both are 1 where all
//! agree, 0 at the level of chance, and undefined where everybody gave one and the same value to everything.

use super::counts::{Counts, Met, N_VALUES, Task};

/// Cohen 1960, of what two people said to the same things. Unweighted.
pub fn cohen_kappa(tasks: &[Vec<(u8, u8)>], times: &[u32]) -> Option<f64> {
    let (mut first, mut second) = ([0.0; N_VALUES], [0.0; N_VALUES]);
    let (mut n, mut n_same) = (0.0, 0.0);
    for (task, &times) in tasks.iter().zip(times) {
        let times = f64::from(times);
        for &(a, b) in task {
            first[usize::from(a)] += times;
            second[usize::from(b)] += times;
            n += times;
            n_same += if a == b { times } else { 0.0 };
        }
    }
    let by_chance: f64 = first.iter().zip(&second).map(|(a, b)| a * b).sum();
    beyond_chance(n_same / n, by_chance / (n * n))
}

/// What Fleiss' kappa takes of one task: the things that exactly so many people judged.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    met: Met,
    by_value: [u32; N_VALUES],
}

impl Judged {
    pub fn by(n_raters: u32, task: &Task) -> Self {
        let things: Task = task
            .iter()
            .filter(|thing| thing.n() == n_raters)
            .copied()
            .collect();
        let mut judged = Self {
            met: Met::of(&things),
            ..Self::default()
        };
        for (value, n) in things.iter().flat_map(Counts::given) {
            judged.by_value[value] += n;
        }
        judged
    }

    pub fn is_empty(&self) -> bool {
        self.met.n_pairs == 0
    }
}

/// Fleiss 1971.
pub fn fleiss_kappa(tasks: &[Judged], times: &[u32]) -> Option<f64> {
    let mut by_value = [0.0; N_VALUES];
    let (mut n_pairs, mut n_same) = (0.0, 0.0);
    for (task, &times) in tasks.iter().zip(times).filter(|(_, times)| **times > 0) {
        n_pairs += f64::from(times) * f64::from(task.met.n_pairs);
        n_same += f64::from(times) * f64::from(task.met.n_same);
        for (sum, n) in by_value.iter_mut().zip(task.by_value) {
            *sum += f64::from(times) * f64::from(n);
        }
    }
    let n: f64 = by_value.iter().sum();
    let by_chance: f64 = by_value.iter().map(|of_value| of_value * of_value).sum();
    beyond_chance(n_same / n_pairs, by_chance / (n * n))
}

/// How many people judged most of the things that several did; the larger number where two are as frequent.
pub fn usual_n_raters(tasks: &[Task]) -> Option<u32> {
    let mut n_things = std::collections::BTreeMap::<u32, usize>::new();
    for n in tasks.iter().flatten().map(|thing| thing.n()).filter(|n| *n > 1) {
        *n_things.entry(n).or_default() += 1;
    }
    n_things
        .into_iter()
        .max_by_key(|(_, n_things)| *n_things)
        .map(|(n, _)| n)
}

fn beyond_chance(observed: f64, by_chance: f64) -> Option<f64> {
    let kappa = (observed - by_chance) / (1.0 - by_chance);
    kappa.is_finite().then_some(kappa)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_for_everything_says_nothing() {
        assert_eq!(cohen_kappa(&[vec![(1, 1), (1, 1)]], &[3]), None);
        assert_eq!(cohen_kappa(&[], &[]), None);
        assert_eq!(
            fleiss_kappa(&[Judged::by(2, &vec![Counts::of([1, 1])])], &[3]),
            None
        );
    }

    #[test]
    fn the_usual_number_of_people_leaves_out_who_was_alone() {
        let tasks = [
            vec![Counts::of([1]), Counts::of([1]), Counts::of([1])],
            vec![Counts::of([1, 2]), Counts::of([1, 2, 0])],
        ];
        assert_eq!(usual_n_raters(&tasks), Some(3));
        assert_eq!(usual_n_raters(&tasks[..1]), None);
    }
}
