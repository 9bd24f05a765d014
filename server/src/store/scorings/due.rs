//! When the server orders a scoring by itself: in a project with active selection, when there is a new reward model, when
//! enough annotations have come since the last scoring, and when there are new tasks. Looked at in the transaction of what
//! changed, so that none is missed and two are never ordered at once.

use crate::store::{Result, audit::Actor, jobs, selection, text};
use laurel_protocol::{AdapterId, JobId, JobStatus, ProjectId, Scoring, ScoringReason, Timestamp};
use sqlx::SqliteConnection;

/// What has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum News {
    /// An answer: looked at for every one, so nothing but the count of answers is asked.
    Answer,
    /// A job has ended, or the settings are new.
    Other,
}

/// Orders a scoring if one is due.
pub(in crate::store) async fn order(
    conn: &mut SqliteConnection,
    project: ProjectId,
    news: News,
    now: Timestamp,
) -> Result<()> {
    if !selection::of_project(conn, project).await?.active {
        return Ok(());
    }
    if let Some((job, status)) = open(conn, project).await? {
        if status == JobStatus::Queued && news == News::Other {
            renew(conn, project, job).await?;
        }
        return Ok(()); // at its end it is looked at again
    }
    let Some(reason) = reason(conn, project, news).await? else {
        return Ok(());
    };
    if has_comparisons(conn, project, Scoring::MIN_COMPARISONS).await?
        && has_open_tasks(conn, project).await?
    {
        super::insert(conn, project, reason, None, &Actor::Server, now).await?;
    }
    Ok(())
}

/// The scoring's job that has not ended.
pub(super) async fn open(
    conn: &mut SqliteConnection,
    project: ProjectId,
) -> Result<Option<(JobId, JobStatus)>> {
    let row: Option<(i64, String)> = sqlx::query_as(
        "select id, status from job
         where project_id = ?1 and kind = 'scoring' and status in ('queued', 'running', 'paused')
         order by id desc limit 1",
    )
    .bind(project.0)
    .fetch_optional(conn)
    .await?;
    row.map(|(id, status)| Ok((JobId(id), text::from_name(&status)?)))
        .transpose()
}

/// A scoring that nobody has begun takes the newest reward model.
async fn renew(conn: &mut SqliteConnection, project: ProjectId, job: JobId) -> Result<()> {
    let newest = reward_model(conn, project).await?;
    jobs::set_adapter(conn, job, newest).await
}

/// The state of the project when the last scoring was ordered.
#[derive(sqlx::FromRow)]
struct Last {
    adapter_id: Option<i64>,
    after_comparison: i64,
    after_task: i64,
}

async fn reason(
    conn: &mut SqliteConnection,
    project: ProjectId,
    news: News,
) -> Result<Option<ScoringReason>> {
    let last: Option<Last> = sqlx::query_as(
        "select j.adapter_id, s.after_comparison, s.after_task from job j join scoring s on s.job_id = j.id
         where j.project_id = ?1 order by j.id desc limit 1",
    )
    .bind(project.0)
    .fetch_optional(&mut *conn)
    .await?;
    let wanted = match last {
        Some(_) => Scoring::EVERY_ANNOTATIONS,
        None => Scoring::MIN_COMPARISONS,
    };
    let last = last.unwrap_or(Last {
        adapter_id: None,
        after_comparison: 0,
        after_task: 0,
    });
    if news == News::Other {
        let newest = reward_model(conn, project).await?;
        if newest.is_some() && newest != last.adapter_id.map(AdapterId) {
            return Ok(Some(ScoringReason::RewardModel));
        }
    }
    if n_annotations(conn, project, last.after_comparison).await? >= wanted {
        return Ok(Some(ScoringReason::Labels));
    }
    let are_new = news == News::Other && has_tasks_after(conn, project, last.after_task).await?;
    Ok(are_new.then_some(ScoringReason::Tasks))
}

/// The project's newest reward model.
pub(super) async fn reward_model(
    conn: &mut SqliteConnection,
    project: ProjectId,
) -> Result<Option<AdapterId>> {
    let id: Option<i64> = sqlx::query_scalar(
        "select id from adapter where project_id = ?1 and kind = 'reward' and deleted_at is null order by id desc limit 1",
    )
    .bind(project.0)
    .fetch_optional(conn)
    .await?;
    Ok(id.map(AdapterId))
}

/// Annotations that said something about two completions since this comparison.
async fn n_annotations(conn: &mut SqliteConnection, project: ProjectId, after: i64) -> Result<u64> {
    let n: i64 = sqlx::query_scalar(
        "select count(distinct annotation_id) from comparison where project_id = ?1 and tie in (0, 1) and id > ?2",
    )
    .bind(project.0)
    .bind(after)
    .fetch_one(conn)
    .await?;
    Ok(text::count(n))
}

async fn has_tasks_after(conn: &mut SqliteConnection, project: ProjectId, after: i64) -> Result<bool> {
    let has = sqlx::query_scalar(
        "select exists (select 1 from task
                        where project_id = ?1 and status = 'open' and kind = 'label' and id > ?2)",
    )
    .bind(project.0)
    .bind(after)
    .fetch_one(conn)
    .await?;
    Ok(has)
}

pub(super) async fn has_comparisons(conn: &mut SqliteConnection, project: ProjectId, n: u64) -> Result<bool> {
    let found: i64 =
        sqlx::query_scalar("select count(*) from (select 1 from comparison where project_id = ?1 limit ?2)")
            .bind(project.0)
            .bind(n.cast_signed())
            .fetch_one(conn)
            .await?;
    Ok(text::count(found) >= n)
}

pub(super) async fn has_open_tasks(conn: &mut SqliteConnection, project: ProjectId) -> Result<bool> {
    has_tasks_after(conn, project, 0).await
}
