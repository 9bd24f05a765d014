//! What was answered, of judgements that are counted already: like ones come once, with how often they were given.

use super::{distributions::Distributions, habits::Top, share::share};
use laurel_protocol::{Given, Judgement, SecondsBin};

/// A judgement of so many completions, and how often it was given.
#[derive(Clone, Debug)]
pub struct Said {
    pub judgement: Judgement,
    pub n_shown: usize,
    pub n: u64,
}

/// A rating on a dimension, and how often it was given.
#[derive(Clone, Debug)]
pub struct Rated {
    pub dimension: String,
    pub rating: u8,
    pub n: u64,
}

/// Where the bins of the seconds begin.
const BINS: [u32; 9] = [0, 5, 10, 20, 30, 60, 120, 300, 600];
const N_STRENGTHS: usize = 4;

/// `tenths` are tenths of active seconds, with how many annotations took so long.
pub fn given(said: &[Said], rated: &[Rated], tenths: impl Iterator<Item = (u64, u64)>) -> Given {
    let mut distributions = Distributions::default();
    for one in said {
        distributions.add(&one.judgement, one.n_shown, one.n);
    }
    for one in rated {
        distributions.add_rating(&one.dimension, one.rating, one.n);
    }
    let (mut n_first, mut n_tops, mut chance) = (0, 0, 0.0);
    for one in said {
        if let Some(top) = Top::of(&one.judgement, one.n_shown) {
            n_first += if top.is_first { one.n } else { 0 };
            n_tops += one.n;
            chance += one.n as f64 / top.n_shown as f64;
        }
    }
    Given {
        distributions: distributions.list(),
        strengths: strengths(said),
        ranks_by_place: ranks_by_place(said),
        seconds: seconds(tenths),
        first_is_best: share(n_first, n_tops),
        first_by_chance: (n_tops > 0).then(|| chance / n_tops as f64),
    }
}

fn strengths(said: &[Said]) -> Vec<u64> {
    let mut counts = Vec::new();
    for one in said {
        if let Judgement::Pick {
            strength: Some(strength),
            ..
        } = one.judgement
            && let Some(at) = usize::from(strength).checked_sub(1)
        {
            counts.resize(counts.len().max(at + 1).max(N_STRENGTHS), 0);
            counts[at] += one.n;
        }
    }
    counts
}

fn ranks_by_place(said: &[Said]) -> Vec<Vec<u64>> {
    let mut places = Vec::<Vec<u64>>::new();
    let mut n_ranks = 0;
    for one in said {
        let Judgement::Rank { ranks } = &one.judgement else {
            continue;
        };
        places.resize(places.len().max(ranks.len()), Vec::new());
        for (place, rank) in places.iter_mut().zip(ranks) {
            let rank = usize::from(*rank).max(1);
            n_ranks = n_ranks.max(rank);
            place.resize(place.len().max(rank), 0);
            place[rank - 1] += one.n;
        }
    }
    for place in &mut places {
        place.resize(n_ranks, 0);
    }
    places
}

/// Up to the last one that is not empty.
fn seconds(tenths: impl Iterator<Item = (u64, u64)>) -> Vec<SecondsBin> {
    let bin = |(at, from): (usize, &u32)| SecondsBin {
        from: *from,
        until: BINS.get(at + 1).copied(),
        n: 0,
    };
    let mut bins: Vec<_> = BINS.iter().enumerate().map(bin).collect();
    for (tenths, n) in tenths {
        let is_in = |bin: &&mut SecondsBin| u64::from(bin.from) * 10 <= tenths;
        if let Some(bin) = bins.iter_mut().rev().find(is_in) {
            bin.n += n;
        }
    }
    let n_used = bins.iter().rposition(|bin| bin.n > 0).map_or(0, |at| at + 1);
    bins.truncate(n_used);
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::{Choice, Subject};

    fn pick(choice: Choice, strength: Option<u8>, n: u64) -> Said {
        Said {
            judgement: Judgement::Pick { choice, strength },
            n_shown: 2,
            n,
        }
    }

    #[test]
    fn picks_are_counted_by_place_and_strength_and_the_first_place_has_its_interval() {
        let said = [
            pick(Choice::First, Some(1), 30),
            pick(Choice::First, Some(4), 10),
            pick(Choice::Second, Some(1), 20),
            pick(Choice::Tie, None, 5),
            pick(Choice::BothBad, None, 1),
        ];
        let found = given(&said, &[], std::iter::empty());
        assert_eq!(found.distributions[0].about, Subject::Choice);
        assert_eq!(found.distributions[0].counts, [40, 20, 5, 1]);
        assert_eq!(found.strengths, [50, 0, 0, 10]);
        let first = found.first_is_best.unwrap();
        assert_eq!((first.n, first.of, found.first_by_chance), (40, 60, Some(0.5)));
        assert!(first.interval.low > 0.5 && first.interval.high < 0.8);
    }

    #[test]
    fn ranks_are_counted_at_each_place_and_a_shared_top_is_nobodys() {
        let rank = |ranks: &[u8], n| Said {
            judgement: Judgement::Rank {
                ranks: ranks.to_vec(),
            },
            n_shown: 3,
            n,
        };
        let found = given(
            &[rank(&[1, 2, 3], 4), rank(&[2, 1, 1], 3)],
            &[],
            std::iter::empty(),
        );
        assert_eq!(found.ranks_by_place, [[4, 3, 0], [3, 4, 0], [3, 0, 4]]);
        assert_eq!(found.distributions[0].counts, [4, 3, 3]);
        let first = found.first_is_best.unwrap();
        assert_eq!((first.n, first.of), (4, 4));
    }

    #[test]
    fn ratings_are_counted_from_one_up() {
        let rated = |rating, n| Rated {
            dimension: "helpful".into(),
            rating,
            n,
        };
        let found = given(&[], &[rated(0, 9), rated(1, 2), rated(5, 3)], std::iter::empty());
        assert_eq!(found.distributions[0].counts, [2, 0, 0, 0, 3]);
        assert_eq!((found.first_is_best, found.strengths.len()), (None, 0));
    }

    #[test]
    fn seconds_fall_into_the_bin_that_begins_at_or_before_them() {
        let found = given(
            &[],
            &[],
            [(0, 1), (49, 1), (50, 4), (299, 2), (300, 8)].into_iter(),
        );
        let counts: Vec<_> = found.seconds.iter().map(|bin| (bin.from, bin.n)).collect();
        assert_eq!(counts, [(0, 2), (5, 4), (10, 0), (20, 2), (30, 8)]);
        assert_eq!(found.seconds[4].until, Some(60));
        let endless = given(&[], &[], std::iter::once((9_999_999, 1)));
        assert_eq!(
            endless.seconds.last().map(|bin| (bin.from, bin.until)),
            Some((600, None))
        );
    }
}
