//! Leases: how a trainer takes up a job, keeps it, and loses it. Every call of a trainer after the lease passes
//! [`require_lease`], which renews it.

use super::{
    Db, Error, Result, adapters,
    audit::Actor,
    chat_jobs, completion_jobs, contests,
    jobs::{self, Job, JobKind},
    merges, rounds, scorings, text,
};
use crate::chats::Chats;
use laurel_protocol::{JobId, JobStatus, LeaseRequest, LeasedJob, Timestamp, Work};
use sqlx::SqliteConnection;

/// Leases without any progress after which a job counts as failed.
const MAX_FRUITLESS: i64 = 5;

/// What a trainer shows to prove that it holds a job.
#[derive(Clone, Debug)]
pub struct Lease {
    pub job: JobId,
    pub secret: String,
    /// How long each call renews it for.
    pub seconds: u32,
    /// The name of the trainer's token.
    pub trainer: String,
}

impl Lease {
    pub(super) fn holder(&self) -> Actor {
        Actor::Trainer(self.trainer.clone())
    }
}

/// What a trainer that asked for work got, and what was taken back from others on the way.
#[derive(Default)]
pub struct Leased {
    pub job: Option<(LeasedJob, Job)>,
    /// Their watchers are to hear of it.
    pub released: Vec<Job>,
}

/// Hands the job that waits longest to the trainer, rounds in the order that admins gave them, a turn of a chat before all others and a scoring behind them, or none
/// when there is none for its models.
pub async fn lease(
    db: &Db,
    chats: &Chats,
    trainer: &str,
    request: &LeaseRequest,
    lease_seconds: u32,
    now: Timestamp,
) -> Result<Leased> {
    let models = text::to_json(&request.models)?;
    let waiting: Option<i64> = sqlx::query_scalar(
        "select id from job
         where (status = 'queued' or (status = 'running' and lease_until < ?2))
           and base_model in (select value from json_each(?1)) and (not ?3 or kind = 'chat')
         limit 1",
    )
    .bind(&models)
    .bind(now.0)
    .bind(request.chat_only)
    .fetch_optional(db.read())
    .await?;
    if waiting.is_none() {
        return Ok(Leased::default()); // the common answer of a long poll takes no write lock
    }

    let mut tx = db.write().await?;
    let released = release_expired(&mut tx, now).await?;
    let id: Option<i64> = sqlx::query_scalar(
        "select id from job
         where status = 'queued' and base_model in (select value from json_each(?1)) and (not ?2 or kind = 'chat')
         order by case kind when 'chat' then 0 when 'scoring' then 2 else 1 end, coalesce(turn, id) limit 1",
    )
    .bind(&models)
    .bind(request.chat_only)
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
    let by = Actor::Trainer(trainer.to_owned());
    let job = jobs::read(&mut tx, id).await?;
    jobs::set_status(&mut tx, &job, JobStatus::Running, None, &by, now).await?;
    let job = jobs::read(&mut tx, id).await?;
    let scorer = match job.kind {
        JobKind::Round => rounds::reward_adapter(&mut tx, id).await?,
        JobKind::Completions | JobKind::Chat | JobKind::Scoring | JobKind::Merge => None,
    };
    let leased = LeasedJob {
        job_id: id,
        lease: secret,
        lease_seconds,
        attempt: job.n_attempts.try_into().unwrap_or(u32::MAX),
        base_model: job.base_model.clone(),
        template: job.template.clone(),
        adapter: adapters::reference(&mut tx, job.adapter_id).await?,
        reward_adapter: adapters::reference(&mut tx, scorer).await?,
        work: work_of(&mut tx, chats, &job).await?,
    };
    tx.commit().await?;
    Ok(Leased {
        job: Some((leased, job)),
        released,
    })
}

async fn work_of(conn: &mut SqliteConnection, chats: &Chats, job: &Job) -> Result<Work> {
    match job.kind {
        JobKind::Chat => {
            let turn = chats.asked(job.id).ok_or(Error::NotFound)?;
            chat_jobs::work_of(conn, &turn).await
        }
        JobKind::Completions => completion_jobs::work_of(conn, job.id).await,
        JobKind::Round => rounds::work_of(conn, job.id).await,
        JobKind::Scoring => scorings::work::work_of(conn, job.id).await,
        JobKind::Merge => merges::work_of(conn, job.id).await,
    }
}

/// The job that the trainer holds, its lease renewed.
///
/// A lease that ran out while nobody else took the job goes on: a server that was down for a while, or a slow
/// network, costs the trainer nothing.
pub async fn require_lease(conn: &mut SqliteConnection, lease: &Lease, now: Timestamp) -> Result<Job> {
    let job = jobs::read(conn, lease.job).await?;
    if job.lease_hash.as_deref() != Some(text::sha256_hex(&lease.secret).as_str())
        || !matches!(job.status, JobStatus::Queued | JobStatus::Running)
    {
        return Err(Error::LeaseLost);
    }
    sqlx::query("update job set lease_until = ?2 where id = ?1")
        .bind(job.id.0)
        .bind(now.plus_seconds(lease.seconds.into()).0)
        .execute(&mut *conn)
        .await?;
    if job.status == JobStatus::Queued {
        jobs::set_status(conn, &job, JobStatus::Running, None, &lease.holder(), now).await?;
        return jobs::read(conn, job.id).await;
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
    let job = jobs::read(conn, lease.job).await?;
    if job.lease_hash.as_deref() != Some(text::sha256_hex(&lease.secret).as_str()) {
        return Err(Error::LeaseLost);
    }
    Ok(job.status)
}

/// Whether the job of this lease has ended or is put down already: its trainer repeats itself.
pub async fn is_over(db: &Db, lease: &Lease) -> Result<bool> {
    let mut conn = db.read().acquire().await?;
    let status = status_for_repeat(&mut conn, lease).await?;
    Ok(status.is_over() || status == JobStatus::Paused)
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
    let error = error.map(jobs::shortened);
    jobs::end(&mut tx, &job, to, error.as_deref(), &lease.holder(), now).await?;
    scorings::work::after(&mut tx, &job, now).await?;
    contests::after_job(&mut tx, job.id, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Takes back a job whose trainer stopped to pause. Whoever asked may have changed his mind meanwhile.
pub async fn put_down(db: &Db, lease: &Lease, now: Timestamp) -> Result<JobStatus> {
    let mut tx = db.write().await?;
    let job = require_lease(&mut tx, lease, now).await?;
    let to = released_to(&job);
    jobs::set_status(&mut tx, &job, to, None, &lease.holder(), now).await?;
    contests::after_job(&mut tx, job.id, now).await?;
    tx.commit().await?;
    Ok(to)
}

/// What becomes of a job that its trainer holds no longer and has not ended.
fn released_to(job: &Job) -> JobStatus {
    match (job.abort_asked, job.pause_asked) {
        (true, _) => JobStatus::Aborted,
        (false, true) => JobStatus::Paused,
        (false, false) => JobStatus::Queued,
    }
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
        let job = jobs::read(conn, id).await?;
        let (to, error) = match released_to(&job) {
            JobStatus::Queued if job.n_fruitless >= MAX_FRUITLESS => {
                let error = format!(
                    "The trainer took this up {MAX_FRUITLESS} times and stopped each time before any progress. \
                     See the trainer's log, then start it again."
                );
                (JobStatus::Failed, Some(error))
            }
            to => (to, None),
        };
        jobs::set_status(conn, &job, to, error.as_deref(), &Actor::Server, now).await?;
        contests::after_job(conn, id, now).await?;
        released.push(jobs::read(conn, id).await?);
    }
    Ok(released)
}
