//! The ladder: Bradley-Terry points of all generators that comparisons connect, with intervals from the Fisher information of
//! the fit. Input: counts of pairs (`store/ladder.rs`).

use super::{
    bradley_terry::{self, Games, PRIOR},
    standings::{MEAN, Met, POINTS, Result as Outcome, record},
};
use laurel_protocol::{Contender, Interval, Ladder, LadderGroup, PairStanding, Rung};
use std::collections::BTreeMap;

/// The normal distribution's for 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// Wins of the first, ties, and wins of the second, by the contenders' numbers, the lower one first.
type Pairs = BTreeMap<(usize, usize), [u64; 3]>;

/// `all` are those that could be on it, whether they met anyone or not.
pub fn of(met: &[Met], all: &[Contender]) -> Ladder {
    let mut contenders: Vec<Contender> = all.to_vec();
    contenders.extend(met.iter().flat_map(|one| [one.first.clone(), one.second.clone()]));
    contenders.sort();
    contenders.dedup();
    let pairs = pairs(met, &contenders);
    let mut groups = Vec::new();
    let mut unranked = Vec::new();
    for members in connected(contenders.len(), &pairs) {
        match members.as_slice() {
            [alone] => unranked.push(contenders[*alone].clone()),
            _ => groups.push(group(&members, &pairs, &contenders)),
        }
    }
    groups.sort_by_key(|group: &LadderGroup| std::cmp::Reverse(group.rungs.len()));
    let pair = |(&(first, second), tally): (&(usize, usize), &[u64; 3])| {
        Some(PairStanding {
            first: contenders[first].clone(),
            second: contenders[second].clone(),
            record: record(*tally)?,
        })
    };
    Ladder {
        n_comparisons: pairs.values().flatten().sum(),
        groups,
        unranked,
        pairs: pairs.iter().filter_map(pair).collect(),
    }
}

fn pairs(met: &[Met], contenders: &[Contender]) -> Pairs {
    let number = |who: &Contender| {
        contenders
            .binary_search(who)
            .expect("all that met are among them")
    };
    let mut pairs = Pairs::new();
    for one in met.iter().filter(|one| one.n > 0) {
        let (first, second) = (number(&one.first), number(&one.second));
        let tally = pairs.entry((first.min(second), first.max(second))).or_default();
        let at = match (one.result, first < second) {
            (Outcome::Tie, _) => 1,
            (Outcome::FirstWins, true) | (Outcome::SecondWins, false) => 0,
            (Outcome::FirstWins, false) | (Outcome::SecondWins, true) => 2,
        };
        tally[at] += one.n;
    }
    pairs
}

/// The groups that comparisons connect, each in rising order.
fn connected(n: usize, pairs: &Pairs) -> Vec<Vec<usize>> {
    let mut group_of: Vec<usize> = (0..n).collect();
    for &(first, second) in pairs.keys() {
        let (kept, gone) = (group_of[first], group_of[second]);
        for group in &mut group_of {
            if *group == gone {
                *group = kept;
            }
        }
    }
    let mut groups = BTreeMap::<usize, Vec<usize>>::new();
    for (who, group) in group_of.into_iter().enumerate() {
        groups.entry(group).or_default().push(who);
    }
    groups.into_values().collect()
}

fn group(members: &[usize], pairs: &Pairs, contenders: &[Contender]) -> LadderGroup {
    let place = |who: &usize| members.binary_search(who).ok();
    let mut games = Vec::new();
    let mut own = vec![[0_u64; 3]; members.len()];
    for ((first, second), &[wins, ties, losses]) in pairs {
        let (Some(first), Some(second)) = (place(first), place(second)) else {
            continue;
        };
        games.push(Games {
            first,
            second,
            wins: wins as f64 + ties as f64 / 2.0,
            n: (wins + ties + losses) as f64,
        });
        for (place, seen) in [(first, [wins, ties, losses]), (second, [losses, ties, wins])] {
            for (own, seen) in own[place].iter_mut().zip(seen) {
                *own += seen;
            }
        }
    }
    let fitted = fit(members.len(), &games);
    let mut rungs: Vec<Rung> = members
        .iter()
        .zip(fitted)
        .zip(own)
        .filter_map(|((who, (points, error)), tally)| {
            Some(Rung {
                contender: contenders[*who].clone(),
                record: record(tally)?,
                points,
                interval: Interval {
                    low: points - Z * error,
                    high: points + Z * error,
                },
            })
        })
        .collect();
    rungs.sort_by(|a, b| b.points.total_cmp(&a.points));
    LadderGroup { rungs }
}

/// Points and their standard errors: the covariance of the fit is the inverse of the Hessian, the prior included; that of the
/// distances from the mean follows.
pub fn fit(n: usize, games: &[Games]) -> Vec<(f64, f64)> {
    let logs = bradley_terry::fit(n, games);
    let covariance = inverse(hessian(&logs, games));
    let scale = POINTS / std::f64::consts::LN_10;
    let row_means: Vec<f64> = covariance
        .iter()
        .map(|row| row.iter().sum::<f64>() / n as f64)
        .collect();
    let mean = row_means.iter().sum::<f64>() / n as f64;
    let points = |who: usize| {
        // The matrix is symmetric: what is taken off a row's mean is taken off a column's as well.
        let variance = covariance[who][who] - 2.0 * row_means[who] + mean;
        (MEAN + scale * logs[who], scale * variance.max(0.0).sqrt())
    };
    (0..n).map(points).collect()
}

/// Of minus the penalised log-likelihood. The fit is known up to a common factor that the prior fixes: its games are half won at
/// strengths as they are there.
fn hessian(logs: &[f64], games: &[Games]) -> Vec<Vec<f64>> {
    let spread = |difference: f64| {
        let share = 1.0 / (1.0 + (-difference).exp());
        share * (1.0 - share)
    };
    let shift = bradley_terry::shift_of_prior(logs);
    let mut matrix = vec![vec![0.0; logs.len()]; logs.len()];
    for (who, log) in logs.iter().enumerate() {
        matrix[who][who] += PRIOR * spread(log + shift);
    }
    for game in games {
        let each = game.n * spread(logs[game.first] - logs[game.second]);
        matrix[game.first][game.first] += each;
        matrix[game.second][game.second] += each;
        matrix[game.first][game.second] -= each;
        matrix[game.second][game.first] -= each;
    }
    matrix
}

/// By Gauss and Jordan. The matrix is diagonally dominant, strictly so by the prior: no pivot is 0.
fn inverse(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = matrix.len();
    for (at, row) in matrix.iter_mut().enumerate() {
        row.extend((0..n).map(|column| f64::from(u8::from(column == at))));
    }
    for at in 0..n {
        let pivot = matrix[at][at];
        matrix[at].iter_mut().for_each(|value| *value /= pivot);
        let own = matrix[at].clone();
        for (other, row) in matrix.iter_mut().enumerate() {
            let factor = row[at];
            if other != at && factor != 0.0 {
                row.iter_mut()
                    .zip(&own)
                    .for_each(|(value, own)| *value -= factor * own);
            }
        }
    }
    matrix.into_iter().map(|row| row[n..].to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::AdapterId;

    fn contender(id: i64) -> Contender {
        Contender {
            adapter: (id > 0).then_some(AdapterId(id)),
            name: format!("c{id}"),
        }
    }

    fn met(first: i64, second: i64, n: u64) -> Met {
        Met {
            first: contender(first),
            second: contender(second),
            result: Outcome::FirstWins,
            n,
        }
    }

    #[test]
    fn who_met_nobody_is_unranked_and_groups_that_never_met_stand_apart() {
        let all: Vec<Contender> = (0..7).map(contender).collect();
        let ladder = of(&[met(1, 2, 3), met(2, 3, 3), met(4, 0, 2)], &all);
        let names = |group: &LadderGroup| -> Vec<String> {
            let rungs = group.rungs.iter();
            rungs.map(|rung| rung.contender.name.clone()).collect()
        };
        assert_eq!(
            ladder.groups.iter().map(names).collect::<Vec<_>>(),
            [vec!["c1", "c2", "c3"], vec!["c4", "c0"]]
        );
        assert_eq!(ladder.unranked, [contender(5), contender(6)]);
        assert_eq!((ladder.n_comparisons, ladder.pairs.len()), (8, 3));
    }

    #[test]
    fn counts_that_are_taken_back_to_nothing_connect_nobody() {
        let ladder = of(&[met(1, 2, 0)], &[contender(1), contender(2)]);
        assert_eq!((ladder.groups.len(), ladder.unranked.len()), (0, 2));
    }

    #[test]
    fn an_inverse_times_its_matrix_changes_nothing() {
        let matrix = vec![
            vec![4.0, -1.0, -2.0],
            vec![-1.0, 3.0, -1.5],
            vec![-2.0, -1.5, 5.0],
        ];
        let inverse = inverse(matrix.clone());
        for (row, line) in matrix.iter().enumerate() {
            let product = |column: usize| -> f64 {
                let pairs = line.iter().zip(&inverse);
                pairs.map(|(own, other)| own * other[column]).sum()
            };
            for column in 0..3 {
                let expected = f64::from(u8::from(row == column));
                assert!((product(column) - expected).abs() < 1e-12);
            }
        }
    }
}
