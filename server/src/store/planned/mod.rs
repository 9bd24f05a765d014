//! Planned rounds: what is to be started once other rounds are done, comparisons are in, or a time has come. `due.rs` looks
//! what has come and launches. Every change of a planned round's status goes through [`set_status`].

mod accept;
mod due;
mod recipes;
mod standing;
mod stored;

pub use self::{
    due::{Started, start_due},
    recipes::add as add_recipe,
    stored::Plan,
};

use self::stored::{read, shown};
use super::{
    Db, Error, Result,
    audit::{self, Actor, Event, Person},
    projects, queue, text,
};
use laurel_protocol::{
    AuditSubject, Direction, NewPlanned, PlannedId, PlannedRound, PlannedStatus, ProjectId, RoundId,
    RoundQueue, Timestamp, Verb, WhyFailed,
};
use serde_json::json;
use sqlx::SqliteConnection;

/// Planned rounds that have come to an end and are still listed.
const N_OVER: i64 = 20;

/// The project's queue: rounds that wait for a trainer, and what is planned.
pub async fn list(db: &Db, project: ProjectId, now: Timestamp) -> Result<RoundQueue> {
    projects::require(db, project).await?;
    let mut moment = db.read().begin().await?;
    let ids: Vec<i64> = sqlx::query_scalar(
        "select id from (
             select id, status, turn from planned_round where project_id = ?1 and status in ('waiting', 'failed')
             union all
             select * from (select id, status, turn from planned_round
                            where project_id = ?1 and status in ('launched', 'cancelled') order by id desc limit ?2))
         order by case status when 'waiting' then 0 when 'failed' then 1 else 2 end,
                  case status when 'waiting' then turn else -id end",
    )
    .bind(project.0)
    .bind(N_OVER)
    .fetch_all(&mut *moment)
    .await?;
    let mut planned = Vec::with_capacity(ids.len());
    for id in ids {
        planned.push(shown(&mut moment, PlannedId(id), now).await?);
    }
    Ok(RoundQueue {
        queued: queue::of_project(&mut moment, project).await?,
        planned,
    })
}

/// Plans a round; it is checked as far as it can be now.
pub async fn create(
    db: &Db,
    project: ProjectId,
    new: &NewPlanned,
    by: impl Into<Person>,
    now: Timestamp,
) -> Result<PlannedRound> {
    let by = by.into();
    let mut tx = db.write().await?;
    let id = insert(&mut tx, project, new, &by, now).await?;
    let planned = shown(&mut tx, id, now).await?;
    tx.commit().await?;
    Ok(planned)
}

async fn insert(
    conn: &mut SqliteConnection,
    project: ProjectId,
    new: &NewPlanned,
    by: &Person,
    now: Timestamp,
) -> Result<PlannedId> {
    projects::require_in(conn, project).await?;
    accept::check(conn, project, None, new).await?;
    let id: i64 = sqlx::query_scalar(
        "insert into planned_round (project_id, status, turn, request, n_comparisons, created_by, created_at, changed_at)
         values (?1, 'waiting', (select coalesce(max(turn), 0) + 1 from planned_round), ?2,
                 (select count(*) from comparison where project_id = ?1), ?3, ?4, ?4) returning id",
    )
    .bind(project.0)
    .bind(text::to_json(new)?)
    .bind(by.user.0)
    .bind(now.0)
    .fetch_one(&mut *conn)
    .await?;
    note(
        conn,
        &by.clone().into(),
        Verb::RoundPlanned,
        project,
        PlannedId(id),
        new,
        now,
    )
    .await?;
    Ok(PlannedId(id))
}

/// Puts other wishes in the place of a planned round's; it waits again, for comparisons from now on.
pub async fn change(
    db: &Db,
    id: PlannedId,
    new: &NewPlanned,
    by: impl Into<Person>,
    now: Timestamp,
) -> Result<PlannedRound> {
    let by: Actor = by.into().into();
    let mut tx = db.write().await?;
    let plan = read(&mut tx, id).await?;
    not_launched(&plan)?;
    accept::check(&mut tx, plan.project, Some(id), new).await?;
    if plan.status != PlannedStatus::Waiting {
        set_status(
            &mut tx,
            &plan,
            PlannedStatus::Waiting,
            Become::default(),
            &by,
            now,
        )
        .await?;
    }
    sqlx::query(
        "update planned_round set request = ?2, revision = revision + 1, changed_at = ?3,
                n_comparisons = (select count(*) from comparison where project_id = planned_round.project_id)
         where id = ?1",
    )
    .bind(id.0)
    .bind(text::to_json(new)?)
    .bind(now.0)
    .execute(&mut *tx)
    .await?;
    note(&mut tx, &by, Verb::PlanChanged, plan.project, id, new, now).await?;
    let planned = shown(&mut tx, id, now).await?;
    tx.commit().await?;
    Ok(planned)
}

/// Takes a planned round back. What waits for it fails.
pub async fn cancel(db: &Db, id: PlannedId, by: impl Into<Person>, now: Timestamp) -> Result<PlannedRound> {
    let mut tx = db.write().await?;
    let plan = read(&mut tx, id).await?;
    not_launched(&plan)?;
    if plan.status != PlannedStatus::Cancelled {
        let by = by.into().into();
        set_status(
            &mut tx,
            &plan,
            PlannedStatus::Cancelled,
            Become::default(),
            &by,
            now,
        )
        .await?;
    }
    let planned = shown(&mut tx, id, now).await?;
    tx.commit().await?;
    Ok(planned)
}

/// Lets one that failed or was cancelled wait again, as it is; refused where it would fail again at once.
pub async fn retry(db: &Db, id: PlannedId, by: impl Into<Person>, now: Timestamp) -> Result<PlannedRound> {
    let mut tx = db.write().await?;
    let plan = read(&mut tx, id).await?;
    not_launched(&plan)?;
    if plan.status != PlannedStatus::Waiting {
        accept::check(&mut tx, plan.project, Some(id), &plan.request).await?;
        let by = by.into().into();
        set_status(
            &mut tx,
            &plan,
            PlannedStatus::Waiting,
            Become::default(),
            &by,
            now,
        )
        .await?;
    }
    let planned = shown(&mut tx, id, now).await?;
    tx.commit().await?;
    Ok(planned)
}

fn not_launched(plan: &Plan) -> Result<()> {
    match plan.status {
        PlannedStatus::Launched => Err(Error::Conflict(
            "It has been started already: see its round.".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Moves one that waits before or behind its neighbour.
pub async fn shift(
    db: &Db,
    id: PlannedId,
    to: Direction,
    by: impl Into<Person>,
    now: Timestamp,
) -> Result<PlannedRound> {
    let mut tx = db.write().await?;
    let plan = read(&mut tx, id).await?;
    if plan.status != PlannedStatus::Waiting {
        return Err(Error::Conflict(
            "It waits for nothing: only rounds that wait can be moved.".to_owned(),
        ));
    }
    let sql = match to {
        Direction::Earlier => {
            "select id from planned_round where project_id = ?1 and status = 'waiting'
                 and turn < (select turn from planned_round where id = ?2) order by turn desc limit 1"
        }
        Direction::Later => {
            "select id from planned_round where project_id = ?1 and status = 'waiting'
                 and turn > (select turn from planned_round where id = ?2) order by turn limit 1"
        }
    };
    let other: Option<i64> = sqlx::query_scalar(sql)
        .bind(plan.project.0)
        .bind(id.0)
        .fetch_optional(&mut *tx)
        .await?;
    // The first and the last stay where they are.
    if let Some(other) = other {
        sqlx::query(
            "update planned_round set turn = (select sum(turn) from planned_round where id in (?1, ?2)) - turn
             where id in (?1, ?2)",
        )
        .bind(id.0)
        .bind(other)
        .execute(&mut *tx)
        .await?;
        let by = by.into().into();
        note(
            &mut tx,
            &by,
            Verb::PlanMoved,
            plan.project,
            id,
            &plan.request,
            now,
        )
        .await?;
    }
    let planned = shown(&mut tx, id, now).await?;
    tx.commit().await?;
    Ok(planned)
}

/// Notes, where the round is queued, that this plan has become it.
pub(super) async fn launched(
    conn: &mut SqliteConnection,
    plan: &Plan,
    round: RoundId,
    now: Timestamp,
) -> Result<()> {
    let becomes = Become {
        round: Some(round),
        why: None,
    };
    set_status(conn, plan, PlannedStatus::Launched, becomes, &Actor::Server, now).await
}

/// What comes with a new status.
#[derive(Default)]
struct Become<'a> {
    round: Option<RoundId>,
    why: Option<&'a WhyFailed>,
}

/// The one place where a planned round's status changes: from what was read, unless it has changed since.
async fn set_status(
    conn: &mut SqliteConnection,
    plan: &Plan,
    to: PlannedStatus,
    becomes: Become<'_>,
    by: &Actor,
    now: Timestamp,
) -> Result<()> {
    use PlannedStatus::{Cancelled, Failed, Launched, Waiting};
    let verb = match (plan.status, to) {
        (Waiting, Launched) => Verb::PlanLaunched,
        (Waiting, Failed) => Verb::PlanFailed,
        (Waiting | Failed, Cancelled) => Verb::PlanCancelled,
        (Failed | Cancelled, Waiting) => Verb::PlanRetried,
        (from, to) => {
            return Err(Error::Conflict(format!(
                "A planned round that is {} cannot become {}.",
                text::name_of(&from),
                text::name_of(&to)
            )));
        }
    };
    let changed = sqlx::query(
        "update planned_round set status = ?4, round_id = ?5, why = ?6, changed_at = ?7
         where id = ?1 and status = ?2 and revision = ?3",
    )
    .bind(plan.id.0)
    .bind(text::name_of(&plan.status))
    .bind(plan.revision)
    .bind(text::name_of(&to))
    .bind(becomes.round.map(|round| round.0))
    .bind(becomes.why.map(text::to_json).transpose()?)
    .bind(now.0)
    .execute(&mut *conn)
    .await?;
    if changed.rows_affected() != 1 {
        return Err(Error::Conflict("The plan has changed in between.".to_owned()));
    }
    note(conn, by, verb, plan.project, plan.id, &plan.request, now).await
}

async fn note(
    conn: &mut SqliteConnection,
    by: &Actor,
    verb: Verb,
    project: ProjectId,
    id: PlannedId,
    request: &NewPlanned,
    now: Timestamp,
) -> Result<()> {
    let event = Event {
        verb,
        project: Some(project),
        kind: AuditSubject::PlannedRound,
        subject: Some(id.0),
        detail: json!({"name": request.name, "kind": request.spec.kind}),
    };
    audit::note(conn, by, event, now).await
}
