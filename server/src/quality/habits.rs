//! How people label, whatever the answers are: how fast, how often what is shown first wins, how often there are ties, and
//! how often each answer is given.

use super::{
    answers::Judged,
    distributions::Distributions,
    sample::{Sample, quantile},
    share::share,
};
use laurel_protocol::{Choice, Distribution, Habits, Judgement};

pub fn of(judged: &[&Judged]) -> Habits {
    let top = |judged: &&Judged| Top::of(&judged.judgement, judged.stored_at.len());
    let tops: Vec<Top> = judged.iter().filter_map(top).collect();
    let n_first = tops.iter().filter(|top| top.is_first).count() as u64;
    let chance: f64 = tops.iter().map(|top| 1.0 / top.n_shown as f64).sum();
    let rankings: Vec<&[u8]> = judged.iter().filter_map(|judged| ranks(judged)).collect();
    let mean_rank =
        |ranks: &[u8]| ranks.iter().map(|rank| f64::from(*rank)).sum::<f64>() / ranks.len() as f64;
    let first_ranks = rankings
        .iter()
        .filter_map(|ranks| ranks.first().copied())
        .collect();
    Habits {
        n_annotations: judged.len() as u64,
        median_seconds: median(judged.iter().map(|judged| judged.seconds).collect()),
        first_is_best: share(n_first, tops.len() as u64),
        first_by_chance: (!tops.is_empty()).then(|| chance / tops.len() as f64),
        mean_rank_of_first: Sample::merged(first_ranks).estimate(mean),
        mean_rank: (!rankings.is_empty())
            .then(|| rankings.iter().map(|ranks| mean_rank(ranks)).sum::<f64>() / rankings.len() as f64),
        ties: ties(judged),
    }
}

/// The single best of what was shown, if the judgement names one.
pub(super) struct Top {
    pub is_first: bool,
    pub n_shown: usize,
}

impl Top {
    pub fn of(judgement: &Judgement, n_shown: usize) -> Option<Self> {
        let position = match judgement {
            Judgement::Pick {
                choice: Choice::First,
                ..
            } => 0,
            Judgement::Pick {
                choice: Choice::Second,
                ..
            } => 1,
            Judgement::BestWorst { best, .. } => usize::from(*best),
            Judgement::Rank { ranks } => {
                let mut tops = (0..ranks.len()).filter(|&at| ranks[at] == 1);
                tops.next().filter(|_| tops.next().is_none())?
            }
            Judgement::Pick { .. } | Judgement::Rate => return None,
        };
        Some(Self {
            is_first: position == 0,
            n_shown: n_shown.max(1),
        })
    }
}

fn ranks<'a>(judged: &&'a Judged) -> Option<&'a [u8]> {
    match &judged.judgement {
        Judgement::Rank { ranks } => Some(ranks),
        _ => None,
    }
}

fn mean(values: &[u8], times: &[u32]) -> Option<f64> {
    let n: u32 = times.iter().sum();
    let sum: u32 = values
        .iter()
        .zip(times)
        .map(|(value, times)| u32::from(*value) * times)
        .sum();
    (n > 0).then(|| f64::from(sum) / f64::from(n))
}

fn median(mut seconds: Vec<f64>) -> Option<f64> {
    seconds.sort_by(f64::total_cmp);
    (!seconds.is_empty()).then(|| quantile(&seconds, 0.5))
}

fn ties(judged: &[&Judged]) -> Option<laurel_protocol::Share> {
    let (mut n, mut of) = (0, 0);
    for judged in judged {
        match &judged.judgement {
            Judgement::Pick { choice, .. } => {
                n += u64::from(*choice == Choice::Tie);
                of += 1;
            }
            Judgement::Rank { ranks } => {
                let pairs = judged.judgement.comparisons(ranks.len());
                n += pairs.iter().filter(|pair| pair.tie).count() as u64;
                of += pairs.len() as u64;
            }
            Judgement::BestWorst { .. } | Judgement::Rate => {}
        }
    }
    share(n, of)
}

/// How often each answer was given, in the order in which it was shown.
pub fn distributions(judged: &[Judged]) -> Vec<Distribution> {
    let mut distributions = Distributions::default();
    for judged in judged {
        distributions.add(&judged.judgement, judged.stored_at.len(), 1);
        for (dimension, ratings) in &judged.ratings {
            ratings
                .iter()
                .for_each(|rating| distributions.add_rating(dimension, *rating, 1));
        }
    }
    distributions.list()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::answers::tests::{judged, pick};

    #[test]
    fn ties_and_both_bad_name_no_place_and_count_as_answers() {
        let choices = [
            Choice::First,
            Choice::First,
            Choice::Second,
            Choice::Tie,
            Choice::BothBad,
        ];
        let judged: Vec<_> = (0..)
            .zip(choices)
            .map(|(task, choice)| pick(task, 1, choice, &[1, 0]))
            .collect();
        let habits = of(&judged.iter().collect::<Vec<_>>());
        let first = habits.first_is_best.unwrap();
        assert_eq!((first.n, first.of, habits.first_by_chance), (2, 3, Some(0.5)));
        let ties = habits.ties.unwrap();
        assert_eq!((ties.n, ties.of), (1, 5));
        assert_eq!(distributions(&judged)[0].counts, [2, 1, 1, 1]);
    }

    #[test]
    fn the_place_of_a_ranking_is_its_mean_rank_against_that_of_all() {
        let rank = |ranks: &[u8]| {
            let judgement = Judgement::Rank {
                ranks: ranks.to_vec(),
            };
            judged(1, 1, judgement, &[2, 1, 0])
        };
        let judged = [rank(&[1, 2, 3]), rank(&[1, 1, 2]), rank(&[3, 1, 2])];
        let habits = of(&judged.iter().collect::<Vec<_>>());
        assert_eq!(habits.mean_rank_of_first.unwrap().value, 5.0 / 3.0);
        assert_eq!(habits.mean_rank, Some((2.0 + 4.0 / 3.0 + 2.0) / 3.0));
        let first = habits.first_is_best.unwrap();
        assert_eq!((first.n, first.of), (1, 2), "a shared top is nobody's");
        assert_eq!(habits.first_by_chance, Some(1.0 / 3.0));
        let ties = habits.ties.unwrap();
        assert_eq!((ties.n, ties.of), (1, 9));
        assert_eq!(distributions(&judged)[0].counts, [2, 2, 0]);
    }

    #[test]
    fn nothing_has_no_habits() {
        let habits = of(&[]);
        assert_eq!(habits.n_annotations, 0);
        assert_eq!(
            (habits.median_seconds, habits.ties, habits.mean_rank),
            (None, None, None)
        );
    }
}
