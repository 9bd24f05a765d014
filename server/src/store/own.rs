//! A person's own answers in a project.

use super::{Db, Result, annotations, projects, review, text};
use laurel_protocol::{AssignmentId, Message, OwnAnswer, OwnAnswers, ProjectId, TaskId, Timestamp, UserId};

/// Characters of a prompt that the list shows.
const N_CHARS: usize = 200;

/// What this person answered or skipped before assignment number `before`, newest hand-out first.
pub async fn page(
    db: &Db,
    project: ProjectId,
    user: UserId,
    before: Option<AssignmentId>,
    limit: u32,
) -> Result<OwnAnswers> {
    projects::require(db, project).await?;
    let mut tx = db.read().begin().await?;
    let rows: Vec<OwnRow> = sqlx::query_as(
        "select a.id, a.task_id, a.display_order, a.changed_at, iif(a.status = 'skipped', a.skip_reason, null) as skipped, a.live,
                p.messages
         from assignment a join task t on t.id = a.task_id join prompt p on p.id = t.prompt_id
         where a.user_id = ?1 and a.project_id = ?2 and a.kind <> 'review' and a.status in ('answered', 'skipped')
           and a.id < ?3
         order by a.id desc limit ?4",
    )
    .bind(user.0)
    .bind(project.0)
    .bind(before.map_or(i64::MAX, |id| id.0))
    .bind(i64::from(limit) + 1)
    .fetch_all(&mut *tx)
    .await?;
    let has_more = rows.len() > limit as usize;
    let mut answers = Vec::with_capacity(rows.len());
    for row in rows.into_iter().take(limit as usize) {
        let id = AssignmentId(row.id);
        let task = TaskId(row.task_id);
        let messages: Vec<Message> = text::from_json(&row.messages)?;
        let shown: Vec<i64> = text::from_json(&row.display_order)?;
        let standing = annotations::standing(&mut tx, id).await?;
        answers.push(OwnAnswer {
            assignment_id: id,
            task_id: task,
            at: Timestamp(row.changed_at),
            prompt: excerpt(&messages),
            answer: standing.map(|(_, answer)| answer),
            skipped: row.skipped.map(|reason| text::from_name(&reason)).transpose()?,
            live: row.live,
            decision: review::decision_shown(&mut tx, task, &shown).await?,
            notes: review::notes::of_task(&mut tx, task).await?,
        });
    }
    let next = answers
        .last()
        .map(|answer| answer.assignment_id)
        .filter(|_| has_more);
    Ok(OwnAnswers { answers, next })
}

#[derive(sqlx::FromRow)]
struct OwnRow {
    id: i64,
    task_id: i64,
    display_order: String,
    changed_at: i64,
    skipped: Option<String>,
    live: bool,
    messages: String,
}

/// The beginning of a prompt's last turn.
pub(super) fn excerpt(messages: &[Message]) -> String {
    let last = messages.last().map_or("", |message| message.content.as_str());
    last.chars().take(N_CHARS).collect()
}
