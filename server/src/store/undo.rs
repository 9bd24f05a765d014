//! Undo: a walk back through what one person answered and skipped in a project. Where the walk stands is marked on
//! the assignments that it brought back, until the person answers, skips or asks for work.

use super::{
    Db, Error, Result,
    assignments::{self, Annotator, Status},
    projects, text,
};
use laurel_protocol::{AssignmentId, Held};
use sqlx::SqliteConnection;

/// Gives back what this person answered or skipped last; undone again, what came before that, until the person
/// answers, skips or asks for work. An answer stands until it is replaced; a skip whose slot is taken is passed over.
pub async fn undo(db: &Db, who: Annotator) -> Result<Held> {
    projects::require(db, who.project).await?;
    let mut tx = db.write().await?;
    let last: Option<(i64, String)> = sqlx::query_as(
        "select a.id, a.status from assignment a join task t on t.id = a.task_id
         where a.user_id = ?1 and a.project_id = ?2 and a.undone = 0
           and (a.status = 'answered'
                or a.status = 'skipped' and t.n_annotations + (
                    select count(*) from assignment o
                    where o.task_id = t.id and o.status = 'held' and o.lease_until > ?3) < t.overlap)
         order by a.changed_at desc, a.id desc limit 1",
    )
    .bind(who.user.0)
    .bind(who.project.0)
    .bind(who.now.0)
    .fetch_optional(&mut *tx)
    .await?;
    let (id, status) = last.ok_or_else(|| Error::Conflict("There is nothing to undo.".to_owned()))?;
    let id = AssignmentId(id);
    if text::from_name::<Status>(&status)? == Status::Skipped {
        let slot = assignments::read(&mut tx, id, who.user).await?;
        assignments::require_free(&mut tx, &slot, who.now).await?;
        assignments::take(&mut tx, id, who).await?;
    }
    sqlx::query("update assignment set undone = 1 where id = ?1")
        .bind(id.0)
        .execute(&mut *tx)
        .await?;
    let mut ids = assignments::live(&mut tx, who).await?;
    ids.retain(|other| *other != id);
    ids.insert(0, id);
    tx.commit().await?;
    assignments::held(db, who, &ids).await
}

/// The next undo begins at the last answer or skip again.
pub(super) async fn end(conn: &mut SqliteConnection, who: Annotator) -> Result<()> {
    sqlx::query("update assignment set undone = 0 where user_id = ?1 and project_id = ?2 and undone = 1")
        .bind(who.user.0)
        .bind(who.project.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether [`undo`] would bring something back.
pub(super) async fn is_possible(conn: &mut SqliteConnection, who: Annotator) -> Result<bool> {
    let can: bool = sqlx::query_scalar(
        "select exists (
             select 1 from assignment
             where user_id = ?1 and project_id = ?2 and status = 'answered' and undone = 0)
         or exists (
             select 1 from assignment a join task t on t.id = a.task_id
             where a.user_id = ?1 and a.project_id = ?2 and a.status = 'skipped' and a.undone = 0
               and t.n_annotations + (
                   select count(*) from assignment o
                   where o.task_id = t.id and o.status = 'held' and o.lease_until > ?3) < t.overlap)",
    )
    .bind(who.user.0)
    .bind(who.project.0)
    .bind(who.now.0)
    .fetch_one(conn)
    .await?;
    Ok(can)
}
