//! The ladder: all generators of a project by strength, from every comparison of two of them.

use crate::{
    arena::{Contender, PairStanding, Record},
    quality::Interval,
};
use serde::{Deserialize, Serialize};

/// Which comparisons count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LadderSource {
    #[default]
    All,
    /// Votes of contests.
    Contest,
    /// Votes of the live arena.
    Arena,
    /// Tasks of ordinary completion jobs.
    Tasks,
}

impl LadderSource {
    pub const ALL: [Self; 4] = [Self::All, Self::Contest, Self::Arena, Self::Tasks];
}

/// The query of `GET /projects/{id}/ladder`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LadderQuery {
    #[serde(default)]
    pub source: LadderSource,
}

/// `GET /projects/{id}/ladder`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ladder {
    /// Comparisons of two generators, ties included.
    pub n_comparisons: u64,
    /// Generators that comparisons connect, directly or through others, the largest group first. Points of two groups cannot
    /// be held against one another.
    pub groups: Vec<LadderGroup>,
    /// The base model and policies that nobody has compared with another.
    pub unranked: Vec<Contender>,
    /// Each pair that met.
    pub pairs: Vec<PairStanding>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LadderGroup {
    /// Strongest first.
    pub rungs: Vec<Rung>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rung {
    pub contender: Contender,
    pub record: Record,
    /// Bradley-Terry, in points: 1000 is the mean of the group, 400 points more are odds of ten to one.
    pub points: f64,
    /// 95 %, from the Fisher information. It takes comparisons as independent: several votes on the same prompt make it too
    /// narrow.
    pub interval: Interval,
}
