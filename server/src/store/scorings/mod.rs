//! Scorings: jobs in which a trainer says how unsure the reward model is about each open task. They are ordered by an admin,
//! or by the server ([`due`]) when there is something new to learn from; a project has one open at most.

pub mod due;
pub mod work;

use super::{
    Db, Error, Result,
    audit::{Actor, Person},
    completion_jobs::BASE_MODEL,
    job_events::{self, Change},
    jobs::{self, JobKind},
    projects, text,
};
use laurel_protocol::{AdapterId, JobId, ProjectId, Scoring, ScoringId, ScoringReason, Timestamp, UserId};
use serde_json::json;
use sqlx::SqliteConnection;

/// Scorings that a list has: there may be one for every few labels.
const N_LISTED: i64 = 20;

/// An admin asks for a scoring.
pub async fn create(db: &Db, project: ProjectId, by: impl Into<Person>, now: Timestamp) -> Result<Scoring> {
    let by = by.into();
    let mut tx = db.write().await?;
    projects::require_in(&mut tx, project).await?;
    let conflict = |sentence: String| Err(Error::Conflict(sentence));
    if due::open(&mut tx, project).await?.is_some() {
        return conflict("A scoring is under way already: wait for its end, or stop it.".to_owned());
    }
    let least = Scoring::MIN_COMPARISONS;
    if !due::has_comparisons(&mut tx, project, least).await? {
        return conflict(format!(
            "There is too little to learn from: a scoring needs {least} comparisons, so label some tasks first."
        ));
    }
    if !due::has_open_tasks(&mut tx, project).await? {
        return conflict("There is no open task to score: make new completions first.".to_owned());
    }
    let user = by.user;
    let id = insert(
        &mut tx,
        project,
        ScoringReason::Asked,
        Some(user),
        &by.into(),
        now,
    )
    .await?;
    let scoring = read(&mut tx, id).await?;
    tx.commit().await?;
    Ok(scoring)
}

/// The project's latest scorings, newest first.
pub async fn list(db: &Db, project: ProjectId) -> Result<Vec<Scoring>> {
    projects::require(db, project).await?;
    let ids: Vec<i64> = sqlx::query_scalar(
        "select s.id from job j join scoring s on s.job_id = j.id
         where j.project_id = ?1 order by j.id desc limit ?2",
    )
    .bind(project.0)
    .bind(N_LISTED)
    .fetch_all(db.read())
    .await?;
    let mut conn = db.read().acquire().await?;
    let mut scorings = Vec::with_capacity(ids.len());
    for id in ids {
        scorings.push(read(&mut conn, ScoringId(id)).await?);
    }
    Ok(scorings)
}

/// The project's newest scoring, if there ever was one.
pub async fn newest(db: &Db, project: ProjectId) -> Result<Option<Scoring>> {
    let id: Option<i64> = sqlx::query_scalar(
        "select s.id from job j join scoring s on s.job_id = j.id
         where j.project_id = ?1 order by j.id desc limit 1",
    )
    .bind(project.0)
    .fetch_optional(db.read())
    .await?;
    match id {
        Some(id) => read(&mut *db.read().acquire().await?, ScoringId(id))
            .await
            .map(Some),
        None => Ok(None),
    }
}

pub async fn abort(db: &Db, id: ScoringId, by: impl Into<Actor>, now: Timestamp) -> Result<Scoring> {
    let by = by.into();
    let mut tx = db.write().await?;
    let job: Option<i64> = sqlx::query_scalar("select job_id from scoring where id = ?1")
        .bind(id.0)
        .fetch_optional(&mut *tx)
        .await?;
    jobs::abort(&mut tx, JobId(job.ok_or(Error::NotFound)?), &by, now).await?;
    let scoring = read(&mut tx, id).await?;
    tx.commit().await?;
    Ok(scoring)
}

/// Queues a scoring with the features of the project's newest reward model.
async fn insert(
    conn: &mut SqliteConnection,
    project: ProjectId,
    reason: ScoringReason,
    created_by: Option<UserId>,
    by: &Actor,
    now: Timestamp,
) -> Result<ScoringId> {
    let base_model: String = sqlx::query_scalar("select base_model from project where id = ?1")
        .bind(project.0)
        .fetch_one(&mut *conn)
        .await?;
    let adapter = due::reward_model(conn, project).await?;
    let job = jobs::NewJob {
        kind: JobKind::Scoring,
        project,
        base_model: &base_model,
        adapter,
        created_by,
    };
    let job = jobs::insert(conn, &job, now).await?;
    let id: i64 = sqlx::query_scalar(
        "insert into scoring (job_id, reason, after_comparison, after_task)
         values (?1, ?2, coalesce((select max(id) from comparison where project_id = ?3), 0),
                 coalesce((select max(id) from task where project_id = ?3), 0)) returning id",
    )
    .bind(job.0)
    .bind(text::name_of(&reason))
    .bind(project.0)
    .fetch_one(&mut *conn)
    .await?;
    let job = jobs::read(conn, job).await?;
    let detail = json!({"reason": reason, "adapter": adapter});
    job_events::note(conn, by, &job, Change::Ordered, detail, now).await?;
    Ok(ScoringId(id))
}

async fn read(conn: &mut SqliteConnection, id: ScoringId) -> Result<Scoring> {
    let row: Option<ScoringRow> = sqlx::query_as(
        "select s.id, j.project_id, s.reason, j.status, j.adapter_id, a.name as adapter_name, s.n_done, s.n_total,
                s.n_tasks, s.n_comparisons, j.seconds_left, j.worker, j.error, j.created_at, j.started_at, j.finished_at
         from scoring s join job j on j.id = s.job_id left join adapter a on a.id = j.adapter_id
         where s.id = ?1",
    )
    .bind(id.0)
    .fetch_optional(conn)
    .await?;
    row.ok_or(Error::NotFound)?.try_into()
}

#[derive(sqlx::FromRow)]
struct ScoringRow {
    id: i64,
    project_id: i64,
    reason: String,
    status: String,
    adapter_id: Option<i64>,
    adapter_name: Option<String>,
    n_done: i64,
    n_total: Option<i64>,
    n_tasks: i64,
    n_comparisons: i64,
    seconds_left: Option<f64>,
    worker: Option<String>,
    error: Option<String>,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl TryFrom<ScoringRow> for Scoring {
    type Error = Error;

    fn try_from(row: ScoringRow) -> Result<Self> {
        Ok(Self {
            id: ScoringId(row.id),
            project_id: ProjectId(row.project_id),
            reason: text::from_name(&row.reason)?,
            status: text::from_name(&row.status)?,
            adapter: row.adapter_id.map(AdapterId),
            model: row.adapter_name.unwrap_or_else(|| BASE_MODEL.to_owned()),
            n_done: text::count(row.n_done),
            n_total: row.n_total.map(text::count),
            n_tasks: text::count(row.n_tasks),
            n_comparisons: text::count(row.n_comparisons),
            seconds_left: row.seconds_left,
            worker: row.worker,
            error: row.error,
            created_at: Timestamp(row.created_at),
            started_at: text::time(row.started_at),
            finished_at: text::time(row.finished_at),
        })
    }
}
