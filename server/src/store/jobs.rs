//! Jobs: what trainers lease. A round and a completion job each own one. Every change of a job's status goes
//! through [`set_status`]; every call of a trainer after the lease passes [`require_lease`], which renews it.

use super::{Db, Error, Result, adapters, completion_jobs, rounds, text};
use laurel_protocol::{
    AdapterId, JobId, JobStatus, LeaseRequest, LeasedJob, ProjectId, Template, Timestamp, UserId, Work,
};
use sqlx::SqliteConnection;
use std::{borrow::Cow, collections::HashSet};

/// Leases without any progress after which a job counts as failed.
const MAX_FRUITLESS: i64 = 5;
/// The longest sentence about a failure that is kept: it goes to a browser.
const MAX_ERROR_BYTES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    Completions,
    Round,
}

/// A job as far as those who lease, end and watch it need it.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub kind: JobKind,
    pub project_id: ProjectId,
    pub status: JobStatus,
    pub abort_asked: bool,
    pub base_model: String,
    pub template: Template,
    pub adapter_id: Option<AdapterId>,
    lease_hash: Option<String>,
    n_attempts: i64,
    n_fruitless: i64,
}

/// What a trainer shows to prove that it holds a job.
#[derive(Clone, Debug)]
pub struct Lease {
    pub job: JobId,
    pub secret: String,
    /// How long each call renews it for.
    pub seconds: u32,
}

pub struct NewJob<'a> {
    pub kind: JobKind,
    pub project: ProjectId,
    pub base_model: &'a str,
    pub adapter: Option<AdapterId>,
    pub created_by: UserId,
}

/// What a trainer that asked for work got, and what was taken back from others on the way.
#[derive(Default)]
pub struct Leased {
    pub job: Option<(LeasedJob, Job)>,
    /// Their watchers are to hear of it.
    pub released: Vec<Job>,
}

/// Hands the oldest job that waits to the trainer, or none when there is none for its models.
pub async fn lease(db: &Db, request: &LeaseRequest, lease_seconds: u32, now: Timestamp) -> Result<Leased> {
    let models = text::to_json(&request.models)?;
    let waiting: Option<i64> = sqlx::query_scalar(
        "select id from job
         where (status = 'queued' or (status = 'running' and lease_until < ?2))
           and base_model in (select value from json_each(?1))
         order by id limit 1",
    )
    .bind(&models)
    .bind(now.0)
    .fetch_optional(db.read())
    .await?;
    if waiting.is_none() {
        return Ok(Leased::default()); // the common answer of a long poll takes no write lock
    }

    let mut tx = db.write().await?;
    let released = release_expired(&mut tx, now).await?;
    let id: Option<i64> = sqlx::query_scalar(
        "select id from job
         where status = 'queued' and base_model in (select value from json_each(?1))
         order by id limit 1",
    )
    .bind(&models)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(id) = id.map(JobId) else {
        tx.commit().await?;
        return Ok(Leased { job: None, released });
    };

    let secret = text::random_secret()?;
    sqlx::query(
        "update job set lease_hash = ?2, lease_until = ?3, worker = ?4,
                        n_attempts = n_attempts + 1, n_fruitless = n_fruitless + 1
         where id = ?1",
    )
    .bind(id.0)
    .bind(text::sha256_hex(&secret))
    .bind(now.plus_seconds(lease_seconds.into()).0)
    .bind(format!("{} ({})", request.worker.trim(), request.device.trim()))
    .execute(&mut *tx)
    .await?;
    set_status(&mut tx, id, JobStatus::Queued, JobStatus::Running, None, now).await?;
    let job = read(&mut tx, id).await?;
    let leased = LeasedJob {
        job_id: id,
        lease: secret,
        lease_seconds,
        attempt: job.n_attempts.try_into().unwrap_or(u32::MAX),
        base_model: job.base_model.clone(),
        template: job.template.clone(),
        adapter: match job.adapter_id {
            Some(adapter) => Some(adapters::reference(&mut tx, adapter).await?),
            None => None,
        },
        reward_adapter: None,
        work: work_of(&mut tx, &job).await?,
    };
    tx.commit().await?;
    Ok(Leased {
        job: Some((leased, job)),
        released,
    })
}

async fn work_of(conn: &mut SqliteConnection, job: &Job) -> Result<Work> {
    match job.kind {
        JobKind::Completions => completion_jobs::work_of(conn, job.id).await,
        JobKind::Round => rounds::work_of(conn, job.id).await,
    }
}

/// The job that the trainer holds, its lease renewed.
///
/// A lease that ran out while nobody else took the job goes on: a server that was down for a while, or a slow
/// network, costs the trainer nothing.
pub async fn require_lease(conn: &mut SqliteConnection, lease: &Lease, now: Timestamp) -> Result<Job> {
    let job = read(conn, lease.job).await?;
    if job.lease_hash.as_deref() != Some(text::sha256_hex(&lease.secret).as_str()) || job.status.is_over() {
        return Err(Error::LeaseLost);
    }
    sqlx::query("update job set lease_until = ?2 where id = ?1")
        .bind(job.id.0)
        .bind(now.plus_seconds(lease.seconds.into()).0)
        .execute(&mut *conn)
        .await?;
    if job.status == JobStatus::Queued {
        set_status(conn, job.id, JobStatus::Queued, JobStatus::Running, None, now).await?;
        return read(conn, job.id).await;
    }
    Ok(job)
}

/// Checks and renews a lease where the call itself stores nothing.
pub async fn renew(db: &Db, lease: &Lease, now: Timestamp) -> Result<Job> {
    let mut tx = db.write().await?;
    let job = require_lease(&mut tx, lease, now).await?;
    tx.commit().await?;
    Ok(job)
}

/// The status of a job whose latest lease this is, also when the job is over: for a call that is repeated.
pub async fn status_for_repeat(conn: &mut SqliteConnection, lease: &Lease) -> Result<JobStatus> {
    let job = read(conn, lease.job).await?;
    if job.lease_hash.as_deref() != Some(text::sha256_hex(&lease.secret).as_str()) {
        return Err(Error::LeaseLost);
    }
    Ok(job.status)
}

/// Whether the job of this lease has ended already: its trainer repeats itself.
pub async fn is_over(db: &Db, lease: &Lease) -> Result<bool> {
    let mut conn = db.read().acquire().await?;
    Ok(status_for_repeat(&mut conn, lease).await?.is_over())
}

/// Ends the job that the trainer holds.
pub async fn finish(
    db: &Db,
    lease: &Lease,
    to: JobStatus,
    error: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    let mut tx = db.write().await?;
    let job = require_lease(&mut tx, lease, now).await?;
    end(&mut tx, &job, to, error.map(shortened).as_deref(), now).await?;
    tx.commit().await?;
    Ok(())
}

/// Gives every trainer a whole lease anew: at the server's start, before anything is taken back. While the server
/// was down no trainer could renew.
pub async fn resume(db: &Db, lease_seconds: u32, now: Timestamp) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query("update job set lease_until = max(lease_until, ?1) where status = 'running'")
        .bind(now.plus_seconds(lease_seconds.into()).0)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Jobs whose uploads may still be wanted.
pub async fn open(db: &Db) -> Result<HashSet<JobId>> {
    let ids: Vec<i64> = sqlx::query_scalar("select id from job where status in ('queued', 'running')")
        .fetch_all(db.read())
        .await?;
    Ok(ids.into_iter().map(JobId).collect())
}

/// Takes back what trainers no longer answer for. Gives the jobs that changed.
pub async fn sweep(db: &Db, now: Timestamp) -> Result<Vec<Job>> {
    let late: Option<i64> =
        sqlx::query_scalar("select id from job where status = 'running' and lease_until < ?1 limit 1")
            .bind(now.0)
            .fetch_optional(db.read())
            .await?;
    if late.is_none() {
        return Ok(Vec::new());
    }
    let mut tx = db.write().await?;
    let released = release_expired(&mut tx, now).await?;
    tx.commit().await?;
    Ok(released)
}

async fn release_expired(conn: &mut SqliteConnection, now: Timestamp) -> Result<Vec<Job>> {
    let ids: Vec<i64> =
        sqlx::query_scalar("select id from job where status = 'running' and lease_until < ?1")
            .bind(now.0)
            .fetch_all(&mut *conn)
            .await?;
    let mut released = Vec::with_capacity(ids.len());
    for id in ids.into_iter().map(JobId) {
        let job = read(conn, id).await?;
        let (to, error) = if job.abort_asked {
            (JobStatus::Aborted, None)
        } else if job.n_fruitless >= MAX_FRUITLESS {
            let error = format!(
                "The trainer took this up {MAX_FRUITLESS} times and stopped each time before any progress. \
                 See the trainer's log, then start it again."
            );
            (JobStatus::Failed, Some(error))
        } else {
            (JobStatus::Queued, None)
        };
        set_status(conn, id, JobStatus::Running, to, error.as_deref(), now).await?;
        released.push(read(conn, id).await?);
    }
    Ok(released)
}

/// Aborts a job: at once while it waits, else by the next answer to its trainer.
pub async fn abort(conn: &mut SqliteConnection, id: JobId, now: Timestamp) -> Result<()> {
    let job = read(conn, id).await?;
    match job.status {
        JobStatus::Queued => set_status(conn, id, JobStatus::Queued, JobStatus::Aborted, None, now).await,
        JobStatus::Running => {
            sqlx::query("update job set abort_asked = 1 where id = ?1")
                .bind(id.0)
                .execute(conn)
                .await?;
            Ok(())
        }
        JobStatus::Aborted => Ok(()),
        JobStatus::Done | JobStatus::Failed => Err(Error::Conflict("It has already ended.".to_owned())),
    }
}

/// Ends a job that its trainer holds.
pub async fn end(
    conn: &mut SqliteConnection,
    job: &Job,
    to: JobStatus,
    error: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    set_status(conn, job.id, job.status, to, error, now).await
}

/// What a trainer says of its failure, cut to what fits a page. Its log has the rest.
fn shortened(error: &str) -> Cow<'_, str> {
    let error = error.trim();
    if error.len() <= MAX_ERROR_BYTES {
        return error.into();
    }
    let end = error.floor_char_boundary(MAX_ERROR_BYTES - '…'.len_utf8());
    format!("{}…", &error[..end]).into()
}

/// Notes that the lease in force brought the job forward, and the time left if the trainer named it.
pub async fn note_progress(
    conn: &mut SqliteConnection,
    id: JobId,
    forward: bool,
    seconds_left: Option<f64>,
) -> Result<()> {
    sqlx::query(
        "update job set n_fruitless = case when ?2 then 0 else n_fruitless end,
                        seconds_left = coalesce(?3, seconds_left)
         where id = ?1",
    )
    .bind(id.0)
    .bind(forward)
    .bind(seconds_left)
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn insert(conn: &mut SqliteConnection, job: &NewJob<'_>, now: Timestamp) -> Result<JobId> {
    let id: i64 = sqlx::query_scalar(
        "insert into job (kind, project_id, status, base_model, template, adapter_id, created_by, created_at)
         select ?1, id, 'queued', ?3, template, ?4, ?5, ?6 from project where id = ?2
         returning id",
    )
    .bind(text::name_of(&job.kind))
    .bind(job.project.0)
    .bind(job.base_model)
    .bind(job.adapter.map(|adapter| adapter.0))
    .bind(job.created_by.0)
    .bind(now.0)
    .fetch_one(conn)
    .await?;
    Ok(JobId(id))
}

pub async fn read(conn: &mut SqliteConnection, id: JobId) -> Result<Job> {
    let row: Option<JobRow> = sqlx::query_as(
        "select id, kind, project_id, status, abort_asked, base_model, template, adapter_id,
                lease_hash, n_attempts, n_fruitless
         from job where id = ?1",
    )
    .bind(id.0)
    .fetch_optional(conn)
    .await?;
    row.ok_or(Error::NotFound)?.try_into()
}

/// The one place where a job's status changes.
async fn set_status(
    conn: &mut SqliteConnection,
    id: JobId,
    from: JobStatus,
    to: JobStatus,
    error: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    use JobStatus::{Aborted, Done, Failed, Queued, Running};
    let allowed = matches!(
        (from, to),
        (Queued, Running | Aborted) | (Running, Queued | Done | Failed | Aborted)
    );
    if !allowed {
        return Err(Error::Conflict(format!(
            "A job that is {} cannot become {}.",
            text::name_of(&from),
            text::name_of(&to)
        )));
    }
    let changed = sqlx::query(
        "update job set status = ?3, error = ?4,
             started_at = case when ?3 = 'running' then coalesce(started_at, ?5) else started_at end,
             finished_at = case when ?3 in ('done', 'failed', 'aborted') then ?5 end,
             seconds_left = case when ?3 = 'running' then seconds_left end
         where id = ?1 and status = ?2",
    )
    .bind(id.0)
    .bind(text::name_of(&from))
    .bind(text::name_of(&to))
    .bind(error)
    .bind(now.0)
    .execute(conn)
    .await?;
    match changed.rows_affected() {
        1 => Ok(()),
        _ => Err(Error::Conflict("The job has changed in between.".to_owned())),
    }
}

#[derive(sqlx::FromRow)]
struct JobRow {
    id: i64,
    kind: String,
    project_id: i64,
    status: String,
    abort_asked: bool,
    base_model: String,
    template: String,
    adapter_id: Option<i64>,
    lease_hash: Option<String>,
    n_attempts: i64,
    n_fruitless: i64,
}

impl TryFrom<JobRow> for Job {
    type Error = Error;

    fn try_from(row: JobRow) -> Result<Self> {
        Ok(Self {
            id: JobId(row.id),
            kind: text::from_name(&row.kind)?,
            project_id: ProjectId(row.project_id),
            status: text::from_name(&row.status)?,
            abort_asked: row.abort_asked,
            base_model: row.base_model,
            template: text::from_json(&row.template)?,
            adapter_id: row.adapter_id.map(AdapterId),
            lease_hash: row.lease_hash,
            n_attempts: row.n_attempts,
            n_fruitless: row.n_fruitless,
        })
    }
}
