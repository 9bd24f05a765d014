//! Who works on a project. In an assigned one only its members are given tasks; who is taken out gives back what they
//! hold, and what they answered stays.

use super::{
    Db, Error, Result, accounts, assignments,
    audit::{self, Actor, Event, Person},
    projects, text,
};
use laurel_protocol::{
    AssignmentId, AuditSubject, Checks, FieldError, Member, MemberLimit, Members, NewMember, NewMembers,
    ProjectId, Timestamp, User, UserId, Verb,
};
use serde_json::{Value, json};
use sqlx::SqliteConnection;
use std::collections::BTreeMap;

pub async fn of_project(db: &Db, project: ProjectId) -> Result<Members> {
    let mut tx = db.read().begin().await?;
    read(&mut tx, project).await
}

/// Says who works here, and with a list in place of the old one also which people are named.
pub async fn replace(
    db: &Db,
    project: ProjectId,
    new: &NewMembers,
    by: &Person,
    now: Timestamp,
) -> Result<Members> {
    let mut tx = db.write().await?;
    let old = read(&mut tx, project).await?;
    let change = Change { project, by, now };
    if let Some(members) = &new.members {
        let wanted: BTreeMap<UserId, NewMember> =
            members.iter().map(|member| (member.user, *member)).collect();
        for gone in old.members.iter().filter(|old| !wanted.contains_key(&old.user)) {
            change.remove(&mut tx, gone.user).await?;
        }
        for member in wanted.values() {
            let known = old.members.iter().find(|old| old.user == member.user);
            change.put(&mut tx, *member, known).await?;
        }
    }
    sqlx::query("update project set assigned = ?2 where id = ?1")
        .bind(project.0)
        .bind(new.assigned)
        .execute(&mut *tx)
        .await?;
    let n_given_back = give_back(&mut tx, project, now).await?;
    if old.assigned != new.assigned {
        let detail = json!({"assigned": new.assigned, "n_given_back": n_given_back});
        projects::note(
            &mut tx,
            &by.clone().into(),
            Verb::AccessChanged,
            project,
            detail,
            now,
        )
        .await?;
    }
    let members = read(&mut tx, project).await?;
    tx.commit().await?;
    Ok(members)
}

/// Adds a person, or changes their limit.
pub async fn put(
    db: &Db,
    project: ProjectId,
    user: UserId,
    limit: MemberLimit,
    by: &Person,
    now: Timestamp,
) -> Result<Members> {
    let mut tx = db.write().await?;
    let old = read(&mut tx, project).await?;
    accounts::read(&mut tx, user).await?;
    let member = NewMember {
        user,
        max_tasks: limit.max_tasks,
    };
    let known = old.members.iter().find(|old| old.user == user);
    Change { project, by, now }.put(&mut tx, member, known).await?;
    let members = read(&mut tx, project).await?;
    tx.commit().await?;
    Ok(members)
}

/// Takes a person out. Where only members are given tasks, the queue has again what they hold.
pub async fn remove(
    db: &Db,
    project: ProjectId,
    user: UserId,
    by: &Person,
    now: Timestamp,
) -> Result<Members> {
    let mut tx = db.write().await?;
    let old = read(&mut tx, project).await?;
    if old.members.iter().all(|old| old.user != user) {
        return Err(Error::NotFound);
    }
    Change { project, by, now }.remove(&mut tx, user).await?;
    give_back(&mut tx, project, now).await?;
    let members = read(&mut tx, project).await?;
    tx.commit().await?;
    Ok(members)
}

/// Fails with `NotAssigned` where only members work and this person is none.
pub(super) async fn require(conn: &mut SqliteConnection, project: ProjectId, user: UserId) -> Result<()> {
    match checks_of(conn, project, user).await? {
        Some(_) => Ok(()),
        None => Err(Error::NotAssigned),
    }
}

/// What this person is checked by, their own limit included; `None` where they are not assigned.
pub(super) async fn checks_of(
    conn: &mut SqliteConnection,
    project: ProjectId,
    user: UserId,
) -> Result<Option<Checks>> {
    let (checks, assigned, is_member, max_tasks): (String, bool, bool, Option<u32>) = sqlx::query_as(
        "select p.checks, p.assigned, m.user_id is not null, m.max_tasks from project p
         left join project_member m on m.project_id = p.id and m.user_id = ?2 where p.id = ?1",
    )
    .bind(project.0)
    .bind(user.0)
    .fetch_one(conn)
    .await?;
    let checks: Checks = text::from_json(&checks)?;
    Ok(match (assigned, is_member) {
        (false, _) => Some(checks),
        (true, false) => None,
        (true, true) => Some(Checks {
            max_per_annotator: max_tasks.or(checks.max_per_annotator),
            ..checks
        }),
    })
}

/// Fails with `NotAssigned` where the project is not for this person: it is for those who work there or have worked, and
/// for all who decide on answers.
pub async fn require_visible(db: &Db, project: ProjectId, user: &User) -> Result<()> {
    if user.role.may_review() {
        return Ok(());
    }
    let is_visible: Option<bool> = sqlx::query_scalar(
        "select p.assigned = 0
                or exists (select 1 from project_member m where m.project_id = p.id and m.user_id = ?2)
                or exists (select 1 from assignment a where a.project_id = p.id and a.user_id = ?2)
         from project p where p.id = ?1",
    )
    .bind(project.0)
    .bind(user.id.0)
    .fetch_optional(db.read())
    .await?;
    match is_visible.ok_or(Error::NotFound)? {
        true => Ok(()),
        false => Err(Error::NotAssigned),
    }
}

async fn read(conn: &mut SqliteConnection, project: ProjectId) -> Result<Members> {
    let assigned: Option<bool> = sqlx::query_scalar("select assigned from project where id = ?1")
        .bind(project.0)
        .fetch_optional(&mut *conn)
        .await?;
    let rows: Vec<MemberRow> = sqlx::query_as(
        "select u.id, u.name, u.role, u.disabled, m.max_tasks, m.added_at,
                (select count(*) from assignment a
                 where a.user_id = u.id and a.project_id = ?1 and a.kind = 'label'
                   and a.status in ('held', 'answered')) as n_tasks
         from project_member m join user u on u.id = m.user_id where m.project_id = ?1 order by u.name, u.id",
    )
    .bind(project.0)
    .fetch_all(conn)
    .await?;
    Ok(Members {
        assigned: assigned.ok_or(Error::NotFound)?,
        members: rows.into_iter().map(Member::try_from).collect::<Result<_>>()?,
    })
}

#[derive(sqlx::FromRow)]
struct MemberRow {
    id: i64,
    name: String,
    role: String,
    disabled: bool,
    max_tasks: Option<u32>,
    added_at: i64,
    n_tasks: i64,
}

impl TryFrom<MemberRow> for Member {
    type Error = Error;

    fn try_from(row: MemberRow) -> Result<Self> {
        Ok(Self {
            user: UserId(row.id),
            name: row.name,
            role: text::from_name(&row.role)?,
            disabled: row.disabled,
            max_tasks: row.max_tasks,
            n_tasks: text::count(row.n_tasks),
            added_at: Timestamp(row.added_at),
        })
    }
}

/// Who changes the list of which project, and when.
struct Change<'a> {
    project: ProjectId,
    by: &'a Person,
    now: Timestamp,
}

impl Change<'_> {
    async fn put(&self, conn: &mut SqliteConnection, new: NewMember, known: Option<&Member>) -> Result<()> {
        if known.is_some_and(|known| known.max_tasks == new.max_tasks) {
            return Ok(());
        }
        let stored = sqlx::query(
            "insert into project_member (project_id, user_id, max_tasks, added_by, added_at)
             select ?1, id, ?3, ?4, ?5 from user where id = ?2
             on conflict (project_id, user_id) do update set max_tasks = ?3",
        )
        .bind(self.project.0)
        .bind(new.user.0)
        .bind(new.max_tasks)
        .bind(self.by.user.0)
        .bind(self.now.0)
        .execute(&mut *conn)
        .await?;
        if stored.rows_affected() == 0 {
            let reason = format!("names account {}, which is not there", new.user);
            return Err(Error::Invalid(vec![FieldError::new("members", reason)]));
        }
        let verb = match known {
            Some(_) => Verb::MemberChanged,
            None => Verb::MemberAdded,
        };
        let detail = json!({"max_tasks": new.max_tasks});
        self.note(conn, verb, new.user, detail).await
    }

    async fn remove(&self, conn: &mut SqliteConnection, user: UserId) -> Result<()> {
        sqlx::query("delete from project_member where project_id = ?1 and user_id = ?2")
            .bind(self.project.0)
            .bind(user.0)
            .execute(&mut *conn)
            .await?;
        self.note(conn, Verb::MemberRemoved, user, json!({})).await
    }

    async fn note(&self, conn: &mut SqliteConnection, verb: Verb, user: UserId, detail: Value) -> Result<()> {
        let event = Event {
            verb,
            project: Some(self.project),
            kind: AuditSubject::Account,
            subject: Some(user.0),
            detail,
        };
        audit::note(conn, &Actor::from(self.by.clone()), event, self.now).await
    }
}

/// Gives the queue what people hold who may not work here. Gives how many tasks that are.
async fn give_back(conn: &mut SqliteConnection, project: ProjectId, now: Timestamp) -> Result<usize> {
    let held: Vec<i64> = sqlx::query_scalar(
        "select a.id from assignment a join project p on p.id = a.project_id
         where a.project_id = ?1 and a.status = 'held' and p.assigned = 1
           and not exists (select 1 from project_member m where m.project_id = ?1 and m.user_id = a.user_id)",
    )
    .bind(project.0)
    .fetch_all(&mut *conn)
    .await?;
    for id in &held {
        assignments::set_status(conn, AssignmentId(*id), assignments::Status::Expired, now).await?;
    }
    Ok(held.len())
}
