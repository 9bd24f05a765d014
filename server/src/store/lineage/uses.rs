//! What uses an adapter, and whether its files may go.

use crate::store::{
    Db, Error, Result, adapters,
    audit::{self, Actor, Event},
    text,
};
use laurel_protocol::{AdapterId, AdapterUse, AuditSubject, JobStatus, Timestamp, UseKind, Verb};
use serde_json::json;
use sqlx::SqliteConnection;

#[derive(sqlx::FromRow)]
struct UseRow {
    kind: String,
    id: i64,
    name: String,
    status: Option<String>,
}

/// Everything that uses it, what needs its files first.
pub(super) async fn of(conn: &mut SqliteConnection, id: AdapterId) -> Result<Vec<AdapterUse>> {
    let rows: Vec<UseRow> = sqlx::query_as(
        "select 'start' as kind, r.id, r.name, j.status from job j join round r on r.job_id = j.id where j.adapter_id = ?1
         union all
         select 'reward', r.id, r.name, j.status from round r join job j on j.id = r.job_id where r.reward_adapter_id = ?1
         union all
         select 'completions', c.id, '', j.status from job j join completion_job c on c.job_id = j.id where j.adapter_id = ?1
         union all
         select 'scoring', s.id, '', j.status from job j join scoring s on s.job_id = j.id
         where j.adapter_id = ?1 and j.status in ('queued', 'running', 'paused')
         union all
         select 'merge', m.id, m.format, j.status from merge m join job j on j.id = m.job_id
         where m.adapter_id = ?1 and j.status in ('queued', 'running', 'paused')
         union all
         select 'arena', p.id, p.name, null from adapter a join project p on p.id = a.project_id
         where a.id = ?1 and exists (select 1 from json_each(p.arena, '$.adapters') where value = ?1)
         union all
         select 'current', p.id, p.name, null from promotion q join project p on p.id = q.project_id
         where q.adapter_id = ?1 and q.id = (select max(x.id) from promotion x
                                             where x.project_id = q.project_id and x.rolled_back_at is null)
         union all
         select 'contest', c.id, '', null from contest c where ?1 in (c.first_id, c.second_id) and c.status = 'open'
         union all
         select 'planned', r.id, r.request ->> '$.name', null
         from adapter a join planned_round r on r.project_id = a.project_id and r.status = 'waiting'
         where a.id = ?1 and exists (
             select 1 from (select r.request ->> '$.start.kind' as kind, r.request ->> '$.start.id' as id
                            union all select r.request ->> '$.reward.kind', r.request ->> '$.reward.id') o
             where (o.kind = 'adapter' and o.id = a.id) or (o.kind = 'round' and o.id = a.round_id)
                or (o.kind = 'planned' and exists (select 1 from planned_round q
                                                   where q.id = o.id and q.round_id = a.round_id)))",
    )
    .bind(id.0)
    .fetch_all(conn)
    .await?;
    let one = |row: UseRow| {
        let kind: UseKind = text::from_name(&row.kind)?;
        let status: Option<JobStatus> = row.status.map(|status| text::from_name(&status)).transpose()?;
        Ok(AdapterUse {
            kind,
            id: row.id,
            name: row.name,
            status,
            // What has no status of a job is only named while it lasts.
            blocks: status.is_none_or(|status| !status.is_over()),
        })
    };
    let mut uses: Vec<AdapterUse> = rows.into_iter().map(one).collect::<Result<_>>()?;
    uses.sort_by_key(|one| (!one.blocks, one.kind as u8, one.id));
    Ok(uses)
}

/// The same for whoever holds no transaction.
pub async fn uses_of(db: &Db, id: AdapterId) -> Result<Vec<AdapterUse>> {
    of(&mut *db.read().acquire().await?, id).await
}

/// Notes that an adapter's files are to go. What needs them stands against it; what has used them is named, unless whoever
/// asks has `confirmed` that they know. Gives the hash of the files that nothing names any more, if that is so.
pub async fn delete_adapter(
    db: &Db,
    id: AdapterId,
    confirmed: bool,
    by: impl Into<Actor>,
    now: Timestamp,
) -> Result<Option<String>> {
    let adapter = adapters::get(db, id).await?;
    let mut tx = db.write().await?;
    let uses = of(&mut tx, id).await?;
    let conflict = |sentence: String| Err(Error::Conflict(sentence));
    if let Some(one) = uses.iter().find(|one| one.blocks) {
        return conflict(format!("{} needs it: {}.", named(one), what_to_do(one.kind)));
    }
    if !uses.is_empty() && !confirmed {
        return conflict(format!(
            "{} and {} more used it; they stay as they are, but can no longer be made again from here. Say that you \
             know (confirmed=true).",
            named(&uses[0]),
            uses.len() - 1
        ));
    }
    let changed = sqlx::query("update adapter set deleted_at = ?2 where id = ?1 and deleted_at is null")
        .bind(id.0)
        .bind(now.0)
        .execute(&mut *tx)
        .await?;
    if changed.rows_affected() == 0 {
        return conflict("Its files are gone already.".to_owned());
    }
    let event = Event {
        verb: Verb::AdapterDeleted,
        project: Some(adapter.project_id),
        kind: AuditSubject::Adapter,
        subject: Some(id.0),
        detail: json!({"name": adapter.name, "hash": adapter.hash, "n_uses": uses.len()}),
    };
    audit::note(&mut tx, &by.into(), event, now).await?;
    let shared: bool =
        sqlx::query_scalar("select exists (select 1 from adapter where hash = ?1 and deleted_at is null)")
            .bind(&adapter.hash)
            .fetch_one(&mut *tx)
            .await?;
    tx.commit().await?;
    Ok((!shared).then_some(adapter.hash))
}

fn named(one: &AdapterUse) -> String {
    match one.kind {
        UseKind::Start | UseKind::Reward => format!("The round {}", one.name),
        UseKind::Completions => format!("Completion job {}", one.id),
        UseKind::Scoring => format!("Scoring {}", one.id),
        UseKind::Merge => format!("Merge {}", one.id),
        UseKind::Arena => format!("The arena of {}", one.name),
        UseKind::Current => format!("The project {}, whose current adapter it is,", one.name),
        UseKind::Contest => format!("Contest {}", one.id),
        UseKind::Planned => format!("Planned round {}", one.id),
    }
}

fn what_to_do(kind: UseKind) -> &'static str {
    match kind {
        UseKind::Arena => "take it out of the contenders in the project's settings first",
        UseKind::Current => "promote another one or roll back first",
        UseKind::Contest => "wait for its end, or close it",
        UseKind::Planned => "cancel or change it first",
        _ => "wait for its end, or abort it",
    }
}
