//! How far what a planned round waits for has come.

use super::Plan;
use crate::store::{Result, new_rounds::kind_name, text};
use laurel_protocol::{
    AdapterId, Awaited, JobStatus, NewPlanned, Origin, PlannedId, PlannedStatus, ProjectId, RoundId,
    RoundKind, RoundSpec, Timestamp, WaitFor,
};
use sqlx::SqliteConnection;
use std::collections::HashMap;

/// Of a planned round as a whole.
pub(super) struct Standing {
    pub waits_for: Vec<Awaited>,
    /// Something that will not come any more, by name.
    pub broken: Option<String>,
    adapters: HashMap<WaitFor, AdapterId>,
}

impl Standing {
    /// The adapter that an origin has come to, once nothing is waited for.
    pub fn adapter(&self, origin: Origin) -> Option<AdapterId> {
        match origin {
            Origin::Base => None,
            Origin::Adapter { id } => Some(id),
            Origin::Round { .. } | Origin::Planned { .. } => origin
                .waits_for()
                .and_then(|one| self.adapters.get(&one).copied()),
        }
    }
}

pub(super) async fn of(conn: &mut SqliteConnection, plan: &Plan, now: Timestamp) -> Result<Standing> {
    let mut standing = Standing {
        waits_for: Vec::new(),
        broken: None,
        adapters: HashMap::new(),
    };
    for one in plan.request.waits_for() {
        match of_one(conn, plan.project, one).await? {
            // It was there when this was planned.
            None => standing.broken = Some(number(one)),
            Some(Other { state, name, .. }) => match state {
                State::Done(adapter) => {
                    standing.adapters.extend(adapter.map(|adapter| (one, adapter)));
                }
                State::Broken => standing.broken = Some(name),
                State::UnderWay(id) => standing.waits_for.push(Awaited::Round { name, id }),
            },
        }
    }
    let when = &plan.request.when;
    if when.new_comparisons > 0 {
        let n: i64 = sqlx::query_scalar("select count(*) from comparison where project_id = ?1")
            .bind(plan.project.0)
            .fetch_one(&mut *conn)
            .await?;
        let (n, of) = (text::count((n - plan.n_comparisons).max(0)), when.new_comparisons);
        if n < of {
            standing.waits_for.push(Awaited::Comparisons { n, of });
        }
    }
    if let Some(at) = when.not_before.filter(|at| *at > now) {
        standing.waits_for.push(Awaited::Time { at });
    }
    Ok(standing)
}

fn number(one: WaitFor) -> String {
    match one {
        WaitFor::Round { id } => id.to_string(),
        WaitFor::Planned { id } => id.to_string(),
    }
}

/// A round, started or planned, that another one waits for.
pub(super) struct Other {
    pub state: State,
    pub name: String,
    pub kind: RoundKind,
}

pub(super) enum State {
    Done(Option<AdapterId>),
    UnderWay(Option<RoundId>),
    Broken,
}

/// `None`: the project has no such round.
pub(super) async fn of_one(
    conn: &mut SqliteConnection,
    project: ProjectId,
    one: WaitFor,
) -> Result<Option<Other>> {
    match one {
        WaitFor::Round { id } => of_round(conn, project, id).await,
        WaitFor::Planned { id } => of_planned(conn, project, id).await,
    }
}

async fn of_round(conn: &mut SqliteConnection, project: ProjectId, id: RoundId) -> Result<Option<Other>> {
    let row: Option<(String, String, String, Option<i64>)> = sqlx::query_as(
        "select r.name, r.spec, j.status, a.id
         from round r join job j on j.id = r.job_id left join adapter a on a.round_id = r.id
         where r.id = ?1 and j.project_id = ?2",
    )
    .bind(id.0)
    .bind(project.0)
    .fetch_optional(conn)
    .await?;
    let Some((name, spec, status, adapter)) = row else {
        return Ok(None);
    };
    let spec: RoundSpec = text::from_json(&spec)?;
    let state = match text::from_name(&status)? {
        JobStatus::Done => State::Done(adapter.map(AdapterId)),
        JobStatus::Failed | JobStatus::Aborted => State::Broken,
        JobStatus::Queued | JobStatus::Running | JobStatus::Paused => State::UnderWay(Some(id)),
    };
    Ok(Some(Other {
        state,
        name,
        kind: spec.kind,
    }))
}

async fn of_planned(conn: &mut SqliteConnection, project: ProjectId, id: PlannedId) -> Result<Option<Other>> {
    let row: Option<(String, String, Option<i64>)> = sqlx::query_as(
        "select status, request, round_id from planned_round where id = ?1 and project_id = ?2",
    )
    .bind(id.0)
    .bind(project.0)
    .fetch_optional(&mut *conn)
    .await?;
    let Some((status, request, round)) = row else {
        return Ok(None);
    };
    if let Some(round) = round {
        return of_round(conn, project, RoundId(round)).await;
    }
    let request: NewPlanned = text::from_json(&request)?;
    let kind = request.spec.kind;
    let name = match request.name.trim() {
        "" => format!("{} (#{id})", kind_name(kind)),
        name => name.to_owned(),
    };
    let state = match text::from_name(&status)? {
        PlannedStatus::Waiting | PlannedStatus::Launched => State::UnderWay(None),
        PlannedStatus::Failed | PlannedStatus::Cancelled => State::Broken,
    };
    Ok(Some(Other { state, name, kind }))
}
