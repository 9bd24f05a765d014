//! What an annotator sees and answers.

use crate::{
    checks::{Feedback, Stopped},
    error::{Check, Validation},
    ids::{AssignmentId, ProjectId, TaskId, Timestamp},
    message::Speaker,
    project::LabelType,
    questions::{Extras, Questions},
};
use serde::{Deserialize, Serialize};

/// A task held by one annotator under a lease, in the order that this person sees. Generators are hidden.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Assignment {
    pub id: AssignmentId,
    pub project_id: ProjectId,
    pub task_id: TaskId,
    pub label_type: LabelType,
    pub ask_strength: bool,
    #[serde(default)]
    pub questions: Questions,
    pub prompt: Vec<ShownMessage>,
    /// In display order: index 0 is A, 1 is B …
    pub completions: Vec<ShownCompletion>,
    pub lease_until: Timestamp,
    /// 0 for a first answer; grows by one each time an answer of this assignment is replaced.
    pub revision: u32,
    /// The answer that stands, when the assignment was reopened by undo.
    pub previous: Option<Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShownMessage {
    pub role: Speaker,
    /// Sanitised HTML of the markdown.
    pub html: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShownCompletion {
    /// Sanitised HTML of the markdown, code highlighted.
    pub html: String,
    /// The text as the model wrote it.
    pub text: String,
    /// Cut off by the token limit.
    pub truncated: bool,
}

/// The judgement itself; indexes are positions in display order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Judgement {
    Pick {
        choice: Choice,
        /// 1 slightly, 2 better, 3 much better, 4 far better. Only for a strict choice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strength: Option<u8>,
    },
    Rank {
        /// `ranks[i]` is the rank of the completion shown at position i; 1 is best, equal numbers are ties.
        /// Dense: {1, 1, 2}, not {1, 1, 3}.
        ranks: Vec<u8>,
    },
    /// The best and the worst one, by position. The rest lie between them in no order.
    BestWorst { best: u8, worst: u8 },
    /// No comparison: the ratings say it all.
    Rate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The completion shown first (A).
    First,
    /// The completion shown second (B).
    Second,
    Tie,
    BothBad,
}

/// `POST /assignments/{id}/annotation`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Answer {
    pub judgement: Judgement,
    #[serde(default)]
    pub comment: String,
    /// What the project's [`Questions`] ask for.
    #[serde(default, skip_serializing_if = "Extras::is_empty")]
    pub extras: Extras,
    /// Active seconds on the task; idle time is left out by the page.
    pub seconds: f64,
    /// The `revision` of the assignment that is answered. Sending the same answer again is harmless.
    #[serde(default)]
    pub revision: u32,
}

/// The longest comment on an answer or a skip.
const MAX_COMMENT_BYTES: usize = 8 * 1024;

/// What an answer is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub label_type: LabelType,
    pub ask_strength: bool,
    pub questions: &'a Questions,
    /// The completions as they were written, in display order.
    pub texts: &'a [&'a str],
}

impl Assignment {
    pub fn texts(&self) -> Vec<&str> {
        self.completions
            .iter()
            .map(|completion| completion.text.as_str())
            .collect()
    }
}

impl Answer {
    /// Checks the answer against what was asked.
    pub fn validate(&self, expected: &Expected<'_>) -> Validation {
        let n_completions = expected.texts.len();
        let mut check = Check::default();
        check
            .ensure(
                self.comment.len() <= MAX_COMMENT_BYTES,
                "comment",
                "is longer than 8 KiB",
            )
            .ensure(
                self.seconds.is_finite() && self.seconds >= 0.0,
                "seconds",
                "must be 0 or more",
            );
        match (&self.judgement, expected.label_type) {
            (Judgement::Pick { choice, strength }, LabelType::Pick) => {
                let strict = matches!(choice, Choice::First | Choice::Second);
                check
                    .ensure(
                        strength.is_none_or(|s| (1..=4).contains(&s)),
                        "judgement.strength",
                        "must be 1 to 4",
                    )
                    .ensure(
                        strength.is_none() || (strict && expected.ask_strength),
                        "judgement.strength",
                        "goes only with a strict choice, where the project asks for it",
                    );
            }
            (Judgement::Rank { ranks }, LabelType::Rank) => {
                check
                    .ensure(
                        ranks.len() == n_completions,
                        "judgement.ranks",
                        "must have one rank for each completion",
                    )
                    .ensure(
                        is_dense(ranks),
                        "judgement.ranks",
                        "must count 1, 2, 3 … without gaps (equal numbers are ties)",
                    );
            }
            (Judgement::BestWorst { best, worst }, LabelType::BestWorst) => {
                let is_at = |position: u8| usize::from(position) < n_completions;
                check.ensure(
                    is_at(*best) && is_at(*worst) && best != worst,
                    "judgement",
                    "must name two different completions of the task",
                );
            }
            (Judgement::Rate, LabelType::Rate) => {}
            _ => {
                check.ensure(false, "judgement.type", "does not match the project's label type");
            }
        }
        let n_ranks = match &self.judgement {
            Judgement::Rank { ranks } => ranks.iter().copied().max().unwrap_or(0),
            _ => 0,
        };
        self.extras
            .check(expected.questions, n_completions, n_ranks, &mut check);
        self.extras.check_texts(expected.texts, &mut check);
        check.finish()
    }
}

/// Whether the ranks are 1..=m, each used at least once.
fn is_dense(ranks: &[u8]) -> bool {
    let top = ranks.iter().copied().max().unwrap_or(0);
    !ranks.contains(&0) && (1..=top).all(|rank| ranks.contains(&rank))
}

impl Judgement {
    /// Completions of the task, where the judgement tells; 2 otherwise.
    pub fn n_ranked(&self) -> usize {
        match self {
            Self::Rank { ranks } => ranks.len(),
            Self::Pick { .. } | Self::BestWorst { .. } | Self::Rate => 2,
        }
    }

    /// Every pair of display positions that the judgement compares, each once.
    /// "Both bad" says nothing about which is better, so it gives no pair.
    pub fn comparisons(&self, n_completions: usize) -> Vec<PositionPair> {
        match self {
            Self::Pick { choice, strength } => {
                let pair = |chosen, rejected, tie| PositionPair {
                    chosen,
                    rejected,
                    tie,
                    strength: *strength,
                };
                match choice {
                    Choice::First => vec![pair(0, 1, false)],
                    Choice::Second => vec![pair(1, 0, false)],
                    Choice::Tie => vec![pair(0, 1, true)],
                    Choice::BothBad => vec![],
                }
            }
            Self::Rank { ranks } => {
                let mut pairs = Vec::new();
                for a in 0..ranks.len() {
                    for b in a + 1..ranks.len() {
                        let (chosen, rejected) = if ranks[b] < ranks[a] { (b, a) } else { (a, b) };
                        pairs.push(PositionPair {
                            chosen,
                            rejected,
                            tie: ranks[a] == ranks[b],
                            strength: None,
                        });
                    }
                }
                pairs
            }
            Self::BestWorst { best, worst } => {
                let (best, worst) = (usize::from(*best), usize::from(*worst));
                let pair = |chosen, rejected| PositionPair {
                    chosen,
                    rejected,
                    tie: false,
                    strength: None,
                };
                let between = (0..n_completions).filter(|&other| other != best && other != worst);
                let with_both = between.flat_map(|other| [pair(best, other), pair(other, worst)]);
                std::iter::once(pair(best, worst)).chain(with_both).collect()
            }
            Self::Rate => vec![],
        }
    }
}

/// `chosen` ≻ `rejected`, or a tie of the two; both are display positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionPair {
    pub chosen: usize,
    pub rejected: usize,
    pub tie: bool,
    pub strength: Option<u8>,
}

/// `POST /projects/{id}/assignments`: hold up to so many tasks at once (one on screen, the rest prefetched).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hold {
    /// 1 to 5.
    pub n: u8,
}

/// What the annotator holds after a claim, a submit, a skip or an undo: the first is to be shown now.
/// A submit or skip tops up to as many as were held before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Held {
    pub assignments: Vec<Assignment>,
    pub progress: Progress,
    /// Whether `POST /projects/{id}/undo` would bring something back.
    pub can_undo: bool,
    /// Why nothing more comes for this person, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// After a gold item was answered, where the project tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Progress {
    /// Annotations by this person in this project.
    pub n_mine: u64,
    /// Tasks this person could still be given now (those held included).
    pub n_left_for_me: u64,
    pub n_tasks: u64,
    pub n_tasks_done: u64,
}

/// `POST /assignments/{id}/skip`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Skip {
    pub reason: SkipReason,
    #[serde(default)]
    pub comment: String,
    /// The `revision` of the assignment that is skipped. Skipping what is skipped already is harmless.
    #[serde(default)]
    pub revision: u32,
}

impl Skip {
    pub fn validate(&self) -> Validation {
        Check::default()
            .ensure(
                self.comment.len() <= MAX_COMMENT_BYTES,
                "comment",
                "is longer than 8 KiB",
            )
            .finish()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    CannotJudge,
    PromptUnclear,
    Offensive,
    Broken,
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(judgement: Judgement) -> Answer {
        Answer {
            judgement,
            comment: String::new(),
            extras: Extras::default(),
            seconds: 1.0,
            revision: 0,
        }
    }

    fn expected<'a>(label_type: LabelType, ask_strength: bool, texts: &'a [&'a str]) -> Expected<'a> {
        const NOTHING: &Questions = &Questions {
            dimensions: Vec::new(),
            rating_steps: 5,
            span_labels: Vec::new(),
            edit: false,
            demonstration: false,
            acceptable_line: false,
        };
        Expected {
            label_type,
            ask_strength,
            questions: NOTHING,
            texts,
        }
    }

    #[test]
    fn best_and_worst_differ_and_lie_among_the_completions() {
        let answered = |best, worst| {
            answer(Judgement::BestWorst { best, worst }).validate(&expected(
                LabelType::BestWorst,
                false,
                &["a", "b", "c"],
            ))
        };
        assert!(answered(2, 0).is_ok());
        assert!(answered(1, 1).is_err());
        assert!(answered(3, 0).is_err());
    }

    #[test]
    fn the_best_beats_all_others_and_the_worst_none() {
        let pairs = Judgement::BestWorst { best: 2, worst: 0 }.comparisons(4);
        let short: Vec<_> = pairs.iter().map(|p| (p.chosen, p.rejected)).collect();
        assert_eq!(short, [(2, 0), (2, 1), (1, 0), (2, 3), (3, 0)]);
    }

    #[test]
    fn ranks_with_gaps_or_of_the_wrong_count_are_refused() {
        let rank = |ranks: &[u8]| {
            answer(Judgement::Rank {
                ranks: ranks.to_vec(),
            })
            .validate(&expected(LabelType::Rank, false, &["a", "b", "c"]))
        };
        assert!(rank(&[2, 1, 1]).is_ok());
        assert!(rank(&[1, 1, 3]).is_err());
        assert!(rank(&[0, 1, 2]).is_err());
        assert!(rank(&[1, 2]).is_err());
    }

    #[test]
    fn strength_needs_a_strict_choice_and_a_project_that_asks() {
        let pick = |choice, ask| {
            answer(Judgement::Pick {
                choice,
                strength: Some(2),
            })
            .validate(&expected(LabelType::Pick, ask, &["a", "b"]))
        };
        assert!(pick(Choice::First, true).is_ok());
        assert!(pick(Choice::First, false).is_err());
        assert!(pick(Choice::Tie, true).is_err());
    }

    #[test]
    fn a_ranking_of_k_gives_all_k_choose_2_pairs_with_ties_marked() {
        let pairs = Judgement::Rank { ranks: vec![2, 1, 2] }.comparisons(3);
        let short: Vec<_> = pairs.iter().map(|p| (p.chosen, p.rejected, p.tie)).collect();
        assert_eq!(short, [(1, 0, false), (0, 2, true), (1, 2, false)]);
    }

    #[test]
    fn both_bad_compares_nothing() {
        assert!(
            Judgement::Pick {
                choice: Choice::BothBad,
                strength: None
            }
            .comparisons(2)
            .is_empty()
        );
    }
}
