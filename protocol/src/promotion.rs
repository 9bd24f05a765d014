//! Which adapter of a project is current: what new completion jobs and the arena take by default.

use crate::{
    arena::Contender,
    contest::Gate,
    error::{Check, Validation},
    ids::{AdapterId, ContestId, ProjectId, PromotionId, Timestamp},
};
use serde::{Deserialize, Serialize};

/// `GET /projects/{id}/current`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Current {
    pub project_id: ProjectId,
    /// The adapter of the newest promotion that was not rolled back; without one the base model.
    pub current: Contender,
    /// What a roll back takes back; null where nothing was promoted.
    pub promotion: Option<PromotionId>,
    /// Who is current after a roll back.
    pub before: Contender,
    /// Newest first.
    pub history: Vec<Promotion>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Promotion {
    pub id: PromotionId,
    pub promoted: Contender,
    pub reason: String,
    /// What the judges had said by then.
    pub gate: Gate,
    /// The contest that the gate stood on.
    pub contest: Option<ContestId>,
    pub by: String,
    pub at: Timestamp,
    /// Null while it stands.
    pub rolled_back_by: Option<String>,
    pub rolled_back_at: Option<Timestamp>,
}

/// `POST /projects/{id}/promotions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewPromotion {
    /// A policy of the project; none is the base model.
    #[serde(default)]
    pub adapter: Option<AdapterId>,
    pub reason: String,
    /// Wanted where no contest has accepted the adapter: it is recorded.
    #[serde(default)]
    pub without_gate: bool,
}

impl NewPromotion {
    pub fn validate(&self) -> Validation {
        Check::default()
            .ensure(!self.reason.trim().is_empty(), "reason", "is empty")
            .ensure(self.reason.len() <= 2 * 1024, "reason", "is longer than 2 KiB")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_has_a_reason() {
        assert!(NewPromotion::default().validate().is_err());
        let new: NewPromotion = serde_json::from_str(r#"{"adapter": 3, "reason": "better"}"#).unwrap();
        assert!(new.validate().is_ok() && !new.without_gate);
    }
}
