//! Checks of annotators: gold items, whose right answer is known, a qualification round made of them, repeats, and a
//! limit on what one person answers.

use crate::{
    error::{Check, Validation},
    ids::{AssignmentId, TaskId, UserId},
    label::{Choice, Judgement},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a project checks its annotators by; at first nothing. It may change at any time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Checks {
    /// Of a hundred tasks that a person is given, so many are gold items, while there are some that they have not seen:
    /// 0 to 50.
    pub gold_percent: u8,
    /// After a gold item tell the person whether they were right, and why.
    pub gold_feedback: bool,
    /// So many gold items come before anything else, 0 to 50. With fewer in the project, all of them.
    pub qualification: u8,
    /// So many of a hundred of these must be right, or the person is given nothing more: 1 to 100.
    pub qualification_percent: u8,
    /// Of a hundred tasks that a person is given, so many are earlier ones of theirs with the completions in another
    /// order: 0 to 30.
    pub repeat_percent: u8,
    /// Tasks that one person may answer at most, checks not counted.
    pub max_per_annotator: Option<u32>,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            gold_percent: 0,
            gold_feedback: false,
            qualification: 0,
            qualification_percent: 70,
            repeat_percent: 0,
            max_per_annotator: None,
        }
    }
}

impl Checks {
    pub(crate) fn check(&self, check: &mut Check) {
        check
            .ensure(self.gold_percent <= 50, "checks.gold_percent", "must be 0 to 50")
            .ensure(
                self.qualification <= 50,
                "checks.qualification",
                "must be 0 to 50",
            )
            .ensure(
                (1..=100).contains(&self.qualification_percent),
                "checks.qualification_percent",
                "must be 1 to 100",
            )
            .ensure(
                self.repeat_percent <= 30,
                "checks.repeat_percent",
                "must be 0 to 30",
            )
            .ensure(
                self.max_per_annotator != Some(0),
                "checks.max_per_annotator",
                "must be 1 or more, or nothing for no limit",
            );
    }
}

/// `POST /assignments/{id}/gold`: makes a gold item of an answer of one's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewGold {
    /// Why that is the right answer; shown with the feedback.
    #[serde(default)]
    pub explanation: String,
}

impl NewGold {
    pub fn validate(&self) -> Validation {
        Check::default()
            .ensure(
                self.explanation.len() <= 8 * 1024,
                "explanation",
                "is longer than 8 KiB",
            )
            .finish()
    }
}

/// The right answer to a task. Positions are those in which the completions are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Gold {
    pub judgement: Judgement,
    #[serde(default)]
    pub ratings: BTreeMap<String, Vec<u8>>,
    pub explanation: String,
    pub author: UserId,
}

/// A gold item, as admins see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GoldItem {
    pub id: TaskId,
    /// The beginning of the prompt's last turn.
    pub prompt: String,
    pub gold: Gold,
    /// Whether it is still given out.
    pub open: bool,
    pub n_answers: u64,
    pub n_right: u64,
}

/// What a person hears after a gold item, where the project tells them. Positions are in display order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Feedback {
    pub assignment_id: AssignmentId,
    pub right: bool,
    pub expected: Judgement,
    pub expected_ratings: BTreeMap<String, Vec<u8>>,
    pub explanation: String,
}

/// Why a person is given nothing more in a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// They answered as many tasks as one person may.
    Limit,
    /// Too few of the first gold items were right.
    NotQualified,
    /// The project is for the people who are assigned to it.
    NotAssigned,
}

/// An answer as far as checks compare it.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub judgement: &'a Judgement,
    pub ratings: &'a BTreeMap<String, Vec<u8>>,
}

impl Said<'_> {
    /// Whether this answer is as right as it must be, measured by a gold answer about `n` completions in the same
    /// order: every pair that the gold answer puts in order is put in that order, a tie or "both bad" is said where
    /// gold says it, and ratings without a judgement are each at most one step away.
    pub fn is_right(&self, gold: &Said<'_>, n: usize) -> bool {
        match (self.judgement, gold.judgement) {
            (Judgement::Rate, Judgement::Rate) => self.is_near(gold),
            (Judgement::Pick { choice, .. }, Judgement::Pick { choice: right, .. }) => choice == right,
            _ => {
                let said = ordered(self.judgement, n);
                ordered(gold.judgement, n).iter().all(|pair| said.contains(pair))
            }
        }
    }

    /// Whether this answer and another one about the same completions, in the same order, cannot both be right.
    pub fn contradicts(&self, other: &Said<'_>, n: usize) -> bool {
        match (self.judgement, other.judgement) {
            (Judgement::Rate, Judgement::Rate) => !self.is_near(other),
            (Judgement::Pick { choice, .. }, Judgement::Pick { choice: other, .. }) => choice != other,
            _ => {
                let said = ordered(self.judgement, n);
                ordered(other.judgement, n)
                    .iter()
                    .any(|&(better, worse)| said.contains(&(worse, better)))
            }
        }
    }

    fn is_near(&self, gold: &Said<'_>) -> bool {
        gold.ratings.iter().all(|(name, right)| {
            let given = self.ratings.get(name);
            given.is_some_and(|given| {
                given.len() == right.len() && given.iter().zip(right).all(|(a, b)| a.abs_diff(*b) <= 1)
            })
        })
    }
}

/// (better, worse) of each pair that is put in order.
fn ordered(judgement: &Judgement, n: usize) -> Vec<(usize, usize)> {
    let pairs = judgement.comparisons(n).into_iter();
    pairs
        .filter(|pair| !pair.tie)
        .map(|pair| (pair.chosen, pair.rejected))
        .collect()
}

impl Judgement {
    /// The same judgement of completions in another order: what stood at position i stands at `places[i]`.
    pub fn moved(&self, places: &[usize]) -> Self {
        let place = |at: u8| places.get(usize::from(at)).map_or(at, |&place| place as u8);
        match self {
            Self::Pick { choice, strength } => {
                let is_swapped = places.first().is_some_and(|&place| place != 0);
                let choice = match (choice, is_swapped) {
                    (Choice::First, true) => Choice::Second,
                    (Choice::Second, true) => Choice::First,
                    (choice, _) => *choice,
                };
                Self::Pick {
                    choice,
                    strength: *strength,
                }
            }
            Self::Rank { ranks } => Self::Rank {
                ranks: moved(ranks, places),
            },
            Self::BestWorst { best, worst } => Self::BestWorst {
                best: place(*best),
                worst: place(*worst),
            },
            Self::Rate => Self::Rate,
        }
    }
}

/// Values by position, moved as [`Judgement::moved`] does it.
pub fn moved(values: &[u8], places: &[usize]) -> Vec<u8> {
    let mut moved = values.to_vec();
    for (value, &place) in values.iter().zip(places) {
        if let Some(slot) = moved.get_mut(place) {
            *slot = *value;
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(choice: Choice) -> Judgement {
        Judgement::Pick {
            choice,
            strength: None,
        }
    }

    fn is_right(said: &Judgement, gold: &Judgement, n: usize) -> bool {
        let none = BTreeMap::new();
        let said = Said {
            judgement: said,
            ratings: &none,
        };
        let gold = Said {
            judgement: gold,
            ratings: &none,
        };
        said.is_right(&gold, n)
    }

    #[test]
    fn a_pick_is_right_when_it_is_the_same() {
        for choice in [Choice::First, Choice::Tie, Choice::BothBad] {
            assert!(is_right(&pick(choice), &pick(choice), 2));
            assert!(!is_right(&pick(Choice::Second), &pick(choice), 2));
        }
    }

    #[test]
    fn a_ranking_is_right_when_it_keeps_every_order_of_the_gold_one() {
        let rank = |ranks: &[u8]| Judgement::Rank {
            ranks: ranks.to_vec(),
        };
        let gold = rank(&[1, 2, 2]);
        assert!(is_right(&rank(&[1, 2, 3]), &gold, 3), "a tie leaves it open");
        assert!(!is_right(&rank(&[1, 1, 2]), &gold, 3));
        let best = Judgement::BestWorst { best: 0, worst: 2 };
        assert!(is_right(&best, &best, 3));
        assert!(!is_right(&Judgement::BestWorst { best: 1, worst: 2 }, &best, 3));
    }

    #[test]
    fn ratings_may_be_one_step_away() {
        let rated = |ratings: &[u8]| BTreeMap::from([("helpful".to_owned(), ratings.to_vec())]);
        let (gold, near, far) = (rated(&[4, 2]), rated(&[5, 1]), rated(&[4, 4]));
        let said = |ratings| Said {
            judgement: &Judgement::Rate,
            ratings,
        };
        assert!(said(&near).is_right(&said(&gold), 2));
        assert!(!said(&far).is_right(&said(&gold), 2));
    }

    #[test]
    fn rankings_contradict_each_other_where_two_are_the_other_way_round() {
        let none = BTreeMap::new();
        let contradict = |a: &[u8], b: &[u8]| {
            let of = |ranks: &[u8]| Judgement::Rank {
                ranks: ranks.to_vec(),
            };
            let (a, b) = (of(a), of(b));
            let said = |judgement| Said {
                judgement,
                ratings: &none,
            };
            said(&a).contradicts(&said(&b), 3)
        };
        assert!(contradict(&[1, 2, 3], &[1, 3, 2]));
        assert!(!contradict(&[1, 2, 3], &[1, 2, 2]), "a tie leaves it open");
    }

    #[test]
    fn a_judgement_moves_with_its_completions() {
        assert_eq!(pick(Choice::First).moved(&[1, 0]), pick(Choice::Second));
        assert_eq!(pick(Choice::Tie).moved(&[1, 0]), pick(Choice::Tie));
        let ranks = Judgement::Rank { ranks: vec![1, 2, 3] };
        assert_eq!(ranks.moved(&[2, 0, 1]), Judgement::Rank { ranks: vec![2, 3, 1] });
        let ends = Judgement::BestWorst { best: 0, worst: 2 };
        assert_eq!(ends.moved(&[2, 0, 1]), Judgement::BestWorst { best: 2, worst: 1 });
    }
}
