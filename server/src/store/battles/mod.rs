//! Battles of the arena. What two hidden contenders answer lies in memory while it is written ([`crate::chats`]) and here from
//! the moment when both are complete, so that no vote rests on what a restart takes away. `begin.rs` draws the contenders,
//! `vote.rs` makes an annotation of the vote, `stored.rs` reads a battle, `results.rs` who won.
//!
//! Every change of a battle's status goes through [`set_status`].

mod begin;
pub mod results;
mod stored;
mod vote;

pub(super) use begin::require_contenders;
pub use begin::{ask_again, begin};
pub use vote::vote;

use stored::{Side, Stored, read};

use super::{
    Db, Error, Result, annotations,
    audit::{self, Actor, Event, Person},
    projects, text,
};
use crate::{chats::Written, render};
use laurel_protocol::{
    Arena, ArenaState, AssignmentId, AuditSubject, Battle, BattleId, BattleStatus, ChatAnswer, Choice,
    CloseBattle, Contender, FieldError, Judgement, ProjectId, Reveal, ShownCompletion, ShownMessage,
    Timestamp, UserId, Verb,
};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

/// Where this person stands in a project's arena.
pub async fn state(db: &Db, project: ProjectId, user: UserId) -> Result<ArenaState> {
    let settings = projects::get(db, project).await?.settings;
    let latest: Option<i64> = sqlx::query_scalar(
        "select id from battle where user_id = ?1 and project_id = ?2 order by id desc limit 1",
    )
    .bind(user.0)
    .bind(project.0)
    .fetch_optional(db.read())
    .await?;
    let battle = match latest {
        Some(id) => Some(get(db, BattleId(id), user).await?),
        None => None,
    };
    Ok(ArenaState {
        on: settings.arena.on,
        battle: battle.filter(|battle| battle.status != BattleStatus::Closed),
    })
}

/// One battle of this person, as far as the database knows it.
pub async fn get(db: &Db, id: BattleId, user: UserId) -> Result<Battle> {
    let mut tx = db.read().begin().await?;
    let stored = read(&mut tx, id, user).await?;
    let (arena, ask_strength): (String, bool) =
        sqlx::query_as("select arena, ask_strength from project where id = ?1")
            .bind(stored.project.0)
            .fetch_one(&mut *tx)
            .await?;
    let max_turns = text::from_json::<Arena>(&arena)?.max_turns;
    let reveal = match stored.status {
        BattleStatus::Judged => Some(reveal(&mut tx, &stored, max_turns).await?),
        BattleStatus::Asked | BattleStatus::Answered | BattleStatus::Closed => None,
    };
    let prompt = stored.messages.iter().map(|message| ShownMessage {
        role: message.role,
        html: render::markdown(&message.content),
    });
    let answers = stored.sides.iter();
    Ok(Battle {
        id,
        project_id: stored.project,
        status: stored.status,
        turn: stored.turn,
        max_turns,
        ask_strength,
        prompt: prompt.collect(),
        answers: answers
            .map(|side| shown(&side.text, side.finish_reason.as_deref() == Some("length")))
            .collect(),
        is_at_work: false,
        waiting: None,
        error: None,
        same: stored.is_same(),
        reveal,
    })
}

pub fn shown(text: &str, truncated: bool) -> ShownCompletion {
    ShownCompletion {
        html: render::markdown(text),
        text: text.to_owned(),
        truncated,
    }
}

/// Keeps both answers, from now on in the database. What was closed in between stays so; false where they are not
/// complete.
pub async fn keep_answers(db: &Db, written: &Written, now: Timestamp) -> Result<bool> {
    let is_complete = |answer: &ChatAnswer| answer.finish_reason.is_some();
    let Some(template_hash) = &written.template_hash else {
        return Ok(false);
    };
    if written.answers.len() != 2 || !written.answers.iter().all(is_complete) {
        return Ok(false);
    }
    let mut tx = db.write().await?;
    let status: Option<String> = sqlx::query_scalar("select status from battle where id = ?1")
        .bind(written.battle.0)
        .fetch_optional(&mut *tx)
        .await?;
    if status.as_deref() != Some("asked") {
        return Ok(true);
    }
    for (position, answer) in (0_i64..).zip(&written.answers) {
        sqlx::query(
            "update battle_side set text = ?3, n_tokens = ?4, finish_reason = ?5
             where battle_id = ?1 and position = ?2",
        )
        .bind(written.battle.0)
        .bind(position)
        .bind(&answer.text)
        .bind(answer.n_tokens)
        .bind(answer.finish_reason.as_ref().map(text::name_of))
        .execute(&mut *tx)
        .await?;
    }
    sqlx::query("update battle set template_hash = ?2 where id = ?1")
        .bind(written.battle.0)
        .bind(template_hash)
        .execute(&mut *tx)
        .await?;
    set_status(&mut tx, written.battle, BattleStatus::Answered, now).await?;
    tx.commit().await?;
    Ok(true)
}

/// Ends a battle without a vote; nothing that was said stays. Closing a closed one changes nothing.
pub async fn close(db: &Db, id: BattleId, close: &CloseBattle, by: &Person, now: Timestamp) -> Result<()> {
    let mut tx = db.write().await?;
    let stored = read(&mut tx, id, by.user).await?;
    match (stored.status, close.reason) {
        (BattleStatus::Closed, _) => return Ok(()),
        (BattleStatus::Judged, _) => {
            return Err(Error::Conflict(
                "You have voted on this already: it cannot be skipped.".to_owned(),
            ));
        }
        (BattleStatus::Answered, None) => {
            return Err(Error::Invalid(vec![FieldError::new(
                "reason",
                "must be given once both answers are there",
            )]));
        }
        (BattleStatus::Asked | BattleStatus::Answered, _) => {}
    }
    sqlx::query("update battle set close_reason = ?2, messages = '[]' where id = ?1")
        .bind(id.0)
        .bind(close.reason.as_ref().map(text::name_of))
        .execute(&mut *tx)
        .await?;
    sqlx::query("update battle_side set text = '', n_tokens = 0 where battle_id = ?1")
        .bind(id.0)
        .execute(&mut *tx)
        .await?;
    set_status(&mut tx, id, BattleStatus::Closed, now).await?;
    let detail = json!({"reason": close.reason});
    let battle = (stored.project, id);
    note(
        &mut tx,
        &by.clone().into(),
        Verb::BattleClosed,
        battle,
        detail,
        now,
    )
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Takes out what a person who leaves has typed: open battles always, and where their answers are withdrawn the text of the
/// others, with what was answered to it.
pub(super) async fn leave(conn: &mut SqliteConnection, user: UserId, withdraws: bool) -> Result<()> {
    sqlx::query("delete from battle where user_id = ?1 and status in ('asked', 'answered')")
        .bind(user.0)
        .execute(&mut *conn)
        .await?;
    if !withdraws {
        return Ok(());
    }
    sqlx::query(
        "update completion set text = '', text_hash = ''
         where battle_id in (select id from battle where user_id = ?1)",
    )
    .bind(user.0)
    .execute(&mut *conn)
    .await?;
    // Who typed the very same has a claim to it.
    sqlx::query(
        r#"update prompt set messages = '[{"role":"user","content":"(withdrawn)"}]', content_hash = 'withdrawn ' || id
           where live = 1
             and id in (select t.prompt_id from battle b join task t on t.id = b.task_id where b.user_id = ?1)
             and id not in (select t.prompt_id from battle b join task t on t.id = b.task_id where b.user_id <> ?1)"#,
    )
    .bind(user.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// What is told after the vote.
async fn reveal(conn: &mut SqliteConnection, stored: &Stored, max_turns: u8) -> Result<Reveal> {
    let choice = choice(conn, stored.id).await?;
    let may_go_on = match choice {
        Choice::BothBad => true,
        _ => stored.goes_on_from.is_some() && stored.turn < max_turns,
    };
    let contender = |side: &Side| Contender {
        adapter: side.adapter,
        name: side.name.clone(),
    };
    Ok(Reveal {
        contenders: stored.sides.iter().map(contender).collect(),
        choice,
        goes_on_from: stored.goes_on_from,
        may_go_on,
    })
}

/// What was voted, in the order of the sides, which is the display order of the assignment.
pub(super) async fn choice(conn: &mut SqliteConnection, id: BattleId) -> Result<Choice> {
    let assignment: Option<i64> = sqlx::query_scalar(
        "select a.id from battle b join assignment a on a.task_id = b.task_id and a.user_id = b.user_id where b.id = ?1",
    )
    .bind(id.0)
    .fetch_optional(&mut *conn)
    .await?;
    let assignment = AssignmentId(assignment.ok_or(Error::NotFound)?);
    match annotations::standing(conn, assignment).await? {
        Some((_, answer)) => match answer.judgement {
            Judgement::Pick { choice, .. } => Ok(choice),
            Judgement::Rank { .. } | Judgement::BestWorst { .. } | Judgement::Rate => Err(Error::NotFound),
        },
        None => Err(Error::NotFound),
    }
}

/// The one place where a battle's status changes; a vote enters its task along.
async fn set_status(
    conn: &mut SqliteConnection,
    id: BattleId,
    to: BattleStatus,
    now: Timestamp,
) -> Result<()> {
    sqlx::query("update battle set status = ?2, changed_at = ?3 where id = ?1")
        .bind(id.0)
        .bind(text::name_of(&to))
        .bind(now.0)
        .execute(conn)
        .await?;
    Ok(())
}

async fn note(
    conn: &mut SqliteConnection,
    by: &Actor,
    verb: Verb,
    (project, battle): (ProjectId, BattleId),
    detail: Value,
    now: Timestamp,
) -> Result<()> {
    let event = Event {
        verb,
        project: Some(project),
        kind: AuditSubject::Battle,
        subject: Some(battle.0),
        detail,
    };
    audit::note(conn, by, event, now).await
}
