//! Merges: an adapter's weights in those of its base model, made by a trainer and kept until they are deleted. The files lie
//! in the data folder, see [`crate::merged_files`].

use super::{
    Db, Error, Result, adapters,
    audit::{self, Actor, Event, Person},
    job_events::{self, Change},
    jobs::{self, JobKind},
    leases::{self, Lease},
    text,
};
use laurel_protocol::{
    AdapterId, AuditSubject, FieldError, JobId, JobStatus, Merge, MergeFormat, MergeId, Merged, NewMerge,
    ProjectId, Report, RoundKind, Timestamp, Verb, Work,
};
use serde_json::json;
use sqlx::SqliteConnection;

const COLUMNS: &str =
    "m.id, j.project_id, m.adapter_id, m.format, j.status, m.stage, m.n_done, m.n_total, j.worker, j.error,
    m.result, j.created_at, j.finished_at, m.deleted_at";

/// Queues a merge. An adapter has one of each format at a time: the files of an earlier one are deleted first.
pub async fn create(
    db: &Db,
    adapter: AdapterId,
    new: NewMerge,
    by: impl Into<Person>,
    now: Timestamp,
) -> Result<Merge> {
    let by = by.into();
    let adapter = adapters::get(db, adapter).await?;
    let mut tx = db.write().await?;
    let refused = |reason| Err(Error::Invalid(vec![FieldError::new("format", reason)]));
    if adapters::kind_in_project(&mut tx, adapter.id, adapter.project_id)
        .await?
        .is_none()
    {
        return Err(Error::Conflict(
            "This adapter's files were deleted: run its round again.".to_owned(),
        ));
    }
    if adapter.kind == RoundKind::Reward && new.format == MergeFormat::Gguf {
        return refused("must be safetensors: a GGUF file cannot hold the score head of a reward model");
    }
    for merge in of_adapter(&mut tx, adapter.id).await? {
        if merge.format == new.format && (merge.is_there() || !merge.status.is_over()) {
            let sentence = "There is such a merge already: use it, or delete it first.";
            return Err(Error::Conflict(sentence.to_owned()));
        }
    }
    let base_model = adapters::base_model(&mut tx, adapter.id).await?;
    let job = jobs::NewJob {
        kind: JobKind::Merge,
        project: adapter.project_id,
        base_model: &base_model,
        adapter: Some(adapter.id),
        created_by: Some(by.user),
    };
    let job = jobs::insert(&mut tx, &job, now).await?;
    let id: i64 =
        sqlx::query_scalar("insert into merge (job_id, adapter_id, format) values (?1, ?2, ?3) returning id")
            .bind(job.0)
            .bind(adapter.id.0)
            .bind(text::name_of(&new.format))
            .fetch_one(&mut *tx)
            .await?;
    let job = jobs::read(&mut tx, job).await?;
    let detail = json!({"adapter": adapter.id, "format": new.format});
    job_events::note(&mut tx, &by.into(), &job, Change::Ordered, detail, now).await?;
    let merge = read(&mut tx, MergeId(id)).await?;
    tx.commit().await?;
    Ok(merge)
}

/// An adapter's merges, newest first, those whose files are gone among them.
pub async fn list(db: &Db, adapter: AdapterId) -> Result<Vec<Merge>> {
    adapters::get(db, adapter).await?;
    of_adapter(&mut *db.read().acquire().await?, adapter).await
}

pub(super) async fn of_adapter(conn: &mut SqliteConnection, adapter: AdapterId) -> Result<Vec<Merge>> {
    let sql = format!(
        "select {COLUMNS} from merge m join job j on j.id = m.job_id where m.adapter_id = ?1 order by m.id desc"
    );
    let rows: Vec<MergeRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(adapter.0)
        .fetch_all(conn)
        .await?;
    rows.into_iter().map(Merge::try_from).collect()
}

/// Every merge of every project whose files can be had, newest first.
pub async fn there(db: &Db) -> Result<Vec<Merge>> {
    let sql = format!(
        "select {COLUMNS} from merge m join job j on j.id = m.job_id
         where j.status = 'done' and m.deleted_at is null order by m.id desc"
    );
    let rows: Vec<MergeRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_all(db.read())
        .await?;
    rows.into_iter().map(Merge::try_from).collect()
}

pub async fn get(db: &Db, id: MergeId) -> Result<Merge> {
    read(&mut *db.read().acquire().await?, id).await
}

/// The merge that a job is.
pub async fn id_of(db: &Db, job: JobId) -> Result<MergeId> {
    let id: Option<i64> = sqlx::query_scalar("select id from merge where job_id = ?1")
        .bind(job.0)
        .fetch_optional(db.read())
        .await?;
    id.map(MergeId).ok_or(Error::NotFound)
}

/// Stops a merge. Gives its job, whose uploads nobody wants then.
pub async fn abort(db: &Db, id: MergeId, by: impl Into<Actor>, now: Timestamp) -> Result<(Merge, JobId)> {
    let by = by.into();
    let mut tx = db.write().await?;
    let job: Option<i64> = sqlx::query_scalar("select job_id from merge where id = ?1")
        .bind(id.0)
        .fetch_optional(&mut *tx)
        .await?;
    let job = JobId(job.ok_or(Error::NotFound)?);
    jobs::abort(&mut tx, job, &by, now).await?;
    let merge = read(&mut tx, id).await?;
    tx.commit().await?;
    Ok((merge, job))
}

/// Notes that the files are to go: from here on nobody is given them.
pub async fn delete(db: &Db, id: MergeId, reason: &str, by: impl Into<Actor>, now: Timestamp) -> Result<()> {
    let mut tx = db.write().await?;
    let merge = read(&mut tx, id).await?;
    if !merge.is_there() {
        return Err(Error::Conflict(
            "There are no files to delete: the merge has none, or they are gone already.".to_owned(),
        ));
    }
    sqlx::query("update merge set deleted_at = ?2 where id = ?1")
        .bind(id.0)
        .bind(now.0)
        .execute(&mut *tx)
        .await?;
    let deleted = Event {
        verb: Verb::MergedDeleted,
        project: Some(merge.project_id),
        kind: AuditSubject::Merge,
        subject: Some(id.0),
        detail: json!({"adapter": merge.adapter_id, "reason": reason}),
    };
    audit::note(&mut tx, &by.into(), deleted, now).await?;
    tx.commit().await?;
    Ok(())
}

/// What a trainer is told of the merge.
pub(super) async fn work_of(conn: &mut SqliteConnection, job: JobId) -> Result<Work> {
    let (id, format, name): (i64, String, String) = sqlx::query_as(
        "select m.id, m.format, a.name from merge m join adapter a on a.id = m.adapter_id where m.job_id = ?1",
    )
    .bind(job.0)
    .fetch_one(conn)
    .await?;
    Ok(Work::Merge {
        merge_id: MergeId(id),
        format: text::from_name(&format)?,
        name,
    })
}

/// Notes how far a merge is. Whether it came further than ever before.
pub(super) async fn progress(conn: &mut SqliteConnection, job: JobId, report: &Report) -> Result<bool> {
    let stage = report
        .log
        .last()
        .map(|line| jobs::shortened(&line.text).into_owned());
    let before: i64 = sqlx::query_scalar("select n_done from merge where job_id = ?1")
        .bind(job.0)
        .fetch_one(&mut *conn)
        .await?;
    sqlx::query(
        "update merge set stage = coalesce(?2, stage), n_done = coalesce(?3, n_done), n_total = coalesce(?4, n_total)
         where job_id = ?1",
    )
    .bind(job.0)
    .bind(stage)
    .bind(report.step.map(u64::cast_signed))
    .bind(report.n_steps.map(u64::cast_signed))
    .execute(conn)
    .await?;
    Ok(report.step.is_some_and(|step| step.cast_signed() > before))
}

/// The merge whose files a trainer hands in, its lease renewed.
pub async fn held(db: &Db, lease: &Lease, now: Timestamp) -> Result<MergeId> {
    let job = leases::renew(db, lease, now).await?;
    match job.kind {
        JobKind::Merge => id_of(db, job.id).await,
        _ => Err(Error::NotFound),
    }
}

/// Keeps what was handed in, once the files are in their place.
pub async fn keep(db: &Db, lease: &Lease, merged: &Merged, now: Timestamp) -> Result<()> {
    let mut tx = db.write().await?;
    let job = leases::require_lease(&mut tx, lease, now).await?;
    sqlx::query("update merge set result = ?2, n_done = ?3, n_total = ?3 where job_id = ?1")
        .bind(job.id.0)
        .bind(text::to_json(merged)?)
        .bind(merged.size_bytes().cast_signed())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Ends a merge well, which its files were handed in for.
pub async fn finish(db: &Db, lease: &Lease, now: Timestamp) -> Result<()> {
    let mut tx = db.write().await?;
    let job = leases::require_lease(&mut tx, lease, now).await?;
    let has_files: bool = sqlx::query_scalar("select result is not null from merge where job_id = ?1")
        .bind(job.id.0)
        .fetch_one(&mut *tx)
        .await?;
    if !has_files {
        let reason = "must be handed in before the job is done";
        return Err(Error::Invalid(vec![FieldError::new("files", reason)]));
    }
    jobs::end(&mut tx, &job, JobStatus::Done, None, &lease.holder(), now).await?;
    tx.commit().await?;
    Ok(())
}

async fn read(conn: &mut SqliteConnection, id: MergeId) -> Result<Merge> {
    let sql = format!("select {COLUMNS} from merge m join job j on j.id = m.job_id where m.id = ?1");
    let row: Option<MergeRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(id.0)
        .fetch_optional(conn)
        .await?;
    row.ok_or(Error::NotFound)?.try_into()
}

#[derive(sqlx::FromRow)]
struct MergeRow {
    id: i64,
    project_id: i64,
    adapter_id: i64,
    format: String,
    status: String,
    stage: String,
    n_done: i64,
    n_total: i64,
    worker: Option<String>,
    error: Option<String>,
    result: Option<String>,
    created_at: i64,
    finished_at: Option<i64>,
    deleted_at: Option<i64>,
}

impl TryFrom<MergeRow> for Merge {
    type Error = Error;

    fn try_from(row: MergeRow) -> Result<Self> {
        Ok(Self {
            id: MergeId(row.id),
            project_id: ProjectId(row.project_id),
            adapter_id: AdapterId(row.adapter_id),
            format: text::from_name(&row.format)?,
            status: text::from_name(&row.status)?,
            stage: row.stage,
            n_done: text::count(row.n_done),
            n_total: text::count(row.n_total),
            worker: row.worker,
            error: row.error,
            result: row.result.map(|text| text::from_json(&text)).transpose()?,
            created_at: Timestamp(row.created_at),
            finished_at: text::time(row.finished_at),
            deleted_at: text::time(row.deleted_at),
        })
    }
}
