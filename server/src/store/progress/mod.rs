//! How the work in a project goes, counted by the database as far as it can: `quality/progress.rs` makes figures of it.
//! Of single judgements only those to some of the shared tasks are read.

mod days;

pub use days::Days;

use super::{Db, Error, Result, judgements, projects, text};
use crate::quality::{
    forecast::N_DAYS,
    progress::{Calendar, Counted, DAY_MS, Window},
    windows::{spread, windows},
};
use days::between;
use laurel_protocol::{ProjectId, Queue, TaskId, TasksWith, Timestamp};
use sqlx::SqliteConnection;
use std::collections::BTreeSet;

/// All of a project at one moment but its windows of agreement.
pub async fn counted(db: &Db, days: &Days, project: ProjectId, calendar: Calendar) -> Result<Counted> {
    let mut tx = db.read().begin().await?;
    projects::require_in(&mut tx, project).await?;
    let (tasks, queue) = tasks(&mut tx, project).await?;
    let (by_day_ago, n_people) = by_day_ago(&mut tx, project, calendar).await?;
    let (n_annotations, n_changes) = totals(&mut tx, project).await?;
    let mut counted = Counted {
        n_annotations,
        n_changes,
        people: judgements::people(&mut tx, project).await?,
        tasks,
        queue: Queue { n_people, ..queue },
        by_day_ago,
        ..Counted::default()
    };
    for (number, day) in days::read(&mut tx, days, project, calendar).await? {
        counted.in_hours.extend(&day.in_hours);
        if calendar.has(number) {
            counted.took.extend(&day.took);
            counted.said.extend(day.said.iter().cloned());
            counted.rated.extend(day.rated.iter().cloned());
        }
    }
    Ok(counted)
}

/// All answers there are, and how often any of them changed.
async fn totals(conn: &mut SqliteConnection, project: ProjectId) -> Result<(u64, i64)> {
    let (n, n_changes): (i64, i64) = sqlx::query_as(
        "select coalesce(sum(n), 0), coalesce(sum(n_changes), 0) from given_hour where project_id = ?1",
    )
    .bind(project.0)
    .fetch_one(conn)
    .await?;
    Ok((text::count(n), n_changes))
}

/// Projects with at least so many answers, and how often any of these changed.
pub async fn large(db: &Db, at_least: u64) -> Result<Vec<(ProjectId, i64)>> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "select project_id, sum(n_changes) from given_hour group by project_id having sum(n) >= ?1",
    )
    .bind(at_least.cast_signed())
    .fetch_all(db.read())
    .await?;
    let project = |(id, n_changes)| (ProjectId(id), n_changes);
    Ok(rows.into_iter().map(project).collect())
}

/// Answers by the 24 hours up to now in which they were given, and how many people gave them.
async fn by_day_ago(
    conn: &mut SqliteConnection,
    project: ProjectId,
    calendar: Calendar,
) -> Result<([u64; N_DAYS], u64)> {
    let begins = calendar.now.0 - N_DAYS as i64 * DAY_MS + 1;
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(between!(
        "max(?4 - a.created_at, 0) / ?5, s.user_id, count(*)",
        "",
        "group by 1, 2"
    ))
    .bind(project.0)
    .bind(begins)
    .bind(i64::MAX)
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
        "select n_annotations, sum(n * (status = 'open')), sum(n * (status = 'done')), sum(n * (overlap - n_annotations)),
                max(iif(status = 'open', overlap, 0))
         from task_tally where project_id = ?1 and n > 0 group by 1 order by 1",
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
pub async fn shared(db: &Db, project: ProjectId) -> Result<Vec<Window>> {
    let mut tx = db.read().begin().await?;
    // An answered assignment has an annotation that stands, and changed when that was given.
    let tasks: Vec<(i64, i64)> = sqlx::query_as(
        "select task_id, max(changed_at) as at from assignment
         where project_id = ?1 and status = 'answered' and kind = 'label'
         group by task_id having count(*) > 1 order by at, task_id",
    )
    .bind(project.0)
    .fetch_all(&mut *tx)
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
            judged: judgements::of_tasks(&mut tx, &read).await?,
        });
    }
    Ok(found)
}
