//! Tasks: which completions of a prompt stand beside one another, decided when the last completion of the prompt
//! in a job has come. Identical texts never meet. Also the task's counter and status, which change in
//! [`add_to_counter`], for the one vote of a battle in [`empty_live`], and for what leaves the queue with a contest in
//! [`withdraw_of_contest`].

use super::{Error, Result, completion_jobs::Order, text};
use laurel_protocol::{AssignmentId, ContestId, LabelType, ProjectId, PromptId, TaskId, TaskPlan, Timestamp};
use sqlx::SqliteConnection;
use std::collections::HashSet;

/// A completion as a candidate for a task.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
struct Candidate {
    id: i64,
    text_hash: String,
}

/// How many completions a task takes.
#[derive(Clone, Copy)]
struct Shape {
    wanted: usize,
    /// With fewer there is no task.
    at_least: usize,
}

/// Makes the tasks of a prompt whose completions in this job are all in. Gives how many.
pub(super) async fn make(
    conn: &mut SqliteConnection,
    order: &Order,
    prompt: PromptId,
    now: Timestamp,
) -> Result<usize> {
    let (label_type, wanted, overlap, leave_out_truncated): (String, i64, i64, bool) = sqlx::query_as(
        "select label_type, completions_per_task, overlap, leave_out_truncated from project where id = ?1",
    )
    .bind(order.project.0)
    .fetch_one(&mut *conn)
    .await?;
    let shape = Shape {
        wanted: wanted.try_into().unwrap_or(2),
        at_least: text::from_name::<LabelType>(&label_type)?
            .min_completions()
            .into(),
    };
    let new: Vec<Candidate> = sqlx::query_as(
        "select id, text_hash from completion
         where completion_job_id = ?1 and prompt_id = ?2 and (not ?3 or finish_reason = 'stop')
         order by position",
    )
    .bind(order.id.0)
    .bind(prompt.0)
    .bind(leave_out_truncated)
    .fetch_all(&mut *conn)
    .await?;
    let new = distinct(new, &HashSet::new());
    let groups = match order.request.task_plan {
        TaskPlan::Together => together(&new, shape),
        TaskPlan::AgainstEarlier => {
            let earlier: Vec<Candidate> = sqlx::query_as(
                "select id, text_hash from completion
                 where prompt_id = ?1 and completion_job_id <> ?2 and adapter_id is not ?3
                   and (not ?4 or finish_reason = 'stop')
                 order by id desc",
            )
            .bind(prompt.0)
            .bind(order.id.0)
            .bind(order.adapter.map(|adapter| adapter.0))
            .bind(leave_out_truncated)
            .fetch_all(&mut *conn)
            .await?;
            let taken = new.iter().map(|candidate| candidate.text_hash.clone()).collect();
            against_earlier(&new, &distinct(earlier, &taken), shape)
        }
    };
    for group in &groups {
        insert(conn, order.project, prompt, overlap, group, now).await?;
    }
    Ok(groups.len())
}

/// Adds a standing annotation to the task, or takes one away, and sets the status that follows.
pub(super) async fn add_to_counter(conn: &mut SqliteConnection, task: TaskId, change: i64) -> Result<()> {
    let changed = sqlx::query(
        "update task set n_annotations = n_annotations + ?2,
                         status = case when n_annotations + ?2 = overlap then 'done' else 'open' end
         where id = ?1 and n_annotations + ?2 between 0 and overlap",
    )
    .bind(task.0)
    .bind(change)
    .execute(conn)
    .await?;
    match changed.rows_affected() {
        1 => Ok(()),
        _ => Err(Error::LeaseLost), // full: every slot has its annotation
    }
}

/// Takes the one vote out of a battle's task: nobody else is asked for another.
pub(super) async fn empty_live(conn: &mut SqliteConnection, task: TaskId) -> Result<()> {
    sqlx::query("update task set n_annotations = 0, overlap = 0, status = 'done' where id = ?1 and live = 1")
        .bind(task.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes the open tasks of a contest out of the queue. Whoever holds one may still answer it.
pub(super) async fn withdraw_of_contest(conn: &mut SqliteConnection, contest: ContestId) -> Result<()> {
    sqlx::query(
        "update task set retired = 1, overlap = n_annotations + n_held, status = iif(n_held = 0, 'done', 'open')
         from (select t.id as held_id, (select count(*) from assignment a
                                        where a.task_id = t.id and a.status = 'held') as n_held
               from contest_prompt p join task t on t.id = p.task_id
               where p.contest_id = ?1 and t.status = 'open')
         where task.id = held_id",
    )
    .bind(contest.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// A hold on a contest's task that has left the queue, or an answer taken out of one, is gone: nobody else is asked in its place.
pub(super) async fn give_up_withdrawn(conn: &mut SqliteConnection, hold: AssignmentId) -> Result<()> {
    sqlx::query(
        "update task set retired = 1, overlap = n_annotations + n_held, status = iif(n_held = 0, 'done', 'open')
         from (select t.id as held_id, (select count(*) from assignment o
                                        where o.task_id = t.id and o.status = 'held') as n_held
               from assignment a join contest_prompt p on p.task_id = a.task_id
               join contest c on c.id = p.contest_id join task t on t.id = p.task_id
               where a.id = ?1 and (t.retired = 1 or c.status <> 'open') and t.status = 'open')
         where task.id = held_id",
    )
    .bind(hold.0)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn insert(
    conn: &mut SqliteConnection,
    project: ProjectId,
    prompt: PromptId,
    overlap: i64,
    group: &[i64],
    now: Timestamp,
) -> Result<TaskId> {
    let task: i64 = sqlx::query_scalar(
        "insert into task (project_id, prompt_id, overlap, status, created_at, priority)
         select ?1, id, ?3, 'open', ?4, priority from prompt where id = ?2 returning id",
    )
    .bind(project.0)
    .bind(prompt.0)
    .bind(overlap)
    .bind(now.0)
    .fetch_one(&mut *conn)
    .await?;
    for (position, completion) in (0_i64..).zip(group) {
        sqlx::query("insert into task_completion (task_id, completion_id, position) values (?1, ?2, ?3)")
            .bind(task)
            .bind(completion)
            .bind(position)
            .execute(&mut *conn)
            .await?;
    }
    Ok(TaskId(task))
}

/// The first of each text, without those in `taken`.
fn distinct(candidates: Vec<Candidate>, taken: &HashSet<String>) -> Vec<Candidate> {
    let mut seen = taken.clone();
    candidates
        .into_iter()
        .filter(|candidate| seen.insert(candidate.text_hash.clone()))
        .collect()
}

/// As many full groups as the completions give; where they do not give one, a smaller group if it is allowed.
fn together(new: &[Candidate], shape: Shape) -> Vec<Vec<i64>> {
    if new.len() < shape.wanted {
        return if new.len() >= shape.at_least {
            vec![ids(new)]
        } else {
            Vec::new()
        };
    }
    new.chunks_exact(shape.wanted).map(ids).collect()
}

/// Groups of new and earlier ones, half and half where there are enough, never of one side alone.
fn against_earlier(new: &[Candidate], earlier: &[Candidate], shape: Shape) -> Vec<Vec<i64>> {
    if earlier.is_empty() || new.is_empty() {
        return together(new, shape);
    }
    if shape.wanted < 2 {
        return together(new, shape); // nothing stands beside it
    }
    let n_new = shape.wanted.div_ceil(2);
    let n_earlier = shape.wanted - n_new;
    let n_tasks = (new.len() / n_new).min(earlier.len() / n_earlier);
    if n_tasks > 0 {
        let pairs = new.chunks_exact(n_new).zip(earlier.chunks_exact(n_earlier));
        return pairs
            .map(|(new, earlier)| [ids(new), ids(earlier)].concat())
            .collect();
    }
    // One side is short: a single task, the other side filling up.
    let size = shape.wanted.min(new.len() + earlier.len());
    if size < shape.at_least {
        return Vec::new();
    }
    let n_earlier = earlier.len().min(n_earlier.max(size.saturating_sub(new.len())));
    let n_new = size - n_earlier;
    vec![[ids(&new[..n_new]), ids(&earlier[..n_earlier])].concat()]
}

fn ids(candidates: &[Candidate]) -> Vec<i64> {
    candidates.iter().map(|candidate| candidate.id).collect()
}

/// How many tasks for labelling are open and done, see migration 0015.
pub(super) async fn counted(conn: &mut SqliteConnection, project: ProjectId) -> Result<(i64, i64)> {
    let counts = sqlx::query_as("select n_open, n_done from task_count where project_id = ?1")
        .bind(project.0)
        .fetch_optional(conn)
        .await?;
    Ok(counts.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICK: Shape = Shape {
        wanted: 2,
        at_least: 2,
    };
    const RANK: Shape = Shape {
        wanted: 4,
        at_least: 3,
    };

    fn candidates(ids: std::ops::Range<i64>) -> Vec<Candidate> {
        let candidate = |id: i64| Candidate {
            id,
            text_hash: id.to_string(),
        };
        ids.map(candidate).collect()
    }

    #[test]
    fn more_samples_than_a_task_takes_make_several_tasks() {
        assert_eq!(together(&candidates(0..5), PICK), [vec![0, 1], vec![2, 3]]);
    }

    #[test]
    fn a_ranking_is_smaller_where_texts_are_the_same_but_never_below_three() {
        assert_eq!(together(&candidates(0..3), RANK), [vec![0, 1, 2]]);
        assert!(together(&candidates(0..2), RANK).is_empty());
        assert!(together(&candidates(0..1), PICK).is_empty());
    }

    #[test]
    fn identical_texts_count_once_and_the_first_stays() {
        let mut same = candidates(0..3);
        same[2].text_hash = same[0].text_hash.clone();
        assert_eq!(ids(&distinct(same, &HashSet::new())), [0, 1]);
        assert_eq!(
            ids(&distinct(candidates(0..2), &HashSet::from(["0".to_owned()]))),
            [1]
        );
    }

    #[test]
    fn new_ones_meet_the_newest_earlier_ones() {
        let pairs = against_earlier(&candidates(10..12), &candidates(0..3), PICK);
        assert_eq!(pairs, [vec![10, 0], vec![11, 1]]);
    }

    #[test]
    fn no_task_has_one_generator_alone_while_earlier_ones_exist() {
        for n_new in 1..7_i64 {
            for n_earlier in 1..7_i64 {
                for shape in [PICK, RANK] {
                    let groups =
                        against_earlier(&candidates(10..10 + n_new), &candidates(0..n_earlier), shape);
                    for group in groups {
                        let n_of_new = group.iter().filter(|&&id| id >= 10).count();
                        assert!(
                            n_of_new > 0 && n_of_new < group.len(),
                            "{n_new} {n_earlier} {group:?}"
                        );
                        assert!((shape.at_least..=shape.wanted).contains(&group.len()));
                    }
                }
            }
        }
    }

    #[test]
    fn without_earlier_ones_the_new_ones_stand_together() {
        assert_eq!(against_earlier(&candidates(0..2), &[], PICK), [vec![0, 1]]);
    }
}
