//! A mean that may be looked at after every observation: the betting confidence sequence of Waudby-Smith and Ramdas (2024,
//! "Estimating means of bounded random variables by betting", JRSS B 86: the hedged capital process), with a
//! mixture over constant bets in place of a plug-in bet (Cover 1991, "Universal portfolios").
//!
//! Who holds that the mean is m bets against a gambler who puts the fraction f of the capital on larger values: an observation x
//! multiplies it by 1 + f (x - m) / m. While m is the mean, whatever came before, the capital is a nonnegative martingale, and by
//! Ville's inequality it ever reaches 2 / α with a probability of at most α / 2. So every m at which it has is given up, and the
//! same from the other side with 1 - x. The mixture takes the mean capital over f = 1/256, 3/256 … 255/256, so that the
//! interval does not depend on the order of the observations.
//!
//! Input: scores from 0 to 1, one a prompt (`store/contests/votes.rs`), output: the interval.

use laurel_protocol::Interval;
use std::collections::BTreeMap;

/// Fractions of the mixture.
const N_BETS: u32 = 128;
/// Of a bound.
const TOLERANCE: f64 = 1e-9;

/// How often each score was seen. Few differ: votes of up to ten people have 21 means at most for each number of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scores {
    /// By the bits of a number from 0 to 1, which grow with it.
    seen: BTreeMap<u64, u64>,
}

impl FromIterator<f64> for Scores {
    fn from_iter<I: IntoIterator<Item = f64>>(scores: I) -> Self {
        let mut all = Self::default();
        for score in scores {
            all.add(score);
        }
        all
    }
}

impl Scores {
    /// Counts one more.
    pub fn add(&mut self, score: f64) {
        *self
            .seen
            .entry((score.clamp(0.0, 1.0) + 0.0).to_bits())
            .or_default() += 1;
    }

    pub fn n(&self) -> u64 {
        self.seen.values().sum()
    }

    /// `None` of nothing.
    pub fn mean(&self) -> Option<f64> {
        let sum: f64 = self.each().map(|(score, times)| score * times).sum();
        (self.n() > 0).then(|| sum / self.n() as f64)
    }

    /// Holds the true mean with the probability 1 - alpha at all times together.
    pub fn interval(&self, alpha: f64) -> Interval {
        let scores: Vec<(f64, f64)> = self.each().collect();
        let mirrored: Vec<(f64, f64)> = scores
            .iter()
            .map(|(score, times)| (1.0 - score, *times))
            .collect();
        Interval {
            low: lower_bound(&scores, alpha),
            high: 1.0 - lower_bound(&mirrored, alpha),
        }
    }

    fn each(&self) -> impl Iterator<Item = (f64, f64)> {
        self.seen
            .iter()
            .map(|(bits, times)| (f64::from_bits(*bits), *times as f64))
    }
}

/// The smallest mean that the bets on larger values have not ruled out. The capital falls as the mean grows, so that it is found
/// by halving.
fn lower_bound(scores: &[(f64, f64)], alpha: f64) -> f64 {
    let wanted = (2.0 / alpha).ln();
    let is_ruled_out = |mean: f64| log_capital(scores, mean) >= wanted;
    let (mut low, mut high) = (0.0, 1.0);
    if !is_ruled_out(TOLERANCE) {
        return low;
    }
    while high - low > TOLERANCE {
        let middle = f64::midpoint(low, high);
        match is_ruled_out(middle) {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}

/// The logarithm of the mixture's capital against the mean `mean`, above 0.
fn log_capital(scores: &[(f64, f64)], mean: f64) -> f64 {
    let of_bet = |bet: u32| {
        let fraction = (f64::from(bet) + 0.5) / f64::from(N_BETS);
        let each = scores
            .iter()
            .map(|(score, times)| times * (fraction * (score - mean) / mean).ln_1p());
        each.sum::<f64>()
    };
    let logs: Vec<f64> = (0..N_BETS).map(of_bet).collect();
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
    largest + (sum / f64::from(N_BETS)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64 (Steele et al. 2014), as a number from 0 to 1.
    struct Draws(u64);

    impl Draws {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }

        /// The mean of so many votes on one prompt, which lean one way together: `rate` is what all prompts have on average.
        fn prompt(&mut self, rate: f64, ties: f64, n_votes: u32) -> f64 {
            let lean = rate + (self.next() - 0.5) * 0.5;
            let vote = |draws: &mut Self| match draws.next() < ties {
                true => 0.5,
                false => f64::from(u8::from(draws.next() < lean)),
            };
            (0..n_votes).map(|_| vote(self)).sum::<f64>() / f64::from(n_votes)
        }
    }

    /// At which prompt it stops, of at most so many; looks after each.
    fn stops_at(draws: &mut Draws, rate: f64, ties: f64, n_votes: u32, most: u32) -> Option<u32> {
        let wanted = (2.0_f64 / 0.05).ln();
        let mut scores = Scores::default();
        (1..=most).find(|_| {
            scores.add(draws.prompt(rate, ties, n_votes));
            let first: Vec<(f64, f64)> = scores.each().collect();
            let second: Vec<(f64, f64)> = first.iter().map(|(score, n)| (1.0 - score, *n)).collect();
            log_capital(&first, 0.5).max(log_capital(&second, 0.5)) >= wanted
        })
    }

    #[test]
    fn equal_contenders_are_told_apart_no_oftener_than_alpha_however_often_one_looks() {
        for (ties, n_votes) in [(0.0, 1), (0.3, 3)] {
            let mut draws = Draws(7);
            let stopped = (0..400).filter(|_| stops_at(&mut draws, 0.5, ties, n_votes, 300).is_some());
            let share = stopped.count() as f64 / 400.0;
            assert!(share <= 0.05, "{share} with {ties} ties and {n_votes} votes");
        }
    }

    #[test]
    fn a_contender_that_wins_65_of_100_is_told_within_400_prompts_nine_times_of_ten() {
        let mut draws = Draws(11);
        let stops: Vec<u32> = (0..200)
            .filter_map(|_| stops_at(&mut draws, 0.65, 0.0, 1, 400))
            .collect();
        assert!(stops.len() >= 180, "{} of 200 stopped", stops.len());
        let mean = stops.iter().sum::<u32>() as f64 / stops.len() as f64;
        assert!(mean < 200.0, "on average after {mean}");
    }

    #[test]
    fn votes_that_repeat_one_another_on_a_prompt_make_nothing_surer() {
        let once: Scores = (0..40).map(|n| f64::from(n % 4 / 3)).collect();
        // Four people who all say the same: their mean is what one of them said.
        let together: Scores = (0..40).map(|n| f64::from(4 * (n % 4 / 3)) / 4.0).collect();
        assert_eq!(once.interval(0.05), together.interval(0.05));
    }

    #[test]
    fn ties_alone_never_decide_and_nothing_is_known_of_nothing() {
        let ties: Scores = std::iter::repeat_n(0.5, 5000).collect();
        let interval = ties.interval(0.05);
        assert!(interval.low < 0.5 && 0.5 < interval.high, "{interval:?}");
        let nothing = Scores::default().interval(0.05);
        assert_eq!((nothing.low, nothing.high), (0.0, 1.0));
        assert_eq!(Scores::default().mean(), None);
    }

    #[test]
    fn the_interval_is_the_same_seen_from_the_other_side() {
        let scores: Scores = [1.0, 1.0, 0.5, 0.0, 1.0, 2.0 / 3.0].into_iter().collect();
        let other: Scores = [0.0, 0.0, 0.5, 1.0, 0.0, 1.0 / 3.0].into_iter().collect();
        let (a, b) = (scores.interval(0.1), other.interval(0.1));
        assert!((a.low - (1.0 - b.high)).abs() < 1e-8 && (a.high - (1.0 - b.low)).abs() < 1e-8);
    }
}
