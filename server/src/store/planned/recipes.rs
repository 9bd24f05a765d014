//! Recipes: several planned rounds at once, each on what the one before makes.

use super::{insert, stored::shown};
use crate::store::{Db, Result, audit::Person};
use laurel_protocol::{
    AdapterConfig, Loss, NewPlanned, NewRecipe, Origin, PlannedId, PlannedRound, ProjectId, RewardSource,
    RoundKind, RoundSpec, Timestamp, When,
};

/// Adds all rounds of a recipe or none.
pub async fn add(
    db: &Db,
    project: ProjectId,
    new: &NewRecipe,
    by: impl Into<Person>,
    now: Timestamp,
) -> Result<Vec<PlannedRound>> {
    let by = by.into();
    let mut tx = db.write().await?;
    let mut made = Vec::new();
    let (mut policy, mut reward) = (Origin::Base, Origin::Base);
    for &kind in new.recipe.kinds() {
        let round = NewPlanned {
            name: String::new(),
            spec: RoundSpec {
                kind,
                adapter: AdapterConfig::default(),
                hyper: new.preset.hyper(Loss::default_of(kind)),
                reward: (kind == RoundKind::Ppo).then_some(RewardSource::Adapter),
                seed: 0,
            },
            start: policy,
            reward: match kind {
                RoundKind::Ppo => reward,
                RoundKind::Sft | RoundKind::Reward | RoundKind::Dpo => Origin::Base,
            },
            when: When::default(),
        };
        let id: PlannedId = insert(&mut tx, project, &round, &by, now).await?;
        match kind {
            RoundKind::Reward => reward = Origin::Planned { id },
            RoundKind::Sft | RoundKind::Dpo | RoundKind::Ppo => policy = Origin::Planned { id },
        }
        made.push(shown(&mut tx, id, now).await?);
    }
    tx.commit().await?;
    Ok(made)
}
