//! The order of the rounds that wait for a trainer. A job's place is its number until an admin moves it.

use super::{
    Db, Error, Result,
    audit::{self, Event, Person},
    rounds, text,
};
use laurel_protocol::{AuditSubject, Direction, ProjectId, Round, RoundId, Timestamp, Verb};
use serde_json::json;
use sqlx::SqliteConnection;

/// The project's rounds that wait for a trainer, the next first.
pub(super) async fn of_project(conn: &mut SqliteConnection, project: ProjectId) -> Result<Vec<RoundId>> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "select r.id from job j join round r on r.job_id = j.id
         where j.project_id = ?1 and j.status = 'queued' order by coalesce(j.turn, j.id)",
    )
    .bind(project.0)
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(RoundId).collect())
}

/// Moves a round that waits before or behind the project's next one.
pub async fn shift(
    db: &Db,
    id: RoundId,
    to: Direction,
    by: impl Into<Person>,
    now: Timestamp,
) -> Result<Round> {
    rounds::require(db, id).await?;
    let mut tx = db.write().await?;
    let own: Option<(i64, i64, i64)> = sqlx::query_as(
        "select j.id, j.project_id, coalesce(j.turn, j.id) from job j join round r on r.job_id = j.id
         where r.id = ?1 and j.status = 'queued'",
    )
    .bind(id.0)
    .fetch_optional(&mut *tx)
    .await?;
    let (job, project, turn) = own.ok_or_else(|| {
        Error::Conflict("It waits for no trainer: only rounds that wait can be moved.".to_owned())
    })?;
    let sql = match to {
        Direction::Earlier => {
            "select id, coalesce(turn, id) from job
             where project_id = ?1 and kind = 'round' and status = 'queued' and coalesce(turn, id) < ?2
             order by 2 desc limit 1"
        }
        Direction::Later => {
            "select id, coalesce(turn, id) from job
             where project_id = ?1 and kind = 'round' and status = 'queued' and coalesce(turn, id) > ?2
             order by 2 limit 1"
        }
    };
    let other: Option<(i64, i64)> = sqlx::query_as(sql)
        .bind(project)
        .bind(turn)
        .fetch_optional(&mut *tx)
        .await?;
    // The first and the last stay where they are.
    if let Some((other, others_turn)) = other {
        for (job, turn) in [(job, others_turn), (other, turn)] {
            sqlx::query("update job set turn = ?2 where id = ?1")
                .bind(job)
                .bind(turn)
                .execute(&mut *tx)
                .await?;
        }
        let event = Event {
            verb: Verb::RoundMoved,
            project: Some(ProjectId(project)),
            kind: AuditSubject::Round,
            subject: Some(id.0),
            detail: json!({"to": text::name_of(&to)}),
        };
        audit::note(&mut tx, &by.into().into(), event, now).await?;
    }
    tx.commit().await?;
    rounds::get(db, id).await
}
