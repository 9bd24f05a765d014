//! How a round's figures are asked for.

use crate::error::{Check, Validation};
use serde::{Deserialize, Serialize};

/// `GET /rounds/{id}/metrics?stretches=…`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiguresQuery {
    /// Thin a long round out to so many stretches of steps a split, each with its extremes; all points when absent.
    #[serde(default)]
    pub stretches: Option<u32>,
}

impl FiguresQuery {
    /// What a stream of a round's events begins with: two of them lie within a pixel of a chart.
    pub const OF_A_CHART: u32 = 300;

    pub fn validate(&self) -> Validation {
        let fits = self.stretches.is_none_or(|n| (1..=10_000).contains(&n));
        Check::default()
            .ensure(fits, "stretches", "must be 1 to 10000")
            .finish()
    }
}

/// `GET /rounds/{id}/metrics/file?format=…`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FiguresFormat {
    Csv,
    JsonLines,
    /// An event file.
    Tensorboard,
}
