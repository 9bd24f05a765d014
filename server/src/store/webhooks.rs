//! Webhooks of a project, and the outbox of what they are to hear. A delivery is entered in the transaction of what it
//! tells, so that none is forgotten; its status changes in [`set_status`] alone.

use super::{
    Db, Error, Result,
    audit::{self, Actor, Event, Person},
    projects, text,
};
use laurel_protocol::{
    AuditSubject, CreatedWebhook, Delivery, DeliveryId, DeliveryStatus, HookEvent, JobId, JobStatus,
    NewWebhook, NoAnswer, Notification, ProjectId, RoundId, RoundSpec, Timestamp, Verb, Webhook, WebhookId,
};
use serde_json::json;
use sqlx::SqliteConnection;

/// Deliveries of a webhook that are shown.
const N_SHOWN: i64 = 10;
/// And that are kept.
const N_KEPT: i64 = 200;
/// Seconds from a try that failed to the next one.
const WAITS: [i64; 6] = [10, 60, 300, 1_800, 7_200, 21_600];
/// Deliveries that are sent at once.
const N_AT_ONCE: i64 = 16;

pub async fn list(db: &Db, project: ProjectId) -> Result<Vec<Webhook>> {
    projects::require(db, project).await?;
    let mut moment = db.read().begin().await?;
    let ids: Vec<i64> = sqlx::query_scalar("select id from webhook where project_id = ?1 order by id")
        .bind(project.0)
        .fetch_all(&mut *moment)
        .await?;
    let mut hooks = Vec::with_capacity(ids.len());
    for id in ids {
        hooks.push(read(&mut moment, WebhookId(id)).await?);
    }
    Ok(hooks)
}

pub async fn create(
    db: &Db,
    project: ProjectId,
    new: &NewWebhook,
    by: impl Into<Person>,
    now: Timestamp,
) -> Result<CreatedWebhook> {
    let secret = text::random_secret()?;
    let mut tx = db.write().await?;
    projects::require_in(&mut tx, project).await?;
    let id: i64 = sqlx::query_scalar(
        "insert into webhook (project_id, url, events, secret, created_at) values (?1, ?2, ?3, ?4, ?5) returning id",
    )
    .bind(project.0)
    .bind(new.url.trim())
    .bind(text::to_json(&new.events)?)
    .bind(&secret)
    .bind(now.0)
    .fetch_one(&mut *tx)
    .await?;
    let id = WebhookId(id);
    note(&mut tx, &by.into().into(), Verb::WebhookMade, project, id, now).await?;
    let webhook = read(&mut tx, id).await?;
    tx.commit().await?;
    Ok(CreatedWebhook { webhook, secret })
}

pub async fn change(
    db: &Db,
    id: WebhookId,
    new: &NewWebhook,
    by: impl Into<Person>,
    now: Timestamp,
) -> Result<Webhook> {
    let mut tx = db.write().await?;
    let known = read(&mut tx, id).await?;
    sqlx::query("update webhook set url = ?2, events = ?3 where id = ?1")
        .bind(id.0)
        .bind(new.url.trim())
        .bind(text::to_json(&new.events)?)
        .execute(&mut *tx)
        .await?;
    note(
        &mut tx,
        &by.into().into(),
        Verb::WebhookChanged,
        known.project_id,
        id,
        now,
    )
    .await?;
    let webhook = read(&mut tx, id).await?;
    tx.commit().await?;
    Ok(webhook)
}

/// Removes a webhook with all that it was to hear.
pub async fn delete(db: &Db, id: WebhookId, by: impl Into<Person>, now: Timestamp) -> Result<()> {
    let mut tx = db.write().await?;
    let known = read(&mut tx, id).await?;
    note(
        &mut tx,
        &by.into().into(),
        Verb::WebhookDeleted,
        known.project_id,
        id,
        now,
    )
    .await?;
    sqlx::query("delete from webhook where id = ?1")
        .bind(id.0)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Enters a test.
pub async fn test(db: &Db, id: WebhookId, now: Timestamp) -> Result<Webhook> {
    let mut tx = db.write().await?;
    let hook = read(&mut tx, id).await?;
    let told = Notification {
        event: HookEvent::Test,
        at: now,
        project: hook.project_id,
        project_name: project_name(&mut tx, hook.project_id).await?,
        round: None,
        round_name: None,
        round_kind: None,
        text: None,
    };
    enter(&mut tx, id, &told).await?;
    let hook = read(&mut tx, id).await?;
    tx.commit().await?;
    Ok(hook)
}

/// Enters what has become of the round that a job is, where anyone wants to hear it.
pub(super) async fn tell_of_job(
    conn: &mut SqliteConnection,
    job: JobId,
    to: JobStatus,
    error: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    let event = match to {
        JobStatus::Done => HookEvent::RoundDone,
        JobStatus::Failed => HookEvent::RoundFailed,
        JobStatus::Aborted => HookEvent::RoundAborted,
        JobStatus::Paused => HookEvent::RoundPaused,
        JobStatus::Queued | JobStatus::Running => return Ok(()),
    };
    let round: Option<i64> = sqlx::query_scalar("select id from round where job_id = ?1")
        .bind(job.0)
        .fetch_optional(&mut *conn)
        .await?;
    match round {
        Some(round) => tell(conn, RoundId(round), event, error, now).await,
        None => Ok(()),
    }
}

/// Enters for each webhook that wants to hear it what has become of a round.
pub(super) async fn tell(
    conn: &mut SqliteConnection,
    round: RoundId,
    event: HookEvent,
    about: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    let hooks: Vec<(i64, i64, String, String)> = sqlx::query_as(
        "select h.id, h.project_id, r.name, r.spec
         from round r join job j on j.id = r.job_id join webhook h on h.project_id = j.project_id
         where r.id = ?1 and exists (select 1 from json_each(h.events) where value = ?2)",
    )
    .bind(round.0)
    .bind(text::name_of(&event))
    .fetch_all(&mut *conn)
    .await?;
    for (hook, project, name, spec) in hooks {
        let spec: RoundSpec = text::from_json(&spec)?;
        let project = ProjectId(project);
        let told = Notification {
            event,
            at: now,
            project,
            project_name: project_name(conn, project).await?,
            round: Some(round),
            round_name: Some(name),
            round_kind: Some(spec.kind),
            text: about.map(str::to_owned),
        };
        enter(conn, WebhookId(hook), &told).await?;
    }
    Ok(())
}

async fn project_name(conn: &mut SqliteConnection, project: ProjectId) -> Result<String> {
    let name = sqlx::query_scalar("select name from project where id = ?1")
        .bind(project.0)
        .fetch_one(conn)
        .await?;
    Ok(name)
}

async fn enter(conn: &mut SqliteConnection, hook: WebhookId, told: &Notification) -> Result<()> {
    sqlx::query(
        "insert into webhook_delivery (webhook_id, event, body, status, next_at, created_at)
         values (?1, ?2, ?3, 'pending', ?4, ?4)",
    )
    .bind(hook.0)
    .bind(text::name_of(&told.event))
    .bind(text::to_json(told)?)
    .bind(told.at.0)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "delete from webhook_delivery where webhook_id = ?1 and status <> 'pending' and id not in (
             select id from webhook_delivery where webhook_id = ?1 order by id desc limit ?2)",
    )
    .bind(hook.0)
    .bind(N_KEPT)
    .execute(conn)
    .await?;
    Ok(())
}

/// What is to be sent, and where.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub id: DeliveryId,
    pub url: String,
    pub secret: String,
    pub body: String,
    n_attempts: i64,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    Answered(u16),
    Failed(NoAnswer),
}

/// Deliveries whose time has come, oldest first.
pub async fn due(db: &Db, now: Timestamp) -> Result<Vec<Outgoing>> {
    let rows: Vec<(i64, String, String, String, i64)> = sqlx::query_as(
        "select d.id, h.url, h.secret, d.body, d.n_attempts
         from webhook_delivery d join webhook h on h.id = d.webhook_id
         where d.status = 'pending' and d.next_at <= ?1 order by d.next_at, d.id limit ?2",
    )
    .bind(now.0)
    .bind(N_AT_ONCE)
    .fetch_all(db.read())
    .await?;
    let outgoing = |(id, url, secret, body, n_attempts)| Outgoing {
        id: DeliveryId(id),
        url,
        secret,
        body,
        n_attempts,
    };
    Ok(rows.into_iter().map(outgoing).collect())
}

/// Notes what came of a try: sent, to be tried again, or given up.
pub async fn tried(db: &Db, sent: &Outgoing, came: &Tried, now: Timestamp) -> Result<DeliveryStatus> {
    let (status, next_at) = match came {
        Tried::Answered(200..300) => (DeliveryStatus::Sent, None),
        _ => match usize::try_from(sent.n_attempts).ok().and_then(|n| WAITS.get(n)) {
            Some(wait) => (DeliveryStatus::Pending, Some(now.plus_seconds(*wait))),
            None => (DeliveryStatus::Failed, None),
        },
    };
    let mut tx = db.write().await?;
    set_status(&mut tx, sent, status, next_at, came).await?;
    tx.commit().await?;
    Ok(status)
}

/// The one place where a delivery's status changes.
async fn set_status(
    conn: &mut SqliteConnection,
    sent: &Outgoing,
    to: DeliveryStatus,
    next_at: Option<Timestamp>,
    came: &Tried,
) -> Result<()> {
    let (http_status, error) = match came {
        Tried::Answered(status) => (Some(*status), None),
        Tried::Failed(why) => (None, Some(text::name_of(why))),
    };
    // One whose webhook went meanwhile is gone with it.
    sqlx::query(
        "update webhook_delivery set status = ?2, next_at = ?3, http_status = ?4, error = ?5, n_attempts = n_attempts + 1
         where id = ?1 and status = 'pending'",
    )
    .bind(sent.id.0)
    .bind(text::name_of(&to))
    .bind(next_at.map(|at| at.0))
    .bind(http_status)
    .bind(error)
    .execute(conn)
    .await?;
    Ok(())
}

async fn read(conn: &mut SqliteConnection, id: WebhookId) -> Result<Webhook> {
    let row: Option<(i64, String, String, i64)> =
        sqlx::query_as("select project_id, url, events, created_at from webhook where id = ?1")
            .bind(id.0)
            .fetch_optional(&mut *conn)
            .await?;
    let (project, url, events, created_at) = row.ok_or(Error::NotFound)?;
    let deliveries: Vec<DeliveryRow> = sqlx::query_as(
        "select id, event, status, n_attempts, created_at, next_at, http_status, error
         from webhook_delivery where webhook_id = ?1 order by id desc limit ?2",
    )
    .bind(id.0)
    .bind(N_SHOWN)
    .fetch_all(conn)
    .await?;
    Ok(Webhook {
        id,
        project_id: ProjectId(project),
        url,
        events: text::from_json(&events)?,
        created_at: Timestamp(created_at),
        deliveries: deliveries
            .into_iter()
            .map(Delivery::try_from)
            .collect::<Result<_>>()?,
    })
}

async fn note(
    conn: &mut SqliteConnection,
    by: &Actor,
    verb: Verb,
    project: ProjectId,
    id: WebhookId,
    now: Timestamp,
) -> Result<()> {
    let event = Event {
        verb,
        project: Some(project),
        kind: AuditSubject::Webhook,
        subject: Some(id.0),
        detail: json!({}),
    };
    audit::note(conn, by, event, now).await
}

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    id: i64,
    event: String,
    status: String,
    n_attempts: i64,
    created_at: i64,
    next_at: Option<i64>,
    http_status: Option<i64>,
    error: Option<String>,
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = Error;

    fn try_from(row: DeliveryRow) -> Result<Self> {
        Ok(Self {
            id: DeliveryId(row.id),
            event: text::from_name(&row.event)?,
            status: text::from_name(&row.status)?,
            n_attempts: row.n_attempts.try_into().unwrap_or(u32::MAX),
            created_at: Timestamp(row.created_at),
            next_at: text::time(row.next_at),
            http_status: row.http_status.and_then(|status| status.try_into().ok()),
            error: row.error.as_deref().map(text::from_name).transpose()?,
        })
    }
}
