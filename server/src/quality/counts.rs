//! How many people gave each value to one thing, and how often two of them gave the same. Values are numbers below
//! [`N_VALUES`]: categories, ranks or ratings. People may be missing from any thing.

/// Ratings go up to 10.
pub const N_VALUES: usize = 11;

/// The answers to one thing: at each value, how many people gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counts(pub [u16; N_VALUES]);

impl Counts {
    pub fn of(values: impl IntoIterator<Item = u8>) -> Self {
        let mut counts = Self::default();
        for value in values {
            counts.0[usize::from(value)] += 1;
        }
        counts
    }

    /// People who answered.
    pub fn n(&self) -> u32 {
        self.0.iter().map(|&n| u32::from(n)).sum()
    }

    /// Ordered pairs of people, and those of them who gave the same value.
    pub fn pairs(&self) -> (u32, u32) {
        let n = self.n();
        let same = self.given().map(|(_, n)| n * (n - 1)).sum();
        (n * n.saturating_sub(1), same)
    }

    /// The values that somebody gave, with how many did.
    pub fn given(&self) -> impl Iterator<Item = (usize, u32)> + Clone + '_ {
        let numbered = self.0.iter().enumerate();
        numbered
            .filter(|(_, n)| **n > 0)
            .map(|(value, &n)| (value, u32::from(n)))
    }
}

/// The things of one task, which are drawn together.
pub type Task = Vec<Counts>;

/// Ordered pairs of people who judged the same, and those of them who said the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Met {
    pub n_pairs: u32,
    pub n_same: u32,
}

impl Met {
    pub fn of(task: &Task) -> Self {
        let mut met = Self::default();
        for (n_pairs, n_same) in task.iter().map(Counts::pairs) {
            met.n_pairs += n_pairs;
            met.n_same += n_same;
        }
        met
    }
}

/// The share of pairs of people who said the same, over all tasks.
pub fn percent_agreement(tasks: &[Met], times: &[u32]) -> Option<f64> {
    let (mut n_pairs, mut n_same) = (0, 0);
    for (met, &times) in tasks.iter().zip(times) {
        n_pairs += u64::from(times) * u64::from(met.n_pairs);
        n_same += u64::from(times) * u64::from(met.n_same);
    }
    (n_pairs > 0).then(|| n_same as f64 / n_pairs as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_with_a_thing_agrees_with_nobody() {
        let tasks = [vec![Counts::of([1])], vec![Counts::of([2, 2, 0]), Counts::of([])]];
        let met = tasks.each_ref().map(Met::of);
        assert_eq!(percent_agreement(&met, &[1, 1]), Some(1.0 / 3.0));
        assert_eq!(percent_agreement(&met, &[5, 0]), None);
    }
}
