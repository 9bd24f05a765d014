//! Planned rounds: rounds that the server starts by itself once what they wait for has come.

use crate::{
    error::{FieldError, Validation},
    ids::{AdapterId, PlannedId, ProjectId, RoundId, Timestamp},
    ppo::RewardSource,
    preset::Preset,
    round::{NewRound, RoundKind, RoundSpec},
};
use serde::{Deserialize, Serialize};

/// Where a planned round takes an adapter from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// The base model: no adapter.
    #[default]
    Base,
    Adapter {
        id: AdapterId,
    },
    /// What a round makes that has not ended well yet.
    Round {
        id: RoundId,
    },
    /// What a planned round makes.
    Planned {
        id: PlannedId,
    },
}

impl Origin {
    /// What is to end well before.
    pub fn waits_for(self) -> Option<WaitFor> {
        match self {
            Self::Base | Self::Adapter { .. } => None,
            Self::Round { id } => Some(WaitFor::Round { id }),
            Self::Planned { id } => Some(WaitFor::Planned { id }),
        }
    }

    fn adapter(self) -> Option<AdapterId> {
        match self {
            Self::Adapter { id } => Some(id),
            _ => None,
        }
    }
}

/// A round, started or planned, that is to end well first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WaitFor {
    Round { id: RoundId },
    Planned { id: PlannedId },
}

/// When a planned round begins: once all of it holds, and what it takes adapters from is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct When {
    pub after: Vec<WaitFor>,
    /// So many comparisons more, strict ones and ties, than the project had when this was planned or last changed; 0 waits
    /// for none.
    pub new_comparisons: u64,
    /// Not before this time.
    pub not_before: Option<Timestamp>,
}

/// `POST /projects/{id}/planned-rounds` and `PUT /planned-rounds/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewPlanned {
    /// Empty: one is made up when it starts.
    #[serde(default)]
    pub name: String,
    pub spec: RoundSpec,
    #[serde(default)]
    pub start: Origin,
    /// The reward model of a PPO round whose reward is an adapter; the base model otherwise.
    #[serde(default)]
    pub reward: Origin,
    #[serde(default)]
    pub when: When,
}

impl NewPlanned {
    /// More rounds to wait for are refused.
    pub const MOST_AFTER: usize = 16;

    pub fn validate(&self) -> Validation {
        let mut errors = self.spec.validate().err().unwrap_or_default();
        match (&self.spec.reward, self.reward) {
            (Some(RewardSource::Adapter), Origin::Base) => {
                let reason = "must name the adapter of a reward round: it scores the answers";
                errors.push(FieldError::new("reward_adapter", reason));
            }
            (Some(RewardSource::Adapter), _) | (_, Origin::Base) => {}
            (_, _) => {
                let reason = "is not used by this round: leave it out";
                errors.push(FieldError::new("reward_adapter", reason));
            }
        }
        if self.name.trim().chars().count() > 100 {
            errors.push(FieldError::new("name", "must have at most 100 characters"));
        }
        if self.when.after.len() > Self::MOST_AFTER {
            errors.push(FieldError::new("when.after", "must name at most 16 rounds"));
        }
        if self.when.new_comparisons > 10_000_000 {
            let reason = "must be at most 10000000";
            errors.push(FieldError::new("when.new_comparisons", reason));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The round, if nothing has to be waited for.
    pub fn at_once(&self) -> Option<NewRound> {
        let ready =
            self.waits_for().is_empty() && self.when.new_comparisons == 0 && self.when.not_before.is_none();
        ready.then(|| self.with(self.start.adapter(), self.reward.adapter()))
    }

    /// The round with the adapters that have come of what it waited for.
    pub fn with(&self, start: Option<AdapterId>, reward: Option<AdapterId>) -> NewRound {
        NewRound {
            name: self.name.trim().to_owned(),
            spec: self.spec.clone(),
            starting_adapter: start,
            reward_adapter: reward,
        }
    }

    /// All that is to end well before, each once.
    pub fn waits_for(&self) -> Vec<WaitFor> {
        let mut all: Vec<WaitFor> = self.start.waits_for().into_iter().collect();
        let rest = self.reward.waits_for();
        for one in rest.into_iter().chain(self.when.after.iter().copied()) {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlannedStatus {
    Waiting,
    /// It is an ordinary round since then.
    Launched,
    /// It cannot start any more, unless it is changed or tried again.
    Failed,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlannedRound {
    pub id: PlannedId,
    pub project_id: ProjectId,
    pub status: PlannedStatus,
    /// What was asked for.
    pub round: NewPlanned,
    /// What it still waits for; empty unless it waits.
    pub waits_for: Vec<Awaited>,
    /// The round that it has become.
    pub launched: Option<RoundId>,
    /// Why it failed.
    pub why: Option<WhyFailed>,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
}

/// `GET /projects/{id}/planned-rounds`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoundQueue {
    /// Rounds that wait for a trainer, the next first.
    pub queued: Vec<RoundId>,
    /// Those that wait, in their order, then those that failed, then the newest others.
    pub planned: Vec<PlannedRound>,
}

/// Something that has not come yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Awaited {
    /// `id`: the round, once it was started.
    Round {
        name: String,
        id: Option<RoundId>,
    },
    Comparisons {
        n: u64,
        of: u64,
    },
    Time {
        at: Timestamp,
    },
}

/// Why a planned round cannot start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WhyFailed {
    /// What it waits for has failed, was aborted or was cancelled.
    Dependency { name: String },
    /// It was refused when its time had come.
    Refused { fields: Vec<FieldError> },
}

/// `POST /projects/{id}/planned-rounds/recipe`: several rounds, each on what the one before makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewRecipe {
    pub recipe: Recipe,
    #[serde(default)]
    pub preset: Preset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    /// SFT, a reward model on it, PPO on the SFT adapter with that reward model (Ouyang et al. 2022).
    SftRewardPpo,
    /// SFT, then DPO on it (Rafailov et al. 2023).
    SftDpo,
}

impl Recipe {
    pub fn kinds(self) -> &'static [RoundKind] {
        match self {
            Self::SftRewardPpo => &[RoundKind::Sft, RoundKind::Reward, RoundKind::Ppo],
            Self::SftDpo => &[RoundKind::Sft, RoundKind::Dpo],
        }
    }
}

/// `POST /rounds/{id}/move` and `POST /planned-rounds/{id}/move`: one place forward or back among those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Move {
    pub to: Direction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Earlier,
    Later,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hyper;

    fn planned(kind: RoundKind) -> NewPlanned {
        NewPlanned {
            name: String::new(),
            spec: RoundSpec {
                kind,
                adapter: Default::default(),
                hyper: Hyper::for_kind(kind),
                reward: (kind == RoundKind::Ppo).then_some(RewardSource::Adapter),
                seed: 0,
            },
            start: Origin::Base,
            reward: Origin::Base,
            when: When::default(),
        }
    }

    #[test]
    fn what_waits_for_nothing_is_a_round_at_once() {
        let mut new = planned(RoundKind::Dpo);
        new.start = Origin::Adapter { id: AdapterId(3) };
        assert_eq!(new.at_once().unwrap().starting_adapter, Some(AdapterId(3)));
        let origin = Origin::Round { id: RoundId(5) };
        let round = WaitFor::Round { id: RoundId(5) };
        (new.start, new.when.after) = (origin, vec![round]);
        assert_eq!((new.at_once(), new.waits_for()), (None, vec![round]));
        new = planned(RoundKind::Dpo);
        new.when.new_comparisons = 1;
        assert_eq!(new.at_once(), None);
    }

    #[test]
    fn a_reward_model_is_named_where_it_is_used_and_nowhere_else() {
        let refused = |new: &NewPlanned| new.validate().err().map(|errors| errors[0].field.clone());
        let mut ppo = planned(RoundKind::Ppo);
        assert_eq!(refused(&ppo).as_deref(), Some("reward_adapter"));
        ppo.reward = Origin::Planned { id: PlannedId(1) };
        assert_eq!(refused(&ppo), None);
        let mut dpo = planned(RoundKind::Dpo);
        dpo.reward = Origin::Round { id: RoundId(1) };
        assert_eq!(refused(&dpo).as_deref(), Some("reward_adapter"));
    }
}
