//! What reviewers and annotators say to one another about a task.

use crate::store::{
    Db, Error, Result,
    audit::{self, Person},
};
use laurel_protocol::{NewNote, Note, ProjectId, TaskId, Timestamp, User, Verb};
use sqlx::SqliteConnection;

/// Adds a note. Annotators may write about tasks that they have been given.
pub async fn add(
    db: &Db,
    task: TaskId,
    new: &NewNote,
    user: &User,
    by: &Person,
    now: Timestamp,
) -> Result<Vec<Note>> {
    let mut tx = db.write().await?;
    let may: bool = sqlx::query_scalar(
        "select exists (select 1 from task where id = ?1 and kind = 'label')
                and (?3 or exists (select 1 from assignment where task_id = ?1 and user_id = ?2))",
    )
    .bind(task.0)
    .bind(user.id.0)
    .bind(user.role.may_review())
    .fetch_one(&mut *tx)
    .await?;
    if !may {
        return Err(Error::NotFound);
    }
    sqlx::query("insert into note (task_id, user_id, text, created_at) values (?1, ?2, ?3, ?4)")
        .bind(task.0)
        .bind(user.id.0)
        .bind(new.text.trim())
        .bind(now.0)
        .execute(&mut *tx)
        .await?;
    let project: i64 = sqlx::query_scalar("select project_id from task where id = ?1")
        .bind(task.0)
        .fetch_one(&mut *tx)
        .await?;
    let noted = (ProjectId(project), task);
    audit::note_task(&mut tx, &by.clone().into(), Verb::NoteWritten, noted, now).await?;
    let notes = of_task(&mut tx, task).await?;
    tx.commit().await?;
    Ok(notes)
}

pub(in crate::store) async fn of_task(conn: &mut SqliteConnection, task: TaskId) -> Result<Vec<Note>> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "select u.name, n.text, n.created_at from note n join user u on u.id = n.user_id
         where n.task_id = ?1 order by n.id",
    )
    .bind(task.0)
    .fetch_all(conn)
    .await?;
    let note = |(name, text, at)| Note {
        name,
        text,
        at: Timestamp(at),
    };
    Ok(rows.into_iter().map(note).collect())
}
