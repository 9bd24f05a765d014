//! People and their sessions; [`super::invites`] are the links that make accounts. Secrets are stored as hashes only.

use super::{
    Db, Error, Result,
    audit::{self, Actor, Event},
    text,
};
use laurel_protocol::{AuditSubject, FieldError, Role, Timestamp, User, UserChange, UserId, Verb};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

pub const SESSION_SECONDS: i64 = 30 * 24 * 3600;

/// Whether nobody can administer yet.
pub async fn needs_setup(db: &Db) -> Result<bool> {
    let n: i64 = sqlx::query_scalar("select count(*) from user where role = 'admin' and disabled = 0")
        .fetch_one(db.read())
        .await?;
    Ok(n == 0)
}

pub async fn list(db: &Db) -> Result<Vec<User>> {
    let rows: Vec<UserRow> =
        sqlx::query_as("select id, name, role, disabled, created_at from user order by id")
            .fetch_all(db.read())
            .await?;
    rows.into_iter().map(User::try_from).collect()
}

/// The person and the hash of the password, for signing in.
pub async fn by_name(db: &Db, name: &str) -> Result<Option<(User, String)>> {
    let found: Option<(i64, String)> = sqlx::query_as("select id, password_hash from user where name = ?1")
        .bind(name.trim())
        .fetch_optional(db.read())
        .await?;
    match found {
        Some((id, hash)) => Ok(Some((get(db, UserId(id)).await?, hash))),
        None => Ok(None),
    }
}

pub async fn get(db: &Db, id: UserId) -> Result<User> {
    let mut conn = db.read().acquire().await?;
    read(&mut conn, id).await
}

/// Makes an account on the command line.
pub async fn create(db: &Db, name: &str, password_hash: &str, role: Role, now: Timestamp) -> Result<User> {
    let mut tx = db.write().await?;
    let id = insert(&mut tx, name, password_hash, role, now).await?;
    let user = read(&mut tx, id).await?;
    note_account(
        &mut tx,
        &Actor::CommandLine,
        Verb::AccountMade,
        &user,
        json!({"role": role}),
        now,
    )
    .await?;
    tx.commit().await?;
    Ok(user)
}

/// The account that owns the token of a trainer started before the first person signed up. Nobody can sign in
/// with it: what is stored is no hash of any password.
pub async fn local_trainer(db: &Db, now: Timestamp) -> Result<UserId> {
    const NAME: &str = "local trainer";
    let mut tx = db.write().await?;
    let known: Option<i64> =
        sqlx::query_scalar("select id from user where name = ?1 and password_hash = '!'")
            .bind(NAME)
            .fetch_optional(&mut *tx)
            .await?;
    let id = match known {
        Some(id) => UserId(id),
        None => {
            let id = insert(&mut tx, NAME, "!", Role::Annotator, now).await?;
            let user = read(&mut tx, id).await?;
            let detail = json!({"role": user.role});
            note_account(
                &mut tx,
                &Actor::CommandLine,
                Verb::AccountMade,
                &user,
                detail,
                now,
            )
            .await?;
            id
        }
    };
    tx.commit().await?;
    Ok(id)
}

/// Changes role or access. The last admin who can sign in stays one.
pub async fn change(
    db: &Db,
    id: UserId,
    change: &UserChange,
    by: impl Into<Actor>,
    now: Timestamp,
) -> Result<User> {
    let by = by.into();
    let mut tx = db.write().await?;
    let before = read(&mut tx, id).await?;
    sqlx::query("update user set role = coalesce(?2, role), disabled = coalesce(?3, disabled) where id = ?1")
        .bind(id.0)
        .bind(change.role.map(|role| text::name_of(&role)))
        .bind(change.disabled)
        .execute(&mut *tx)
        .await?;
    if n_admins(&mut tx).await? == 0 {
        return Err(Error::Conflict(
            "This is the last admin: make someone else an admin first.".to_owned(),
        ));
    }
    if change.disabled == Some(true) {
        sqlx::query("delete from session where user_id = ?1")
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
    }
    let user = read(&mut tx, id).await?;
    if user.role != before.role {
        let detail = json!({"from": before.role, "to": user.role});
        note_account(&mut tx, &by, Verb::RoleChanged, &user, detail, now).await?;
    }
    if user.disabled != before.disabled {
        let verb = match user.disabled {
            true => Verb::AccountDisabled,
            false => Verb::AccountEnabled,
        };
        note_account(&mut tx, &by, verb, &user, json!({}), now).await?;
    }
    tx.commit().await?;
    Ok(user)
}

/// Signs a person in: gives the secret of a new session.
pub async fn start_session(db: &Db, user: UserId, now: Timestamp) -> Result<String> {
    let secret = text::random_secret()?;
    let mut tx = db.write().await?;
    sqlx::query("delete from session where expires_at < ?1")
        .bind(now.0)
        .execute(&mut *tx)
        .await?;
    insert_session(&mut tx, &secret, user, now).await?;
    let user = read(&mut tx, user).await?;
    note_account(&mut tx, &user.id.into(), Verb::SignedIn, &user, json!({}), now).await?;
    tx.commit().await?;
    Ok(secret)
}

/// Who holds the session, while it lasts and the person is not shut out.
pub async fn session_user(db: &Db, secret: &str, now: Timestamp) -> Result<Option<User>> {
    let row: Option<UserRow> = sqlx::query_as(
        "select u.id, u.name, u.role, u.disabled, u.created_at
         from session s join user u on u.id = s.user_id
         where s.token_hash = ?1 and s.expires_at > ?2 and u.disabled = 0",
    )
    .bind(text::sha256_hex(secret))
    .bind(now.0)
    .fetch_optional(db.read())
    .await?;
    row.map(User::try_from).transpose()
}

pub async fn end_session(db: &Db, secret: &str, now: Timestamp) -> Result<()> {
    let mut tx = db.write().await?;
    let user: Option<i64> = sqlx::query_scalar("delete from session where token_hash = ?1 returning user_id")
        .bind(text::sha256_hex(secret))
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(user) = user {
        let user = read(&mut tx, UserId(user)).await?;
        note_account(&mut tx, &user.id.into(), Verb::SignedOut, &user, json!({}), now).await?;
    }
    tx.commit().await?;
    Ok(())
}

pub(super) async fn note_account(
    conn: &mut SqliteConnection,
    by: &Actor,
    verb: Verb,
    user: &User,
    detail: Value,
    now: Timestamp,
) -> Result<()> {
    let event = Event {
        verb,
        project: None,
        kind: AuditSubject::Account,
        subject: Some(user.id.0),
        detail,
    };
    audit::note(conn, by, event, now).await
}

pub(super) async fn insert(
    conn: &mut SqliteConnection,
    name: &str,
    password_hash: &str,
    role: Role,
    now: Timestamp,
) -> Result<UserId> {
    let id: Option<i64> = sqlx::query_scalar(
        "insert into user (name, password_hash, role, created_at) values (?1, ?2, ?3, ?4)
         on conflict (name) do nothing returning id",
    )
    .bind(name.trim())
    .bind(password_hash)
    .bind(text::name_of(&role))
    .bind(now.0)
    .fetch_optional(conn)
    .await?;
    let taken = || Error::Invalid(vec![FieldError::new("name", "is taken: choose another")]);
    id.map(UserId).ok_or_else(taken)
}

pub(super) async fn insert_session(
    conn: &mut SqliteConnection,
    secret: &str,
    user: UserId,
    now: Timestamp,
) -> Result<()> {
    sqlx::query("insert into session (token_hash, user_id, created_at, expires_at) values (?1, ?2, ?3, ?4)")
        .bind(text::sha256_hex(secret))
        .bind(user.0)
        .bind(now.0)
        .bind(now.plus_seconds(SESSION_SECONDS).0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Admins who can sign in.
pub(super) async fn n_admins(conn: &mut SqliteConnection) -> Result<i64> {
    let n = sqlx::query_scalar("select count(*) from user where role = 'admin' and disabled = 0")
        .fetch_one(conn)
        .await?;
    Ok(n)
}

pub(super) async fn read(conn: &mut SqliteConnection, id: UserId) -> Result<User> {
    let row: Option<UserRow> =
        sqlx::query_as("select id, name, role, disabled, created_at from user where id = ?1")
            .bind(id.0)
            .fetch_optional(conn)
            .await?;
    row.ok_or(Error::NotFound)?.try_into()
}

#[derive(sqlx::FromRow)]
pub(super) struct UserRow {
    pub id: i64,
    pub name: String,
    pub role: String,
    pub disabled: bool,
    pub created_at: i64,
}

impl TryFrom<UserRow> for User {
    type Error = Error;

    fn try_from(row: UserRow) -> Result<Self> {
        Ok(Self {
            id: UserId(row.id),
            name: row.name,
            role: text::from_name(&row.role)?,
            disabled: row.disabled,
            created_at: Timestamp(row.created_at),
        })
    }
}
