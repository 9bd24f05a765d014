//! The audit log: a row for each change of state, written in the transaction of the change. The table refuses updates
//! and deletes by itself (migration 0008).

use super::{Db, Result, text};
use laurel_protocol::{
    AuditEntry, AuditFilter, AuditId, AuditPage, AuditSubject, ProjectId, TaskId, Timestamp, UserId, Verb,
    Via,
};
use serde_json::Value;
use sqlx::SqliteConnection;

/// Rows that a stream reads at once.
const PAGE: u32 = 500;

/// Who makes a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    Person(Person),
    /// A trainer, by the name of its token.
    Trainer(String),
    CommandLine,
    /// Nobody: a lease ran out, say.
    Server,
}

/// Someone with an account, at the browser or through a script's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub user: UserId,
    /// The token's name.
    pub token: Option<String>,
}

impl From<UserId> for Person {
    fn from(user: UserId) -> Self {
        Self { user, token: None }
    }
}

impl From<UserId> for Actor {
    fn from(user: UserId) -> Self {
        Self::Person(user.into())
    }
}

impl From<Person> for Actor {
    fn from(person: Person) -> Self {
        Self::Person(person)
    }
}

/// What was done, and to what.
pub(super) struct Event {
    pub verb: Verb,
    pub project: Option<ProjectId>,
    pub kind: AuditSubject,
    pub subject: Option<i64>,
    pub detail: Value,
}

/// Notes one change, in the change's own transaction. Names of people are not copied: the log is read with those that
/// they have, so that whoever leaves is no longer named in it.
pub(super) async fn note(
    conn: &mut SqliteConnection,
    by: &Actor,
    event: Event,
    now: Timestamp,
) -> Result<()> {
    let (via, user, name, token) = match by {
        Actor::Person(Person { user, token: None }) => (Via::Session, Some(user.0), "", None),
        Actor::Person(Person { user, token }) => (Via::Token, Some(user.0), "", token.as_deref()),
        Actor::Trainer(name) => (Via::Trainer, None, name.as_str(), None),
        Actor::CommandLine => (Via::CommandLine, None, "command line", None),
        Actor::Server => (Via::Server, None, "server", None),
    };
    sqlx::query(
        "insert into audit (at, who, via, user_id, token, verb, project_id, kind, subject_id, detail)
         values (?1, ?4, ?2, ?3, ?5, ?6, ?7, ?8, ?9, ?10)",
    )
    .bind(now.0)
    .bind(text::name_of(&via))
    .bind(user)
    .bind(name)
    .bind(token)
    .bind(event.verb.name())
    .bind(event.project.map(|project| project.0))
    .bind(text::name_of(&event.kind))
    .bind(event.subject)
    .bind(text::to_json(&event.detail)?)
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes what was done with a task.
pub(super) async fn note_task(
    conn: &mut SqliteConnection,
    by: &Actor,
    verb: Verb,
    (project, task): (ProjectId, TaskId),
    now: Timestamp,
) -> Result<()> {
    let event = Event {
        verb,
        project: Some(project),
        kind: AuditSubject::Task,
        subject: Some(task.0),
        detail: serde_json::json!({}),
    };
    note(conn, by, event, now).await
}

/// Notes what changes nothing in the database: an export, a backup.
pub async fn note_taken(
    db: &Db,
    by: impl Into<Actor>,
    verb: Verb,
    project: Option<ProjectId>,
    detail: Value,
    now: Timestamp,
) -> Result<()> {
    let by = by.into();
    let event = Event {
        verb,
        project,
        kind: if project.is_some() {
            AuditSubject::Project
        } else {
            AuditSubject::Database
        },
        subject: project.map(|project| project.0),
        detail,
    };
    let mut tx = db.write().await?;
    note(&mut tx, &by, event, now).await?;
    tx.commit().await?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Oldest,
    Newest,
}

/// The statement for entries that a filter lets through, with where to go on.
macro_rules! entries {
    ($from:literal) => {
        concat!(
            "select a.id, a.at, coalesce(u.name, a.who) as who, a.via, a.user_id, a.token, a.verb, a.project_id, a.kind,
                    a.subject_id,
                    iif(a.kind = 'account',
                        json_set(a.detail, '$.name', (select name from user where id = a.subject_id)), a.detail)
                        as detail
             from audit a left join user u on u.id = a.user_id
             where (?1 is null or a.project_id = ?1)
               and (?2 is null or coalesce(u.name, a.who) = ?2 collate nocase or a.token = ?2 collate nocase)
               and (?3 is null or a.verb = ?3) and (?4 is null or a.at >= ?4) and ",
            $from
        )
    };
}

/// The next entries behind `after` in this order.
pub async fn page(
    db: &Db,
    filter: &AuditFilter,
    order: Order,
    after: Option<AuditId>,
    limit: u32,
) -> Result<AuditPage> {
    let sql = match order {
        Order::Oldest => entries!("a.id > coalesce(?5, 0) order by a.id limit ?6"),
        Order::Newest => entries!("a.id < coalesce(?5, 9223372036854775807) order by a.id desc limit ?6"),
    };
    let rows: Vec<Row> = sqlx::query_as(sql)
        .bind(filter.project.map(|project| project.0))
        .bind(filter.who.as_deref().map(str::trim))
        .bind(filter.verb.map(Verb::name))
        .bind(filter.since.map(|since| since.0))
        .bind(after.map(|after| after.0))
        .bind(limit)
        .fetch_all(db.read())
        .await?;
    let is_full = rows.len() == limit as usize;
    let entries: Vec<AuditEntry> = rows
        .into_iter()
        .map(AuditEntry::try_from)
        .collect::<Result<_>>()?;
    let next = entries.last().filter(|_| is_full).map(|entry| entry.id);
    Ok(AuditPage { entries, next })
}

/// The log as JSON Lines, oldest first, a page at a time. It only grows: no transaction is held meanwhile.
pub struct Lines {
    db: Db,
    filter: AuditFilter,
    after: Option<AuditId>,
    has_ended: bool,
}

impl Lines {
    pub fn begin(db: &Db, filter: AuditFilter, after: Option<AuditId>) -> Self {
        Self {
            db: db.clone(),
            filter,
            after,
            has_ended: false,
        }
    }

    /// The next lines, or none at the end.
    pub async fn next_page(&mut self) -> Result<Option<String>> {
        if self.has_ended {
            return Ok(None);
        }
        let page = page(&self.db, &self.filter, Order::Oldest, self.after, PAGE).await?;
        self.after = page.next;
        self.has_ended = page.next.is_none();
        let mut lines = String::new();
        for entry in &page.entries {
            lines.push_str(&text::to_json(entry)?);
            lines.push('\n');
        }
        Ok(Some(lines))
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    at: i64,
    who: String,
    via: String,
    user_id: Option<i64>,
    token: Option<String>,
    verb: String,
    project_id: Option<i64>,
    kind: String,
    subject_id: Option<i64>,
    detail: String,
}

impl TryFrom<Row> for AuditEntry {
    type Error = super::Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: AuditId(row.id),
            at: Timestamp(row.at),
            who: row.who,
            via: text::from_name(&row.via)?,
            user: row.user_id.map(UserId),
            token: row.token,
            verb: text::from_name(&row.verb)?,
            project: row.project_id.map(ProjectId),
            kind: text::from_name(&row.kind)?,
            subject: row.subject_id,
            detail: text::from_json(&row.detail)?,
        })
    }
}
