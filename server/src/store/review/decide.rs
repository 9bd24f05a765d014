//! A reviewer's decision on a task, and taking it back.

use crate::store::{
    Db, Error, Result, annotations,
    assignments::{self, Status},
    audit::{self, Person},
    checks::{copy_completions, stored_order},
    comparisons, contests, text,
    written::Place,
};
use laurel_protocol::{
    AnnotationId, Answer, AssignmentId, CompletionId, Expected, Extras, LabelType, NewDecision, ProjectId,
    PromptId, Questions, TaskId, Timestamp, UserId, Verb,
};
use sqlx::SqliteConnection;

/// What stands of a decided task is closed to those who answered it.
pub(in crate::store) async fn require_undecided(conn: &mut SqliteConnection, task: TaskId) -> Result<()> {
    match is_decided(conn, task).await? {
        false => Ok(()),
        true => Err(Error::Conflict(
            "A reviewer has decided this task: your answer stays as it was.".to_owned(),
        )),
    }
}

pub(in crate::store) async fn is_decided(conn: &mut SqliteConnection, task: TaskId) -> Result<bool> {
    Ok(of_task(conn, task).await?.is_some())
}

/// The task that holds the decision on this one.
pub(super) async fn of_task(conn: &mut SqliteConnection, task: TaskId) -> Result<Option<TaskId>> {
    let id: Option<i64> = sqlx::query_scalar(
        "select id from task where source_id = ?1 and kind = 'review' and status = 'done'",
    )
    .bind(task.0)
    .fetch_optional(conn)
    .await?;
    Ok(id.map(TaskId))
}

#[derive(sqlx::FromRow)]
struct Decided {
    project_id: i64,
    prompt_id: i64,
    label_type: String,
    ask_strength: bool,
    questions: String,
    n_annotations: i64,
}

/// Puts a decision in place of what annotators said. Positions of the judgement are those in which the completions are
/// stored.
pub async fn decide(
    db: &Db,
    task: TaskId,
    new: &NewDecision,
    by: &Person,
    now: Timestamp,
) -> Result<ProjectId> {
    let user = by.user;
    let mut tx = db.write().await?;
    let source: Option<Decided> = sqlx::query_as(
        "select t.project_id, t.prompt_id, t.n_annotations, p.label_type, p.ask_strength, p.questions
         from task t join project p on p.id = t.project_id where t.id = ?1 and t.kind = 'label' and t.live = 0",
    )
    .bind(task.0)
    .fetch_optional(&mut *tx)
    .await?;
    let source = source.ok_or(Error::NotFound)?;
    if source.n_annotations == 0 {
        return Err(Error::Conflict("Nobody has answered this task yet.".to_owned()));
    }
    if of_task(&mut tx, task).await?.is_some() {
        return Err(Error::Conflict(
            "This task is decided: take that decision back first.".to_owned(),
        ));
    }
    let order = stored_order(&mut tx, task).await?;
    let answer = answer(&source, new, order.len())?;
    let project = ProjectId(source.project_id);
    let review = insert(&mut tx, task, &source, user, now).await?;
    let annotation = store(&mut tx, review, &order, &answer, user, now).await?;
    for (annotation, _) in standing(&mut tx, task).await? {
        comparisons::remove_of_task(&mut tx, annotation, task).await?;
    }
    let place = Place {
        prompt: PromptId(source.prompt_id),
        annotation,
        now,
    };
    let shown: Vec<CompletionId> = order.into_iter().map(CompletionId).collect();
    comparisons::derive(&mut tx, project, place, &answer, &shown).await?;
    contests::after_task(&mut tx, task, now).await?;
    audit::note_task(
        &mut tx,
        &by.clone().into(),
        Verb::TaskDecided,
        (project, task),
        now,
    )
    .await?;
    tx.commit().await?;
    Ok(project)
}

/// Takes a decision back: what annotators said counts again. The decision stays in the database, withdrawn.
pub async fn take_back(db: &Db, task: TaskId, by: &Person, now: Timestamp) -> Result<ProjectId> {
    let mut tx = db.write().await?;
    let review = of_task(&mut tx, task)
        .await?
        .ok_or_else(|| Error::Conflict("This task is not decided.".to_owned()))?;
    for (annotation, assignment) in standing(&mut tx, review).await? {
        comparisons::remove(&mut tx, annotation).await?;
        sqlx::query("update annotation set withdrawn = 1 where id = ?1")
            .bind(annotation.0)
            .execute(&mut *tx)
            .await?;
        assignments::set_status(&mut tx, assignment, Status::Skipped, now).await?;
    }
    sqlx::query("update task set n_annotations = 0, status = 'open' where id = ?1")
        .bind(review.0)
        .execute(&mut *tx)
        .await?;
    let (project, prompt): (i64, i64) =
        sqlx::query_as("select project_id, prompt_id from task where id = ?1")
            .bind(task.0)
            .fetch_one(&mut *tx)
            .await?;
    for (annotation, assignment) in standing(&mut tx, task).await? {
        let shown: String = sqlx::query_scalar("select display_order from assignment where id = ?1")
            .bind(assignment.0)
            .fetch_one(&mut *tx)
            .await?;
        let shown: Vec<CompletionId> = text::from_json(&shown)?;
        let place = Place {
            prompt: PromptId(prompt),
            annotation,
            now,
        };
        if let Some((_, answer)) = annotations::standing(&mut tx, assignment).await? {
            comparisons::derive(&mut tx, ProjectId(project), place, &answer, &shown).await?;
        }
    }
    // Someone may have left meanwhile, with their answer.
    sqlx::query(
        "update task set n_annotations = n, status = iif(n = overlap, 'done', 'open')
         from (select count(*) as n from assignment a join annotation x on x.assignment_id = a.id
               where a.task_id = ?1 and x.replaced_by is null and x.withdrawn = 0) where id = ?1",
    )
    .bind(task.0)
    .execute(&mut *tx)
    .await?;
    let project = ProjectId(project);
    audit::note_task(
        &mut tx,
        &by.clone().into(),
        Verb::DecisionTakenBack,
        (project, task),
        now,
    )
    .await?;
    tx.commit().await?;
    Ok(project)
}

/// The decision as an answer, checked like one. Beside the judgement a reviewer gives ratings only where they are all
/// that is asked.
fn answer(source: &Decided, new: &NewDecision, n: usize) -> Result<Answer> {
    let label_type: LabelType = text::from_name(&source.label_type)?;
    let questions = match label_type {
        LabelType::Rate => text::from_json(&source.questions)?,
        _ => Questions::default(),
    };
    let answer = Answer {
        judgement: new.judgement.clone(),
        comment: new.comment.trim().to_owned(),
        extras: Extras {
            ratings: new.ratings.clone(),
            ..Extras::default()
        },
        seconds: 0.0,
        revision: 0,
    };
    let expected = Expected {
        label_type,
        ask_strength: source.ask_strength,
        questions: &questions,
        texts: &vec![""; n],
    };
    answer.validate(&expected).map_err(Error::Invalid)?;
    Ok(answer)
}

async fn insert(
    conn: &mut SqliteConnection,
    task: TaskId,
    source: &Decided,
    user: UserId,
    now: Timestamp,
) -> Result<TaskId> {
    let id: i64 = sqlx::query_scalar(
        "insert into task (project_id, prompt_id, overlap, n_annotations, status, created_at, kind, source_id, for_user_id)
         values (?1, ?2, 1, 1, 'done', ?3, 'review', ?4, ?5) returning id",
    )
    .bind(source.project_id)
    .bind(source.prompt_id)
    .bind(now.0)
    .bind(task.0)
    .bind(user.0)
    .fetch_one(&mut *conn)
    .await?;
    copy_completions(conn, task.0, id).await?;
    Ok(TaskId(id))
}

async fn store(
    conn: &mut SqliteConnection,
    review: TaskId,
    order: &[i64],
    answer: &Answer,
    user: UserId,
    now: Timestamp,
) -> Result<AnnotationId> {
    let assignment: i64 = sqlx::query_scalar(
        "insert into assignment (project_id, task_id, user_id, status, display_order, lease_until, created_at, changed_at,
                                 kind)
         select project_id, id, ?2, 'answered', ?3, ?4, ?4, ?4, kind from task where id = ?1 returning id",
    )
    .bind(review.0)
    .bind(user.0)
    .bind(text::to_json(&order)?)
    .bind(now.0)
    .fetch_one(&mut *conn)
    .await?;
    let id: i64 = sqlx::query_scalar(
        "insert into annotation (assignment_id, revision, judgement, comment, seconds, created_at, extras)
         values (?1, 0, ?2, ?3, 0, ?4, ?5) returning id",
    )
    .bind(assignment)
    .bind(text::to_json(&answer.judgement)?)
    .bind(&answer.comment)
    .bind(now.0)
    .bind(text::to_json(&answer.extras)?)
    .fetch_one(conn)
    .await?;
    Ok(AnnotationId(id))
}

/// The standing annotations of a task with their assignments.
async fn standing(conn: &mut SqliteConnection, task: TaskId) -> Result<Vec<(AnnotationId, AssignmentId)>> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "select n.id, a.id from assignment a join annotation n on n.assignment_id = a.id
         where a.task_id = ?1 and n.replaced_by is null and n.withdrawn = 0",
    )
    .bind(task.0)
    .fetch_all(conn)
    .await?;
    let ids = |(annotation, assignment)| (AnnotationId(annotation), AssignmentId(assignment));
    Ok(rows.into_iter().map(ids).collect())
}
