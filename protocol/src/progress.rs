//! How the work in a project goes: throughput, what is left and until when, agreement over time, and what was answered.

use crate::{
    error::{Check, Validation},
    ids::{Timestamp, UserId},
    quality::{AgreementFigure, Distribution, Share},
};
use serde::{Deserialize, Serialize};

/// `GET /projects/{id}/progress?tz_offset_minutes&days`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressQuery {
    /// How many minutes the reader's clock is ahead of UTC: days begin at the reader's midnight. -840 to 840.
    pub tz_offset_minutes: i32,
    /// How many days are told of, today included: 1 to 366.
    pub days: u16,
}

impl Default for ProgressQuery {
    fn default() -> Self {
        Self {
            tz_offset_minutes: 0,
            days: 30,
        }
    }
}

impl ProgressQuery {
    pub fn validate(&self) -> Validation {
        Check::default()
            .ensure(
                (-840..=840).contains(&self.tz_offset_minutes),
                "tz_offset_minutes",
                "must be -840 to 840",
            )
            .ensure((1..=366).contains(&self.days), "days", "must be 1 to 366")
            .finish()
    }
}

/// Only annotations that stand count, and neither gold items, repeats nor decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectProgress {
    /// When this was counted: of a project with 20 000 annotations or more up to a minute ago.
    pub as_of: Timestamp,
    /// All there are, whenever they were given.
    pub n_annotations: u64,
    /// Oldest first, today last; each has its place, whether somebody worked or not.
    pub days: Vec<DayFigures>,
    /// The last 48, oldest first.
    pub hours: Vec<HourFigures>,
    /// Who answered in these days, most answers first.
    pub annotators: Vec<AnnotatorProgress>,
    pub queue: Queue,
    /// Tasks by how many answers they have.
    pub tasks: Vec<TasksWith>,
    /// Of the tasks that at least two people judged, whenever that was: equal parts by the time of the last answer.
    pub agreement: Vec<AgreementWindow>,
    /// When agreement was looked at: of a project with 20 000 annotations or more, where answers have come since, up to 20
    /// minutes ago.
    pub agreement_as_of: Timestamp,
    /// What was answered in these days.
    pub given: Given,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DayFigures {
    /// Midnight where the reader is.
    pub starts: Timestamp,
    pub n_annotations: u64,
    pub n_people: u64,
    /// Of the active seconds per annotation, to a tenth.
    pub median_seconds: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HourFigures {
    pub starts: Timestamp,
    pub n_annotations: u64,
}

/// One person's annotations in the same days and hours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnnotatorProgress {
    pub user: UserId,
    pub name: String,
    pub by_day: Vec<u64>,
    pub by_hour: Vec<u64>,
}

/// What is left to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Queue {
    pub n_open_tasks: u64,
    /// Answers that open tasks still want.
    pub n_open_slots: u64,
    /// Of how many different people an open task wants answers, at most.
    pub overlap: u64,
    /// Who answered in the days that the estimate rests on.
    pub n_people: u64,
    /// Null where nothing is left, and where nobody answered in the last 14 days.
    pub estimate: Option<Finish>,
}

/// When nothing is left, if people go on as in the last days.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finish {
    /// Days of 24 hours up to now that it rests on: 14, or as many as there are since the first answer among them.
    pub n_days: u64,
    pub per_day: f64,
    pub at: Timestamp,
    /// Null where fewer than 3 days are known.
    pub range: Option<FinishRange>,
}

/// Of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FinishRange {
    pub earliest: Timestamp,
    /// Null where it may as well be never, or in more than ten years.
    pub latest: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TasksWith {
    pub n_answers: u64,
    pub n_open: u64,
    pub n_done: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgreementWindow {
    /// Of the last answers to its tasks the first and the last.
    pub since: Timestamp,
    pub until: Timestamp,
    pub n_tasks: u64,
    /// Tasks whose answers were compared: all of them, or 400 spread evenly over them.
    pub n_read: u64,
    /// Percent agreement and Krippendorff's alpha of the judgement, or of the ratings where there is none.
    pub figures: Vec<AgreementFigure>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Given {
    pub distributions: Vec<Distribution>,
    /// Pick: how often each strength was given, from 1 up. Empty where none was.
    pub strengths: Vec<u64>,
    /// Rank: at each place shown, how often its completion came out at each rank, from 1 up.
    pub ranks_by_place: Vec<Vec<u64>>,
    /// Active seconds per annotation.
    pub seconds: Vec<SecondsBin>,
    /// How often the completion shown first was the single best.
    pub first_is_best: Option<Share>,
    /// What that would be without a preference for a place.
    pub first_by_chance: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecondsBin {
    pub from: u32,
    /// Left out itself; null: no end.
    pub until: Option<u32>,
    pub n: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_at_most_fourteen_hours_away_and_a_year_is_enough() {
        let query = |tz_offset_minutes, days| ProgressQuery {
            tz_offset_minutes,
            days,
        };
        assert_eq!(query(540, 30).validate(), Ok(()));
        assert_eq!(query(-840, 366).validate(), Ok(()));
        assert_eq!(
            query(841, 1).validate().unwrap_err()[0].field,
            "tz_offset_minutes"
        );
        for days in [0, 367] {
            assert_eq!(query(0, days).validate().unwrap_err()[0].field, "days");
        }
    }
}
