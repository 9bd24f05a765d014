//! What was answered, day by day. A day that was counted before is not counted again until something of it changes, which
//! `given_hour` (migration 0016) tells: all days but today stay as they are, most of the time.

use super::{Error, Result, text};
use crate::quality::{
    given::{Rated, Said},
    progress::{Calendar, DAY_MS, HOUR_MS, InHour, Took},
};
use laurel_protocol::{ProjectId, Timestamp, UserId};
use sqlx::SqliteConnection;
use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// Longer ones count as so long: an hour.
const MAX_TENTHS: i64 = 36_000;
/// Days that are kept, of all projects and clocks; then it begins anew.
const MAX_KEPT: usize = 4000;

/// One day of a project.
#[derive(Clone, Debug, Default)]
pub struct Day {
    pub in_hours: Vec<InHour>,
    pub took: Vec<Took>,
    pub said: Vec<Said>,
    pub rated: Vec<Rated>,
}

/// A project, how far the clock is ahead, and the day by that clock.
type Key = (ProjectId, i64, i64);

/// Each day with how often its hours had changed when it was counted.
type Counted = HashMap<Key, (i64, Arc<Day>)>;

/// The days that were counted.
#[derive(Clone, Debug, Default)]
pub struct Days(Arc<Mutex<Counted>>);

impl Days {
    fn known(&self, key: Key, n_changes: i64) -> Option<Arc<Day>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, day) = kept.get(&key)?;
        (*then == n_changes).then(|| Arc::clone(day))
    }

    fn keep(&self, key: Key, n_changes: i64, day: &Arc<Day>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(key, (n_changes, Arc::clone(day)));
    }
}

/// The days up to now in which the calendar's days and hours lie, by their number.
pub(super) async fn read(
    conn: &mut SqliteConnection,
    days: &Days,
    project: ProjectId,
    calendar: Calendar,
) -> Result<Vec<(i64, Arc<Day>)>> {
    let changes = changes(conn, project, calendar.begins()).await?;
    let number = |at: Timestamp| (at.0 + calendar.ahead_ms).div_euclid(DAY_MS);
    let mut found = Vec::new();
    for day in number(calendar.begins())..=number(calendar.now) {
        let begins = day * DAY_MS - calendar.ahead_ms;
        let time = begins..begins + DAY_MS;
        let hours = time.start.div_euclid(HOUR_MS)..=(time.end - 1).div_euclid(HOUR_MS);
        let n_changes: i64 = hours.filter_map(|hour| changes.get(&hour)).sum();
        if n_changes == 0 {
            continue; // nothing was ever answered
        }
        let key = (project, calendar.ahead_ms, day);
        let known = match days.known(key, n_changes) {
            Some(known) => known,
            None => {
                let counted = Arc::new(count(conn, project, calendar.ahead_ms, time).await?);
                days.keep(key, n_changes, &counted);
                counted
            }
        };
        found.push((day, known));
    }
    Ok(found)
}

/// How often each hour changed.
async fn changes(
    conn: &mut SqliteConnection,
    project: ProjectId,
    since: Timestamp,
) -> Result<HashMap<i64, i64>> {
    let rows: Vec<(i64, i64)> =
        sqlx::query_as("select hour, n_changes from given_hour where project_id = ?1 and hour >= ?2")
            .bind(project.0)
            .bind(since.0.div_euclid(HOUR_MS))
            .fetch_all(conn)
            .await?;
    Ok(rows.into_iter().collect())
}

/// A statement about the standing annotations of project ?1 from ?2 up to ?3. They are found by their time: of a long project
/// the last days are a small part, and the index begins there.
macro_rules! between {
    ($select:literal, $from:literal, $rest:literal) => {
        concat!(
            "select ",
            $select,
            " from annotation a indexed by annotation_time cross join assignment s on s.id = a.assignment_id ",
            $from,
            " where a.created_at >= ?2 and a.created_at < ?3 and a.replaced_by is null and a.withdrawn = 0
                and s.project_id = ?1 and s.kind = 'label' ",
            $rest
        )
    };
}
pub(super) use between;

async fn count(
    conn: &mut SqliteConnection,
    project: ProjectId,
    ahead_ms: i64,
    time: Range<i64>,
) -> Result<Day> {
    let hours: Vec<(i64, i64, i64)> = sqlx::query_as(between!(
        "(a.created_at + ?4) / ?5, s.user_id, count(*)",
        "",
        "group by 1, 2"
    ))
    .bind(project.0)
    .bind(time.start)
    .bind(time.end)
    .bind(ahead_ms)
    .bind(HOUR_MS)
    .fetch_all(&mut *conn)
    .await?;
    let took: Vec<(i64, i64)> = sqlx::query_as(between!(
        "cast(min(round(a.seconds * 10), ?4) as integer), count(*)",
        "",
        "group by 1"
    ))
    .bind(project.0)
    .bind(time.start)
    .bind(time.end)
    .bind(MAX_TENTHS)
    .fetch_all(&mut *conn)
    .await?;
    let day = (time.start + ahead_ms).div_euclid(DAY_MS);
    let in_hour = |(hour, user, n)| InHour {
        hour,
        user: UserId(user),
        n: text::count(n),
    };
    let took_so = |(tenths, n)| Took {
        day,
        tenths: text::count(tenths),
        n: text::count(n),
    };
    Ok(Day {
        in_hours: hours.into_iter().map(in_hour).collect(),
        took: took.into_iter().map(took_so).collect(),
        said: said(conn, project, &time).await?,
        rated: rated(conn, project, &time).await?,
    })
}

/// Like judgements once.
async fn said(conn: &mut SqliteConnection, project: ProjectId, time: &Range<i64>) -> Result<Vec<Said>> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(between!(
        "a.judgement, json_array_length(s.display_order), count(*)",
        "",
        "group by 1, 2"
    ))
    .bind(project.0)
    .bind(time.start)
    .bind(time.end)
    .fetch_all(conn)
    .await?;
    let said = |(judgement, n_shown, n): (String, i64, i64)| {
        Ok::<_, Error>(Said {
            judgement: text::from_json(&judgement)?,
            n_shown: usize::try_from(n_shown).unwrap_or_default(),
            n: text::count(n),
        })
    };
    rows.into_iter().map(said).collect()
}

async fn rated(conn: &mut SqliteConnection, project: ProjectId, time: &Range<i64>) -> Result<Vec<Rated>> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(between!(
        "d.key, r.value, count(*)",
        ", json_each(a.extras, '$.ratings') d, json_each(d.value) r",
        "and a.extras <> '{}' group by 1, 2"
    ))
    .bind(project.0)
    .bind(time.start)
    .bind(time.end)
    .fetch_all(conn)
    .await?;
    let rated = |(dimension, rating, n): (String, i64, i64)| Rated {
        dimension,
        rating: u8::try_from(rating).unwrap_or_default(),
        n: text::count(n),
    };
    Ok(rows.into_iter().map(rated).collect())
}
