//! What annotators skipped with a reason, and taking such tasks out of the queue.

use super::{completions, prompt};
use crate::store::{
    Db, Error, Result,
    audit::{self, Person},
    contests, projects, text,
};
use laurel_protocol::{AssignmentId, Flag, FlaggedPage, ProjectId, TaskId, Timestamp, Verb};

/// Skips before assignment number `before`, last first.
pub async fn page(
    db: &Db,
    project: ProjectId,
    before: Option<AssignmentId>,
    limit: u32,
) -> Result<FlaggedPage> {
    projects::require(db, project).await?;
    let mut tx = db.read().begin().await?;
    let rows: Vec<FlagRow> = sqlx::query_as(
        "select a.id, a.task_id, u.name, a.skip_reason, a.skip_comment, a.changed_at, t.retired, p.messages
         from assignment a join task t on t.id = a.task_id join prompt p on p.id = t.prompt_id
         join user u on u.id = a.user_id
         where a.project_id = ?1 and a.kind = 'label' and a.status = 'skipped' and a.id < ?2
         order by a.id desc limit ?3",
    )
    .bind(project.0)
    .bind(before.map_or(i64::MAX, |id| id.0))
    .bind(i64::from(limit) + 1)
    .fetch_all(&mut *tx)
    .await?;
    let has_more = rows.len() > limit as usize;
    let mut flags = Vec::new();
    for row in rows.into_iter().take(limit as usize) {
        let task = TaskId(row.task_id);
        flags.push(Flag {
            assignment_id: AssignmentId(row.id),
            task_id: task,
            name: row.name,
            reason: text::from_name(row.skip_reason.as_deref().unwrap_or("other"))?,
            comment: row.skip_comment.unwrap_or_default(),
            at: Timestamp(row.changed_at),
            prompt: prompt(&row.messages)?,
            completions: completions(&mut tx, task).await?,
            retired: row.retired,
        });
    }
    let next = flags.last().map(|flag| flag.assignment_id).filter(|_| has_more);
    Ok(FlaggedPage { flags, next })
}

#[derive(sqlx::FromRow)]
struct FlagRow {
    id: i64,
    task_id: i64,
    name: String,
    skip_reason: Option<String>,
    skip_comment: Option<String>,
    changed_at: i64,
    retired: bool,
    messages: String,
}

/// Takes a task out of the queue, or puts it back. Its answers stay, and whoever holds it may still answer.
pub async fn retire(db: &Db, task: TaskId, retired: bool, by: &Person, now: Timestamp) -> Result<ProjectId> {
    let mut tx = db.write().await?;
    let task_now: Option<(i64, i64, i64, i64, bool)> = sqlx::query_as(
        "select t.project_id, t.n_annotations, coalesce(c.n_people, p.overlap),
                (select count(*) from assignment a where a.task_id = t.id and a.status = 'held'),
                coalesce(c.status <> 'open', 0)
         from task t join project p on p.id = t.project_id
         left join contest_prompt k on k.task_id = t.id left join contest c on c.id = k.contest_id
         where t.id = ?1 and t.kind = 'label' and t.live = 0",
    )
    .bind(task.0)
    .fetch_optional(&mut *tx)
    .await?;
    let (project, n_annotations, wanted, n_held, contest_is_over) = task_now.ok_or(Error::NotFound)?;
    if contest_is_over && !retired {
        return Err(Error::Conflict(
            "The contest that this task belongs to has ended: nobody is asked any more.".to_owned(),
        ));
    }
    let begun = n_annotations + n_held;
    let overlap = if retired { begun } else { wanted.max(begun) };
    sqlx::query("update task set retired = ?2, overlap = ?3, status = iif(n_annotations = ?3, 'done', 'open') where id = ?1")
        .bind(task.0)
        .bind(retired)
        .bind(overlap)
        .execute(&mut *tx)
        .await?;
    let project = ProjectId(project);
    let verb = if retired {
        Verb::TaskRetired
    } else {
        Verb::TaskPutBack
    };
    audit::note_task(&mut tx, &by.clone().into(), verb, (project, task), now).await?;
    contests::after_task(&mut tx, task, now).await?;
    tx.commit().await?;
    Ok(project)
}
