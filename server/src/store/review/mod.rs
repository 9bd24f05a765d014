//! Reviewing: the tasks that annotators see differently, and the decisions on them.
//!
//! A decision is a task of its own (kind `review`) that shows the decided one, with one annotation. Comparisons follow
//! from it as from any annotation; those of the decided task's annotations go, and come back if the decision does.

mod decide;
pub mod flagged;
pub mod notes;

pub use decide::{decide, take_back};
pub(super) use decide::{is_decided, require_undecided};

use super::{
    Db, Error, Result,
    checks::{Stored, places, stored_order},
    projects, text,
};
use crate::render;
use laurel_protocol as protocol;
use laurel_protocol::{
    AnnotationId, Decision, Message, ProjectId, ReviewFilter, ReviewPage, ReviewTask, ShownCompletion,
    ShownMessage, TaskId, Timestamp, Voice,
};
use sqlx::SqliteConnection;

/// Tasks that one request looks through at most.
const LOOKS_AT: i64 = 1000;

/// The next tasks after number `after` that the filter lets through.
pub async fn page(
    db: &Db,
    project: ProjectId,
    filter: ReviewFilter,
    after: TaskId,
    limit: u32,
) -> Result<ReviewPage> {
    projects::require(db, project).await?;
    let mut tx = db.read().begin().await?;
    let candidates: Vec<i64> = sqlx::query_scalar(
        "select t.id from task t
         where t.project_id = ?1 and t.kind = 'label' and t.live = 0 and t.id > ?2
           and (?3 = 'all' or (?3 = 'decided') = exists (
                    select 1 from task r where r.source_id = t.id and r.kind = 'review' and r.status = 'done'))
           and (?3 = 'decided' or t.status = 'done' and t.n_annotations >= iif(?3 = 'all', 1, 2))
         order by t.id limit ?4",
    )
    .bind(project.0)
    .bind(after.0)
    .bind(text::name_of(&filter))
    .bind(LOOKS_AT)
    .fetch_all(&mut *tx)
    .await?;
    let mut last = None;
    let mut tasks = Vec::new();
    for &id in &candidates {
        if tasks.len() == limit as usize {
            return Ok(ReviewPage { tasks, next: last });
        }
        let id = TaskId(id);
        last = Some(id);
        let voices = voices(&mut tx, id).await?;
        let n = stored_order(&mut tx, id).await?.len();
        if filter != ReviewFilter::Disagreements || is_contested(&voices, n) {
            tasks.push(show(&mut tx, id, voices).await?);
        }
    }
    let has_more = candidates.len() as i64 == LOOKS_AT;
    Ok(ReviewPage {
        tasks,
        next: last.filter(|_| has_more),
    })
}

/// One task, whatever its state.
pub async fn task(db: &Db, id: TaskId) -> Result<ReviewTask> {
    let mut tx = db.read().begin().await?;
    let voices = voices(&mut tx, id).await?;
    show(&mut tx, id, voices).await
}

fn is_contested(voices: &[Voice], n: usize) -> bool {
    voices.iter().enumerate().any(|(at, voice)| {
        let others = voices.iter().skip(at + 1);
        let mut others = others.map(|other| said(voice).contradicts(&said(other), n));
        others.any(|contradicts| contradicts)
    })
}

fn said(voice: &Voice) -> protocol::Said<'_> {
    protocol::Said {
        judgement: &voice.judgement,
        ratings: &voice.ratings,
    }
}

async fn show(conn: &mut SqliteConnection, id: TaskId, voices: Vec<Voice>) -> Result<ReviewTask> {
    let messages: Option<String> = sqlx::query_scalar(
        "select p.messages from task t join prompt p on p.id = t.prompt_id where t.id = ?1 and t.kind = 'label' and t.live = 0",
    )
    .bind(id.0)
    .fetch_optional(&mut *conn)
    .await?;
    let messages = messages.ok_or(Error::NotFound)?;
    Ok(ReviewTask {
        id,
        prompt: prompt(&messages)?,
        completions: completions(conn, id).await?,
        voices,
        decision: decision(conn, id).await?,
        notes: notes::of_task(conn, id).await?,
    })
}

fn prompt(messages: &str) -> Result<Vec<ShownMessage>> {
    let messages: Vec<Message> = text::from_json(messages)?;
    let shown = messages.into_iter().map(|message| ShownMessage {
        role: message.role,
        html: render::markdown(&message.content),
    });
    Ok(shown.collect())
}

/// In the order in which they are stored.
async fn completions(conn: &mut SqliteConnection, task: TaskId) -> Result<Vec<ShownCompletion>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select c.text, c.finish_reason from task_completion x join completion c on c.id = x.completion_id
         where x.task_id = ?1 order by x.position",
    )
    .bind(task.0)
    .fetch_all(conn)
    .await?;
    let shown = rows.into_iter().map(|(text, finish_reason)| ShownCompletion {
        html: render::markdown(&text),
        text,
        truncated: finish_reason == "length",
    });
    Ok(shown.collect())
}

#[derive(sqlx::FromRow)]
struct Said {
    id: i64,
    name: String,
    display_order: String,
    judgement: String,
    extras: String,
    comment: String,
    seconds: f64,
    created_at: i64,
}

async fn voices(conn: &mut SqliteConnection, task: TaskId) -> Result<Vec<Voice>> {
    let rows = standing(conn, task).await?;
    let stored = stored_order(conn, task).await?;
    let voice = |row: Said| {
        let said = Stored::read(&stored, &row.display_order, &row.judgement, &row.extras)?;
        Ok(Voice {
            annotation_id: AnnotationId(row.id),
            name: row.name,
            judgement: said.judgement,
            ratings: said.ratings,
            comment: row.comment,
            seconds: row.seconds,
            at: Timestamp(row.created_at),
        })
    };
    rows.into_iter().map(voice).collect()
}

/// The decision on a task, if there is one.
async fn decision(conn: &mut SqliteConnection, task: TaskId) -> Result<Option<Decision>> {
    let Some(review) = decide::of_task(conn, task).await? else {
        return Ok(None);
    };
    let mut rows = standing(conn, review).await?;
    let Some(row) = rows.pop() else { return Ok(None) };
    let stored = stored_order(conn, review).await?;
    let said = Stored::read(&stored, &row.display_order, &row.judgement, &row.extras)?;
    Ok(Some(Decision {
        name: row.name,
        judgement: said.judgement,
        ratings: said.ratings,
        comment: row.comment,
        at: Timestamp(row.created_at),
    }))
}

/// The decision on a task, its positions in the order `shown`.
pub(super) async fn decision_shown(
    conn: &mut SqliteConnection,
    task: TaskId,
    shown: &[i64],
) -> Result<Option<Decision>> {
    let Some(decision) = decision(conn, task).await? else {
        return Ok(None);
    };
    let places = places(&stored_order(conn, task).await?, shown)?;
    let ratings = decision.ratings.iter();
    Ok(Some(Decision {
        judgement: decision.judgement.moved(&places),
        ratings: ratings
            .map(|(name, ratings)| (name.clone(), protocol::checks::moved(ratings, &places)))
            .collect(),
        ..decision
    }))
}

async fn standing(conn: &mut SqliteConnection, task: TaskId) -> Result<Vec<Said>> {
    let rows = sqlx::query_as(
        "select n.id, u.name, a.display_order, n.judgement, n.extras, n.comment, n.seconds, n.created_at
         from assignment a join annotation n on n.assignment_id = a.id join user u on u.id = a.user_id
         where a.task_id = ?1 and n.replaced_by is null and n.withdrawn = 0 order by n.id",
    )
    .bind(task.0)
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
