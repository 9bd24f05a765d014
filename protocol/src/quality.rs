//! How far a project's annotators agree, and how each of them works.

use crate::{
    error::{Check, Validation},
    ids::{Timestamp, UserId},
};
use serde::{Deserialize, Serialize};

/// `GET /projects/{id}/agreement?since&until`. Only annotations that stand count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quality {
    pub n_annotations: u64,
    /// Tasks with an annotation.
    pub n_tasks: u64,
    /// Tasks that at least two people judged: all agreement rests on these.
    pub n_shared_tasks: u64,
    pub agreement: Vec<AgreementFigure>,
    /// Two people each: the 20 pairs with the most tasks in common, by what was asked.
    pub pairs: Vec<PairAgreement>,
    /// All people together.
    pub habits: Habits,
    pub distributions: Vec<Distribution>,
    /// Most annotations first.
    pub annotators: Vec<AnnotatorQuality>,
}

/// What people agree about or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// Pick: which of the two, a tie, or both bad.
    Choice,
    /// Best-worst: which is the best.
    Best,
    /// Best-worst: which is the worst.
    Worst,
    /// Rank and best-worst: of two completions of a task, which is better, or a tie.
    Verdict,
    /// Rank: the order of a task's completions.
    Order,
    /// The rating of a completion on a dimension.
    Rating { dimension: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The share of pairs of people who said the same.
    Percent,
    /// Of several people, categories; over what the usual number of people judged.
    FleissKappa,
    AlphaNominal,
    AlphaOrdinal,
    AlphaInterval,
    /// The mean over pairs of people and tasks.
    KendallTauB,
}

/// One measure of agreement about one subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgreementFigure {
    pub about: Subject,
    pub measure: Measure,
    /// Tasks that it rests on; they are what the interval draws anew.
    pub n_tasks: u64,
    /// Null where it is undefined: nobody shared a task, or everybody said one and the same of everything.
    pub estimate: Option<Estimate>,
}

/// Cohen's kappa of two people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PairAgreement {
    pub about: Subject,
    pub first: UserId,
    pub second: UserId,
    pub n_tasks: u64,
    pub kappa: Option<Estimate>,
}

/// A value and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Estimate {
    pub value: f64,
    /// Null where too few tasks stand behind it: fewer than 5.
    pub interval: Option<Interval>,
}

/// Of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// So many of so many, with Wilson's interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Share {
    pub n: u64,
    /// Never 0.
    pub of: u64,
    pub interval: Interval,
}

impl Share {
    pub fn value(&self) -> f64 {
        self.n as f64 / self.of as f64
    }
}

/// How somebody labels, whatever the answers are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Habits {
    pub n_annotations: u64,
    /// Of the active seconds per annotation.
    pub median_seconds: Option<f64>,
    /// How often the completion shown first was the single best: strict picks, rankings with one at the top, best-worst.
    pub first_is_best: Option<Share>,
    /// What `first_is_best` would be without a preference for a position: 0.5 for two completions.
    pub first_by_chance: Option<f64>,
    /// Rank: the mean rank of the completion shown first …
    pub mean_rank_of_first: Option<Estimate>,
    /// … and of all completions: the same without a preference for a position.
    pub mean_rank: Option<f64>,
    /// Pick: answers that are ties. Rank: pairs of completions that are.
    pub ties: Option<Share>,
}

/// How often each answer was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Distribution {
    pub about: Subject,
    /// Choice: first shown, second shown, tie, both bad. Best and worst: by position shown. Order: top rank by position
    /// shown, shared ones included. Rating: from 1 up. Verdict: none.
    pub counts: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnnotatorQuality {
    pub user: UserId,
    pub name: String,
    pub habits: Habits,
    /// Tasks that somebody else judged as well.
    pub n_shared_tasks: u64,
    /// How often this person and another one said the same of the same thing.
    pub agreement: Option<Estimate>,
    /// How likely a strict verdict of this person follows the strengths of the answers, which are estimated along, and
    /// does not say the opposite: 0.5 answers at random, 1 is never careless. Null below 10 verdicts on pairs of
    /// completions that others gave a verdict on, and where nothing but ratings is asked.
    pub reliability: Option<Estimate>,
}

/// Which annotations count, by when they were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Period {
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// The moment itself is left out.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

impl Period {
    pub fn validate(&self) -> Validation {
        let is_forward = match (self.since, self.until) {
            (Some(since), Some(until)) => since < until,
            _ => true,
        };
        Check::default()
            .ensure(is_forward, "until", "must be later than since")
            .finish()
    }
}
