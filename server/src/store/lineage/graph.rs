//! The rounds, snapshots and completion jobs of a project, and what follows from what: four questions, whatever the size.

use crate::store::{Db, Result, projects, text};
use laurel_protocol::{
    AdapterId, CompletionJobId, Lineage, LineageCompletions, LineageRound, LineageSnapshot, LineageSource,
    ProjectId, RoundId, SnapshotId, Timestamp,
};

#[derive(sqlx::FromRow)]
struct RoundRow {
    id: i64,
    name: String,
    kind: String,
    status: String,
    snapshot_id: i64,
    starting: Option<i64>,
    reward_adapter_id: Option<i64>,
    adapter: Option<i64>,
    hash: Option<String>,
    deleted: bool,
    created_at: i64,
}

/// What a project has made, oldest first. Snapshots that no round has used are left out.
pub async fn graph(db: &Db, project: ProjectId) -> Result<Lineage> {
    projects::require(db, project).await?;
    let mut tx = db.read().begin().await?;
    let rounds: Vec<RoundRow> = sqlx::query_as(
        "select r.id, r.name, json_extract(r.spec, '$.kind') as kind, j.status, r.snapshot_id, j.adapter_id as starting,
                r.reward_adapter_id, a.id as adapter, a.hash, a.deleted_at is not null as deleted, j.created_at
         from job j join round r on r.job_id = j.id left join adapter a on a.round_id = r.id
         where j.project_id = ?1 order by r.id",
    )
    .bind(project.0)
    .fetch_all(&mut *tx)
    .await?;
    let snapshots: Vec<(i64, String, i64, i64)> = sqlx::query_as(
        "select id, hash, n_rows, created_at from snapshot
         where project_id = ?1 and id in (select snapshot_id from round) order by id",
    )
    .bind(project.0)
    .fetch_all(&mut *tx)
    .await?;
    let completions: Vec<(i64, String, Option<i64>, i64, i64)> = sqlx::query_as(
        "select c.id, j.status, j.adapter_id, c.n_done, j.created_at
         from job j join completion_job c on c.job_id = j.id where j.project_id = ?1 order by c.id",
    )
    .bind(project.0)
    .fetch_all(&mut *tx)
    .await?;
    let sources: Vec<(i64, i64, i64)> = sqlx::query_as(
        "select x.snapshot_id, x.completion_job_id, x.n_annotations
         from snapshot s join snapshot_source x on x.snapshot_id = s.id
         where s.project_id = ?1 order by x.snapshot_id, x.completion_job_id",
    )
    .bind(project.0)
    .fetch_all(&mut *tx)
    .await?;
    let round = |row: RoundRow| {
        Ok(LineageRound {
            id: RoundId(row.id),
            name: row.name,
            kind: text::from_name(&row.kind)?,
            status: text::from_name(&row.status)?,
            snapshot: SnapshotId(row.snapshot_id),
            starting_adapter: row.starting.map(AdapterId),
            reward_adapter: row.reward_adapter_id.map(AdapterId),
            adapter: row.adapter.map(AdapterId),
            adapter_hash: row.hash,
            deleted: row.deleted,
            created_at: Timestamp(row.created_at),
        })
    };
    let snapshot = |(id, hash, n_rows, at): (i64, String, i64, i64)| LineageSnapshot {
        id: SnapshotId(id),
        hash,
        n_rows: text::count(n_rows),
        created_at: Timestamp(at),
    };
    let job = |(id, status, adapter, n_done, at): (i64, String, Option<i64>, i64, i64)| {
        Ok(LineageCompletions {
            id: CompletionJobId(id),
            status: text::from_name(&status)?,
            adapter: adapter.map(AdapterId),
            n_done: text::count(n_done),
            created_at: Timestamp(at),
        })
    };
    let source = |(snapshot, completions, n): (i64, i64, i64)| LineageSource {
        snapshot: SnapshotId(snapshot),
        completions: CompletionJobId(completions),
        n_annotations: text::count(n),
    };
    Ok(Lineage {
        rounds: rounds.into_iter().map(round).collect::<Result<_>>()?,
        snapshots: snapshots.into_iter().map(snapshot).collect(),
        completions: completions.into_iter().map(job).collect::<Result<_>>()?,
        sources: sources.into_iter().map(source).collect(),
    })
}
