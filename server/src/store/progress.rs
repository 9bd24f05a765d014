//! How the work in a project goes, counted by the database as far as it can: `quality/progress.rs` makes figures of it.
//! Of single judgements only those to some of the shared tasks are read.

use super::{Db, Error, Result, judgements, text};
use crate::quality::{
    forecast::N_DAYS,
    given::{Rated, Said},
    progress::{Calendar, Counted, DAY_MS, HOUR_MS, InHour, Took, Window},
    windows::{spread, windows},
};
use laurel_protocol::{ProjectId, Queue, TaskId, TasksWith, Timestamp, UserId};
use sqlx::SqliteConnection;
use std::collections::BTreeSet;

/// Longer ones count as so long: an hour.
const MAX_TENTHS: i64 = 36_000;

/// All of a project at one moment.
pub async fn counted(db: &Db, project: ProjectId, calendar: Calendar) -> Result<Counted> {
    let mut tx = db.read().begin().await?;
    let known: Option<i64> = sqlx::query_scalar("select id from project where id = ?1")
        .bind(project.0)
        .fetch_optional(&mut *tx)
        .await?;
    known.ok_or(Error::NotFound)?;
    let (tasks, queue) = tasks(&mut tx, project).await?;
    let (by_day_ago, n_people) = by_day_ago(&mut tx, project, calendar).await?;
    Ok(Counted {
        n_annotations: n_annotations(&mut tx, project).await?,
        people: judgements::people(&mut tx, project).await?,
        in_hours: in_hours(&mut tx, project, calendar).await?,
        took: took(&mut tx, project, calendar).await?,
        said: said(&mut tx, project, calendar).await?,
        rated: rated(&mut tx, project, calendar).await?,
        tasks,
        queue: Queue { n_people, ..queue },
        by_day_ago,
        windows: shared(&mut tx, project).await?,
    })
}

async fn n_annotations(conn: &mut SqliteConnection, project: ProjectId) -> Result<u64> {
    let n = sqlx::query_scalar(
        "select count(*) from assignment where project_id = ?1 and status = 'answered' and kind = 'label'",
    )
    .bind(project.0)
    .fetch_one(conn)
    .await?;
    Ok(text::count(n))
}

/// A statement about the standing annotations of project ?1 since ?2. They are found by their time: of a long project the
/// last days are a small part, and the index begins there.
macro_rules! since {
    ($select:literal, $from:literal, $rest:literal) => {
        concat!(
            "select ",
            $select,
            " from annotation a indexed by annotation_time cross join assignment s on s.id = a.assignment_id ",
            $from,
            " where a.created_at >= ?2 and a.replaced_by is null and a.withdrawn = 0
                and s.project_id = ?1 and s.kind = 'label' ",
            $rest
        )
    };
}

async fn in_hours(
    conn: &mut SqliteConnection,
    project: ProjectId,
    calendar: Calendar,
) -> Result<Vec<InHour>> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(since!(
        "(a.created_at + ?3) / ?4, s.user_id, count(*)",
        "",
        "group by 1, 2"
    ))
    .bind(project.0)
    .bind(calendar.begins().0)
    .bind(calendar.ahead_ms)
    .bind(HOUR_MS)
    .fetch_all(conn)
    .await?;
    let in_hour = |(hour, user, n)| InHour {
        hour,
        user: UserId(user),
        n: text::count(n),
    };
    Ok(rows.into_iter().map(in_hour).collect())
}

async fn took(conn: &mut SqliteConnection, project: ProjectId, calendar: Calendar) -> Result<Vec<Took>> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(since!(
        "(a.created_at + ?3) / ?4, cast(min(round(a.seconds * 10), ?5) as integer), count(*)",
        "",
        "group by 1, 2"
    ))
    .bind(project.0)
    .bind(calendar.days_begin().0)
    .bind(calendar.ahead_ms)
    .bind(DAY_MS)
    .bind(MAX_TENTHS)
    .fetch_all(conn)
    .await?;
    let took = |(day, tenths, n)| Took {
        day,
        tenths: text::count(tenths),
        n: text::count(n),
    };
    Ok(rows.into_iter().map(took).collect())
}

/// Like judgements once.
async fn said(conn: &mut SqliteConnection, project: ProjectId, calendar: Calendar) -> Result<Vec<Said>> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(since!(
        "a.judgement, json_array_length(s.display_order), count(*)",
        "",
        "group by 1, 2"
    ))
    .bind(project.0)
    .bind(calendar.days_begin().0)
    .fetch_all(conn)
    .await?;
    let said = |(judgement, n_shown, n): (String, i64, i64)| {
        Ok(Said {
            judgement: text::from_json(&judgement)?,
            n_shown: usize::try_from(n_shown).unwrap_or_default(),
            n: text::count(n),
        })
    };
    rows.into_iter().map(said).collect()
}

async fn rated(conn: &mut SqliteConnection, project: ProjectId, calendar: Calendar) -> Result<Vec<Rated>> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(since!(
        "d.key, r.value, count(*)",
        ", json_each(a.extras, '$.ratings') d, json_each(d.value) r",
        "and a.extras <> '{}' group by 1, 2"
    ))
    .bind(project.0)
    .bind(calendar.days_begin().0)
    .fetch_all(conn)
    .await?;
    let rated = |(dimension, rating, n): (String, i64, i64)| Rated {
        dimension,
        rating: u8::try_from(rating).unwrap_or_default(),
        n: text::count(n),
    };
    Ok(rows.into_iter().map(rated).collect())
}

/// Answers by the 24 hours up to now in which they were given, and how many people gave them.
async fn by_day_ago(
    conn: &mut SqliteConnection,
    project: ProjectId,
    calendar: Calendar,
) -> Result<([u64; N_DAYS], u64)> {
    let begins = calendar.now.0 - N_DAYS as i64 * DAY_MS + 1;
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(since!(
        "max(?3 - a.created_at, 0) / ?4, s.user_id, count(*)",
        "",
        "group by 1, 2"
    ))
    .bind(project.0)
    .bind(begins)
    .bind(calendar.now.0)
    .bind(DAY_MS)
    .fetch_all(conn)
    .await?;
    let mut by_day = [0; N_DAYS];
    let mut people = BTreeSet::new();
    for (ago, user, n) in rows {
        if let Some(day) = usize::try_from(ago).ok().and_then(|ago| by_day.get_mut(ago)) {
            *day += text::count(n);
        }
        people.insert(user);
    }
    Ok((by_day, people.len() as u64))
}

async fn tasks(conn: &mut SqliteConnection, project: ProjectId) -> Result<(Vec<TasksWith>, Queue)> {
    let rows: Vec<(i64, i64, i64, i64, i64)> = sqlx::query_as(
        "select n_annotations, sum(status = 'open'), sum(status = 'done'), sum(overlap - n_annotations),
                max(iif(status = 'open', overlap, 0))
         from task where project_id = ?1 and kind = 'label' group by 1 order by 1",
    )
    .bind(project.0)
    .fetch_all(conn)
    .await?;
    let mut queue = Queue::default();
    let mut tasks = Vec::with_capacity(rows.len());
    for (n_answers, n_open, n_done, n_slots, overlap) in rows {
        queue.n_open_tasks += text::count(n_open);
        queue.n_open_slots += text::count(n_slots);
        queue.overlap = queue.overlap.max(text::count(overlap));
        tasks.push(TasksWith {
            n_answers: text::count(n_answers),
            n_open: text::count(n_open),
            n_done: text::count(n_done),
        });
    }
    Ok((tasks, queue))
}

/// The tasks that at least two people judged, in parts by the time of the last answer, with the answers to some of each.
async fn shared(conn: &mut SqliteConnection, project: ProjectId) -> Result<Vec<Window>> {
    // An answered assignment has an annotation that stands, and changed when that was given.
    let tasks: Vec<(i64, i64)> = sqlx::query_as(
        "select task_id, max(changed_at) as at from assignment
         where project_id = ?1 and status = 'answered' and kind = 'label'
         group by task_id having count(*) > 1 order by at, task_id",
    )
    .bind(project.0)
    .fetch_all(&mut *conn)
    .await?;
    let mut found = Vec::new();
    for window in windows(tasks.len()) {
        let (since, until) = (tasks[window.start].1, tasks[window.end - 1].1);
        let n_tasks = window.len() as u64;
        let read: Vec<TaskId> = spread(window).into_iter().map(|at| TaskId(tasks[at].0)).collect();
        found.push(Window {
            since: Timestamp(since),
            until: Timestamp(until),
            n_tasks,
            n_read: read.len() as u64,
            judged: judgements::of_tasks(conn, &read).await?,
        });
    }
    Ok(found)
}
