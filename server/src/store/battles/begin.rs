//! The beginning of a battle: who meets whom, and who is shown as A, is drawn from the operating system's generator.

use super::{Stored, choice, note, read};
use crate::{
    chats::Chats,
    store::{Db, Error, Result, adapters, audit::Person, chat_jobs, checks, members, promotions, text},
};
use laurel_protocol::{
    AdapterId, Arena, BattleId, BattleStatus, ChatSide, Choice, FieldError, JobId, LabelType, Message,
    NewBattle, NewChatTurn, ProjectId, Sampling, Stopped, Timestamp, Verb, validate_prompt,
};
use serde_json::json;
use sqlx::SqliteConnection;

/// Draws two contenders and asks both. After a decided battle they are drawn anew, for the names of the last ones are known.
pub async fn begin(
    db: &Db,
    chats: &Chats,
    project: ProjectId,
    new: &NewBattle,
    by: &Person,
    now: Timestamp,
) -> Result<BattleId> {
    let mut tx = db.write().await?;
    let arena = require_open(&mut tx, project).await?;
    members::require(&mut tx, project, by.user).await?;
    if checks::stopped(&mut tx, by.user, project).await? == Some(Stopped::NotQualified) {
        return Err(Error::Conflict(
            "Too few of your first tasks here were right: ask whoever runs this project how to go on."
                .to_owned(),
        ));
    }
    require_none_open(&mut tx, project, by).await?;
    let (turn, mut messages) = match new.after {
        Some(after) => context(&mut tx, project, after, by, arena.max_turns).await?,
        None => (1, Vec::new()),
    };
    messages.push(Message::user(new.text.trim()));
    require_short(&messages)?;
    let current = promotions::current(&mut tx, project).await?;
    let sides = draw(arena.contenders_with(current))?;
    let sampling = Sampling {
        seed: draw_seed()?,
        ..arena.sampling
    };
    let id: i64 = sqlx::query_scalar(
        "insert into battle (project_id, user_id, turn, status, messages, sampling, created_at, changed_at)
         values (?1, ?2, ?3, 'asked', ?4, ?5, ?6, ?6) returning id",
    )
    .bind(project.0)
    .bind(by.user.0)
    .bind(turn)
    .bind(text::to_json(&messages)?)
    .bind(text::to_json(&sampling)?)
    .bind(now.0)
    .fetch_one(&mut *tx)
    .await?;
    let id = BattleId(id);
    for (position, adapter) in (0_i64..).zip(&sides) {
        sqlx::query("insert into battle_side (battle_id, position, adapter_id) values (?1, ?2, ?3)")
            .bind(id.0)
            .bind(position)
            .bind(adapter.map(|adapter| adapter.0))
            .execute(&mut *tx)
            .await?;
    }
    let detail = json!({"turn": turn});
    note(
        &mut tx,
        &by.clone().into(),
        Verb::BattleBegun,
        (project, id),
        detail,
        now,
    )
    .await?;
    let stored = read(&mut tx, id, by.user).await?;
    ask(&mut tx, chats, &stored, now).await?;
    tx.commit().await?;
    Ok(id)
}

/// Asks the same contenders the same again, where no trainer is asked: after a failure, a restart, or a long absence. The
/// seed is the same as well.
pub async fn ask_again(db: &Db, chats: &Chats, id: BattleId, by: &Person, now: Timestamp) -> Result<()> {
    let mut tx = db.write().await?;
    let stored = read(&mut tx, id, by.user).await?;
    require_open(&mut tx, stored.project).await?;
    match stored.status {
        BattleStatus::Asked => {}
        BattleStatus::Answered => return Ok(()),
        BattleStatus::Judged | BattleStatus::Closed => return Err(is_over()),
    }
    let is_at_work = chats
        .at_work_on(id)
        .is_some_and(|turn| !turn.told.status.is_over());
    if !is_at_work {
        ask(&mut tx, chats, &stored, now).await?;
        tx.commit().await?;
    }
    Ok(())
}

pub(super) fn is_over() -> Error {
    Error::Conflict("This battle is over: begin another one.".to_owned())
}

async fn ask(conn: &mut SqliteConnection, chats: &Chats, stored: &Stored, now: Timestamp) -> Result<JobId> {
    let side = |adapter| ChatSide {
        adapter,
        messages: stored.messages.clone(),
    };
    let turn = NewChatTurn {
        sides: stored.sides.iter().map(|own| side(own.adapter)).collect(),
        sampling: stored.sampling.clone(),
    };
    let battle = Some(stored.id);
    chat_jobs::insert(conn, chats, stored.project, &turn, stored.user, battle, now).await
}

async fn require_open(conn: &mut SqliteConnection, project: ProjectId) -> Result<Arena> {
    let row: Option<(String, String)> = sqlx::query_as("select arena, label_type from project where id = ?1")
        .bind(project.0)
        .fetch_optional(conn)
        .await?;
    let (arena, label_type) = row.ok_or(Error::NotFound)?;
    let arena: Arena = text::from_json(&arena)?;
    match arena.on && text::from_name::<LabelType>(&label_type)? == LabelType::Pick {
        true => Ok(arena),
        false => Err(Error::Conflict(
            "The arena of this project is closed: an admin opens it in the project's settings.".to_owned(),
        )),
    }
}

async fn require_none_open(conn: &mut SqliteConnection, project: ProjectId, by: &Person) -> Result<()> {
    let open: Option<i64> = sqlx::query_scalar(
        "select id from battle where user_id = ?1 and project_id = ?2 and status in ('asked', 'answered')",
    )
    .bind(by.user.0)
    .bind(project.0)
    .fetch_optional(conn)
    .await?;
    match open {
        None => Ok(()),
        Some(_) => Err(Error::Conflict(
            "One of your battles is open here: vote on it or stop it first.".to_owned(),
        )),
    }
}

/// The turn that follows a decided battle, and what was said before it. Where both answers were bad, the person may say
/// the same turn in other words.
async fn context(
    conn: &mut SqliteConnection,
    project: ProjectId,
    after: BattleId,
    by: &Person,
    max_turns: u8,
) -> Result<(u8, Vec<Message>)> {
    let mut before = read(conn, after, by.user).await?;
    if before.project != project {
        return Err(Error::NotFound);
    }
    if before.status != BattleStatus::Judged {
        return Err(Error::Conflict(
            "A conversation goes on after the vote: vote first.".to_owned(),
        ));
    }
    if choice(conn, after).await? == Choice::BothBad {
        before.messages.pop();
        return Ok((before.turn, before.messages));
    }
    let Some(position) = before.goes_on_from.filter(|_| before.turn < max_turns) else {
        return Err(Error::Conflict(
            "This conversation ends here: begin a new one.".to_owned(),
        ));
    };
    let chosen = before.sides.swap_remove(usize::from(position)).text;
    before.messages.push(Message::assistant(chosen));
    Ok((before.turn + 1, before.messages))
}

fn require_short(messages: &[Message]) -> Result<()> {
    let errors = validate_prompt(messages).err().unwrap_or_default();
    let own = |error: FieldError| FieldError {
        field: "text".to_owned(),
        ..error
    };
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Error::Invalid(errors.into_iter().map(own).collect())),
    }
}

/// What the arena names must be able to answer. Adapters come from rounds, so that a project that is being made has none.
pub(in crate::store) async fn require_contenders(
    conn: &mut SqliteConnection,
    project: Option<ProjectId>,
    arena: &Arena,
) -> Result<()> {
    for adapter in &arena.adapters {
        let kind = match project {
            Some(project) => adapters::kind_in_project(conn, *adapter, project).await?,
            None => None,
        };
        if !kind.is_some_and(|kind| kind.makes_policy()) {
            let reason = "must be policy adapters of this project";
            return Err(Error::Invalid(vec![FieldError::new("arena.adapters", reason)]));
        }
    }
    Ok(())
}

/// Two of the contenders, in the order in which they are shown.
fn draw(mut contenders: Vec<Option<AdapterId>>) -> Result<Vec<Option<AdapterId>>> {
    text::shuffle(&mut contenders)?;
    contenders.truncate(2);
    Ok(contenders)
}

fn draw_seed() -> Result<u64> {
    let secret = text::random_secret()?;
    // Thirteen hexadecimal digits are 52 bits: whole numbers in a browser as well.
    Ok(u64::from_str_radix(&secret[..13], 16).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_drawn_in_both_orders() {
        let arena = Arena {
            adapters: vec![AdapterId(3), AdapterId(4)],
            ..Arena::default()
        };
        let drawn: std::collections::BTreeSet<_> =
            (0..2000).map(|_| draw(arena.contenders()).unwrap()).collect();
        // Three contenders, two places; that one of them never comes in 2000 draws has a chance below 10^-150.
        assert_eq!(drawn.len(), 6);
        assert!(drawn.iter().all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn seeds_are_whole_numbers_in_a_browser_and_differ() {
        let (first, second) = (draw_seed().unwrap(), draw_seed().unwrap());
        assert!(first <= Sampling::LAST_SEED && first != second);
    }
}
