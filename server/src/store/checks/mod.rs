//! Checks of annotators: which task a person is given next where it is not simply the next one, gold items, and what
//! came of them. A check is a task of its own that shows another one's prompt and completions.

pub mod gold;
pub mod gold_import;
mod gold_lines;
mod tries;

pub(super) use tries::{Stored, Try, every_try, feedback, places, stored_order};

use super::{Result, assignments::Annotator, members, text};
use laurel_protocol::{Checks, ProjectId, Stopped, TaskId, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Label,
    Gold,
    Repeat,
    /// Holds a reviewer's decision on another task.
    Review,
}

/// A repeat comes after so many other answers at the earliest.
const REPEAT_AFTER: i64 = 10;
/// Overlap of a gold item: everyone sees it.
pub(super) const EVERYONE: i64 = 1_000_000_000;

/// What a person gets next.
pub(super) enum Next {
    /// The next task that wants a label.
    Label,
    /// This task, which is a check. The completions stand in this order where one is given.
    Check(TaskId, Option<Vec<i64>>),
    Nothing,
}

pub(super) async fn of_project(conn: &mut SqliteConnection, project: ProjectId) -> Result<Checks> {
    let checks: String = sqlx::query_scalar("select checks from project where id = ?1")
        .bind(project.0)
        .fetch_one(conn)
        .await?;
    text::from_json(&checks)
}

pub(super) async fn next(conn: &mut SqliteConnection, who: Annotator) -> Result<Next> {
    let Some(checks) = members::checks_of(conn, who.project, who.user).await? else {
        return Ok(Next::Nothing);
    };
    if checks == Checks::default() {
        return Ok(Next::Label);
    }
    if let Some(open) = expired(conn, who).await? {
        return Ok(Next::Check(open, None));
    }
    let given = given(conn, who.user, who.project).await?;
    if given.n_gold < i64::from(checks.qualification)
        && let Some(gold) = unseen_gold(conn, who).await?
    {
        return Ok(Next::Check(gold, None));
    }
    if checks.qualification > 0 && given.n_gold_held > 0 && given.n_gold <= i64::from(checks.qualification) {
        return Ok(Next::Nothing); // until the last of them is answered
    }
    if stopped_by(conn, &checks, given, who.user, who.project)
        .await?
        .is_some()
    {
        return Ok(Next::Nothing);
    }
    if is_due(checks.repeat_percent, "repeat", given.n, who)
        && let Some(repeat) = repeat(conn, who).await?
    {
        return Ok(repeat);
    }
    if is_due(checks.gold_percent, "gold", given.n, who)
        && let Some(gold) = unseen_gold(conn, who).await?
    {
        return Ok(Next::Check(gold, None));
    }
    Ok(Next::Label)
}

/// Why this person is given nothing more; `None` while they are.
pub(super) async fn stopped(
    conn: &mut SqliteConnection,
    user: UserId,
    project: ProjectId,
) -> Result<Option<Stopped>> {
    let Some(checks) = members::checks_of(conn, project, user).await? else {
        return Ok(Some(Stopped::NotAssigned));
    };
    if checks.qualification == 0 && checks.max_per_annotator.is_none() {
        return Ok(None);
    }
    let given = given(conn, user, project).await?;
    stopped_by(conn, &checks, given, user, project).await
}

async fn stopped_by(
    conn: &mut SqliteConnection,
    checks: &Checks,
    given: Given,
    user: UserId,
    project: ProjectId,
) -> Result<Option<Stopped>> {
    if checks
        .max_per_annotator
        .is_some_and(|max| given.n_label >= i64::from(max))
    {
        return Ok(Some(Stopped::Limit));
    }
    if checks.qualification == 0 || given.n_gold == 0 || given.n_gold_held > 0 {
        return Ok(None);
    }
    let first = tries::first_gold(conn, project, user, checks.qualification).await?;
    let n_right = first.iter().filter(|one| one.right).count();
    let is_qualified = n_right * 100 >= first.len() * usize::from(checks.qualification_percent);
    Ok((!is_qualified).then_some(Stopped::NotQualified))
}

/// Whether the next task that wants a label comes in the usual order, in a project with active selection.
pub(super) async fn explores(conn: &mut SqliteConnection, who: Annotator, percent: u8) -> Result<bool> {
    if percent == 0 {
        return Ok(false);
    }
    let given = given(conn, who.user, who.project).await?;
    Ok(is_due(percent, "explore", given.n_label, who))
}

/// How many tasks a person was given, those that ran out not counted.
#[derive(Clone, Copy, sqlx::FromRow)]
struct Given {
    n: i64,
    n_label: i64,
    n_gold: i64,
    n_gold_held: i64,
}

async fn given(conn: &mut SqliteConnection, user: UserId, project: ProjectId) -> Result<Given> {
    let given = sqlx::query_as(
        "select count(*) as n,
                count(*) filter (where kind = 'label' and status <> 'skipped') as n_label,
                count(*) filter (where kind = 'gold') as n_gold,
                count(*) filter (where kind = 'gold' and status = 'held') as n_gold_held
         from assignment
         where user_id = ?1 and project_id = ?2 and kind <> 'review' and live = 0
           and status in ('held', 'answered', 'skipped')",
    )
    .bind(user.0)
    .bind(project.0)
    .fetch_one(conn)
    .await?;
    Ok(given)
}

/// Whether the task that is given as number `n` (from 0) is to be a check: one in each block of tasks, at a place that
/// differs from person to person and from block to block, so that nobody can tell which it is.
fn is_due(percent: u8, what: &str, n: i64, who: Annotator) -> bool {
    if percent == 0 {
        return false;
    }
    // Blocks begin at whole multiples of 100 / percent, rounded down.
    let percent = i64::from(percent);
    let block = n * percent / 100;
    let first = (block * 100 + percent - 1) / percent;
    let length = ((block + 1) * 100 + percent - 1) / percent - first;
    let seed = format!("{what}:{}:{}:{block}", who.user, who.project);
    let hash = Sha256::digest(seed.as_bytes());
    n - first == i64::from(hash[0]) % length.max(1)
}

/// A check that this person was given and that ran out.
async fn expired(conn: &mut SqliteConnection, who: Annotator) -> Result<Option<TaskId>> {
    let task: Option<i64> = sqlx::query_scalar(
        "select a.task_id from assignment a join task t on t.id = a.task_id
         where a.user_id = ?1 and a.project_id = ?2 and a.kind in ('gold', 'repeat') and a.status = 'expired' and t.status = 'open'
         limit 1",
    )
    .bind(who.user.0)
    .bind(who.project.0)
    .fetch_optional(conn)
    .await?;
    Ok(task.map(TaskId))
}

/// The oldest gold item that this person has neither seen nor made, nor answered the task that it shows.
async fn unseen_gold(conn: &mut SqliteConnection, who: Annotator) -> Result<Option<TaskId>> {
    let task: Option<i64> = sqlx::query_scalar(
        "select t.id from task t
         where t.project_id = ?2 and t.kind = 'gold' and t.status = 'open' and t.gold ->> 'author' <> ?1
           and not exists (select 1 from assignment a where a.user_id = ?1 and a.task_id in (t.id, t.source_id))
         order by t.id limit 1",
    )
    .bind(who.user.0)
    .bind(who.project.0)
    .fetch_optional(conn)
    .await?;
    Ok(task.map(TaskId))
}

/// Makes the latest answer of this person that lies far enough back, and has not come again, a task for them alone.
async fn repeat(conn: &mut SqliteConnection, who: Annotator) -> Result<Option<Next>> {
    let source: Option<(i64, i64, String)> = sqlx::query_as(
        "select a.task_id, t.prompt_id, a.display_order from assignment a join task t on t.id = a.task_id
         where a.user_id = ?1 and a.project_id = ?2 and a.status = 'answered' and a.kind = 'label' and a.live = 0
           and (select count(*) from task_completion c where c.task_id = t.id) > 1
           and not exists (select 1 from task r
                           where r.project_id = ?2 and r.kind = 'repeat' and r.for_user_id = ?1 and r.source_id = t.id)
         order by a.changed_at desc, a.id desc limit 1 offset ?3",
    )
    .bind(who.user.0)
    .bind(who.project.0)
    .bind(REPEAT_AFTER)
    .fetch_optional(&mut *conn)
    .await?;
    let Some((source, prompt, order)) = source else {
        return Ok(None);
    };
    let task: i64 = sqlx::query_scalar(
        "insert into task (project_id, prompt_id, overlap, status, created_at, kind, source_id, for_user_id)
         values (?1, ?2, 1, 'open', ?3, 'repeat', ?4, ?5) returning id",
    )
    .bind(who.project.0)
    .bind(prompt)
    .bind(who.now.0)
    .bind(source)
    .bind(who.user.0)
    .fetch_one(&mut *conn)
    .await?;
    copy_completions(conn, source, task).await?;
    let mut order: Vec<i64> = text::from_json(&order)?;
    order.reverse();
    Ok(Some(Next::Check(TaskId(task), Some(order))))
}

pub(super) async fn copy_completions(conn: &mut SqliteConnection, from: i64, to: i64) -> Result<()> {
    sqlx::query(
        "insert into task_completion (task_id, completion_id, position)
         select ?2, completion_id, position from task_completion where task_id = ?1",
    )
    .bind(from)
    .bind(to)
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::Timestamp;

    fn who(user: i64) -> Annotator {
        Annotator {
            user: UserId(user),
            project: ProjectId(1),
            lease_seconds: 1,
            now: Timestamp(0),
        }
    }

    #[test]
    fn checks_have_their_share_at_places_that_differ() {
        for percent in [1, 7, 10, 30, 50] {
            let n = (0..1000).filter(|&n| is_due(percent, "gold", n, who(1))).count();
            assert_eq!(n, 10 * usize::from(percent), "{percent} %");
        }
        let places = |user| -> Vec<i64> { (0..100).filter(|&n| is_due(10, "gold", n, who(user))).collect() };
        assert_ne!(places(1), places(2));
        assert!(!is_due(0, "gold", 0, who(1)));
    }
}
