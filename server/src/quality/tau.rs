//! Kendall's tau-b: how far two people put the same answers in the same order (Kendall 1945, with ties). 1 is the same
//! order, 0 none in common, -1 the opposite.

use std::cmp::Ordering;

/// Of two lists of ranks. `None` where either puts everything level, for such a list has no order.
pub fn kendall_tau_b(first: &[u8], second: &[u8]) -> Option<f64> {
    let (mut balance, mut n_first, mut n_second) = (0_i64, 0_i64, 0_i64);
    for a in 0..first.len() {
        for b in a + 1..first.len() {
            let sign = |ranks: &[u8]| match ranks[a].cmp(&ranks[b]) {
                Ordering::Less => -1,
                Ordering::Equal => 0,
                Ordering::Greater => 1,
            };
            let (in_first, in_second) = (sign(first), sign(second));
            balance += in_first * in_second;
            n_first += in_first.abs();
            n_second += in_second.abs();
        }
    }
    let n = ((n_first * n_second) as f64).sqrt();
    (n > 0.0).then(|| balance as f64 / n)
}

/// The taus of a task's pairs of people.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Taus {
    sum: f64,
    n: u32,
}

impl Taus {
    /// Of the rankings of one task, one of each person.
    pub fn of(rankings: &[Vec<u8>]) -> Self {
        let mut taus = Self::default();
        for (at, first) in rankings.iter().enumerate() {
            for second in &rankings[at + 1..] {
                if let Some(tau) = kendall_tau_b(first, second) {
                    taus.sum += tau;
                    taus.n += 1;
                }
            }
        }
        taus
    }
}

/// The mean over all pairs of people who ranked the same task.
pub fn mean_tau(tasks: &[Taus], times: &[u32]) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0.0);
    for (task, &times) in tasks.iter().zip(times) {
        sum += f64::from(times) * task.sum;
        n += f64::from(times) * f64::from(task.n);
    }
    (n > 0.0).then(|| sum / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opposite_orders_give_minus_one_and_no_order_gives_nothing() {
        assert_eq!(kendall_tau_b(&[1, 2, 3], &[3, 2, 1]), Some(-1.0));
        assert_eq!(kendall_tau_b(&[1, 1, 1], &[3, 2, 1]), None);
    }

    #[test]
    fn the_mean_is_over_pairs_of_people_and_leaves_out_undefined_ones() {
        let level = vec![1, 1, 1];
        let tasks = [
            Taus::of(&[vec![1, 2, 3], vec![1, 2, 3], level]),
            Taus::of(&[vec![1, 2, 3], vec![3, 2, 1], vec![1, 2, 3]]),
        ];
        assert_eq!(mean_tau(&tasks, &[1, 1]), Some(0.0));
        assert_eq!(mean_tau(&tasks, &[1, 0]), Some(1.0));
    }
}
