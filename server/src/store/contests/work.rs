//! Answers of a contest as they come: once both contenders have answered a prompt, people are asked.

use super::look;
use crate::store::{Result, tasks, text};
use laurel_protocol::{CompletionJobId, ContestId, ProjectId, PromptId, Timestamp};
use sqlx::SqliteConnection;

/// What became of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Paired {
    /// The other contender has not answered.
    Waits,
    Task,
    /// No task: both said the same, or an answer was cut off.
    NoTask,
}

/// The contest that a completion job belongs to.
pub(in crate::store) async fn of_job(
    conn: &mut SqliteConnection,
    job: CompletionJobId,
) -> Result<Option<ContestId>> {
    let id: Option<i64> =
        sqlx::query_scalar("select id from contest where first_job_id = ?1 or second_job_id = ?1")
            .bind(job.0)
            .fetch_optional(conn)
            .await?;
    Ok(id.map(ContestId))
}

#[derive(sqlx::FromRow)]
struct Answered {
    id: i64,
    text_hash: String,
    cut_off: bool,
    is_first: bool,
    project_id: i64,
    n_people: i64,
    leave_out_truncated: bool,
}

/// Makes the task of a prompt that both have answered. Nobody can tell whose answer lies first in it.
pub(in crate::store) async fn pair(
    conn: &mut SqliteConnection,
    contest: ContestId,
    prompt: PromptId,
    now: Timestamp,
) -> Result<Paired> {
    let answers: Vec<Answered> = sqlx::query_as(
        "select x.id, x.text_hash, x.finish_reason = 'length' as cut_off, x.completion_job_id = c.first_job_id as is_first,
                c.project_id, c.n_people, p.leave_out_truncated
         from contest c join contest_prompt o on o.contest_id = c.id and o.prompt_id = ?2 and o.state = 'waits'
         join project p on p.id = c.project_id
         join completion x on x.completion_job_id in (c.first_job_id, c.second_job_id) and x.prompt_id = ?2
         where c.id = ?1 and c.status = 'open' order by is_first desc",
    )
    .bind(contest.0)
    .bind(prompt.0)
    .fetch_all(&mut *conn)
    .await?;
    let [first, second] = answers.as_slice() else {
        return Ok(Paired::Waits);
    };
    debug_assert!(first.is_first && !second.is_first);
    if first.text_hash == second.text_hash || first.leave_out_truncated && (first.cut_off || second.cut_off) {
        let state = match first.text_hash == second.text_hash {
            true => "same",
            false => "left_out",
        };
        sqlx::query("update contest_prompt set state = ?3 where contest_id = ?1 and prompt_id = ?2")
            .bind(contest.0)
            .bind(prompt.0)
            .bind(state)
            .execute(&mut *conn)
            .await?;
        look(conn, contest, now).await?;
        return Ok(Paired::NoTask);
    }
    let mut group = [first.id, second.id];
    text::shuffle(&mut group)?;
    let project = ProjectId(first.project_id);
    let task = tasks::insert(conn, project, prompt, first.n_people, &group, now).await?;
    sqlx::query(
        "update contest_prompt set state = 'task', task_id = ?3, first_answer_id = ?4
         where contest_id = ?1 and prompt_id = ?2",
    )
    .bind(contest.0)
    .bind(prompt.0)
    .bind(task.0)
    .bind(first.id)
    .execute(conn)
    .await?;
    Ok(Paired::Task)
}
