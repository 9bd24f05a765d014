//! What is checked of a planned round before it waits: that what it waits for can still come, and does not wait for it.

use super::standing::{State, of_one};
use crate::store::{
    Error, Result,
    completion_jobs::BASE_MODEL,
    new_rounds::{check_reward, check_start, fits_reward, fits_start, refused},
    text,
};
use laurel_protocol::{NewPlanned, Origin, PlannedId, ProjectId, RewardSource, RoundKind, WaitFor};
use sqlx::SqliteConnection;
use std::collections::{HashMap, HashSet};

/// `own`: the planned round that is to become this.
pub(super) async fn check(
    conn: &mut SqliteConnection,
    project: ProjectId,
    own: Option<PlannedId>,
    new: &NewPlanned,
) -> Result<()> {
    let kind = new.spec.kind;
    let start = kind_of(conn, project, new.start, "starting_adapter").await?;
    if let Some(start) = start {
        fits_start(kind, start)?;
    }
    if let Origin::Adapter { id } = new.start {
        check_start(conn, kind, id, project).await?;
    }
    if new.spec.reward == Some(RewardSource::Adapter) {
        let reward = kind_of(conn, project, new.reward, "reward_adapter").await?;
        if let Some(reward) = reward {
            fits_reward(reward)?;
        }
        if let Origin::Adapter { id } = new.reward {
            let base_model: String = sqlx::query_scalar("select base_model from project where id = ?1")
                .bind(project.0)
                .fetch_one(&mut *conn)
                .await?;
            check_reward(conn, id, project, &base_model).await?;
        }
    }
    for one in &new.when.after {
        can_come(conn, project, *one, "when.after").await?;
    }
    if let Some(own) = own {
        no_circle(conn, project, own, new).await?;
    }
    free_name(conn, project, own, new.name.trim()).await
}

/// What kind of round an origin waits for.
async fn kind_of(
    conn: &mut SqliteConnection,
    project: ProjectId,
    origin: Origin,
    field: &str,
) -> Result<Option<RoundKind>> {
    match origin.waits_for() {
        Some(one) => can_come(conn, project, one, field).await.map(Some),
        None => Ok(None),
    }
}

async fn can_come(
    conn: &mut SqliteConnection,
    project: ProjectId,
    one: WaitFor,
    field: &str,
) -> Result<RoundKind> {
    let other = of_one(conn, project, one).await?;
    let other = other.ok_or_else(|| refused(field, "is not a round of this project"))?;
    match other.state {
        State::Broken => Err(refused(
            field,
            "is a round that has failed, was aborted or was cancelled: start it again first, or choose another one",
        )),
        State::Done(_) | State::UnderWay(_) => Ok(other.kind),
    }
}

/// Follows what it waits for, and what that waits for.
async fn no_circle(
    conn: &mut SqliteConnection,
    project: ProjectId,
    own: PlannedId,
    new: &NewPlanned,
) -> Result<()> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "select id, request from planned_round where project_id = ?1 and status in ('waiting', 'failed')",
    )
    .bind(project.0)
    .fetch_all(conn)
    .await?;
    let mut waits = HashMap::new();
    for (id, request) in rows {
        let request: NewPlanned = text::from_json(&request)?;
        waits.insert(PlannedId(id), plans(request.waits_for()));
    }
    let after = new.when.after.clone();
    for (field, begin) in [
        ("starting_adapter", new.start.waits_for().into_iter().collect()),
        ("reward_adapter", new.reward.waits_for().into_iter().collect()),
        ("when.after", after),
    ] {
        if leads_to(own, plans(begin), &waits) {
            return Err(refused(
                field,
                "is a round that waits for this one: each would wait for the other",
            ));
        }
    }
    Ok(())
}

/// Whether one of these plans is this one, or waits for it over others.
fn leads_to(own: PlannedId, mut open: Vec<PlannedId>, waits: &HashMap<PlannedId, Vec<PlannedId>>) -> bool {
    let mut seen = HashSet::new();
    while let Some(id) = open.pop() {
        if id == own {
            return true;
        }
        if seen.insert(id) {
            open.extend(waits.get(&id).into_iter().flatten());
        }
    }
    false
}

fn plans(waits_for: Vec<WaitFor>) -> Vec<PlannedId> {
    let planned = waits_for.into_iter().filter_map(|one| match one {
        WaitFor::Planned { id } => Some(id),
        WaitFor::Round { .. } => None,
    });
    planned.collect()
}

/// Neither a round nor another plan has the name.
async fn free_name(
    conn: &mut SqliteConnection,
    project: ProjectId,
    own: Option<PlannedId>,
    name: &str,
) -> Result<()> {
    if name.is_empty() {
        return Ok(());
    }
    let taken: bool = sqlx::query_scalar(
        "select exists (select 1 from round r join job j on j.id = r.job_id where j.project_id = ?1 and r.name = ?2)
             or exists (select 1 from planned_round
                        where project_id = ?1 and status in ('waiting', 'failed') and id <> coalesce(?3, 0)
                          and trim(request ->> '$.name') = ?2)",
    )
    .bind(project.0)
    .bind(name)
    .bind(own.map(|own| own.0))
    .fetch_one(conn)
    .await?;
    match taken || name == BASE_MODEL {
        true => Err(refused("name", "is taken in this project")),
        false => Ok::<(), Error>(()),
    }
}
