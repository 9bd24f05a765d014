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

/// Every thing with how often its task occurs.
pub fn things<'a>(tasks: &'a [Task], times: &'a [u32]) -> impl Iterator<Item = (&'a Counts, f64)> {
    let occurring = tasks.iter().zip(times).filter(|(_, times)| **times > 0);
    occurring.flat_map(|(task, &times)| task.iter().map(move |thing| (thing, f64::from(times))))
}

/// The share of pairs of people who gave the same value, over all things.
pub fn percent_agreement(tasks: &[Task], times: &[u32]) -> Option<f64> {
    let (mut n_pairs, mut n_same) = (0.0, 0.0);
    for (thing, times) in things(tasks, times) {
        let (pairs, same) = thing.pairs();
        n_pairs += times * f64::from(pairs);
        n_same += times * f64::from(same);
    }
    (n_pairs > 0.0).then(|| n_same / n_pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_with_a_thing_agrees_with_nobody() {
        let tasks = [vec![Counts::of([1])], vec![Counts::of([2, 2, 0]), Counts::of([])]];
        assert_eq!(percent_agreement(&tasks, &[1, 1]), Some(1.0 / 3.0));
        assert_eq!(percent_agreement(&tasks, &[5, 0]), None);
    }
}
