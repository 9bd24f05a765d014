//! Contests: two contenders answer the same prompts, people judge the pairs in the ordinary queue without knowing whose answers
//! they are, and it ends when the answer is clear. Every status of a contest changes in [`end`].

mod begin;
mod votes;
mod work;

pub use begin::create;
pub(super) use work::{Paired, of_job, pair};

use super::{
    Db, Error, Result,
    audit::{self, Actor, Event},
    completion_jobs::{self, BASE_MODEL},
    projects, rounds, tasks, text,
};
use laurel_protocol::{
    AdapterId, AuditSubject, CompletionJobId, Contender, Contest, ContestFigures, ContestId, ContestStatus,
    JobId, ProjectId, RoundGate, RoundId, TaskId, Timestamp, Verb,
};
use serde_json::json;
use sqlx::SqliteConnection;

/// The project's contests, newest first.
pub async fn list(db: &Db, project: ProjectId) -> Result<Vec<Contest>> {
    projects::require(db, project).await?;
    let mut tx = db.read().begin().await?;
    let ids: Vec<i64> = sqlx::query_scalar("select id from contest where project_id = ?1 order by id desc")
        .bind(project.0)
        .fetch_all(&mut *tx)
        .await?;
    let mut contests = Vec::with_capacity(ids.len());
    for id in ids {
        contests.push(read(&mut tx, ContestId(id)).await?);
    }
    Ok(contests)
}

pub async fn get(db: &Db, id: ContestId) -> Result<Contest> {
    let mut tx = db.read().begin().await?;
    read(&mut tx, id).await
}

/// What the judges said of what a round made.
pub async fn gate(db: &Db, round: RoundId) -> Result<RoundGate> {
    rounds::require(db, round).await?;
    let mut tx = db.read().begin().await?;
    gate_of(&mut tx, round).await
}

/// By the newest contest of the round that nobody closed.
pub(super) async fn gate_of(conn: &mut SqliteConnection, round: RoundId) -> Result<RoundGate> {
    let id: Option<i64> = sqlx::query_scalar(
        "select id from contest where round_id = ?1 and status <> 'closed' order by id desc limit 1",
    )
    .bind(round.0)
    .fetch_optional(&mut *conn)
    .await?;
    let contest = match id {
        Some(id) => Some(read(conn, ContestId(id)).await?),
        None => None,
    };
    Ok(RoundGate::of(contest))
}

/// Ends a contest that is open: its open tasks leave the queue, its jobs stop.
pub async fn close(
    db: &Db,
    id: ContestId,
    reason: &str,
    by: impl Into<Actor>,
    now: Timestamp,
) -> Result<Contest> {
    let by = by.into();
    let mut tx = db.write().await?;
    let open = status_of(&mut tx, id).await?;
    if open != ContestStatus::Open {
        return Err(Error::Conflict("This contest is over already.".to_owned()));
    }
    sqlx::query("update contest set close_reason = ?2 where id = ?1")
        .bind(id.0)
        .bind(reason.trim())
        .execute(&mut *tx)
        .await?;
    end(&mut tx, id, ContestStatus::Closed, &by, now).await?;
    for job in jobs_of(&mut tx, id).await? {
        completion_jobs::abort_unless_over(&mut tx, job, &by, now).await?;
    }
    let contest = read(&mut tx, id).await?;
    tx.commit().await?;
    Ok(contest)
}

/// Looks at the contest of a task whose answers changed.
pub(super) async fn after_task(conn: &mut SqliteConnection, task: TaskId, now: Timestamp) -> Result<()> {
    let id: Option<i64> = sqlx::query_scalar(
        "select p.contest_id from contest_prompt p join task t on t.id = p.task_id
         where p.task_id = ?1 and t.status = 'done'",
    )
    .bind(task.0)
    .fetch_optional(&mut *conn)
    .await?;
    match id {
        Some(id) => look(conn, ContestId(id), now).await,
        None => Ok(()),
    }
}

/// Looks at the contest of a completion job that is over: what it has not answered is not judged.
pub(super) async fn after_job(conn: &mut SqliteConnection, job: JobId, now: Timestamp) -> Result<()> {
    let id: Option<i64> = sqlx::query_scalar(
        "select c.id from contest c join completion_job j on j.id in (c.first_job_id, c.second_job_id)
         where j.job_id = ?1",
    )
    .bind(job.0)
    .fetch_optional(&mut *conn)
    .await?;
    match id {
        Some(id) => look(conn, ContestId(id), now).await,
        None => Ok(()),
    }
}

/// Ends an open contest whose answer is clear, or that has nothing left to judge.
pub(super) async fn look(conn: &mut SqliteConnection, id: ContestId, now: Timestamp) -> Result<()> {
    if status_of(conn, id).await? != ContestStatus::Open {
        return Ok(());
    }
    let figures = votes::figures(conn, id).await?;
    let to = match figures.winner() {
        Some(_) => ContestStatus::Decided,
        None if is_exhausted(conn, id).await? => ContestStatus::Undecided,
        None => return Ok(()),
    };
    end(conn, id, to, &Actor::Server, now).await?;
    for job in jobs_of(conn, id).await? {
        completion_jobs::abort_unless_over(conn, job, &Actor::Server, now).await?;
    }
    Ok(())
}

/// No task is open, and none will come.
async fn is_exhausted(conn: &mut SqliteConnection, id: ContestId) -> Result<bool> {
    let goes_on: bool = sqlx::query_scalar(
        "select exists (select 1 from contest_prompt p join task t on t.id = p.task_id
                        where p.contest_id = ?1 and t.status = 'open')
             or (exists (select 1 from contest_prompt where contest_id = ?1 and state = 'waits')
                 and exists (select 1 from contest c
                             join completion_job x on x.id in (c.first_job_id, c.second_job_id)
                             join job j on j.id = x.job_id
                             where c.id = ?1 and j.status in ('queued', 'running', 'paused'))
                 and not exists (select 1 from contest c
                                 join completion_job x on x.id in (c.first_job_id, c.second_job_id)
                                 join job j on j.id = x.job_id
                                 where c.id = ?1 and j.status in ('failed', 'aborted')))",
    )
    .bind(id.0)
    .fetch_one(conn)
    .await?;
    Ok(!goes_on)
}

/// The one place where a contest's status changes. It keeps the figures of that moment.
async fn end(
    conn: &mut SqliteConnection,
    id: ContestId,
    to: ContestStatus,
    by: &Actor,
    now: Timestamp,
) -> Result<()> {
    let figures = votes::figures(conn, id).await?;
    let ended: Option<i64> = sqlx::query_scalar(
        "update contest set status = ?2, outcome = ?3, ended_at = ?4 where id = ?1 and status = 'open'
         returning project_id",
    )
    .bind(id.0)
    .bind(text::name_of(&to))
    .bind(text::to_json(&figures)?)
    .bind(now.0)
    .fetch_optional(&mut *conn)
    .await?;
    let project = ended.ok_or_else(|| Error::Conflict("This contest is over already.".to_owned()))?;
    tasks::withdraw_of_contest(conn, id).await?;
    let verb = match to {
        ContestStatus::Decided => Verb::ContestDecided,
        ContestStatus::Undecided => Verb::ContestUndecided,
        ContestStatus::Closed | ContestStatus::Open => Verb::ContestClosed,
    };
    let detail = json!({
        "winner": figures.winner(), "win_rate": figures.win_rate, "low": figures.interval.low,
        "high": figures.interval.high, "n_counted": figures.n_counted,
    });
    note(conn, by, verb, (ProjectId(project), id), detail, now).await
}

pub(super) async fn note(
    conn: &mut SqliteConnection,
    by: &Actor,
    verb: Verb,
    (project, id): (ProjectId, ContestId),
    detail: serde_json::Value,
    now: Timestamp,
) -> Result<()> {
    let event = Event {
        verb,
        project: Some(project),
        kind: AuditSubject::Contest,
        subject: Some(id.0),
        detail,
    };
    audit::note(conn, by, event, now).await
}

async fn status_of(conn: &mut SqliteConnection, id: ContestId) -> Result<ContestStatus> {
    let status: Option<String> = sqlx::query_scalar("select status from contest where id = ?1")
        .bind(id.0)
        .fetch_optional(conn)
        .await?;
    text::from_name(&status.ok_or(Error::NotFound)?)
}

async fn jobs_of(conn: &mut SqliteConnection, id: ContestId) -> Result<[CompletionJobId; 2]> {
    let (first, second) = sqlx::query_as("select first_job_id, second_job_id from contest where id = ?1")
        .bind(id.0)
        .fetch_one(conn)
        .await?;
    Ok([CompletionJobId(first), CompletionJobId(second)])
}

/// A contender by its adapter and that one's name.
pub(super) fn contender(adapter: Option<i64>, name: Option<String>) -> Contender {
    Contender {
        adapter: adapter.map(AdapterId),
        name: name.unwrap_or_else(|| BASE_MODEL.to_owned()),
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    project_id: i64,
    first_id: Option<i64>,
    first_name: Option<String>,
    second_id: Option<i64>,
    second_name: Option<String>,
    round_id: Option<i64>,
    status: String,
    n_people: u8,
    alpha: f64,
    outcome: Option<String>,
    close_reason: Option<String>,
    created_at: i64,
    ended_at: Option<i64>,
}

async fn read(conn: &mut SqliteConnection, id: ContestId) -> Result<Contest> {
    let row: Option<Row> = sqlx::query_as(
        "select c.project_id, c.first_id, a.name as first_name, c.second_id, b.name as second_name, c.round_id, c.status,
                c.n_people, c.alpha, c.outcome, c.close_reason, c.created_at, c.ended_at
         from contest c left join adapter a on a.id = c.first_id left join adapter b on b.id = c.second_id
         where c.id = ?1",
    )
    .bind(id.0)
    .fetch_optional(&mut *conn)
    .await?;
    let row = row.ok_or(Error::NotFound)?;
    let figures: ContestFigures = match &row.outcome {
        Some(outcome) => text::from_json(outcome)?,
        None => votes::figures(conn, id).await?,
    };
    let mut jobs = Vec::with_capacity(2);
    for job in jobs_of(conn, id).await? {
        jobs.push(completion_jobs::read(conn, job).await?);
    }
    Ok(Contest {
        id,
        project_id: ProjectId(row.project_id),
        first: contender(row.first_id, row.first_name),
        second: contender(row.second_id, row.second_name),
        round: row.round_id.map(RoundId),
        status: text::from_name(&row.status)?,
        n_people: row.n_people,
        alpha: row.alpha,
        sampling: jobs[0].request.sampling.clone(),
        jobs,
        figures,
        close_reason: row.close_reason,
        created_at: Timestamp(row.created_at),
        ended_at: text::time(row.ended_at),
    })
}
