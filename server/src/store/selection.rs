//! Which open task comes next: the most urgent one, and among those of one priority the oldest, or the one that the reward
//! model is least sure about. Read in the transaction that hands it out.

use super::{Result, assignments::Annotator, checks, text};
use laurel_protocol::{ProjectId, Selection, TaskId};
use sqlx::SqliteConnection;

/// A task with a free slot for this person, and their hold on it that ran out, if there is one.
pub(super) struct Found {
    pub task: TaskId,
    pub mine: Option<i64>,
}

pub(super) async fn of_project(conn: &mut SqliteConnection, project: ProjectId) -> Result<Selection> {
    let selection: String = sqlx::query_scalar("select selection from project where id = ?1")
        .bind(project.0)
        .fetch_one(conn)
        .await?;
    text::from_json(&selection)
}

/// The first open task with a free slot, by an index that has its order: as many are looked at as are not for this person.
macro_rules! first_task {
    ($index:literal, $order:literal) => {
        concat!(
            "select t.id, mine.id from task t indexed by ",
            $index,
            " left join assignment mine on mine.task_id = t.id and mine.user_id = ?1
             where t.project_id = ?2 and t.status = 'open' and t.kind = 'label'
               and (mine.id is null or mine.status = 'expired')
               and t.n_annotations + (select count(*) from assignment a
                                      where a.task_id = t.id and a.status = 'held') < t.overlap
             order by ",
            $order,
            " limit 1"
        )
    };
}

const OLDEST: &str = first_task!("task_open", "t.priority desc, t.id");
/// Tasks that no scoring has seen come last: SQLite puts null below every number.
const MOST_UNCERTAIN: &str = first_task!("task_uncertain", "t.priority desc, t.uncertainty desc, t.id");

pub(super) async fn next_task(conn: &mut SqliteConnection, who: Annotator) -> Result<Option<Found>> {
    let selection = of_project(conn, who.project).await?;
    let sql = match selection.active && !checks::explores(conn, who, selection.explore_percent).await? {
        true => MOST_UNCERTAIN,
        false => OLDEST,
    };
    let found: Option<(i64, Option<i64>)> = sqlx::query_as(sql)
        .bind(who.user.0)
        .bind(who.project.0)
        .fetch_optional(conn)
        .await?;
    Ok(found.map(|(task, mine)| Found {
        task: TaskId(task),
        mine,
    }))
}
