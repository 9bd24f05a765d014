//! Promotions: which adapter of a project is current. Rows are added and, at most once, marked as rolled back, so that the history
//! stays.

use super::{
    Db, Error, Result, adapters,
    audit::{self, Event, Person},
    contests::{self, contender},
    new_rounds::refused,
    projects, text,
};
use laurel_protocol::{
    AdapterId, AuditSubject, Contender, ContestId, Current, Gate, NewPromotion, ProjectId, Promotion,
    PromotionId, RoundId, RoundKind, Timestamp, Verb,
};
use serde_json::json;
use sqlx::SqliteConnection;

/// The adapter that the project takes where none is named; `None` is the base model.
pub(super) async fn current(conn: &mut SqliteConnection, project: ProjectId) -> Result<Option<AdapterId>> {
    let adapter: Option<Option<i64>> = sqlx::query_scalar(
        "select adapter_id from promotion where project_id = ?1 and rolled_back_at is null order by id desc limit 1",
    )
    .bind(project.0)
    .fetch_optional(conn)
    .await?;
    Ok(adapter.flatten().map(AdapterId))
}

/// What is current, and how it came to be.
pub async fn get(db: &Db, project: ProjectId) -> Result<Current> {
    projects::require(db, project).await?;
    let mut tx = db.read().begin().await?;
    read(&mut tx, project).await
}

/// Makes an adapter current, or the base model again. Without an accepting contest this must be said.
pub async fn promote(
    db: &Db,
    project: ProjectId,
    new: &NewPromotion,
    by: &Person,
    now: Timestamp,
) -> Result<Current> {
    projects::require(db, project).await?;
    let mut tx = db.write().await?;
    if current(&mut tx, project).await? == new.adapter {
        return Err(Error::Conflict("It is current already.".to_owned()));
    }
    let (gate, contest) = gate_of(&mut tx, project, new.adapter).await?;
    if gate != Gate::Accepted && !new.without_gate {
        return Err(Error::Conflict(
            "No contest has accepted it: let people judge it first, or promote it without that.".to_owned(),
        ));
    }
    let id: i64 = sqlx::query_scalar(
        "insert into promotion (project_id, adapter_id, reason, gate, contest_id, promoted_by, promoted_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7) returning id",
    )
    .bind(project.0)
    .bind(new.adapter.map(|adapter| adapter.0))
    .bind(new.reason.trim())
    .bind(text::name_of(&gate))
    .bind(contest.map(|contest| contest.0))
    .bind(by.user.0)
    .bind(now.0)
    .fetch_one(&mut *tx)
    .await?;
    let detail = json!({"adapter": new.adapter, "promotion": id, "gate": gate, "contest": contest});
    note(
        &mut tx,
        by,
        Verb::AdapterPromoted,
        (project, new.adapter),
        detail,
        now,
    )
    .await?;
    let current = read(&mut tx, project).await?;
    tx.commit().await?;
    Ok(current)
}

/// Takes the newest promotion back that stands: what was current before it is current again. Sent again it changes nothing.
pub async fn roll_back(db: &Db, id: PromotionId, by: &Person, now: Timestamp) -> Result<Current> {
    let mut tx = db.write().await?;
    let row: Option<(i64, Option<i64>, bool, bool)> = sqlx::query_as(
        "select p.project_id, p.adapter_id, p.rolled_back_at is not null,
                exists (select 1 from promotion o
                        where o.project_id = p.project_id and o.id > p.id and o.rolled_back_at is null)
         from promotion p where p.id = ?1",
    )
    .bind(id.0)
    .fetch_optional(&mut *tx)
    .await?;
    let (project, adapter, is_rolled_back, has_newer) = row.ok_or(Error::NotFound)?;
    let project = ProjectId(project);
    if has_newer {
        return Err(Error::Conflict(
            "Another one was promoted after it: roll that one back first.".to_owned(),
        ));
    }
    if !is_rolled_back {
        sqlx::query("update promotion set rolled_back_by = ?2, rolled_back_at = ?3 where id = ?1")
            .bind(id.0)
            .bind(by.user.0)
            .bind(now.0)
            .execute(&mut *tx)
            .await?;
        if let Some(next) = current(&mut tx, project).await?
            && adapters::kind_in_project(&mut tx, next, project).await?.is_none()
        {
            return Err(Error::Conflict(
                "The files of what was current before are deleted: promote another adapter, or the base model."
                    .to_owned(),
            ));
        }
        let adapter = adapter.map(AdapterId);
        let detail = json!({"promotion": id, "current": current(&mut tx, project).await?});
        note(
            &mut tx,
            by,
            Verb::AdapterRolledBack,
            (project, adapter),
            detail,
            now,
        )
        .await?;
    }
    let current = read(&mut tx, project).await?;
    tx.commit().await?;
    Ok(current)
}

/// What the judges said of an adapter by now. The base model has no gate.
async fn gate_of(
    conn: &mut SqliteConnection,
    project: ProjectId,
    adapter: Option<AdapterId>,
) -> Result<(Gate, Option<ContestId>)> {
    let Some(adapter) = adapter else {
        return Ok((Gate::None, None));
    };
    let kind = adapters::kind_in_project(conn, adapter, project).await?;
    if !kind.is_some_and(RoundKind::makes_policy) {
        return Err(refused("adapter", "must be a policy adapter of this project"));
    }
    let round: i64 = sqlx::query_scalar("select round_id from adapter where id = ?1")
        .bind(adapter.0)
        .fetch_one(&mut *conn)
        .await?;
    let found = contests::gate_of(conn, RoundId(round)).await?;
    Ok((found.gate, found.contest.map(|contest| contest.id)))
}

async fn note(
    conn: &mut SqliteConnection,
    by: &Person,
    verb: Verb,
    (project, adapter): (ProjectId, Option<AdapterId>),
    detail: serde_json::Value,
    now: Timestamp,
) -> Result<()> {
    let event = Event {
        verb,
        project: Some(project),
        kind: AuditSubject::Adapter,
        subject: adapter.map(|adapter| adapter.0),
        detail,
    };
    audit::note(conn, &by.clone().into(), event, now).await
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    adapter_id: Option<i64>,
    adapter_name: Option<String>,
    reason: String,
    gate: String,
    contest_id: Option<i64>,
    promoted_by: String,
    promoted_at: i64,
    rolled_back_by: Option<String>,
    rolled_back_at: Option<i64>,
}

async fn read(conn: &mut SqliteConnection, project: ProjectId) -> Result<Current> {
    let rows: Vec<Row> = sqlx::query_as(
        "select p.id, p.adapter_id, a.name as adapter_name, p.reason, p.gate, p.contest_id,
                coalesce(u.name, '') as promoted_by, p.promoted_at, r.name as rolled_back_by, p.rolled_back_at
         from promotion p left join adapter a on a.id = p.adapter_id
         left join user u on u.id = p.promoted_by left join user r on r.id = p.rolled_back_by
         where p.project_id = ?1 order by p.id desc",
    )
    .bind(project.0)
    .fetch_all(conn)
    .await?;
    let mut history = Vec::with_capacity(rows.len());
    for row in rows {
        history.push(Promotion {
            id: PromotionId(row.id),
            promoted: contender(row.adapter_id, row.adapter_name),
            reason: row.reason,
            gate: text::from_name(&row.gate)?,
            contest: row.contest_id.map(ContestId),
            by: row.promoted_by,
            at: Timestamp(row.promoted_at),
            rolled_back_by: row.rolled_back_by,
            rolled_back_at: text::time(row.rolled_back_at),
        });
    }
    let mut standing = history.iter().filter(|one| one.rolled_back_at.is_none());
    let named = |one: Option<&Promotion>| -> Contender {
        one.map_or_else(|| contender(None, None), |one| one.promoted.clone())
    };
    let newest = standing.next();
    Ok(Current {
        project_id: project,
        promotion: newest.map(|one| one.id),
        current: named(newest),
        before: named(standing.next()),
        history,
    })
}
