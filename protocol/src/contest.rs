//! Contests: people judge two contenders without knowing which is which, until the answer is clear. A contest may be the gate of
//! a round: whether what it made is accepted.

use crate::{
    arena::Contender,
    completion::{CompletionJob, Sampling},
    error::{Check, Validation},
    ids::{AdapterId, ContestId, ProjectId, RoundId, Timestamp},
    message::{PromptText, validate_prompt},
    quality::Interval,
};
use serde::{Deserialize, Serialize};

/// `POST /projects/{id}/contests`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewContest {
    /// None is the base model.
    #[serde(default)]
    pub first: Option<AdapterId>,
    /// None is the base model.
    #[serde(default)]
    pub second: Option<AdapterId>,
    /// The round whose gate this is: the first contender is what it made.
    #[serde(default)]
    pub round: Option<RoundId>,
    /// So many of the project's prompts, drawn with the sampling's seed; all when it has fewer.
    #[serde(default)]
    pub n_prompts: u32,
    /// Prompts of one's own. The project has them from then on.
    #[serde(default)]
    pub prompts: Vec<PromptText>,
    /// Votes on each prompt, 1 to 10.
    #[serde(default = "one")]
    pub n_people: u8,
    /// How often equal contenders may be told apart by mistake, however often one looks.
    #[serde(default = "five_percent")]
    pub alpha: f64,
    /// The same for both contenders.
    #[serde(default)]
    pub sampling: Sampling,
}

fn one() -> u8 {
    1
}

fn five_percent() -> f64 {
    0.05
}

impl NewContest {
    /// Prompts at most, the own ones included.
    pub const MAX_PROMPTS: usize = 2000;
    pub const DEFAULT_PROMPTS: u32 = 200;

    pub fn validate(&self) -> Validation {
        let mut errors = self.sampling.validate().err().unwrap_or_default();
        let n = self.n_prompts as usize + self.prompts.len();
        let are_prompts = self
            .prompts
            .iter()
            .all(|prompt| validate_prompt(&prompt.clone().into_messages()).is_ok());
        let own = Check::default()
            .ensure(
                self.first != self.second,
                "second",
                "must be another one than the first",
            )
            .ensure(
                (1..=Self::MAX_PROMPTS).contains(&n),
                "n_prompts",
                "must be 1 to 2000 prompts, your own included",
            )
            .ensure(
                are_prompts,
                "prompts",
                "must be texts, or conversations that end with the user",
            )
            .ensure((1..=10).contains(&self.n_people), "n_people", "must be 1 to 10")
            .ensure(
                (0.001..=0.3).contains(&self.alpha),
                "alpha",
                "must be 0.001 to 0.3",
            )
            .finish();
        errors.extend(own.err().unwrap_or_default());
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ContestStatus {
    /// Answers are made, or judged.
    Open,
    /// One is better.
    Decided,
    /// All prompts are judged, and neither is clearly better.
    Undecided,
    /// An admin ended it.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Side {
    First,
    Second,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Contest {
    pub id: ContestId,
    pub project_id: ProjectId,
    pub first: Contender,
    pub second: Contender,
    pub round: Option<RoundId>,
    pub status: ContestStatus,
    pub n_people: u8,
    pub alpha: f64,
    pub sampling: Sampling,
    /// The first contender's answers, then the second one's.
    pub jobs: Vec<CompletionJob>,
    /// As they are, or as they were when it ended.
    pub figures: ContestFigures,
    pub close_reason: Option<String>,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

impl Contest {
    /// Who is better, once that is clear.
    pub fn winner(&self) -> Option<Side> {
        match self.status {
            ContestStatus::Decided => self.figures.winner(),
            ContestStatus::Open | ContestStatus::Undecided | ContestStatus::Closed => None,
        }
    }
}

/// How a contest stands. A prompt counts once, with the mean of its votes, when all of them are in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContestFigures {
    pub n_prompts: u64,
    /// Prompts that count: judged, or answered alike by both.
    pub n_counted: u64,
    /// Of these: both answers are the same, which is a tie without a vote.
    pub n_same: u64,
    /// Prompts without a task: an answer was cut off, which the project leaves out.
    pub n_left_out: u64,
    /// Votes for the first contender on prompts that count.
    pub wins: u64,
    /// Ties, and verdicts that both are bad: half a win of each.
    pub ties: u64,
    pub losses: u64,
    /// The mean over prompts of the first contender's share of the votes. Null where none counts.
    pub win_rate: Option<f64>,
    /// Holds the true rate with the probability 1 − alpha at all times together: one may look as often as one likes.
    pub interval: Interval,
}

impl ContestFigures {
    /// Whose side of one half the whole interval lies on.
    pub fn winner(&self) -> Option<Side> {
        match self.interval {
            Interval { low, .. } if low > 0.5 => Some(Side::First),
            Interval { high, .. } if high < 0.5 => Some(Side::Second),
            _ => None,
        }
    }
}

/// `POST /contests/{id}/close`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloseContest {
    #[serde(default)]
    pub reason: String,
}

impl CloseContest {
    pub fn validate(&self) -> Validation {
        Check::default()
            .ensure(self.reason.len() <= 2 * 1024, "reason", "is longer than 2 KiB")
            .finish()
    }
}

/// What the judges said of a round's adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// No contest was held for it.
    None,
    /// A contest is open.
    Judging,
    /// It is better than what it was held against.
    Accepted,
    /// It is worse.
    NotAccepted,
    /// Neither is clear.
    Undecided,
}

/// `GET /rounds/{id}/gate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoundGate {
    pub gate: Gate,
    /// The newest contest of the round that nobody closed.
    pub contest: Option<Contest>,
}

impl RoundGate {
    pub fn of(contest: Option<Contest>) -> Self {
        let gate = match &contest {
            None => Gate::None,
            Some(contest) => match (contest.status, contest.winner()) {
                (ContestStatus::Open, _) => Gate::Judging,
                (_, Some(Side::First)) => Gate::Accepted,
                (_, Some(Side::Second)) => Gate::NotAccepted,
                (_, None) => Gate::Undecided,
            },
        };
        Self { gate, contest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> NewContest {
        serde_json::from_str(r#"{"first": 1, "n_prompts": 10}"#).unwrap()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!((new().second, new().n_people, new().alpha), (None, 1, 0.05));
        assert!(new().validate().is_ok());
    }

    #[test]
    fn a_contender_does_not_meet_itself_and_somebody_is_asked_something() {
        let fields = |contest: NewContest| contest.validate().unwrap_err()[0].field.clone();
        assert_eq!(fields(NewContest { first: None, ..new() }), "second");
        assert_eq!(
            fields(NewContest {
                n_prompts: 0,
                ..new()
            }),
            "n_prompts"
        );
        assert_eq!(fields(NewContest { n_people: 0, ..new() }), "n_people");
        assert_eq!(fields(NewContest { alpha: 0.5, ..new() }), "alpha");
        let prompts = vec![PromptText::Text("  ".into())];
        assert_eq!(fields(NewContest { prompts, ..new() }), "prompts");
    }

    #[test]
    fn the_interval_names_the_winner() {
        let figures = |low, high| ContestFigures {
            n_prompts: 9,
            n_counted: 9,
            n_same: 0,
            n_left_out: 0,
            wins: 5,
            ties: 0,
            losses: 4,
            win_rate: Some(5.0 / 9.0),
            interval: Interval { low, high },
        };
        assert_eq!(figures(0.51, 0.9).winner(), Some(Side::First));
        assert_eq!(figures(0.1, 0.49).winner(), Some(Side::Second));
        assert_eq!(figures(0.1, 0.9).winner(), None);
    }
}
