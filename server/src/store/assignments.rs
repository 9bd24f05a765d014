//! Assignments: one person's hold on one slot of a task, under a lease. Slots are handed out in the single writer's
//! transaction, so a task never has more live holds and answers than its overlap. Every change of an assignment's
//! status goes through [`set_status`].

use super::{
    Db, Error, Result, annotations,
    audit::{self, Actor, Event, Person},
    checks::{self, Kind, Next},
    contests, members, selection, tasks, text, undo,
};
use crate::render;
use laurel_protocol::{
    Assignment, AssignmentId, AuditSubject, CompletionId, Held, LabelType, Message, Progress, ProjectId,
    PromptId, Questions, ShownCompletion, ShownMessage, Skip, TaskId, Timestamp, UserId, Verb,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

/// Tasks that a person may hold at once.
pub const MAX_HELD: u8 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Held,
    Answered,
    Skipped,
    Expired,
}

/// An assignment as far as answering it needs it.
pub struct Slot {
    pub id: AssignmentId,
    pub task: TaskId,
    pub project: ProjectId,
    pub prompt: PromptId,
    pub user: UserId,
    pub status: Status,
    /// Completions in display order.
    pub shown: Vec<CompletionId>,
    pub label_type: LabelType,
    pub ask_strength: bool,
    pub questions: Questions,
    pub kind: Kind,
    /// A vote of the arena.
    pub live: bool,
}

impl Slot {
    /// Whoever voted in the arena knows by now who the contenders were.
    pub(super) fn require_not_live(&self) -> Result<()> {
        match self.live {
            true => Err(Error::Conflict(
                "A vote of the arena stays as it is: the names were told after it.".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// Notes what its holder did with it.
    pub(super) async fn note(
        &self,
        conn: &mut SqliteConnection,
        by: &Actor,
        verb: Verb,
        detail: Value,
        now: Timestamp,
    ) -> Result<()> {
        let event = Event {
            verb,
            project: Some(self.project),
            kind: AuditSubject::Assignment,
            subject: Some(self.id.0),
            detail,
        };
        audit::note(conn, by, event, now).await
    }
}

/// Who asks, where, and when.
#[derive(Clone, Copy)]
pub struct Annotator {
    pub user: UserId,
    pub project: ProjectId,
    pub lease_seconds: u32,
    pub now: Timestamp,
}

/// What the person holds, topped up to `n`.
pub async fn hold(db: &Db, who: Annotator, n: u8) -> Result<Held> {
    let mut tx = db.write().await?;
    let known: Option<i64> = sqlx::query_scalar("select id from project where id = ?1")
        .bind(who.project.0)
        .fetch_optional(&mut *tx)
        .await?;
    known.ok_or(Error::NotFound)?;
    undo::end(&mut tx, who).await?;
    let ids = top_up(&mut tx, who, n).await?;
    tx.commit().await?;
    held(db, who, &ids).await
}

/// Puts a task aside with a reason: its slot is free again, and this person does not get it again. Skipping an
/// answered one withdraws the answer, if the skip knows of it.
pub async fn skip(
    db: &Db,
    id: AssignmentId,
    skip: &Skip,
    by: impl Into<Person>,
    lease: u32,
    now: Timestamp,
) -> Result<Held> {
    let by = by.into();
    let who_user = by.user;
    let by = Actor::from(by);
    let mut tx = db.write().await?;
    let slot = read(&mut tx, id, who_user).await?;
    slot.require_not_live()?;
    let who = Annotator {
        user: who_user,
        project: slot.project,
        lease_seconds: lease,
        now,
    };
    let n_before = live(&mut tx, who).await?.len();
    if slot.status != Status::Skipped {
        members::require(&mut tx, slot.project, who_user).await?;
    }
    // A skip sent again finds the task skipped, and changes no answer.
    if slot.status != Status::Skipped && skip.revision != annotations::next_revision(&mut tx, id).await? {
        return Err(Error::Conflict(
            "This task was answered in between: undo to change or skip it.".to_owned(),
        ));
    }
    if slot.status == Status::Answered {
        annotations::withdraw(&mut tx, &slot, &by, now).await?;
    }
    if slot.status != Status::Skipped {
        let detail = json!({"task": slot.task, "reason": skip.reason});
        slot.note(&mut tx, &by, Verb::TaskSkipped, detail, now).await?;
    }
    set_status(&mut tx, id, Status::Skipped, now).await?;
    sqlx::query("update assignment set skip_reason = ?2, skip_comment = ?3 where id = ?1")
        .bind(id.0)
        .bind(text::name_of(&skip.reason))
        .bind(&skip.comment)
        .execute(&mut *tx)
        .await?;
    undo::end(&mut tx, who).await?;
    let ids = top_up(&mut tx, who, n_before.clamp(1, MAX_HELD.into()) as u8).await?;
    tx.commit().await?;
    held(db, who, &ids).await
}

/// Prolongs a hold; a hold that ran out goes on while its slot is free.
pub async fn renew(
    db: &Db,
    id: AssignmentId,
    user: UserId,
    lease: u32,
    now: Timestamp,
) -> Result<Assignment> {
    let mut tx = db.write().await?;
    let slot = read(&mut tx, id, user).await?;
    let who = Annotator {
        user,
        project: slot.project,
        lease_seconds: lease,
        now,
    };
    members::require(&mut tx, slot.project, user).await?;
    if matches!(slot.status, Status::Held | Status::Expired) {
        require_free(&mut tx, &slot, now).await?;
        take(&mut tx, id, who).await?;
    }
    tx.commit().await?;
    let mut conn = db.read().acquire().await?;
    show(&mut conn, id).await
}

/// What the person holds now, oldest first, and new tasks until it is `n`.
pub(super) async fn top_up(conn: &mut SqliteConnection, who: Annotator, n: u8) -> Result<Vec<AssignmentId>> {
    expire(conn, who.project, who.now).await?;
    let mut ids = live(conn, who).await?;
    while ids.len() < usize::from(n.clamp(1, MAX_HELD)) {
        match claim(conn, who).await? {
            Some(id) => ids.push(id),
            None => break,
        }
    }
    Ok(ids)
}

pub(super) async fn live(conn: &mut SqliteConnection, who: Annotator) -> Result<Vec<AssignmentId>> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "select id from assignment
         where user_id = ?1 and project_id = ?3 and status = 'held' and lease_until > ?2
         order by created_at, id",
    )
    .bind(who.user.0)
    .bind(who.now.0)
    .bind(who.project.0)
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(AssignmentId).collect())
}

/// Takes back every hold of the project whose time ran out.
async fn expire(conn: &mut SqliteConnection, project: ProjectId, now: Timestamp) -> Result<()> {
    let late: Vec<i64> = sqlx::query_scalar(
        "select id from assignment where project_id = ?1 and status = 'held' and lease_until <= ?2",
    )
    .bind(project.0)
    .bind(now.0)
    .fetch_all(&mut *conn)
    .await?;
    for id in late {
        set_status(conn, AssignmentId(id), Status::Expired, now).await?;
    }
    Ok(())
}

/// Hands the person their next task, or `None` when there is none.
async fn claim(conn: &mut SqliteConnection, who: Annotator) -> Result<Option<AssignmentId>> {
    match checks::next(conn, who).await? {
        Next::Label => claim_label(conn, who).await,
        Next::Check(task, order) => claim_check(conn, who, task, order).await.map(Some),
        Next::Nothing => Ok(None),
    }
}

async fn claim_check(
    conn: &mut SqliteConnection,
    who: Annotator,
    task: TaskId,
    order: Option<Vec<i64>>,
) -> Result<AssignmentId> {
    let mine: Option<i64> =
        sqlx::query_scalar("select id from assignment where task_id = ?1 and user_id = ?2")
            .bind(task.0)
            .bind(who.user.0)
            .fetch_optional(&mut *conn)
            .await?;
    match mine {
        Some(mine) => {
            take(conn, AssignmentId(mine), who).await?;
            Ok(AssignmentId(mine))
        }
        None => assign(conn, who, task, order).await,
    }
}

/// Hands the next task with a free slot to the person, or `None` when there is none.
async fn claim_label(conn: &mut SqliteConnection, who: Annotator) -> Result<Option<AssignmentId>> {
    let Some(found) = selection::next_task(conn, who).await? else {
        return Ok(None);
    };
    if let Some(mine) = found.mine {
        take(conn, AssignmentId(mine), who).await?;
        return Ok(Some(AssignmentId(mine)));
    }
    assign(conn, who, found.task, None).await.map(Some)
}

/// A new hold on a task. The completions stand in this order, where none is given in a random one.
async fn assign(
    conn: &mut SqliteConnection,
    who: Annotator,
    task: TaskId,
    order: Option<Vec<i64>>,
) -> Result<AssignmentId> {
    let order = match order {
        Some(order) => order,
        None => {
            let mut order: Vec<i64> = sqlx::query_scalar(
                "select completion_id from task_completion where task_id = ?1 order by position",
            )
            .bind(task.0)
            .fetch_all(&mut *conn)
            .await?;
            text::shuffle(&mut order)?;
            order
        }
    };
    let id: i64 = sqlx::query_scalar(
        "insert into assignment (project_id, task_id, user_id, status, display_order, lease_until, created_at, changed_at,
                                 kind)
         select ?6, ?1, ?2, 'held', ?3, ?4, ?5, ?5, kind from task where id = ?1 returning id",
    )
    .bind(task.0)
    .bind(who.user.0)
    .bind(text::to_json(&order)?)
    .bind(who.now.plus_seconds(who.lease_seconds.into()).0)
    .bind(who.now.0)
    .bind(who.project.0)
    .fetch_one(conn)
    .await?;
    Ok(AssignmentId(id))
}

/// Holds an assignment (again) for a whole lease.
pub(super) async fn take(conn: &mut SqliteConnection, id: AssignmentId, who: Annotator) -> Result<()> {
    set_status(conn, id, Status::Held, who.now).await?;
    sqlx::query("update assignment set lease_until = ?2 where id = ?1")
        .bind(id.0)
        .bind(who.now.plus_seconds(who.lease_seconds.into()).0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Fails unless the task has a slot for this assignment, its own hold not counted.
pub(super) async fn require_free(conn: &mut SqliteConnection, slot: &Slot, now: Timestamp) -> Result<()> {
    expire_others(conn, slot, now).await?;
    let free: bool = sqlx::query_scalar(
        "select n_annotations + (select count(*) from assignment a
                                 where a.task_id = t.id and a.status = 'held' and a.id <> ?2) < overlap
         from task t where t.id = ?1",
    )
    .bind(slot.task.0)
    .bind(slot.id.0)
    .fetch_one(conn)
    .await?;
    if free { Ok(()) } else { Err(Error::LeaseLost) }
}

async fn expire_others(conn: &mut SqliteConnection, slot: &Slot, now: Timestamp) -> Result<()> {
    let late: Vec<i64> = sqlx::query_scalar(
        "select id from assignment where task_id = ?1 and id <> ?2 and status = 'held' and lease_until <= ?3",
    )
    .bind(slot.task.0)
    .bind(slot.id.0)
    .bind(now.0)
    .fetch_all(&mut *conn)
    .await?;
    for id in late {
        set_status(conn, AssignmentId(id), Status::Expired, now).await?;
    }
    Ok(())
}

/// The one place where an assignment's status changes.
pub(super) async fn set_status(
    conn: &mut SqliteConnection,
    id: AssignmentId,
    to: Status,
    now: Timestamp,
) -> Result<()> {
    sqlx::query("update assignment set status = ?2, changed_at = ?3 where id = ?1")
        .bind(id.0)
        .bind(text::name_of(&to))
        .bind(now.0)
        .execute(&mut *conn)
        .await?;
    match to {
        Status::Skipped | Status::Expired => {
            tasks::give_up_withdrawn(conn, id).await?;
            let task: i64 = sqlx::query_scalar("select task_id from assignment where id = ?1")
                .bind(id.0)
                .fetch_one(&mut *conn)
                .await?;
            contests::after_task(conn, TaskId(task), now).await
        }
        Status::Held | Status::Answered => Ok(()),
    }
}

/// The assignment, if it is this person's.
pub(super) async fn read(conn: &mut SqliteConnection, id: AssignmentId, user: UserId) -> Result<Slot> {
    let row: Option<SlotRow> = sqlx::query_as(
        "select t.id as task_id, t.project_id, t.prompt_id, a.status, a.display_order, p.label_type, p.ask_strength,
                p.questions, a.kind, a.live
         from assignment a join task t on t.id = a.task_id join project p on p.id = t.project_id
         where a.id = ?1 and a.user_id = ?2",
    )
    .bind(id.0)
    .bind(user.0)
    .fetch_optional(conn)
    .await?;
    let row = row.ok_or(Error::NotFound)?;
    Ok(Slot {
        id,
        task: TaskId(row.task_id),
        project: ProjectId(row.project_id),
        prompt: PromptId(row.prompt_id),
        user,
        status: text::from_name(&row.status)?,
        shown: text::from_json(&row.display_order)?,
        label_type: text::from_name(&row.label_type)?,
        ask_strength: row.ask_strength,
        questions: text::from_json(&row.questions)?,
        kind: text::from_name(&row.kind)?,
        live: row.live,
    })
}

#[derive(sqlx::FromRow)]
struct SlotRow {
    task_id: i64,
    project_id: i64,
    prompt_id: i64,
    status: String,
    display_order: String,
    label_type: String,
    ask_strength: bool,
    questions: String,
    kind: String,
    live: bool,
}

/// The completions as they were written.
pub(super) async fn texts(conn: &mut SqliteConnection, shown: &[CompletionId]) -> Result<Vec<String>> {
    let mut texts = Vec::with_capacity(shown.len());
    for completion in shown {
        let text = sqlx::query_scalar("select text from completion where id = ?1")
            .bind(completion.0)
            .fetch_one(&mut *conn)
            .await?;
        texts.push(text);
    }
    Ok(texts)
}

/// The answer to a claim, submit, skip or undo, read after its transaction: making HTML keeps no writer waiting.
pub(super) async fn held(db: &Db, who: Annotator, ids: &[AssignmentId]) -> Result<Held> {
    let conn = &mut *db.read().acquire().await?;
    let mut assignments = Vec::with_capacity(ids.len());
    for id in ids {
        assignments.push(show(conn, *id).await?);
    }
    Ok(Held {
        assignments,
        progress: progress(conn, who).await?,
        can_undo: undo::is_possible(conn, who).await?,
        stopped: checks::stopped(conn, who.user, who.project).await?,
        feedback: None,
    })
}

/// How far this person and the project are. The project's tasks are counted as they change, a person's own from their
/// assignments.
async fn progress(conn: &mut SqliteConnection, who: Annotator) -> Result<Progress> {
    let (n_mine, n_past_on_open): (i64, i64) = sqlx::query_as(
        "select (select count(*) from assignment where user_id = ?1 and project_id = ?2 and status = 'answered'),
                (select count(*) from assignment a join task t on t.id = a.task_id
                 where a.user_id = ?1 and a.project_id = ?2 and a.status in ('answered', 'skipped')
                   and t.status = 'open' and t.kind = 'label' and t.live = 0)",
    )
    .bind(who.user.0)
    .bind(who.project.0)
    .fetch_one(&mut *conn)
    .await?;
    let (n_open, n_done) = tasks::counted(conn, who.project).await?;
    Ok(Progress {
        n_mine: text::count(n_mine),
        n_left_for_me: text::count(n_open - n_past_on_open),
        n_tasks: text::count(n_open + n_done),
        n_tasks_done: text::count(n_done),
    })
}

/// An assignment as its holder sees it: generators stay hidden.
async fn show(conn: &mut SqliteConnection, id: AssignmentId) -> Result<Assignment> {
    let row: (i64, i64, String, bool, String, String, String, i64) = sqlx::query_as(
        "select t.project_id, t.id, p.label_type, p.ask_strength, p.questions, r.messages, a.display_order, a.lease_until
         from assignment a join task t on t.id = a.task_id join project p on p.id = t.project_id
         join prompt r on r.id = t.prompt_id where a.id = ?1",
    )
    .bind(id.0)
    .fetch_one(&mut *conn)
    .await?;
    let (project, task, label_type, ask_strength, questions, messages, shown, lease_until) = row;
    let messages: Vec<Message> = text::from_json(&messages)?;
    let mut completions = Vec::new();
    for completion in text::from_json::<Vec<CompletionId>>(&shown)? {
        let (text, finish_reason): (String, String) =
            sqlx::query_as("select text, finish_reason from completion where id = ?1")
                .bind(completion.0)
                .fetch_one(&mut *conn)
                .await?;
        completions.push(ShownCompletion {
            html: render::markdown(&text),
            text,
            truncated: finish_reason == "length",
        });
    }
    let standing = annotations::standing(conn, id).await?;
    Ok(Assignment {
        id,
        project_id: ProjectId(project),
        task_id: TaskId(task),
        label_type: text::from_name(&label_type)?,
        ask_strength,
        questions: text::from_json(&questions)?,
        prompt: messages
            .into_iter()
            .map(|message| ShownMessage {
                role: message.role,
                html: render::markdown(&message.content),
            })
            .collect(),
        completions,
        lease_until: Timestamp(lease_until),
        revision: annotations::next_revision(conn, id).await?,
        previous: standing.map(|(_, answer)| answer),
    })
}
