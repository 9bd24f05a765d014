//! API tokens of scripts and trainers. The secret is shown once; its hash is stored.

use super::{
    Db, Error, Result,
    accounts::UserRow,
    audit::{self, Actor, Event},
    text,
};
use laurel_protocol::{ApiToken, AuditSubject, NewToken, Timestamp, TokenId, TokenScope, User, UserId, Verb};
use serde_json::json;
use sqlx::SqliteConnection;

/// Whose token was shown.
pub struct Holder {
    pub user: User,
    pub scope: TokenScope,
    /// The token's own name.
    pub name: String,
}

/// A token's use is noted at most this often: reading stays reading.
const NOTE_EVERY_MS: i64 = 60_000;

pub async fn list(db: &Db) -> Result<Vec<ApiToken>> {
    let rows: Vec<TokenRow> =
        sqlx::query_as("select id, name, scope, created_at, last_used_at from api_token order by id desc")
            .fetch_all(db.read())
            .await?;
    rows.into_iter().map(ApiToken::try_from).collect()
}

/// Makes a token; gives its secret.
pub async fn create(
    db: &Db,
    token: &NewToken,
    owner: UserId,
    by: impl Into<Actor>,
    now: Timestamp,
) -> Result<(ApiToken, String)> {
    let by = by.into();
    let secret = format!("laurel_{}", text::random_secret()?);
    let mut tx = db.write().await?;
    let row: TokenRow = sqlx::query_as(
        "insert into api_token (token_hash, name, scope, user_id, created_at) values (?1, ?2, ?3, ?4, ?5)
         returning id, name, scope, created_at, last_used_at",
    )
    .bind(text::sha256_hex(&secret))
    .bind(token.name.trim())
    .bind(text::name_of(&token.scope))
    .bind(owner.0)
    .bind(now.0)
    .fetch_one(&mut *tx)
    .await?;
    let token = ApiToken::try_from(row)?;
    note(&mut tx, &by, Verb::TokenMade, &token, now).await?;
    tx.commit().await?;
    Ok((token, secret))
}

pub async fn delete(db: &Db, id: TokenId, by: impl Into<Actor>, now: Timestamp) -> Result<()> {
    let by = by.into();
    let mut tx = db.write().await?;
    let gone: Option<TokenRow> = sqlx::query_as(
        "delete from api_token where id = ?1 returning id, name, scope, created_at, last_used_at",
    )
    .bind(id.0)
    .fetch_optional(&mut *tx)
    .await?;
    let token = gone.ok_or(Error::NotFound)?.try_into()?;
    note(&mut tx, &by, Verb::TokenRevoked, &token, now).await?;
    tx.commit().await?;
    Ok(())
}

async fn note(
    conn: &mut SqliteConnection,
    by: &Actor,
    verb: Verb,
    token: &ApiToken,
    now: Timestamp,
) -> Result<()> {
    let event = Event {
        verb,
        project: None,
        kind: AuditSubject::Token,
        subject: Some(token.id.0),
        detail: json!({"name": token.name, "scope": token.scope}),
    };
    audit::note(conn, by, event, now).await
}

/// Whose token it is and what it may do; `None` for an unknown one or a person who is shut out.
pub async fn holder(db: &Db, secret: &str, now: Timestamp) -> Result<Option<Holder>> {
    let hash = text::sha256_hex(secret);
    let found: Option<(i64, String, String, Option<i64>, i64)> =
        sqlx::query_as("select id, name, scope, last_used_at, user_id from api_token where token_hash = ?1")
            .bind(&hash)
            .fetch_optional(db.read())
            .await?;
    let Some((id, name, scope, last_used_at, user)) = found else {
        return Ok(None);
    };
    let row: UserRow = sqlx::query_as("select id, name, role, disabled, created_at from user where id = ?1")
        .bind(user)
        .fetch_one(db.read())
        .await?;
    if row.disabled {
        return Ok(None);
    }
    if last_used_at.is_none_or(|last| now.0 - last > NOTE_EVERY_MS) {
        let mut tx = db.write().await?;
        sqlx::query("update api_token set last_used_at = ?2 where id = ?1")
            .bind(id)
            .bind(now.0)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
    }
    Ok(Some(Holder {
        user: row.try_into()?,
        scope: text::from_name(&scope)?,
        name,
    }))
}

#[derive(sqlx::FromRow)]
struct TokenRow {
    id: i64,
    name: String,
    scope: String,
    created_at: i64,
    last_used_at: Option<i64>,
}

impl TryFrom<TokenRow> for ApiToken {
    type Error = Error;

    fn try_from(row: TokenRow) -> Result<Self> {
        Ok(Self {
            id: TokenId(row.id),
            name: row.name,
            scope: text::from_name(&row.scope)?,
            created_at: Timestamp(row.created_at),
            last_used_at: text::time(row.last_used_at),
        })
    }
}
