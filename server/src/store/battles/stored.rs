//! A battle as it lies in the database.

use crate::store::{Error, Result, completion_jobs::BASE_MODEL, text};
use laurel_protocol::{AdapterId, BattleId, BattleStatus, Message, ProjectId, Sampling, UserId};
use sqlx::SqliteConnection;

/// A battle with its two sides, A first.
pub(super) struct Stored {
    pub id: BattleId,
    pub project: ProjectId,
    pub user: UserId,
    pub turn: u8,
    pub status: BattleStatus,
    pub messages: Vec<Message>,
    pub sampling: Sampling,
    pub template_hash: Option<String>,
    pub vote_key: Option<String>,
    pub goes_on_from: Option<u8>,
    pub sides: Vec<Side>,
}

pub(super) struct Side {
    pub adapter: Option<AdapterId>,
    pub name: String,
    pub text: String,
    pub n_tokens: i64,
    pub finish_reason: Option<String>,
}

impl Stored {
    /// Both answers look the same to a person.
    pub(super) fn is_same(&self) -> bool {
        self.status != BattleStatus::Asked && self.sides[0].text.trim() == self.sides[1].text.trim()
    }
}

/// The battle, if it is this person's.
pub(super) async fn read(conn: &mut SqliteConnection, id: BattleId, user: UserId) -> Result<Stored> {
    let row: Option<Row> = sqlx::query_as(
        "select b.project_id, b.turn, b.status, coalesce(p.messages, b.messages) as messages, b.sampling, b.template_hash,
                b.vote_key, b.goes_on_from
         from battle b left join task t on t.id = b.task_id left join prompt p on p.id = t.prompt_id
         where b.id = ?1 and b.user_id = ?2",
    )
    .bind(id.0)
    .bind(user.0)
    .fetch_optional(&mut *conn)
    .await?;
    let row = row.ok_or(Error::NotFound)?;
    let sides: Vec<SideRow> = sqlx::query_as(
        "select s.adapter_id, a.name, coalesce(c.text, s.text) as text, s.n_tokens, s.finish_reason
         from battle_side s left join adapter a on a.id = s.adapter_id left join completion c on c.id = s.completion_id
         where s.battle_id = ?1 order by s.position",
    )
    .bind(id.0)
    .fetch_all(conn)
    .await?;
    Ok(Stored {
        id,
        project: ProjectId(row.project_id),
        user,
        turn: row.turn,
        status: text::from_name(&row.status)?,
        messages: text::from_json(&row.messages)?,
        sampling: text::from_json(&row.sampling)?,
        template_hash: row.template_hash,
        vote_key: row.vote_key,
        goes_on_from: row.goes_on_from,
        sides: sides.into_iter().map(SideRow::into_side).collect(),
    })
}

#[derive(sqlx::FromRow)]
struct Row {
    project_id: i64,
    turn: u8,
    status: String,
    messages: String,
    sampling: String,
    template_hash: Option<String>,
    vote_key: Option<String>,
    goes_on_from: Option<u8>,
}

#[derive(sqlx::FromRow)]
struct SideRow {
    adapter_id: Option<i64>,
    name: Option<String>,
    text: String,
    n_tokens: i64,
    finish_reason: Option<String>,
}

impl SideRow {
    fn into_side(self) -> Side {
        Side {
            adapter: self.adapter_id.map(AdapterId),
            name: self.name.unwrap_or_else(|| BASE_MODEL.to_owned()),
            text: self.text,
            n_tokens: self.n_tokens,
            finish_reason: self.finish_reason,
        }
    }
}
