//! Items that are drawn anew from themselves: an estimate with the interval that the bootstrap gives it (Efron 1979,
//! percentiles). The generator has a fixed seed, so that the same answers always give the same interval.

use laurel_protocol::{Estimate, Interval};

/// Of fewer items an interval would look surer than it is.
const MIN_ITEMS: usize = 5;
const MAX_RESAMPLES: usize = 1000;
const MIN_RESAMPLES: usize = 200;
/// Draws that one interval may cost: a very large sample is drawn anew less often.
const MAX_DRAWS: usize = 10_000_000;
/// A statistic that so large a share of the resamples leaves undefined has no interval.
const MAX_UNDEFINED: f64 = 0.1;
const SEED: u64 = 0x1a5e_2026;

/// What is drawn together, a task for example. Like items are kept once, with how often they occur.
#[derive(Clone, Debug)]
pub struct Sample<T> {
    kinds: Vec<T>,
    kind_of: Vec<usize>,
}

impl<T> Sample<T> {
    /// Each item is a kind of its own.
    pub fn new(items: Vec<T>) -> Self {
        Self {
            kind_of: (0..items.len()).collect(),
            kinds: items,
        }
    }

    /// The same items, each kind as a statistic wants it.
    pub fn map<U>(&self, prepare: impl Fn(&T) -> U) -> Sample<U> {
        Sample {
            kinds: self.kinds.iter().map(prepare).collect(),
            kind_of: self.kind_of.clone(),
        }
    }

    /// A statistic of the kinds and how often each occurs, with its interval of 95 %. `None` where it is undefined.
    pub fn estimate(&self, statistic: impl Fn(&[T], &[u32]) -> Option<f64>) -> Option<Estimate> {
        let value = statistic(&self.kinds, &self.original())?;
        Some(Estimate {
            value,
            interval: self.interval(statistic),
        })
    }

    pub fn n_items(&self) -> u64 {
        self.kind_of.len() as u64
    }

    pub fn kinds(&self) -> &[T] {
        &self.kinds
    }

    /// Whether an interval says something.
    pub fn is_large_enough(&self) -> bool {
        self.kind_of.len() >= MIN_ITEMS
    }

    /// How often each kind occurs.
    pub fn original(&self) -> Vec<u32> {
        self.times(self.kind_of.iter().copied())
    }

    /// How often each kind occurs where as many items are drawn from all, with replacement.
    pub fn resamples(&self, n: usize) -> impl Iterator<Item = Vec<u32>> {
        let n_items = self.kind_of.len();
        let mut random = SplitMix64(SEED);
        (0..n).map(move |_| self.times((0..n_items).map(|_| self.kind_of[random.below(n_items)])))
    }

    fn interval(&self, statistic: impl Fn(&[T], &[u32]) -> Option<f64>) -> Option<Interval> {
        if !self.is_large_enough() {
            return None;
        }
        let n_resamples = (MAX_DRAWS / self.kind_of.len()).clamp(MIN_RESAMPLES, MAX_RESAMPLES);
        let resamples = self.resamples(n_resamples);
        let mut values: Vec<f64> = resamples
            .filter_map(|times| statistic(&self.kinds, &times))
            .collect();
        let n_undefined = n_resamples - values.len();
        if n_undefined as f64 > MAX_UNDEFINED * n_resamples as f64 {
            return None;
        }
        values.sort_by(f64::total_cmp);
        Some(Interval {
            low: quantile(&values, 0.025),
            high: quantile(&values, 0.975),
        })
    }

    fn times(&self, drawn: impl Iterator<Item = usize>) -> Vec<u32> {
        let mut times = vec![0; self.kinds.len()];
        for kind in drawn {
            times[kind] += 1;
        }
        times
    }
}

impl<T: Ord + Clone> Sample<T> {
    /// Like items are one kind: what few values are combined to costs no more for many items.
    pub fn merged(items: Vec<T>) -> Self {
        let mut kinds = items.clone();
        kinds.sort_unstable();
        kinds.dedup();
        let kind = |item| kinds.partition_point(|kind| kind < item);
        Self {
            kind_of: items.iter().map(kind).collect(),
            kinds,
        }
    }
}

/// Between two of the ordered values where it falls between them.
pub fn quantile(ordered: &[f64], share: f64) -> f64 {
    let at = share * (ordered.len() - 1) as f64;
    let (below, above) = (ordered[at.floor() as usize], ordered[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
#[derive(Clone, Debug)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `n`; the bias is below n / 2^64.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.draw()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(kinds: &[u32], times: &[u32]) -> Option<f64> {
        let n: u32 = times.iter().sum();
        let sum: u32 = kinds.iter().zip(times).map(|(kind, times)| kind * times).sum();
        (n > 0).then(|| f64::from(sum) / f64::from(n))
    }

    #[test]
    fn the_generator_gives_its_authors_numbers() {
        let mut random = SplitMix64(1_234_567);
        let drawn = [random.draw(), random.draw(), random.draw()];
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn merging_changes_no_figure() {
        let items: Vec<u32> = (0..50).map(|n| n * n % 7).collect();
        let merged = Sample::merged(items.clone());
        assert_eq!(merged.kinds, [0, 1, 2, 4]);
        assert_eq!(merged.estimate(mean), Sample::new(items).estimate(mean));
    }

    #[test]
    fn few_items_have_a_value_and_no_interval() {
        let estimate = Sample::new(vec![1, 2, 3, 6]).estimate(mean).unwrap();
        assert_eq!((estimate.value, estimate.interval), (3.0, None));
        assert_eq!(Sample::new(Vec::new()).estimate(mean), None);
    }

    #[test]
    fn a_statistic_that_most_resamples_leave_undefined_has_no_interval() {
        let only_with_the_last = |kinds: &[u32], times: &[u32]| (times[9] > 0).then(|| f64::from(kinds[0]));
        let estimate = Sample::new((0..10).collect())
            .estimate(only_with_the_last)
            .unwrap();
        assert_eq!(estimate.interval, None);
    }

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert_eq!(quantile(&[1.0], 0.975), 1.0);
    }
}
