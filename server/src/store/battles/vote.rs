//! The vote: in one transaction the prompt, the two completions, a task that wants no more labels, and the annotation with all
//! that follows from any annotation.

use super::{Side, Stored, begin, read, set_status};
use crate::store::{Db, Error, Result, annotations, assignments, audit::Person, scorings, text};
use laurel_protocol::{
    Answer, AssignmentId, BattleId, BattleStatus, BattleVote, Choice, CompletionId, Extras, Judgement,
    LabelType, ProjectId, PromptId, TaskId, Timestamp,
};
use sqlx::SqliteConnection;

/// Counts a vote once, however often it is sent. Gives the project.
pub async fn vote(
    db: &Db,
    id: BattleId,
    vote: &BattleVote,
    by: &Person,
    now: Timestamp,
) -> Result<ProjectId> {
    let mut tx = db.write().await?;
    let stored = read(&mut tx, id, by.user).await?;
    match stored.status {
        BattleStatus::Answered => {}
        BattleStatus::Judged if stored.vote_key.as_deref() == Some(vote.key.as_str()) => {
            return Ok(stored.project);
        }
        BattleStatus::Judged => {
            return Err(Error::Conflict(
                "You have voted on this already: the first vote counts.".to_owned(),
            ));
        }
        BattleStatus::Asked => {
            return Err(Error::Conflict(
                "Wait until both answers are complete: then vote.".to_owned(),
            ));
        }
        BattleStatus::Closed => return Err(begin::is_over()),
    }
    let project = project(&mut tx, stored.project).await?;
    vote.validate(project.ask_strength, stored.is_same())
        .map_err(Error::Invalid)?;
    let prompt = prompt(&mut tx, &stored, now).await?;
    let completions = completions(&mut tx, &stored, prompt, &project, now).await?;
    let task = task(&mut tx, &stored, prompt, &completions, now).await?;
    let assignment = assignment(&mut tx, &stored, task, &completions, now).await?;
    let slot = assignments::read(&mut tx, assignment, by.user).await?;
    let answer = Answer {
        judgement: Judgement::Pick {
            choice: vote.choice,
            strength: vote.strength,
        },
        comment: vote.comment.trim().to_owned(),
        extras: Extras::default(),
        seconds: vote.seconds,
        revision: 0,
    };
    annotations::store(&mut tx, &slot, &answer, &by.clone().into(), now).await?;
    let goes_on_from = goes_on_from(vote.choice, &stored.sides)?;
    sqlx::query(
        "update battle set task_id = ?2, vote_key = ?3, goes_on_from = ?4, messages = '[]' where id = ?1",
    )
    .bind(id.0)
    .bind(task.0)
    .bind(&vote.key)
    .bind(goes_on_from)
    .execute(&mut *tx)
    .await?;
    set_status(&mut tx, id, BattleStatus::Judged, now).await?;
    scorings::due::order(&mut tx, stored.project, scorings::due::News::Answer, now).await?;
    tx.commit().await?;
    Ok(stored.project)
}

/// The answer that the conversation goes on from: the chosen one, after a tie a drawn one. An empty answer leads nowhere.
fn goes_on_from(choice: Choice, sides: &[Side]) -> Result<Option<u8>> {
    let position = match choice {
        Choice::First => 0,
        Choice::Second => 1,
        Choice::Tie => {
            let mut order = [0, 1];
            text::shuffle(&mut order)?;
            order[0]
        }
        Choice::BothBad => return Ok(None),
    };
    let is_empty = sides[usize::from(position)].text.trim().is_empty();
    Ok((!is_empty).then_some(position))
}

struct Project {
    ask_strength: bool,
    base_model: String,
}

async fn project(conn: &mut SqliteConnection, id: ProjectId) -> Result<Project> {
    let (label_type, ask_strength, base_model): (String, bool, String) =
        sqlx::query_as("select label_type, ask_strength, base_model from project where id = ?1")
            .bind(id.0)
            .fetch_one(conn)
            .await?;
    if text::from_name::<LabelType>(&label_type)? != LabelType::Pick {
        return Err(Error::Conflict(
            "The project asks something else by now: skip this one.".to_owned(),
        ));
    }
    Ok(Project {
        ask_strength,
        base_model,
    })
}

/// The conversation as a prompt of its own kind: what was typed here is nobody else's task.
async fn prompt(conn: &mut SqliteConnection, stored: &Stored, now: Timestamp) -> Result<PromptId> {
    let messages = text::to_json(&stored.messages)?;
    let hash = text::sha256_hex(format!("live {messages}"));
    sqlx::query(
        "insert into prompt (project_id, messages, content_hash, created_at, live) values (?1, ?2, ?3, ?4, 1)
         on conflict (project_id, content_hash) do nothing",
    )
    .bind(stored.project.0)
    .bind(&messages)
    .bind(&hash)
    .bind(now.0)
    .execute(&mut *conn)
    .await?;
    let id: i64 = sqlx::query_scalar("select id from prompt where project_id = ?1 and content_hash = ?2")
        .bind(stored.project.0)
        .bind(&hash)
        .fetch_one(conn)
        .await?;
    Ok(PromptId(id))
}

/// The two answers, A first.
async fn completions(
    conn: &mut SqliteConnection,
    stored: &Stored,
    prompt: PromptId,
    project: &Project,
    now: Timestamp,
) -> Result<Vec<CompletionId>> {
    let mut ids = Vec::with_capacity(stored.sides.len());
    for (position, side) in (0_i64..).zip(&stored.sides) {
        let id: i64 = sqlx::query_scalar(
            "insert into completion (prompt_id, battle_id, position, text, text_hash, n_tokens, finish_reason, model,
                                     adapter_id, template_hash, created_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) returning id",
        )
        .bind(prompt.0)
        .bind(stored.id.0)
        .bind(position)
        .bind(&side.text)
        .bind(text::sha256_hex(side.text.trim()))
        .bind(side.n_tokens)
        .bind(&side.finish_reason)
        .bind(&project.base_model)
        .bind(side.adapter.map(|adapter| adapter.0))
        .bind(&stored.template_hash)
        .bind(now.0)
        .fetch_one(&mut *conn)
        .await?;
        sqlx::query(
            "update battle_side set text = '', completion_id = ?3 where battle_id = ?1 and position = ?2",
        )
        .bind(stored.id.0)
        .bind(position)
        .bind(id)
        .execute(&mut *conn)
        .await?;
        ids.push(CompletionId(id));
    }
    Ok(ids)
}

/// A task of one label. Its completions lie in the order of their contenders, whatever was shown as A.
async fn task(
    conn: &mut SqliteConnection,
    stored: &Stored,
    prompt: PromptId,
    completions: &[CompletionId],
    now: Timestamp,
) -> Result<TaskId> {
    let id: i64 = sqlx::query_scalar(
        "insert into task (project_id, prompt_id, overlap, status, created_at, live)
         values (?1, ?2, 1, 'open', ?3, 1) returning id",
    )
    .bind(stored.project.0)
    .bind(prompt.0)
    .bind(now.0)
    .fetch_one(&mut *conn)
    .await?;
    let mut order: Vec<_> = stored
        .sides
        .iter()
        .map(|side| side.adapter)
        .zip(completions)
        .collect();
    order.sort_unstable();
    for (position, (_, completion)) in (0_i64..).zip(order) {
        sqlx::query("insert into task_completion (task_id, completion_id, position) values (?1, ?2, ?3)")
            .bind(id)
            .bind(completion.0)
            .bind(position)
            .execute(&mut *conn)
            .await?;
    }
    Ok(TaskId(id))
}

/// Held for no longer than this transaction.
async fn assignment(
    conn: &mut SqliteConnection,
    stored: &Stored,
    task: TaskId,
    shown: &[CompletionId],
    now: Timestamp,
) -> Result<AssignmentId> {
    let id: i64 = sqlx::query_scalar(
        "insert into assignment (project_id, task_id, user_id, status, display_order, lease_until, created_at, changed_at,
                                 live)
         values (?1, ?2, ?3, 'held', ?4, ?5, ?5, ?5, 1) returning id",
    )
    .bind(stored.project.0)
    .bind(task.0)
    .bind(stored.user.0)
    .bind(text::to_json(&shown)?)
    .bind(now.0)
    .fetch_one(conn)
    .await?;
    Ok(AssignmentId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(texts: [&str; 2]) -> Vec<Side> {
        let side = |text: &str| Side {
            adapter: None,
            name: String::new(),
            text: text.to_owned(),
            n_tokens: 1,
            finish_reason: None,
        };
        texts.map(side).into()
    }

    #[test]
    fn a_conversation_goes_on_from_the_chosen_answer_and_from_no_empty_one() {
        let of = |choice, texts| goes_on_from(choice, &sides(texts)).unwrap();
        assert_eq!(of(Choice::First, ["a", "b"]), Some(0));
        assert_eq!(of(Choice::Second, ["a", "b"]), Some(1));
        assert_eq!(of(Choice::Second, ["a", " "]), None);
        assert_eq!(of(Choice::BothBad, ["a", "b"]), None);
    }

    #[test]
    fn after_a_tie_either_answer_is_drawn() {
        let drawn: std::collections::BTreeSet<_> = (0..500)
            .map(|_| goes_on_from(Choice::Tie, &sides(["a", "b"])).unwrap())
            .collect();
        assert_eq!(drawn, [Some(0), Some(1)].into());
    }
}
