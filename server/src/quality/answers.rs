//! One annotation as statistics want it: a value for each thing that was asked. Things are named in the stored order of a
//! task's completions, for everybody sees them in an order of their own.

use laurel_protocol::{Choice, Judgement, Subject, TaskId, UserId};
use std::collections::BTreeMap;

/// An annotation that stands.
#[derive(Clone, Debug)]
pub struct Judged {
    pub task: TaskId,
    pub user: UserId,
    pub judgement: Judgement,
    /// At each position shown, the place of its completion in the stored order.
    pub stored_at: Vec<u8>,
    /// By dimension, in display order.
    pub ratings: BTreeMap<String, Vec<u8>>,
    pub seconds: f64,
}

/// One of the things of a task: a completion, a pair of them, or the task itself.
pub type Thing = u16;

/// What somebody said of one thing.
pub type Said = (Thing, u8);

/// The stored first is better, the stored second, a tie, both bad.
const CHOICES: [Choice; 4] = [Choice::First, Choice::Second, Choice::Tie, Choice::BothBad];

impl Judged {
    /// What was said about each subject.
    pub fn answers(&self) -> Vec<(Subject, Vec<Said>)> {
        let mut answers = match &self.judgement {
            Judgement::Pick { choice, .. } => vec![(Subject::Choice, self.choice(*choice))],
            Judgement::Rank { ranks } => {
                vec![
                    (Subject::Order, self.by_completion(ranks)),
                    (Subject::Verdict, self.verdicts()),
                ]
            }
            Judgement::BestWorst { best, worst } => vec![
                (Subject::Best, self.place(*best)),
                (Subject::Worst, self.place(*worst)),
                (Subject::Verdict, self.verdicts()),
            ],
            Judgement::Rate => Vec::new(),
        };
        for (dimension, ratings) in &self.ratings {
            let about = Subject::Rating {
                dimension: dimension.clone(),
            };
            answers.push((about, self.by_completion(ratings)));
        }
        answers
    }

    fn choice(&self, choice: Choice) -> Vec<Said> {
        let is_swapped = self.stored_at.first() > self.stored_at.get(1);
        let stored = match choice {
            Choice::First if is_swapped => Choice::Second,
            Choice::Second if is_swapped => Choice::First,
            other => other,
        };
        let value = CHOICES.iter().position(|known| *known == stored);
        value.map(|value| (0, value as u8)).into_iter().collect()
    }

    fn place(&self, position: u8) -> Vec<Said> {
        let stored = self.stored_at.get(usize::from(position));
        stored.map(|stored| (0, *stored)).into_iter().collect()
    }

    fn by_completion(&self, values: &[u8]) -> Vec<Said> {
        let said = self.stored_at.iter().zip(values);
        said.map(|(stored, value)| (Thing::from(*stored), *value))
            .collect()
    }

    /// Of two completions, 0: the one stored first is better, 1: the other, 2: a tie.
    fn verdicts(&self) -> Vec<Said> {
        let pairs = self.judgement.comparisons(self.stored_at.len()).into_iter();
        let said = pairs.filter_map(|pair| {
            let (chosen, rejected) = (
                *self.stored_at.get(pair.chosen)?,
                *self.stored_at.get(pair.rejected)?,
            );
            let value = match pair.tie {
                true => 2,
                false => u8::from(chosen > rejected),
            };
            Some((pair_of(chosen, rejected), value))
        });
        said.collect()
    }
}

fn pair_of(a: u8, b: u8) -> Thing {
    Thing::from(a.min(b)) << 8 | Thing::from(a.max(b))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn judged(task: i64, user: i64, judgement: Judgement, stored_at: &[u8]) -> Judged {
        Judged {
            task: TaskId(task),
            user: UserId(user),
            judgement,
            stored_at: stored_at.to_vec(),
            ratings: BTreeMap::new(),
            seconds: 1.0,
        }
    }

    pub fn pick(task: i64, user: i64, choice: Choice, stored_at: &[u8]) -> Judged {
        let judgement = Judgement::Pick {
            choice,
            strength: None,
        };
        judged(task, user, judgement, stored_at)
    }

    #[test]
    fn a_pick_is_told_in_the_stored_order() {
        let value = |choice, stored_at: &[u8]| pick(1, 1, choice, stored_at).answers().remove(0);
        assert_eq!(value(Choice::First, &[0, 1]), (Subject::Choice, vec![(0, 0)]));
        assert_eq!(value(Choice::First, &[1, 0]), (Subject::Choice, vec![(0, 1)]));
        assert_eq!(value(Choice::Tie, &[1, 0]), (Subject::Choice, vec![(0, 2)]));
        assert_eq!(value(Choice::BothBad, &[1, 0]), (Subject::Choice, vec![(0, 3)]));
    }

    #[test]
    fn a_ranking_is_the_same_whatever_order_was_shown() {
        let rank = |ranks: &[u8], stored_at: &[u8]| {
            let judgement = Judgement::Rank {
                ranks: ranks.to_vec(),
            };
            let mut answers = judged(1, 1, judgement, stored_at).answers();
            answers.iter_mut().for_each(|(_, said)| said.sort_unstable());
            answers
        };
        let stored = rank(&[2, 1, 1], &[0, 1, 2]);
        assert_eq!(stored[0].1, [(0, 2), (1, 1), (2, 1)]);
        assert_eq!(stored[1].1, [(1, 1), (2, 1), (0x102, 2)]);
        assert_eq!(rank(&[1, 2, 1], &[2, 0, 1]), stored);
    }

    #[test]
    fn best_and_worst_say_nothing_of_those_between() {
        let shown = judged(1, 1, Judgement::BestWorst { best: 0, worst: 1 }, &[3, 0, 1, 2]);
        let answers = shown.answers();
        assert_eq!(answers[0], (Subject::Best, vec![(0, 3)]));
        assert_eq!(answers[1], (Subject::Worst, vec![(0, 0)]));
        assert_eq!(answers[2].1.len(), 5);
        assert!(!answers[2].1.iter().any(|(pair, _)| *pair == 0x102));
    }
}
