//! Undo and reopening: a walk back through what one person answered and skipped in a project. Where the walk stands is
//! marked on the assignments that it brought back, until the person answers, skips or asks for work.

use super::{
    Db, Error, Result,
    assignments::{self, Annotator, Status},
    audit::Person,
    members, projects, review, text,
};
use laurel_protocol::{AssignmentId, Held, Timestamp, Verb};
use serde_json::json;
use sqlx::SqliteConnection;

/// Gives back what this person answered or skipped last; undone again, what came before that, until the person
/// answers, skips or asks for work. An answer stands until it is replaced; a skip whose slot is taken is passed over.
/// `token` is the name of the one that was shown, if any.
pub async fn undo(db: &Db, who: Annotator, token: Option<String>) -> Result<Held> {
    projects::require(db, who.project).await?;
    let mut tx = db.write().await?;
    let last: Option<(i64, String)> = sqlx::query_as(
        "select a.id, a.status from assignment a join task t on t.id = a.task_id
         where a.user_id = ?1 and a.project_id = ?2 and a.undone = 0
           and a.kind <> 'review' and a.live = 0
           and (a.status = 'answered' and not exists (select 1 from task r where r.source_id = a.task_id and r.kind = 'review' and r.status = 'done')
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
    let by = Person {
        user: who.user,
        token,
    };
    let ids = bring_back(&mut tx, who, id, text::from_name(&status)?, by).await?;
    tx.commit().await?;
    assignments::held(db, who, &ids).await
}

/// Gives back any one that this person answered or skipped, as [`undo`] gives back the last.
pub async fn reopen(
    db: &Db,
    id: AssignmentId,
    by: impl Into<Person>,
    lease: u32,
    now: Timestamp,
) -> Result<Held> {
    let by = by.into();
    let mut tx = db.write().await?;
    let slot = assignments::read(&mut tx, id, by.user).await?;
    let who = Annotator {
        user: by.user,
        project: slot.project,
        lease_seconds: lease,
        now,
    };
    if matches!(slot.status, Status::Held | Status::Expired) {
        return Err(Error::Conflict("You have not answered this task yet.".to_owned()));
    }
    slot.require_not_live()?;
    review::require_undecided(&mut tx, slot.task).await?;
    let ids = bring_back(&mut tx, who, id, slot.status, by).await?;
    tx.commit().await?;
    assignments::held(db, who, &ids).await
}

/// The assignment first, then what the person holds.
async fn bring_back(
    conn: &mut SqliteConnection,
    who: Annotator,
    id: AssignmentId,
    status: Status,
    by: Person,
) -> Result<Vec<AssignmentId>> {
    let slot = assignments::read(conn, id, who.user).await?;
    members::require(conn, slot.project, who.user).await?;
    if status == Status::Skipped {
        assignments::require_free(conn, &slot, who.now).await?;
        assignments::take(conn, id, who).await?;
    }
    sqlx::query("update assignment set undone = 1 where id = ?1")
        .bind(id.0)
        .execute(&mut *conn)
        .await?;
    let detail = json!({"task": slot.task});
    slot.note(conn, &by.into(), Verb::TaskReopened, detail, who.now)
        .await?;
    let mut ids = assignments::live(conn, who).await?;
    ids.retain(|other| *other != id);
    ids.insert(0, id);
    Ok(ids)
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
             select 1 from assignment a
             where a.user_id = ?1 and a.project_id = ?2 and a.kind <> 'review' and a.live = 0 and a.status = 'answered' and a.undone = 0
               and not exists (select 1 from task r where r.source_id = a.task_id and r.kind = 'review' and r.status = 'done'))
         or exists (
             select 1 from assignment a join task t on t.id = a.task_id
             where a.user_id = ?1 and a.project_id = ?2 and a.kind <> 'review' and a.live = 0 and a.status = 'skipped' and a.undone = 0
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
