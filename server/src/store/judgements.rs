//! The annotations of a project that stand, as the statistics of `quality/` take them.

use super::{Db, Error, Result, text};
use crate::quality::{Judgements, answers::Judged};
use futures_util::TryStreamExt;
use laurel_protocol::{CompletionId, Period, ProjectId, TaskId, UserId};
use sqlx::SqliteConnection;
use std::collections::BTreeMap;

/// All of a project at one moment, as far as they were given in the period.
pub async fn standing(db: &Db, project: ProjectId, period: Period) -> Result<Judgements> {
    let mut tx = db.read().begin().await?;
    let known: Option<i64> = sqlx::query_scalar("select id from project where id = ?1")
        .bind(project.0)
        .fetch_optional(&mut *tx)
        .await?;
    known.ok_or(Error::NotFound)?;
    let judged = judged(&mut tx, project, period).await?;
    let people = people(&mut tx, project).await?;
    Ok(Judgements { judged, people })
}

#[derive(sqlx::FromRow)]
struct Row {
    task_id: i64,
    user_id: i64,
    judgement: String,
    ratings: Option<String>,
    seconds: f64,
    display_order: String,
    stored_order: String,
}

/// A statement for standing annotations of kind label, in the order of tasks and people.
macro_rules! standing {
    ($which:literal) => {
        // Of what was said beside the judgement, only the ratings: texts that people wrote may be long.
        concat!(
            "select s.task_id, s.user_id, a.judgement, json_extract(a.extras, '$.ratings') as ratings, a.seconds,
                    s.display_order,
                    (select json_group_array(c.completion_id order by c.position)
                     from task_completion c where c.task_id = s.task_id) as stored_order
             from assignment s join annotation a on a.assignment_id = s.id
             where s.kind = 'label' and a.replaced_by is null and a.withdrawn = 0 and ",
            $which,
            " order by s.task_id, s.user_id"
        )
    };
}

async fn judged(conn: &mut SqliteConnection, project: ProjectId, period: Period) -> Result<Vec<Judged>> {
    let mut rows = sqlx::query_as::<_, Row>(standing!(
        "s.project_id = ?1 and (?2 is null or a.created_at >= ?2) and (?3 is null or a.created_at < ?3)"
    ))
    .bind(project.0)
    .bind(period.since.map(|at| at.0))
    .bind(period.until.map(|at| at.0))
    .fetch(conn);
    let mut judged = Vec::new();
    while let Some(row) = rows.try_next().await? {
        judged.push(row.read()?);
    }
    Ok(judged)
}

/// Those to these tasks.
pub(super) async fn of_tasks(conn: &mut SqliteConnection, tasks: &[TaskId]) -> Result<Vec<Judged>> {
    let rows: Vec<Row> = sqlx::query_as(standing!("s.task_id in (select value from json_each(?1))"))
        .bind(text::to_json(&tasks)?)
        .fetch_all(conn)
        .await?;
    rows.into_iter().map(Row::read).collect()
}

/// Everybody who was given a task here, by name.
pub(super) async fn people(
    conn: &mut SqliteConnection,
    project: ProjectId,
) -> Result<BTreeMap<UserId, String>> {
    let people: Vec<(i64, String)> = sqlx::query_as(
        "select id, name from user u
         where exists (select 1 from assignment s where s.user_id = u.id and s.project_id = ?1)",
    )
    .bind(project.0)
    .fetch_all(conn)
    .await?;
    Ok(people.into_iter().map(|(id, name)| (UserId(id), name)).collect())
}

impl Row {
    fn read(self) -> Result<Judged> {
        let shown: Vec<CompletionId> = text::from_json(&self.display_order)?;
        let stored: Vec<CompletionId> = text::from_json(&self.stored_order)?;
        let place = |id: &CompletionId| {
            let place = stored.iter().position(|known| known == id);
            let place = place.and_then(|place| u8::try_from(place).ok());
            place.ok_or_else(|| sqlx::Error::Decode("a completion was shown that its task has not".into()))
        };
        Ok(Judged {
            task: TaskId(self.task_id),
            user: UserId(self.user_id),
            judgement: text::from_json(&self.judgement)?,
            stored_at: shown.iter().map(place).collect::<std::result::Result<_, _>>()?,
            ratings: self
                .ratings
                .as_deref()
                .map(text::from_json)
                .transpose()?
                .unwrap_or_default(),
            seconds: self.seconds,
        })
    }
}
