//! Turns of chats and battles as trainers lease them: a job whose row goes at its end. What is said lies in [`crate::chats`] alone.

use super::{
    Db, Error, Result, adapters,
    audit::Actor,
    jobs::{self, JobKind},
};
use crate::chats::Chats;
use laurel_protocol::{
    BattleId, ChatWork, FieldError, JobId, JobStatus, NewChatTurn, ProjectId, Timestamp, UserId, Work,
};
use sqlx::SqliteConnection;

/// Queues a turn, and keeps what is said in `chats`. Its adapters must be policies of the project.
pub async fn create(
    db: &Db,
    chats: &Chats,
    project: ProjectId,
    turn: &NewChatTurn,
    created_by: UserId,
    now: Timestamp,
) -> Result<JobId> {
    let mut tx = db.write().await?;
    for adapter in turn.sides.iter().filter_map(|side| side.adapter) {
        let kind = adapters::kind_in_project(&mut tx, adapter, project).await?;
        if !kind.is_some_and(|kind| kind.makes_policy()) {
            let reason = "must be a policy adapter of this project";
            return Err(Error::Invalid(vec![FieldError::new("adapter", reason)]));
        }
    }
    let job = insert(&mut tx, chats, project, turn, created_by, None, now).await?;
    tx.commit().await?;
    Ok(job)
}

/// The same without a check of the adapters, for a battle or a chat.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    chats: &Chats,
    project: ProjectId,
    turn: &NewChatTurn,
    created_by: UserId,
    battle: Option<BattleId>,
    now: Timestamp,
) -> Result<JobId> {
    let base_model: Option<String> = sqlx::query_scalar("select base_model from project where id = ?1")
        .bind(project.0)
        .fetch_optional(&mut *conn)
        .await?;
    let base_model = base_model.ok_or(Error::NotFound)?;
    let job = jobs::NewJob {
        kind: JobKind::Chat,
        project,
        base_model: &base_model,
        adapter: None,
        created_by: Some(created_by),
    };
    let job = jobs::insert(conn, &job, now).await?;
    // Before a trainer can see the job.
    chats.add(job, created_by, &base_model, turn, battle);
    Ok(job)
}

/// What a trainer is told of the turn.
pub(super) async fn work_of(conn: &mut SqliteConnection, turn: &NewChatTurn) -> Result<Work> {
    let mut sides = Vec::with_capacity(turn.sides.len());
    for side in &turn.sides {
        sides.push(ChatWork {
            adapter: adapters::reference(conn, side.adapter).await?,
            messages: side.messages.clone(),
        });
    }
    Ok(Work::Chat {
        sides,
        sampling: turn.sampling.clone(),
    })
}

/// Gives a turn up: at once while it waits, else its trainer is told in the next answer. Gives the status that it has now.
pub async fn abort(db: &Db, job: JobId, now: Timestamp) -> Result<JobStatus> {
    let mut tx = db.write().await?;
    // Nothing of a chat is kept, in the audit log neither.
    jobs::abort(&mut tx, job, &Actor::Server, now).await?;
    let status = jobs::read(&mut tx, job).await?.status;
    tx.commit().await?;
    Ok(status)
}

/// Takes the row of a turn that has ended out of the queue.
pub async fn remove(db: &Db, job: JobId) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query("delete from job where id = ?1 and kind = 'chat'")
        .bind(job.0)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Takes out what an earlier run of the server left: what was said went with it.
pub async fn clear(db: &Db) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query("delete from job where kind = 'chat'")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// What the trainers of the project's base model are at: the names of rounds, `completions` or `scoring`.
pub async fn busy_with(db: &Db, project: ProjectId) -> Result<Vec<String>> {
    let names = sqlx::query_scalar(
        "select coalesce(r.name, j.kind) from job j left join round r on r.job_id = j.id
         where j.status = 'running' and j.kind <> 'chat'
           and j.base_model = (select base_model from project where id = ?1)
         order by j.id",
    )
    .bind(project.0)
    .fetch_all(db.read())
    .await?;
    Ok(names)
}
