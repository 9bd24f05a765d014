//! What a trainer reports on its way: steps, figures, log lines, samples. A resumed round repeats steps, so a
//! (step, split) that comes again replaces the earlier one; a report that is sent twice changes nothing.

use super::{Db, Result, jobs, leases, merges, rounds, scorings, text, webhooks};
use laurel_protocol::{Directive, HookEvent, LogLevel, LogLine, MetricPoint, Report, RoundId, Timestamp};
use sqlx::SqliteConnection;

/// Log lines that a new watcher gets.
const N_LOG_LINES: i64 = 200;

/// Stores a report of the job that the trainer holds. For a completion job only the time left counts, and for a
/// scoring its steps beside.
pub async fn report(
    db: &Db,
    lease: &leases::Lease,
    report: &Report,
    now: Timestamp,
) -> Result<(jobs::Job, Directive)> {
    let mut tx = db.write().await?;
    let job = leases::require_lease(&mut tx, lease, now).await?;
    let forward = match job.kind {
        jobs::JobKind::Completions | jobs::JobKind::Chat => false,
        jobs::JobKind::Round => store(&mut tx, &job, report, now).await?,
        jobs::JobKind::Merge => merges::progress(&mut tx, job.id, report).await?,
        jobs::JobKind::Scoring => scorings::work::progress(&mut tx, &job, report).await?,
    };
    let seconds_left = report
        .seconds_left
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    jobs::note_progress(&mut tx, job.id, forward, seconds_left).await?;
    let directive = job.directive();
    tx.commit().await?;
    Ok((job, directive))
}

/// All figures of a round, in the order of its steps.
pub async fn list(db: &Db, round: RoundId) -> Result<Vec<MetricPoint>> {
    rounds::require(db, round).await?;
    since(db, round, 0).await
}

/// The figures of the steps from this one on.
pub async fn since(db: &Db, round: RoundId, step: u64) -> Result<Vec<MetricPoint>> {
    let rows: Vec<PointRow> = sqlx::query_as(
        r#"select step, split, "values" from metric where round_id = ?1 and step >= ?2 order by step, split desc"#,
    )
    .bind(round.0)
    .bind(step.try_into().unwrap_or(i64::MAX))
    .fetch_all(db.read())
    .await?;
    rows.into_iter().map(point).collect()
}

type PointRow = (i64, String, String);

fn point((step, split, values): PointRow) -> Result<MetricPoint> {
    Ok(MetricPoint {
        step: text::count(step),
        split: text::from_name(&split)?,
        values: text::from_json(&values)?,
    })
}

/// The last log lines of a round, oldest first.
pub async fn log(db: &Db, round: RoundId) -> Result<Vec<LogLine>> {
    rounds::require(db, round).await?;
    let rows: Vec<(i64, String, String)> = sqlx::query_as(
        "select at, level, text from (
             select id, at, level, text from log_line where round_id = ?1 order by id desc limit ?2)
         order by id",
    )
    .bind(round.0)
    .bind(N_LOG_LINES)
    .fetch_all(db.read())
    .await?;
    let line = |(at, level, text): (i64, String, String)| {
        Ok(LogLine {
            at: Timestamp(at),
            level: text::from_name(&level)?,
            text,
        })
    };
    rows.into_iter().map(line).collect()
}

/// Tells webhooks of a warning that the round has not given before.
async fn alarm(conn: &mut SqliteConnection, round: RoundId, text: &str, now: Timestamp) -> Result<()> {
    let is_known: bool =
        sqlx::query_scalar("select exists (select 1 from log_line where round_id = ?1 and text = ?2)")
            .bind(round.0)
            .bind(text)
            .fetch_one(&mut *conn)
            .await?;
    match is_known {
        true => Ok(()),
        false => webhooks::tell(conn, round, HookEvent::Alarm, Some(text), now).await,
    }
}

/// Whether the round came further than ever before.
async fn store(
    conn: &mut SqliteConnection,
    job: &jobs::Job,
    report: &Report,
    now: Timestamp,
) -> Result<bool> {
    let (round, furthest): (i64, i64) = sqlx::query_as(
        "select id, max(step, coalesce((select max(step) from metric where round_id = round.id), 0))
         from round where job_id = ?1",
    )
    .bind(job.id.0)
    .fetch_one(&mut *conn)
    .await?;
    for point in &report.metrics {
        sqlx::query(
            r#"insert into metric (round_id, step, split, "values") values (?1, ?2, ?3, ?4)
               on conflict (round_id, step, split) do update set "values" = excluded."values""#,
        )
        .bind(round)
        .bind(point.step.cast_signed())
        .bind(text::name_of(&point.split))
        .bind(text::to_json(&point.values)?)
        .execute(&mut *conn)
        .await?;
    }
    for line in &report.log {
        if line.level == LogLevel::Warning {
            alarm(conn, RoundId(round), &line.text, now).await?;
        }
        sqlx::query(
            "insert into log_line (round_id, at, level, text) values (?1, ?2, ?3, ?4)
             on conflict (round_id, at, text) do nothing",
        )
        .bind(round)
        .bind(line.at.0)
        .bind(text::name_of(&line.level))
        .bind(&line.text)
        .execute(&mut *conn)
        .await?;
    }
    if !report.samples.is_empty() {
        sqlx::query("update round set samples = ?2 where id = ?1")
            .bind(round)
            .bind(text::to_json(&report.samples)?)
            .execute(&mut *conn)
            .await?;
    }
    if let Some(preview) = &report.preview {
        sqlx::query("update round set preview = ?2 where id = ?1")
            .bind(round)
            .bind(text::to_json(preview)?)
            .execute(&mut *conn)
            .await?;
    }
    sqlx::query("update round set step = coalesce(?2, step), n_steps = coalesce(?3, n_steps) where id = ?1")
        .bind(round)
        .bind(report.step.map(u64::cast_signed))
        .bind(report.n_steps.map(u64::cast_signed))
        .execute(conn)
        .await?;
    Ok(report.step.is_some_and(|step| step.cast_signed() > furthest))
}
