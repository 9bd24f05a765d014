//! Planned rounds as rows, and as they are shown.

use super::standing;
use crate::store::{Error, Result, text};
use laurel_protocol::{
    NewPlanned, PlannedId, PlannedRound, PlannedStatus, ProjectId, RoundId, Timestamp, UserId, WhyFailed,
};
use sqlx::SqliteConnection;

/// A planned round as it is stored.
#[derive(Clone, Debug)]
pub struct Plan {
    pub id: PlannedId,
    pub project: ProjectId,
    pub status: PlannedStatus,
    pub request: NewPlanned,
    pub(in crate::store) created_by: Option<UserId>,
    /// Grows with each change of the request.
    pub(super) revision: i64,
    pub(super) n_comparisons: i64,
    round: Option<RoundId>,
    why: Option<WhyFailed>,
    created_at: Timestamp,
    changed_at: Timestamp,
}

/// The plan as it is shown, with what it waits for.
pub(super) async fn shown(
    conn: &mut SqliteConnection,
    id: PlannedId,
    now: Timestamp,
) -> Result<PlannedRound> {
    let plan = read(conn, id).await?;
    let waits_for = match plan.status {
        PlannedStatus::Waiting => standing::of(conn, &plan, now).await?.waits_for,
        _ => Vec::new(),
    };
    Ok(PlannedRound {
        id: plan.id,
        project_id: plan.project,
        status: plan.status,
        round: plan.request,
        waits_for,
        launched: plan.round,
        why: plan.why,
        created_at: plan.created_at,
        changed_at: plan.changed_at,
    })
}

pub(super) async fn read(conn: &mut SqliteConnection, id: PlannedId) -> Result<Plan> {
    let row: Option<Row> = sqlx::query_as(
        "select id, project_id, status, request, revision, n_comparisons, round_id, why, created_by, created_at, changed_at
         from planned_round where id = ?1",
    )
    .bind(id.0)
    .fetch_optional(conn)
    .await?;
    row.ok_or(Error::NotFound)?.try_into()
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    project_id: i64,
    status: String,
    request: String,
    revision: i64,
    n_comparisons: i64,
    round_id: Option<i64>,
    why: Option<String>,
    created_by: Option<i64>,
    created_at: i64,
    changed_at: i64,
}

impl TryFrom<Row> for Plan {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: PlannedId(row.id),
            project: ProjectId(row.project_id),
            status: text::from_name(&row.status)?,
            request: text::from_json(&row.request)?,
            created_by: row.created_by.map(UserId),
            revision: row.revision,
            n_comparisons: row.n_comparisons,
            round: row.round_id.map(RoundId),
            why: row.why.as_deref().map(text::from_json).transpose()?,
            created_at: Timestamp(row.created_at),
            changed_at: Timestamp(row.changed_at),
        })
    }
}
