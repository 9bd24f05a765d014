//! How often each answer was given, in the order in which it was shown.

use laurel_protocol::{Choice, Distribution, Judgement, Subject};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub struct Distributions(BTreeMap<Subject, Vec<u64>>);

impl Distributions {
    /// A judgement of so many completions that was given `n` times.
    pub fn add(&mut self, judgement: &Judgement, n_shown: usize, n: u64) {
        match judgement {
            Judgement::Pick { choice, .. } => {
                let at = match choice {
                    Choice::First => 0,
                    Choice::Second => 1,
                    Choice::Tie => 2,
                    Choice::BothBad => 3,
                };
                self.count(Subject::Choice, at, 4, n);
            }
            Judgement::Rank { ranks } => {
                let tops = (0..ranks.len()).filter(|&at| ranks[at] == 1);
                tops.for_each(|at| self.count(Subject::Order, at, n_shown, n));
            }
            Judgement::BestWorst { best, worst } => {
                self.count(Subject::Best, usize::from(*best), n_shown, n);
                self.count(Subject::Worst, usize::from(*worst), n_shown, n);
            }
            Judgement::Rate => {}
        }
    }

    /// A rating from 1 up; 0 is none.
    pub fn add_rating(&mut self, dimension: &str, rating: u8, n: u64) {
        if let Some(at) = usize::from(rating).checked_sub(1) {
            let dimension = dimension.to_owned();
            self.count(Subject::Rating { dimension }, at, 0, n);
        }
    }

    pub fn list(self) -> Vec<Distribution> {
        let distribution = |(about, counts)| Distribution { about, counts };
        self.0.into_iter().map(distribution).collect()
    }

    fn count(&mut self, about: Subject, at: usize, at_least: usize, n: u64) {
        let counts = self.0.entry(about).or_default();
        counts.resize(counts.len().max(at + 1).max(at_least), 0);
        counts[at] += n;
    }
}
