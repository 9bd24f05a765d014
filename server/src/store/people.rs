//! Leaving: what a person's data is, which adapters learnt from it, and taking the person out of it.

use super::{
    Db, Error, Result, accounts, annotations, assignments,
    audit::{Actor, Person},
    battles, review, text,
};
use laurel_protocol::{
    AdapterId, AssignmentId, Leaving, PersonData, ProjectId, Role, TaughtAdapter, Timestamp, UserId, Verb,
};
use serde_json::json;
use sqlx::SqliteConnection;

/// What there is of a person, without changing anything.
pub async fn data(db: &Db, id: UserId) -> Result<PersonData> {
    let mut tx = db.read().begin().await?;
    read(&mut tx, id).await
}

/// Takes a person out: nobody can sign in as them any more, and their name, comments and notes go. What they judged
/// stays under a pseudonym, or is withdrawn, so that it counts in nothing that is made from now on. Adapters that have
/// learnt from it are not changed: they are named.
pub async fn delete(
    db: &Db,
    id: UserId,
    leaving: Leaving,
    by: &Person,
    now: Timestamp,
) -> Result<PersonData> {
    let mut tx = db.write().await?;
    let data = read(&mut tx, id).await?;
    let is_working_admin = data.user.role == Role::Admin && !data.user.disabled;
    if is_working_admin && accounts::n_admins(&mut tx).await? == 1 {
        return Err(Error::Conflict(
            "This is the last admin: make another one first.".to_owned(),
        ));
    }
    if leaving == Leaving::Withdraw {
        withdraw_answers(&mut tx, id, &by.clone().into(), now).await?;
    }
    battles::leave(&mut tx, id, leaving == Leaving::Withdraw).await?;
    for sql in [
        "update annotation set comment = '' where assignment_id in (select id from assignment where user_id = ?1)",
        "update assignment set skip_comment = '' where user_id = ?1 and skip_comment is not null",
        "delete from note where user_id = ?1",
        "delete from project_member where user_id = ?1",
        "delete from session where user_id = ?1",
        "delete from api_token where user_id = ?1",
        "update user set name = 'former person ' || id, password_hash = '!', disabled = 1 where id = ?1",
    ] {
        sqlx::query(sql).bind(id.0).execute(&mut *tx).await?;
    }
    let detail = json!({"answers": leaving});
    accounts::note_account(
        &mut tx,
        &by.clone().into(),
        Verb::AccountDeleted,
        &data.user,
        detail,
        now,
    )
    .await?;
    tx.commit().await?;
    Ok(data)
}

/// Every standing answer and held task goes; the tasks want as many labels again, those that a reviewer has decided once
/// the decision is taken back. Decisions that the person made as a reviewer stay.
async fn withdraw_answers(conn: &mut SqliteConnection, id: UserId, by: &Actor, now: Timestamp) -> Result<()> {
    let given: Vec<i64> = sqlx::query_scalar(
        "select id from assignment where user_id = ?1 and kind <> 'review' and status in ('answered', 'held')",
    )
    .bind(id.0)
    .fetch_all(&mut *conn)
    .await?;
    for assignment in given {
        let slot = assignments::read(conn, AssignmentId(assignment), id).await?;
        match review::is_decided(conn, slot.task).await? {
            true => drop(annotations::take_out(conn, &slot, by, now).await?),
            false => annotations::withdraw(conn, &slot, by, now).await?,
        }
        assignments::set_status(conn, slot.id, assignments::Status::Skipped, now).await?;
    }
    sqlx::query(
        "update annotation set extras = '{}'
         where assignment_id in (select id from assignment where user_id = ?1 and kind <> 'review')",
    )
    .bind(id.0)
    .execute(conn)
    .await?;
    Ok(())
}

async fn read(conn: &mut SqliteConnection, id: UserId) -> Result<PersonData> {
    let user = accounts::read(conn, id).await?;
    let (n_answers, n_skips, n_notes): (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from assignment where user_id = ?1 and status = 'answered'),
                (select count(*) from assignment where user_id = ?1 and kind <> 'review' and status = 'skipped'),
                (select count(*) from note where user_id = ?1)",
    )
    .bind(id.0)
    .fetch_one(&mut *conn)
    .await?;
    let taught: Vec<(i64, i64, String, bool)> = sqlx::query_as(
        "with recursive direct (id) as (
             select distinct a.id from assignment x
             join annotation n on n.assignment_id = x.id
             join snapshot_row s on s.annotation_id = n.id
             join round r on r.snapshot_id = s.snapshot_id
             join adapter a on a.round_id = r.id
             where x.user_id = ?1),
         taught (id) as (
             select id from direct
             union
             select a.id from taught t
             join round r join job j on j.id = r.job_id and (j.adapter_id = t.id or r.reward_adapter_id = t.id)
             join adapter a on a.round_id = r.id)
         select a.id, a.project_id, a.name, a.id in (select id from direct)
         from adapter a where a.id in (select id from taught) order by a.id",
    )
    .bind(id.0)
    .fetch_all(conn)
    .await?;
    let adapter = |(id, project, name, direct): (i64, i64, String, bool)| TaughtAdapter {
        id: AdapterId(id),
        project_id: ProjectId(project),
        name,
        direct,
    };
    Ok(PersonData {
        user,
        n_answers: text::count(n_answers),
        n_skips: text::count(n_skips),
        n_notes: text::count(n_notes),
        adapters: taught.into_iter().map(adapter).collect(),
    })
}
