//! Launches planned rounds whose time has come, and fails those that wait for what will not come any more.

use super::{Become, Plan, set_status, standing, stored::read};
use crate::store::{
    Db, Error, Result,
    audit::Actor,
    rounds::{self, Starter},
};
use laurel_protocol::{PlannedId, PlannedStatus, ProjectId, RoundId, Timestamp, WhyFailed};

/// What has become of a planned round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    pub project: ProjectId,
    /// None: it has failed.
    pub round: Option<RoundId>,
}

/// Looks at every planned round that waits, in their order. A server that is killed in the middle has launched each
/// once or not yet: the round and its plan's status are written in one transaction.
pub async fn start_due(db: &Db, now: Timestamp) -> Result<Vec<Started>> {
    let ids: Vec<i64> =
        sqlx::query_scalar("select id from planned_round where status = 'waiting' order by project_id, turn")
            .fetch_all(db.read())
            .await?;
    let mut started = Vec::new();
    for id in ids {
        match look(db, PlannedId(id), now).await {
            Ok(one) => started.extend(one),
            // An admin was quicker, or the database is busy: the next look will tell. The others go on.
            Err(Error::Conflict(_) | Error::NotFound) => {}
            Err(error) => {
                tracing::warn!(%error, planned.id = id, "Planned round {id} could not be looked at")
            }
        }
    }
    Ok(started)
}

async fn look(db: &Db, id: PlannedId, now: Timestamp) -> Result<Option<Started>> {
    let mut moment = db.read().begin().await?;
    let plan = read(&mut moment, id).await?;
    if plan.status != PlannedStatus::Waiting {
        return Ok(None);
    }
    let standing = standing::of(&mut moment, &plan, now).await?;
    drop(moment);
    if let Some(name) = standing.broken {
        return fail(db, &plan, &WhyFailed::Dependency { name }, now)
            .await
            .map(Some);
    }
    if !standing.waits_for.is_empty() {
        return Ok(None);
    }
    let (start, reward) = (plan.request.start, plan.request.reward);
    let round = plan
        .request
        .with(standing.adapter(start), standing.adapter(reward));
    let starter = Starter::Plan(Box::new(plan.clone()));
    let refused = match rounds::start(db, plan.project, &round, starter, now).await {
        Ok(round) => {
            return Ok(Some(Started {
                project: plan.project,
                round: Some(round.id),
            }));
        }
        Err(Error::Invalid(fields)) => WhyFailed::Refused { fields },
        Err(error) => return Err(error),
    };
    fail(db, &plan, &refused, now).await.map(Some)
}

async fn fail(db: &Db, plan: &Plan, why: &WhyFailed, now: Timestamp) -> Result<Started> {
    let mut tx = db.write().await?;
    let becomes = Become {
        round: None,
        why: Some(why),
    };
    set_status(&mut tx, plan, PlannedStatus::Failed, becomes, &Actor::Server, now).await?;
    tx.commit().await?;
    Ok(Started {
        project: plan.project,
        round: None,
    })
}
