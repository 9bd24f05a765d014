//! Gold items: made of an admin's own answer (or a file, see `gold_import.rs`), listed with what people said, and closed.

use super::{EVERYONE, Kind, copy_completions, every_try, tries};
use crate::store::{
    Db, Error, Result, annotations, assignments,
    audit::{self, Person},
    contests, own, projects, text,
};
use laurel_protocol::{
    AssignmentId, Gold, GoldItem, Message, NewGold, ProjectId, PromptId, TaskId, Timestamp, Verb,
};
use sqlx::SqliteConnection;
use std::collections::HashMap;

/// Makes a gold item of this person's standing answer. Its task wants no more labels.
pub async fn make(
    db: &Db,
    assignment: AssignmentId,
    new: &NewGold,
    by: &Person,
    now: Timestamp,
) -> Result<GoldItem> {
    let user = by.user;
    let mut tx = db.write().await?;
    let slot = assignments::read(&mut tx, assignment, user).await?;
    let standing = annotations::standing(&mut tx, assignment).await?;
    let (_, answer) =
        standing.ok_or_else(|| Error::Conflict("You have not answered this task.".to_owned()))?;
    if slot.kind != Kind::Label {
        return Err(Error::Conflict("This task is itself a check.".to_owned()));
    }
    if slot.live {
        return Err(Error::Conflict(
            "A vote of the arena cannot be a gold item: nobody else is shown what was typed there."
                .to_owned(),
        ));
    }
    let known: Option<i64> = sqlx::query_scalar(
        "select id from task where project_id = ?1 and kind = 'gold' and source_id = ?2 and status = 'open'",
    )
    .bind(slot.project.0)
    .bind(slot.task.0)
    .fetch_optional(&mut *tx)
    .await?;
    if known.is_some() {
        return Err(Error::Conflict(
            "This task is a gold item already: close that one first.".to_owned(),
        ));
    }
    let stored = tries::stored_order(&mut tx, slot.task).await?;
    let shown: Vec<i64> = slot.shown.iter().map(|id| id.0).collect();
    let gold = tries::gold_of(&stored, &shown, &answer, new.explanation.trim().to_owned(), user)?;
    let new = NewTask {
        project: slot.project,
        prompt: slot.prompt,
        source: Some(slot.task),
        gold: &gold,
    };
    let id = insert(&mut tx, &new, now).await?;
    copy_completions(&mut tx, slot.task.0, id.0).await?;
    // Whoever would label the task itself sees it as a gold item from now on; those who hold it may answer.
    sqlx::query(
        "update task set overlap = n_annotations + n_held, status = iif(n_held = 0, 'done', 'open')
         from (select count(*) as n_held from assignment where task_id = ?1 and status = 'held') where id = ?1",
    )
    .bind(slot.task.0)
    .execute(&mut *tx)
    .await?;
    contests::after_task(&mut tx, slot.task, now).await?;
    let made = (slot.project, id);
    audit::note_task(&mut tx, &by.clone().into(), Verb::GoldMade, made, now).await?;
    tx.commit().await?;
    let items = list(db, slot.project).await?;
    items
        .into_iter()
        .find(|item| item.id == id)
        .ok_or(Error::NotFound)
}

/// A gold item that has no completions yet.
pub(super) struct NewTask<'a> {
    pub project: ProjectId,
    pub prompt: PromptId,
    /// The task that it shows again, where there is one.
    pub source: Option<TaskId>,
    pub gold: &'a Gold,
}

pub(super) async fn insert(conn: &mut SqliteConnection, new: &NewTask<'_>, now: Timestamp) -> Result<TaskId> {
    let id = sqlx::query_scalar(
        "insert into task (project_id, prompt_id, overlap, status, created_at, kind, source_id, gold)
         values (?1, ?2, ?3, 'open', ?4, 'gold', ?5, ?6) returning id",
    )
    .bind(new.project.0)
    .bind(new.prompt.0)
    .bind(EVERYONE)
    .bind(now.0)
    .bind(new.source.map(|task| task.0))
    .bind(text::to_json(new.gold)?)
    .fetch_one(conn)
    .await?;
    Ok(TaskId(id))
}

/// The gold items of a project, newest first.
pub async fn list(db: &Db, project: ProjectId) -> Result<Vec<GoldItem>> {
    projects::require(db, project).await?;
    let mut tx = db.read().begin().await?;
    let mut answers = HashMap::<TaskId, (u64, u64)>::new();
    for one in every_try(&mut tx, project).await? {
        let (n, n_right) = answers.entry(one.task).or_default();
        *n += 1;
        *n_right += u64::from(one.right);
    }
    let rows: Vec<(i64, String, bool, String)> = sqlx::query_as(
        "select t.id, p.messages, t.status = 'open', t.gold from task t join prompt p on p.id = t.prompt_id
         where t.project_id = ?1 and t.kind = 'gold' order by t.id desc",
    )
    .bind(project.0)
    .fetch_all(&mut *tx)
    .await?;
    let item = |(id, messages, open, gold): (i64, String, bool, String)| {
        let (n_answers, n_right) = answers.get(&TaskId(id)).copied().unwrap_or_default();
        Ok(GoldItem {
            id: TaskId(id),
            prompt: own::excerpt(&text::from_json::<Vec<Message>>(&messages)?),
            gold: text::from_json::<Gold>(&gold)?,
            open,
            n_answers,
            n_right,
        })
    };
    rows.into_iter().map(item).collect()
}

/// Gives a gold item to nobody any more. What was answered stays; one that nobody was given goes.
pub async fn close(db: &Db, id: TaskId, by: &Person, now: Timestamp) -> Result<()> {
    let mut tx = db.write().await?;
    let item: Option<(i64, i64)> = sqlx::query_as(
        "select t.project_id, (select count(*) from assignment a where a.task_id = t.id) from task t
         where t.id = ?1 and t.kind = 'gold'",
    )
    .bind(id.0)
    .fetch_optional(&mut *tx)
    .await?;
    let (project, n_given) = item.ok_or(Error::NotFound)?;
    match n_given {
        0 => sqlx::query("delete from task where id = ?1"),
        _ => sqlx::query("update task set overlap = n_annotations, status = 'done' where id = ?1"),
    }
    .bind(id.0)
    .execute(&mut *tx)
    .await?;
    let closed = (ProjectId(project), id);
    audit::note_task(&mut tx, &by.clone().into(), Verb::GoldClosed, closed, now).await?;
    tx.commit().await?;
    Ok(())
}
