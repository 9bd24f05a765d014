//! When a queue is empty, if people go on as in the last days. What is drawn anew is a day with all that was answered in
//! it, days without work included: first the days that might as well have been seen (how much is done in a day is not
//! known for sure), then from these one day after the other until nothing is left.

use super::sample::{SplitMix64, quantile};

/// Days of 24 hours that are looked at.
pub const N_DAYS: usize = 14;
/// Of fewer a range would look surer than it is.
const MIN_DAYS: usize = 3;
const N_PATHS: usize = 1000;
/// Days of a path that are drawn; what is left then goes on at the mean.
const MAX_DRAWN: usize = 400;
const TEN_YEARS: f64 = 3652.5;
const NEVER: f64 = 10.0 * TEN_YEARS;
const SEED: u64 = 0x1a5e_2027;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Those up to the first one in which somebody answered.
    pub n_days: usize,
    pub per_day: f64,
    /// From now on.
    pub days: f64,
    pub range: Option<Range>,
}

/// Of 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub low: f64,
    /// `None`: more than ten years, or never.
    pub high: Option<f64>,
}

/// `by_day` is how many were answered in the 24 hours up to now, in those before them, and so on. `None` where nothing is
/// left, and where nobody answered.
pub fn forecast(n_left: u64, by_day: &[u64]) -> Option<Forecast> {
    let n_days = by_day.iter().rposition(|n| *n > 0)? + 1;
    let known = &by_day[..n_days];
    let per_day = known.iter().sum::<u64>() as f64 / n_days as f64;
    (n_left > 0).then(|| Forecast {
        n_days,
        per_day,
        days: (n_left as f64 / per_day).min(NEVER),
        range: (n_days >= MIN_DAYS).then(|| range(n_left, known)),
    })
}

fn range(n_left: u64, known: &[u64]) -> Range {
    let mut random = SplitMix64(SEED);
    let mut ends: Vec<f64> = (0..N_PATHS)
        .map(|_| {
            let seen: Vec<u64> = known.iter().map(|_| known[random.below(known.len())]).collect();
            path(n_left, &seen, &mut random)
        })
        .collect();
    ends.sort_by(f64::total_cmp);
    let high = quantile(&ends, 0.975);
    Range {
        low: quantile(&ends, 0.025),
        high: (high <= TEN_YEARS).then_some(high),
    }
}

/// Days until nothing is left, part of the last one included.
fn path(n_left: u64, seen: &[u64], random: &mut SplitMix64) -> f64 {
    let per_day = seen.iter().sum::<u64>() as f64 / seen.len() as f64;
    if per_day == 0.0 {
        return NEVER;
    }
    let mut left = n_left as f64;
    for day in 0..MAX_DRAWN {
        let n = seen[random.below(seen.len())] as f64;
        if n >= left {
            return day as f64 + left / n;
        }
        left -= n;
    }
    (MAX_DRAWN as f64 + left / per_day).min(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_the_same_each_day_is_done_on_a_day_that_is_known() {
        let found = forecast(100, &[10; N_DAYS]).unwrap();
        assert_eq!((found.n_days, found.per_day, found.days), (14, 10.0, 10.0));
        let exactly = Range {
            low: 10.0,
            high: Some(10.0),
        };
        assert_eq!(found.range, Some(exactly));
    }

    #[test]
    fn where_nobody_worked_or_nothing_is_left_there_is_no_estimate() {
        assert_eq!(forecast(100, &[0; N_DAYS]), None);
        assert_eq!(forecast(100, &[]), None);
        assert_eq!(forecast(0, &[10; N_DAYS]), None);
    }

    #[test]
    fn days_before_the_first_answer_do_not_count_and_idle_ones_after_it_do() {
        let mut by_day = [0; N_DAYS];
        by_day[3] = 40;
        let found = forecast(20, &by_day).unwrap();
        assert_eq!((found.n_days, found.per_day, found.days), (4, 10.0, 2.0));
        by_day = [0; N_DAYS];
        by_day[1] = 40;
        assert_eq!(forecast(20, &by_day).unwrap().range, None, "two days are too few");
    }

    #[test]
    fn the_range_is_around_the_estimate_and_narrower_where_days_are_alike() {
        let width = |by_day: &[u64]| {
            let found = forecast(1000, by_day).unwrap();
            let range = found.range.unwrap();
            assert!(
                range.low < found.days && found.days < range.high.unwrap(),
                "{found:?}"
            );
            range.high.unwrap() - range.low
        };
        let steady = [48, 52, 50, 49, 51, 50, 50, 48, 52, 50, 49, 51, 50, 50];
        let only_on_workdays = [70, 70, 70, 70, 70, 0, 0, 70, 70, 70, 70, 70, 0, 0];
        assert!(width(&steady) * 3.0 < width(&only_on_workdays));
    }

    #[test]
    fn a_single_day_of_work_leaves_open_whether_it_ever_ends() {
        let mut by_day = [0; N_DAYS];
        by_day[13] = 1;
        let found = forecast(1000, &by_day).unwrap();
        assert_eq!((found.n_days, found.range.unwrap().high), (14, None));
    }

    #[test]
    fn the_same_days_always_give_the_same_range() {
        let by_day = [3, 0, 9, 1, 4];
        assert_eq!(forecast(77, &by_day), forecast(77, &by_day));
    }
}
