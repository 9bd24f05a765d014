//! The links that make accounts: an admin's invites, and the set-up link of the first start. Secrets are stored
//! as hashes only.

use super::{
    Db, Error, Result, accounts,
    audit::{self, Actor, Event, Person},
    text,
};
use laurel_protocol::{AuditSubject, Invite, InviteId, InviteOffer, Role, Timestamp, User, UserId, Verb};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

pub const INVITE_SECONDS: i64 = 7 * 24 * 3600;

pub async fn invites(db: &Db) -> Result<Vec<Invite>> {
    let rows: Vec<InviteRow> = sqlx::query_as(
        "select id, role, created_at, expires_at, used_by from invite
         where created_by is not null order by id desc",
    )
    .fetch_all(db.read())
    .await?;
    rows.into_iter().map(Invite::try_from).collect()
}

/// Makes a one-time link; gives its secret. Without a maker it is the set-up link, which replaces earlier ones.
pub async fn invite(
    db: &Db,
    role: Role,
    by: Option<impl Into<Person>>,
    now: Timestamp,
) -> Result<(Invite, String)> {
    let by: Option<Person> = by.map(Into::into);
    let secret = text::random_secret()?;
    let mut tx = db.write().await?;
    if by.is_none() {
        sqlx::query("delete from invite where created_by is null and used_by is null")
            .execute(&mut *tx)
            .await?;
    }
    let row: InviteRow = sqlx::query_as(
        "insert into invite (token_hash, role, created_by, created_at, expires_at)
         values (?1, ?2, ?3, ?4, ?5) returning id, role, created_at, expires_at, used_by",
    )
    .bind(text::sha256_hex(&secret))
    .bind(text::name_of(&role))
    .bind(by.as_ref().map(|person| person.user.0))
    .bind(now.0)
    .bind(now.plus_seconds(INVITE_SECONDS).0)
    .fetch_one(&mut *tx)
    .await?;
    let by = by.map_or(Actor::Server, Actor::Person);
    note_invite(&mut tx, &by, Verb::InviteMade, row.id, json!({"role": role}), now).await?;
    tx.commit().await?;
    Ok((row.try_into()?, secret))
}

pub async fn delete_invite(db: &Db, id: InviteId, by: impl Into<Actor>, now: Timestamp) -> Result<()> {
    let by = by.into();
    let mut tx = db.write().await?;
    let gone = sqlx::query("delete from invite where id = ?1 and used_by is null")
        .bind(id.0)
        .execute(&mut *tx)
        .await?;
    if gone.rows_affected() == 0 {
        return Err(Error::NotFound);
    }
    note_invite(&mut tx, &by, Verb::InviteDeleted, id.0, json!({}), now).await?;
    tx.commit().await?;
    Ok(())
}

/// What a link offers; `None` when it was used, ran out, or never was, or when its maker is no admin any more. The
/// set-up link is good only while there is no admin: one may have been made on the command line since it was printed.
pub async fn offer(db: &Db, secret: &str, setup: bool, now: Timestamp) -> Result<Option<InviteOffer>> {
    let row: Option<(String, i64)> = sqlx::query_as(
        "select role, expires_at from invite
         where token_hash = ?1 and used_by is null and expires_at > ?2 and (created_by is null) = ?3
           and not (?3 and exists (select 1 from user where role = 'admin' and disabled = 0))
           and (created_by is null or exists (select 1 from user where id = created_by
                                              and role = 'admin' and disabled = 0))",
    )
    .bind(text::sha256_hex(secret))
    .bind(now.0)
    .bind(setup)
    .fetch_optional(db.read())
    .await?;
    row.map(|(role, expires_at)| {
        Ok(InviteOffer {
            role: text::from_name(&role)?,
            expires_at: Timestamp(expires_at),
        })
    })
    .transpose()
}

/// Makes the account that a link offers and signs it in. `None` when the link is no longer good.
pub async fn accept(
    db: &Db,
    secret: &str,
    setup: bool,
    name: &str,
    password_hash: &str,
    now: Timestamp,
) -> Result<Option<(User, String)>> {
    let mut tx = db.write().await?;
    let found: Option<(i64, String)> = sqlx::query_as(
        "select id, role from invite
         where token_hash = ?1 and used_by is null and expires_at > ?2 and (created_by is null) = ?3
           and not (?3 and exists (select 1 from user where role = 'admin' and disabled = 0))
           and (created_by is null or exists (select 1 from user where id = created_by
                                              and role = 'admin' and disabled = 0))",
    )
    .bind(text::sha256_hex(secret))
    .bind(now.0)
    .bind(setup)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((invite, role)) = found else {
        return Ok(None);
    };
    let user = accounts::insert(&mut tx, name, password_hash, text::from_name(&role)?, now).await?;
    sqlx::query("update invite set used_by = ?2 where id = ?1")
        .bind(invite)
        .bind(user.0)
        .execute(&mut *tx)
        .await?;
    let session = text::random_secret()?;
    accounts::insert_session(&mut tx, &session, user, now).await?;
    let user = accounts::read(&mut tx, user).await?;
    let detail = json!({"role": user.role, "invite": invite});
    accounts::note_account(&mut tx, &user.id.into(), Verb::AccountMade, &user, detail, now).await?;
    tx.commit().await?;
    Ok(Some((user, session)))
}

async fn note_invite(
    conn: &mut SqliteConnection,
    by: &Actor,
    verb: Verb,
    id: i64,
    detail: Value,
    now: Timestamp,
) -> Result<()> {
    let event = Event {
        verb,
        project: None,
        kind: AuditSubject::Invite,
        subject: Some(id),
        detail,
    };
    audit::note(conn, by, event, now).await
}

#[derive(sqlx::FromRow)]
struct InviteRow {
    id: i64,
    role: String,
    created_at: i64,
    expires_at: i64,
    used_by: Option<i64>,
}

impl TryFrom<InviteRow> for Invite {
    type Error = Error;

    fn try_from(row: InviteRow) -> Result<Self> {
        Ok(Self {
            id: InviteId(row.id),
            role: text::from_name(&row.role)?,
            created_at: Timestamp(row.created_at),
            expires_at: Timestamp(row.expires_at),
            used_by: row.used_by.map(UserId),
        })
    }
}
