//! Lineage: an adapter followed back to all that made it, and an annotation forward to all that learnt from it.

mod graph;
mod uses;

pub use graph::graph;
pub use uses::{delete_adapter, uses_of};

use super::{Db, Error, Result, adapters, comparisons, merges, metrics, projects, rounds, text};
use laurel_protocol::{
    Adapter, AdapterFacts, AdapterId, Ancestor, AncestorRole, AnnotationId, AnnotationLineage, MetricPoint,
    ProjectId, RoundId, SnapshotId, Split, TaughtRound, Teacher, UserId,
};
use sqlx::SqliteConnection;

/// All that is known of an adapter.
pub async fn facts(db: &Db, id: AdapterId) -> Result<AdapterFacts> {
    let adapter = adapters::get(db, id).await?;
    let round = rounds::get(db, adapter.round_id).await?;
    let project = projects::get(db, adapter.project_id).await?;
    let mut tx = db.read().begin().await?;
    let made = made(&mut tx, id).await?;
    let annotators = teachers(&mut tx, round.snapshot.id, adapter.project_id).await?;
    Ok(AdapterFacts {
        command: command(),
        project_name: project.settings.name,
        base_model: made.base_model,
        template: text::from_json(&made.template)?,
        n_annotated_rows: annotators.iter().map(|one| one.n_rows).sum(),
        annotators,
        ancestors: ancestors(&mut tx, id).await?,
        uses: uses::of(&mut tx, id).await?,
        merges: merges::of_adapter(&mut tx, id).await?,
        evaluation: evaluation(db, adapter.round_id).await?,
        worker: round.worker,
        trainer_code: made.trainer_code,
        server_code: made.server_code,
        spec: round.spec,
        snapshot: round.snapshot,
        adapter,
    })
}

/// What makes the same weights again, in the folder that the kit unpacks to.
pub fn command() -> String {
    "laurel-trainer round spec.json --out again --device cpu".to_owned()
}

#[derive(sqlx::FromRow)]
struct MadeRow {
    base_model: String,
    template: String,
    trainer_code: Option<String>,
    server_code: Option<String>,
}

async fn made(conn: &mut SqliteConnection, id: AdapterId) -> Result<MadeRow> {
    let row = sqlx::query_as(
        "select j.base_model, j.template, a.trainer_code, a.server_code
         from adapter a join round r on r.id = a.round_id join job j on j.id = r.job_id where a.id = ?1",
    )
    .bind(id.0)
    .fetch_one(conn)
    .await?;
    Ok(row)
}

/// Who judged a snapshot's rows, under the names that exports give them.
async fn teachers(
    conn: &mut SqliteConnection,
    snapshot: SnapshotId,
    project: ProjectId,
) -> Result<Vec<Teacher>> {
    let key: String = sqlx::query_scalar("select pseudonym_key from project where id = ?1")
        .bind(project.0)
        .fetch_one(&mut *conn)
        .await?;
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        "select s.user_id, count(distinct r.annotation_id), count(*) as n_rows
         from snapshot_row r
         join annotation a on a.id = r.annotation_id
         join assignment s on s.id = a.assignment_id
         where r.snapshot_id = ?1 group by s.user_id order by n_rows desc, s.user_id",
    )
    .bind(snapshot.0)
    .fetch_all(conn)
    .await?;
    let teacher = |(user, n_annotations, n_rows): (i64, i64, i64)| Teacher {
        annotator: comparisons::pseudonym(&key, UserId(user)),
        n_annotations: text::count(n_annotations),
        n_rows: text::count(n_rows),
    };
    Ok(rows.into_iter().map(teacher).collect())
}

#[derive(sqlx::FromRow)]
struct AncestorRow {
    id: i64,
    name: String,
    kind: String,
    hash: String,
    of: i64,
    role: String,
    depth: i64,
    deleted: bool,
}

/// The adapters that this one's round used, and theirs, nearest first.
async fn ancestors(conn: &mut SqliteConnection, id: AdapterId) -> Result<Vec<Ancestor>> {
    let rows: Vec<AncestorRow> = sqlx::query_as(
        r#"with recursive used (adapter, other, role) as (
             select id, parent_id, 'start' from adapter where parent_id is not null
             union all
             select a.id, r.reward_adapter_id, 'reward' from adapter a join round r on r.id = a.round_id
             where r.reward_adapter_id is not null),
         up (adapter, other, role, depth) as (
             select adapter, other, role, 1 from used where adapter = ?1
             union
             select u.adapter, u.other, u.role, up.depth + 1 from up join used u on u.adapter = up.other)
         select a.id, a.name, a.kind, a.hash, up.adapter as "of", up.role, min(up.depth) as depth,
                a.deleted_at is not null as deleted
         from up join adapter a on a.id = up.other
         group by a.id, up.adapter, up.role order by depth, a.id desc"#,
    )
    .bind(id.0)
    .fetch_all(conn)
    .await?;
    let ancestor = |row: AncestorRow| {
        Ok(Ancestor {
            id: AdapterId(row.id),
            name: row.name,
            kind: text::from_name(&row.kind)?,
            hash: row.hash,
            of: AdapterId(row.of),
            role: text::from_name::<AncestorRole>(&row.role)?,
            depth: row.depth.try_into().unwrap_or(u32::MAX),
            deleted: row.deleted,
        })
    };
    rows.into_iter().map(ancestor).collect()
}

/// The last figures on held-out rows, else the last ones.
async fn evaluation(db: &Db, round: RoundId) -> Result<Option<MetricPoint>> {
    let points = metrics::list(db, round).await?;
    let last_of = |split| points.iter().rev().find(|point| point.split == split);
    Ok(last_of(Split::Eval).or(last_of(Split::Train)).cloned())
}

/// What is downloaded to make an adapter again.
pub struct Kit {
    pub facts: AdapterFacts,
    /// What the round started from, and what scored it.
    pub start: Option<Adapter>,
    pub reward: Option<Adapter>,
}

pub async fn kit(db: &Db, id: AdapterId) -> Result<Kit> {
    let facts = facts(db, id).await?;
    let (mut start, mut reward) = (None, None);
    for near in facts.ancestors.iter().filter(|near| near.depth == 1) {
        let adapter = adapters::get(db, near.id).await?;
        match near.role {
            AncestorRole::Start => start = Some(adapter),
            AncestorRole::Reward => reward = Some(adapter),
        }
    }
    if let Some(gone) = start.iter().chain(&reward).find(|used| used.deleted_at.is_some()) {
        return Err(Error::Conflict(format!(
            "Its round used the adapter {}, whose files were deleted: make that one again first.",
            gone.name
        )));
    }
    Ok(Kit { facts, start, reward })
}

#[derive(sqlx::FromRow)]
struct TaughtRow {
    id: i64,
    name: String,
    kind: String,
    status: String,
    n_rows: i64,
    adapter_id: Option<i64>,
}

/// The rounds that learnt from an annotation, and those that used an adapter of such a round.
pub async fn of_annotation(db: &Db, id: AnnotationId) -> Result<AnnotationLineage> {
    let mut tx = db.read().begin().await?;
    let found: Option<(i64, bool, i64)> = sqlx::query_as(
        "select s.project_id, a.replaced_by is null and a.withdrawn = 0,
                (select count(*) from comparison c where c.annotation_id = a.id)
         from annotation a join assignment s on s.id = a.assignment_id where a.id = ?1",
    )
    .bind(id.0)
    .fetch_optional(&mut *tx)
    .await?;
    let (project, stands, n_comparisons) = found.ok_or(Error::NotFound)?;
    let rows: Vec<TaughtRow> = sqlx::query_as(
        "with recursive taught (round_id) as (
             select r.id from round r
             where r.snapshot_id in (select snapshot_id from snapshot_row where annotation_id = ?1)
             union
             select r.id from taught t join adapter a on a.round_id = t.round_id
             join round r join job j on j.id = r.job_id and (j.adapter_id = a.id or r.reward_adapter_id = a.id))
         select r.id, r.name, json_extract(r.spec, '$.kind') as kind, j.status,
                (select count(*) from snapshot_row s
                 where s.annotation_id = ?1 and s.snapshot_id = r.snapshot_id) as n_rows, a.id as adapter_id
         from taught t join round r on r.id = t.round_id join job j on j.id = r.job_id
         left join adapter a on a.round_id = r.id order by r.id",
    )
    .bind(id.0)
    .fetch_all(&mut *tx)
    .await?;
    let round = |row: TaughtRow| {
        Ok(TaughtRound {
            id: RoundId(row.id),
            name: row.name,
            kind: text::from_name(&row.kind)?,
            status: text::from_name(&row.status)?,
            n_rows: text::count(row.n_rows),
            adapter: row.adapter_id.map(AdapterId),
        })
    };
    Ok(AnnotationLineage {
        annotation_id: id,
        project_id: ProjectId(project),
        stands,
        n_comparisons: text::count(n_comparisons),
        rounds: rows.into_iter().map(round).collect::<Result<_>>()?,
    })
}
