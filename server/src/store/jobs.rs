//! Jobs: what trainers lease (see [`super::leases`]). A round, a completion job, a scoring, a merge and a turn of a
//! chat each own one.
//! Every change of a job's status goes through [`set_status`].

use super::{
    Db, Error, Result,
    audit::Actor,
    job_events::{self, Change},
    text, webhooks,
};
use laurel_protocol::{AdapterId, Directive, JobId, JobStatus, ProjectId, Template, Timestamp, UserId};
use serde_json::json;
use sqlx::SqliteConnection;
use std::{borrow::Cow, collections::HashSet};

/// The longest sentence about a failure that is kept: it goes to a browser.
const MAX_ERROR_BYTES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    Completions,
    Round,
    Chat,
    Scoring,
    Merge,
}

/// A job as far as those who lease, end and watch it need it.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub kind: JobKind,
    pub project_id: ProjectId,
    pub status: JobStatus,
    pub abort_asked: bool,
    pub pause_asked: bool,
    pub base_model: String,
    pub template: Template,
    pub adapter_id: Option<AdapterId>,
    pub(super) lease_hash: Option<String>,
    pub(super) n_attempts: i64,
    pub(super) n_fruitless: i64,
}

impl Job {
    /// What its trainer is to hear.
    pub fn directive(&self) -> Directive {
        Directive {
            abort: self.abort_asked,
            pause: self.pause_asked,
            chat: false,
        }
    }
}

pub struct NewJob<'a> {
    pub kind: JobKind,
    pub project: ProjectId,
    pub base_model: &'a str,
    pub adapter: Option<AdapterId>,
    /// None: the server itself.
    pub created_by: Option<UserId>,
}

/// Jobs whose uploads may still be wanted.
pub async fn open(db: &Db) -> Result<HashSet<JobId>> {
    let ids: Vec<i64> = sqlx::query_scalar("select id from job where status in ('queued', 'running')")
        .fetch_all(db.read())
        .await?;
    Ok(ids.into_iter().map(JobId).collect())
}

/// Aborts a job: at once while nobody holds it, else by the next answer to its trainer.
pub async fn abort(conn: &mut SqliteConnection, id: JobId, by: &Actor, now: Timestamp) -> Result<()> {
    let job = read(conn, id).await?;
    match job.status {
        JobStatus::Queued | JobStatus::Paused => {
            set_status(conn, &job, JobStatus::Aborted, None, by, now).await
        }
        JobStatus::Running if job.abort_asked => Ok(()),
        JobStatus::Running => {
            sqlx::query("update job set abort_asked = 1 where id = ?1")
                .bind(id.0)
                .execute(&mut *conn)
                .await?;
            job_events::note(conn, by, &job, Change::AbortAsked, json!({}), now).await
        }
        JobStatus::Aborted => Ok(()),
        JobStatus::Done | JobStatus::Failed => Err(has_ended()),
    }
}

/// Pauses a job: at once while it waits, else by the next answer to its trainer, which stops with a checkpoint.
pub async fn pause(conn: &mut SqliteConnection, id: JobId, by: &Actor, now: Timestamp) -> Result<()> {
    let job = read(conn, id).await?;
    match job.status {
        JobStatus::Queued => set_status(conn, &job, JobStatus::Paused, None, by, now).await,
        JobStatus::Running if job.abort_asked => {
            Err(Error::Conflict("It is being aborted already.".to_owned()))
        }
        JobStatus::Running => ask_to_pause(conn, &job, true, by, now).await,
        JobStatus::Paused => Ok(()),
        JobStatus::Done | JobStatus::Failed | JobStatus::Aborted => Err(has_ended()),
    }
}

/// Lets a paused job wait for a trainer again; a pause that was asked for and has not come yet is called off.
pub async fn unpause(conn: &mut SqliteConnection, id: JobId, by: &Actor, now: Timestamp) -> Result<()> {
    let job = read(conn, id).await?;
    match job.status {
        JobStatus::Paused => {
            // The trainer that put it down has no claim any more: its last call, repeated late, must change nothing.
            sqlx::query("update job set lease_hash = null, n_fruitless = 0 where id = ?1")
                .bind(id.0)
                .execute(&mut *conn)
                .await?;
            set_status(conn, &job, JobStatus::Queued, None, by, now).await
        }
        JobStatus::Running => ask_to_pause(conn, &job, false, by, now).await,
        JobStatus::Queued => Ok(()),
        JobStatus::Done | JobStatus::Failed | JobStatus::Aborted => Err(has_ended()),
    }
}

async fn ask_to_pause(
    conn: &mut SqliteConnection,
    job: &Job,
    asked: bool,
    by: &Actor,
    now: Timestamp,
) -> Result<()> {
    if job.pause_asked == asked {
        return Ok(());
    }
    sqlx::query("update job set pause_asked = ?2 where id = ?1")
        .bind(job.id.0)
        .bind(asked)
        .execute(&mut *conn)
        .await?;
    let change = if asked {
        Change::PauseAsked
    } else {
        Change::Unpaused
    };
    job_events::note(conn, by, job, change, json!({}), now).await
}

fn has_ended() -> Error {
    Error::Conflict("It has already ended.".to_owned())
}

/// Ends a job that its trainer holds.
pub async fn end(
    conn: &mut SqliteConnection,
    job: &Job,
    to: JobStatus,
    error: Option<&str>,
    by: &Actor,
    now: Timestamp,
) -> Result<()> {
    set_status(conn, job, to, error, by, now).await
}

/// What a trainer says of its failure, cut to what fits a page. Its log has the rest.
pub fn shortened(error: &str) -> Cow<'_, str> {
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
    .bind(job.created_by.map(|user| user.0))
    .bind(now.0)
    .fetch_one(conn)
    .await?;
    Ok(JobId(id))
}

/// Has a job that nobody has begun use another adapter.
pub(super) async fn set_adapter(
    conn: &mut SqliteConnection,
    id: JobId,
    adapter: Option<AdapterId>,
) -> Result<()> {
    sqlx::query("update job set adapter_id = ?2 where id = ?1 and status = 'queued'")
        .bind(id.0)
        .bind(adapter.map(|adapter| adapter.0))
        .execute(conn)
        .await?;
    Ok(())
}

pub async fn read(conn: &mut SqliteConnection, id: JobId) -> Result<Job> {
    let row: Option<JobRow> = sqlx::query_as(
        "select id, kind, project_id, status, abort_asked, pause_asked, base_model, template, adapter_id,
                lease_hash, n_attempts, n_fruitless
         from job where id = ?1",
    )
    .bind(id.0)
    .fetch_optional(conn)
    .await?;
    row.ok_or(Error::NotFound)?.try_into()
}

/// The one place where a job's status changes.
pub(super) async fn set_status(
    conn: &mut SqliteConnection,
    job: &Job,
    to: JobStatus,
    error: Option<&str>,
    by: &Actor,
    now: Timestamp,
) -> Result<()> {
    use JobStatus::{Aborted, Done, Failed, Paused, Queued, Running};
    let from = job.status;
    let allowed = matches!(
        (from, to),
        (Queued, Running | Paused | Aborted)
            | (Running, Queued | Paused | Done | Failed | Aborted)
            | (Paused, Queued | Aborted)
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
             seconds_left = case when ?3 = 'running' then seconds_left end,
             pause_asked = case when ?3 = 'running' then pause_asked else 0 end
         where id = ?1 and status = ?2",
    )
    .bind(job.id.0)
    .bind(text::name_of(&from))
    .bind(text::name_of(&to))
    .bind(error)
    .bind(now.0)
    .execute(&mut *conn)
    .await?;
    if changed.rows_affected() != 1 {
        return Err(Error::Conflict("The job has changed in between.".to_owned()));
    }
    if job.kind == JobKind::Round {
        webhooks::tell_of_job(conn, job.id, to, error, now).await?;
    }
    job_events::note(conn, by, job, Change::Status(from, to), json!({}), now).await
}

#[derive(sqlx::FromRow)]
struct JobRow {
    id: i64,
    kind: String,
    project_id: i64,
    status: String,
    abort_asked: bool,
    pause_asked: bool,
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
            pause_asked: row.pause_asked,
            base_model: row.base_model,
            template: text::from_json(&row.template)?,
            adapter_id: row.adapter_id.map(AdapterId),
            lease_hash: row.lease_hash,
            n_attempts: row.n_attempts,
            n_fruitless: row.n_fruitless,
        })
    }
}
