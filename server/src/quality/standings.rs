//! Who wins how often: each contender's record, each pair's, and a Bradley-Terry score, from comparisons of completions whose
//! generators differ. Input from `store/battles/results.rs`.

use super::{
    bradley_terry::{self, Games},
    sample::{Sample, quantile},
    share::wilson,
};
use laurel_protocol::{Contender, Estimate, Interval, PairStanding, Record, Standing, Standings};
use std::collections::BTreeMap;

/// Points for odds of ten to one, and those of a contender of mean strength.
pub(super) const POINTS: f64 = 400.0;
pub(super) const MEAN: f64 = 1000.0;
const N_RESAMPLES: usize = 300;
/// Comparisons that all resamples may draw: of more, fewer resamples are made.
const MAX_DRAWS: usize = 5_000_000;
const MIN_RESAMPLES: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Result {
    FirstWins,
    Tie,
    SecondWins,
}

/// So many comparisons of two contenders that came out alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    pub first: Contender,
    pub second: Contender,
    pub result: Result,
    pub n: u64,
}

/// By the contenders' numbers, the lower one first.
type Kind = (usize, usize, Result);

pub fn of(met: &[Met], n_both_bad: u64) -> Standings {
    let mut numbers = BTreeMap::<&Contender, usize>::new();
    for one in met {
        numbers.insert(&one.first, 0);
        numbers.insert(&one.second, 0);
    }
    for (number, slot) in numbers.values_mut().enumerate() {
        *slot = number;
    }
    let contenders: Vec<&Contender> = numbers.keys().copied().collect();
    let kinds = met.iter().flat_map(|one| {
        let kind = kind(numbers[&one.first], numbers[&one.second], one.result);
        std::iter::repeat_n(kind, one.n as usize)
    });
    let sample = Sample::merged(kinds.collect::<Vec<Kind>>());
    let pairs = tally(sample.kinds(), &sample.original());
    let scores = scores(&sample, contenders.len());
    let mut standings: Vec<Standing> = contenders
        .iter()
        .zip(scores)
        .enumerate()
        .filter_map(|(number, (contender, score))| {
            Some(Standing {
                contender: (*contender).clone(),
                record: record(own_tally(&pairs, number))?,
                score,
            })
        })
        .collect();
    standings.sort_by(|a, b| b.score.value.total_cmp(&a.score.value));
    let pair = |(&(first, second), tally): (&(usize, usize), &[u64; 3])| {
        Some(PairStanding {
            first: contenders[first].clone(),
            second: contenders[second].clone(),
            record: record(*tally)?,
        })
    };
    Standings {
        n_comparisons: sample.n_items(),
        n_both_bad,
        contenders: standings,
        pairs: pairs.iter().filter_map(pair).collect(),
    }
}

fn kind(first: usize, second: usize, result: Result) -> Kind {
    match (first <= second, result) {
        (true, result) => (first, second, result),
        (false, Result::FirstWins) => (second, first, Result::SecondWins),
        (false, Result::SecondWins) => (second, first, Result::FirstWins),
        (false, Result::Tie) => (second, first, Result::Tie),
    }
}

/// Of each pair the wins of the first, ties, and wins of the second.
fn tally(kinds: &[Kind], times: &[u32]) -> BTreeMap<(usize, usize), [u64; 3]> {
    let mut pairs = BTreeMap::<(usize, usize), [u64; 3]>::new();
    for (&(first, second, result), &n) in kinds.iter().zip(times) {
        pairs.entry((first, second)).or_default()[result as usize] += u64::from(n);
    }
    pairs
}

fn own_tally(pairs: &BTreeMap<(usize, usize), [u64; 3]>, who: usize) -> [u64; 3] {
    let mut own = [0; 3];
    for (&(first, second), tally) in pairs {
        let [wins, ties, losses] = *tally;
        let seen = match who {
            _ if who == first => [wins, ties, losses],
            _ if who == second => [losses, ties, wins],
            _ => continue,
        };
        for (own, seen) in own.iter_mut().zip(seen) {
            *own += seen;
        }
    }
    own
}

/// `None` of nothing.
pub(super) fn record([wins, ties, losses]: [u64; 3]) -> Option<Record> {
    let n = wins + ties + losses;
    if n == 0 {
        return None;
    }
    let win_rate = (wins as f64 + ties as f64 / 2.0) / n as f64;
    Some(Record {
        wins,
        ties,
        losses,
        win_rate,
        interval: wilson(win_rate, n as f64),
    })
}

/// The scores in points, with the bootstrap's intervals over comparisons.
fn scores(sample: &Sample<Kind>, n_contenders: usize) -> Vec<Estimate> {
    let points = |times: &[u32]| fit(sample.kinds(), times, n_contenders);
    let values = points(&sample.original());
    let n_items = sample.n_items() as usize;
    let n_resamples = (MAX_DRAWS / n_items.max(1)).clamp(MIN_RESAMPLES, N_RESAMPLES);
    let drawn: Vec<Vec<f64>> = match sample.is_large_enough() {
        true => sample
            .resamples(n_resamples)
            .map(|times| points(&times))
            .collect(),
        false => Vec::new(),
    };
    let interval = |who: usize| {
        let mut values: Vec<f64> = drawn.iter().map(|values| values[who]).collect();
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then(|| Interval {
            low: quantile(&values, 0.025),
            high: quantile(&values, 0.975),
        })
    };
    let estimate = |(who, value)| Estimate {
        value,
        interval: interval(who),
    };
    values.into_iter().enumerate().map(estimate).collect()
}

fn fit(kinds: &[Kind], times: &[u32], n_contenders: usize) -> Vec<f64> {
    let games = |(&(first, second), &[wins, ties, losses]): (&(usize, usize), &[u64; 3])| Games {
        first,
        second,
        wins: wins as f64 + ties as f64 / 2.0,
        n: (wins + ties + losses) as f64,
    };
    let games: Vec<Games> = tally(kinds, times).iter().map(games).collect();
    let logs = bradley_terry::fit(n_contenders, &games);
    logs.iter()
        .map(|log| MEAN + POINTS * log / std::f64::consts::LN_10)
        .collect()
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

    fn met(first: i64, second: i64, result: Result, n: u64) -> Met {
        Met {
            first: contender(first),
            second: contender(second),
            result,
            n,
        }
    }

    #[test]
    fn a_pair_is_one_whichever_is_named_first() {
        let all = [
            met(0, 1, Result::FirstWins, 3),
            met(1, 0, Result::FirstWins, 1),
            met(1, 0, Result::Tie, 2),
        ];
        let standings = of(&all, 4);
        assert_eq!((standings.n_comparisons, standings.n_both_bad), (6, 4));
        assert_eq!(standings.pairs.len(), 1);
        let record = standings.pairs[0].record;
        assert_eq!((record.wins, record.ties, record.losses), (3, 2, 1));
        assert_eq!(record.win_rate, 4.0 / 6.0);
        assert_eq!(standings.contenders[0].contender, contender(0));
        let second = standings.contenders[1].record;
        assert_eq!((second.wins, second.ties, second.losses), (1, 2, 3));
    }

    #[test]
    fn ten_to_one_are_four_hundred_points_and_the_mean_is_a_thousand() {
        let all = [
            met(1, 2, Result::FirstWins, 10_000),
            met(1, 2, Result::SecondWins, 1_000),
        ];
        let scores: Vec<f64> = of(&all, 0).contenders.iter().map(|one| one.score.value).collect();
        assert!((scores[0] - scores[1] - 400.0).abs() < 1.0, "{scores:?}");
        assert!((scores[0] + scores[1] - 2000.0).abs() < 1e-6, "{scores:?}");
    }

    #[test]
    fn scores_of_few_comparisons_have_no_interval_and_of_many_a_narrow_one() {
        assert_eq!(
            of(&[met(1, 2, Result::FirstWins, 4)], 0).contenders[0]
                .score
                .interval,
            None
        );
        let all = [
            met(1, 2, Result::FirstWins, 60),
            met(1, 2, Result::SecondWins, 40),
        ];
        let score = of(&all, 0).contenders[0].score;
        let interval = score.interval.unwrap();
        assert!(interval.low < score.value && score.value < interval.high);
        assert!(interval.high - interval.low < 200.0, "{interval:?}");
    }

    #[test]
    fn of_nothing_there_is_nothing() {
        assert_eq!(of(&[], 0), Standings::default());
    }
}
