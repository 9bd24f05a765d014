//! What a scoring's trainer reads and says: the comparisons so far, the open tasks, its progress, and what it comes to.

use super::due;
use crate::store::{
    Db, Error, Result,
    comparisons::{self, Which},
    jobs::{self, Job, JobKind},
    leases::{self, Lease},
    text,
};
use laurel_protocol::{
    CompletionId, Directive, FieldError, JobId, ProjectId, PromptId, Report, ScoringId, TaskId, Timestamp,
    Uncertainties, Work, WorkTask, WorkTaskCompletion,
};
use sqlx::SqliteConnection;
use std::collections::HashMap;

/// Comparisons that are read at once.
const PAGE: i64 = 500;

/// What a trainer is told of the job.
pub(in crate::store) async fn work_of(conn: &mut SqliteConnection, job: JobId) -> Result<Work> {
    let scoring_id = ScoringId(id_of(conn, job).await?);
    Ok(Work::Scoring { scoring_id })
}

async fn id_of(conn: &mut SqliteConnection, job: JobId) -> Result<i64> {
    let id: Option<i64> = sqlx::query_scalar("select id from scoring where job_id = ?1")
        .bind(job.0)
        .fetch_optional(conn)
        .await?;
    id.ok_or(Error::NotFound)
}

/// The next comparisons of the project as JSON lines, ties among them, and where to go on; `None` behind the last.
pub async fn compared(db: &Db, project: ProjectId, after: i64) -> Result<Option<(Vec<String>, i64)>> {
    let mut conn = db.read().acquire().await?;
    let page = comparisons::page(&mut conn, project, Which::StrictAndTies, after, PAGE).await?;
    let Some(last) = page.last().map(|row| row.id) else {
        return Ok(None);
    };
    let lines: Result<Vec<String>> = page.iter().map(|row| text::to_json(&row.row)).collect();
    Ok(Some((lines?, last)))
}

/// The next open tasks of the project behind task `after`.
pub async fn open_tasks(db: &Db, project: ProjectId, after: TaskId, limit: i64) -> Result<Vec<WorkTask>> {
    let mut conn = db.read().acquire().await?;
    let rows: Vec<(i64, i64, String)> = sqlx::query_as(
        "select t.id, t.prompt_id, p.messages from task t join prompt p on p.id = t.prompt_id
         where t.project_id = ?1 and t.status = 'open' and t.kind = 'label' and t.id > ?2 order by t.id limit ?3",
    )
    .bind(project.0)
    .bind(after.0)
    .bind(limit)
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<i64> = rows.iter().map(|(id, ..)| *id).collect();
    let texts: Vec<(i64, i64, String)> = sqlx::query_as(
        "select c.task_id, x.id, x.text from task_completion c join completion x on x.id = c.completion_id
         where c.task_id in (select value from json_each(?1)) order by c.task_id, c.position",
    )
    .bind(text::to_json(&ids)?)
    .fetch_all(&mut *conn)
    .await?;
    let mut completions: HashMap<i64, Vec<WorkTaskCompletion>> = HashMap::new();
    for (task, id, text) in texts {
        let id = CompletionId(id);
        completions
            .entry(task)
            .or_default()
            .push(WorkTaskCompletion { id, text });
    }
    let task = |(id, prompt, messages): (i64, i64, String)| {
        Ok(WorkTask {
            task_id: TaskId(id),
            prompt_id: PromptId(prompt),
            messages: text::from_json(&messages)?,
            completions: completions.remove(&id).unwrap_or_default(),
        })
    };
    rows.into_iter().map(task).collect()
}

/// Notes how far a scoring is. Whether it came further than ever before.
pub(in crate::store) async fn progress(
    conn: &mut SqliteConnection,
    job: &Job,
    report: &Report,
) -> Result<bool> {
    let Some(step) = report.step else {
        return Ok(false);
    };
    let id = id_of(conn, job.id).await?;
    let before: i64 = sqlx::query_scalar("select n_done from scoring where id = ?1")
        .bind(id)
        .fetch_one(&mut *conn)
        .await?;
    sqlx::query("update scoring set n_done = max(n_done, ?2), n_total = coalesce(?3, n_total) where id = ?1")
        .bind(id)
        .bind(step.cast_signed())
        .bind(report.n_steps.map(u64::cast_signed))
        .execute(conn)
        .await?;
    Ok(step.cast_signed() > before)
}

/// Stores what a scoring comes to, or a part of it.
pub async fn store(db: &Db, lease: &Lease, told: &Uncertainties, now: Timestamp) -> Result<(Job, Directive)> {
    told.validate().map_err(Error::Invalid)?;
    let mut tx = db.write().await?;
    let job = leases::require_lease(&mut tx, lease, now).await?;
    if job.kind != JobKind::Scoring {
        return Err(refused("This job is no scoring: it takes no uncertainties."));
    }
    let tasks = text::to_json(&told.tasks)?;
    let stranger: Option<i64> = sqlx::query_scalar(
        "select value ->> 'task_id' from json_each(?1)
         where not exists (select 1 from task t
                           where t.id = value ->> 'task_id' and t.project_id = ?2 and t.kind = 'label')
         limit 1",
    )
    .bind(&tasks)
    .bind(job.project_id.0)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(id) = stranger {
        return Err(refused(&format!(
            "name task {id}, which is none of this project's"
        )));
    }
    let id = id_of(&mut tx, job.id).await?;
    // A part that is sent twice counts once.
    let n_new: i64 = sqlx::query_scalar(
        "select count(*) from task
         where id in (select value ->> 'task_id' from json_each(?1)) and status = 'open' and scoring_id is not ?2",
    )
    .bind(&tasks)
    .bind(id)
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query(
        "update task set uncertainty = v.uncertainty, scoring_id = ?2
         from (select value ->> 'task_id' as id, value ->> 'uncertainty' as uncertainty from json_each(?1)) v
         where task.id = v.id and task.status = 'open'",
    )
    .bind(&tasks)
    .bind(id)
    .execute(&mut *tx)
    .await?;
    sqlx::query("update scoring set n_tasks = n_tasks + ?2, n_comparisons = ?3 where id = ?1")
        .bind(id)
        .bind(n_new)
        .bind(told.n_comparisons.cast_signed())
        .execute(&mut *tx)
        .await?;
    jobs::note_progress(&mut tx, job.id, true, None).await?;
    let directive = job.directive();
    tx.commit().await?;
    Ok((job, directive))
}

fn refused(reason: &str) -> Error {
    Error::Invalid(vec![FieldError::new("tasks", reason)])
}

/// After the end of a job that may have left something to score.
pub(in crate::store) async fn after(conn: &mut SqliteConnection, job: &Job, now: Timestamp) -> Result<()> {
    match job.kind {
        JobKind::Chat | JobKind::Merge => Ok(()),
        JobKind::Completions | JobKind::Round | JobKind::Scoring => {
            due::order(conn, job.project_id, due::News::Other, now).await
        }
    }
}
