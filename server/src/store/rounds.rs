//! Rounds: an admin starts one on a frozen snapshot, a trainer runs it under a lease, and an adapter comes out.

use super::{
    Db, Error, Result, adapters,
    audit::{self, Actor, Event, Person},
    job_events::{self, Change},
    jobs, leases, new_rounds, planned, projects, scorings, snapshots, text,
};
use crate::adapter_files::Installed;
use laurel_protocol::{
    AdapterId, Asked, AuditSubject, JobId, JobStatus, MadeWith, NewRound, Preview, ProjectId, PromptId,
    Round, RoundId, RoundKind, RoundSpec, Sample, Snapshot, SnapshotId, Timestamp, Verb, Work, WorkPrompt,
};
use serde_json::json;
use sqlx::SqliteConnection;

/// Fixed prompts whose answers before and after the round are shown side by side.
const N_SAMPLE_PROMPTS: i64 = 8;

/// Who starts a round.
pub(super) enum Starter {
    Person(Person),
    /// The server, as it was planned.
    Plan(Box<planned::Plan>),
}

/// Freezes what the round trains on, the project's comparisons or its prompts, and queues it.
pub async fn create(
    db: &Db,
    project: ProjectId,
    new: &NewRound,
    by: impl Into<Person>,
    now: Timestamp,
) -> Result<Round> {
    start(db, project, new, Starter::Person(by.into()), now).await
}

/// A planned round is launched in the transaction that queues the round: once, whatever happens in between.
pub(super) async fn start(
    db: &Db,
    project: ProjectId,
    new: &NewRound,
    by: Starter,
    now: Timestamp,
) -> Result<Round> {
    let created_by = match &by {
        Starter::Person(person) => Some(person.user),
        Starter::Plan(plan) => plan.created_by,
    };
    let mut conn = db.read().acquire().await?;
    new_rounds::accept(&mut conn, project, new).await?;
    drop(conn);
    let snapshot = snapshots::freeze(db, project, &new.spec, now).await?;
    let snapshot = snapshot.ok_or_else(|| {
        let reason = match new.spec.kind {
            RoundKind::Ppo => "there is nothing to answer yet: the project has no prompts, import some first",
            RoundKind::Sft | RoundKind::Reward | RoundKind::Dpo => {
                "there is nothing to learn from yet: the project has no comparison that this loss can use"
            }
        };
        new_rounds::refused("snapshot", reason)
    })?;
    let mut tx = db.write().await?;
    // Once more: someone else may have taken the name while the rows were frozen.
    let (base_model, name) = new_rounds::accept(&mut tx, project, new).await?;
    let job = jobs::NewJob {
        kind: jobs::JobKind::Round,
        project,
        base_model: &base_model,
        adapter: new.starting_adapter,
        created_by,
    };
    let job = jobs::insert(&mut tx, &job, now).await?;
    let id: i64 = sqlx::query_scalar(
        "insert into round (job_id, snapshot_id, name, spec, sample_prompts, reward_adapter_id)
         values (?1, ?2, ?3, ?4, ?5, ?6) returning id",
    )
    .bind(job.0)
    .bind(snapshot.id.0)
    .bind(name)
    .bind(text::to_json(&new.spec)?)
    .bind(text::to_json(&spread_prompts(&mut tx, project).await?)?)
    .bind(new.reward_adapter.map(|adapter| adapter.0))
    .fetch_one(&mut *tx)
    .await?;
    let round = read(&mut tx, RoundId(id)).await?;
    let detail = json!({
        "name": round.name, "kind": round.spec.kind, "snapshot": snapshot.id, "data_hash": snapshot.hash,
        "n_rows": snapshot.n_rows,
    });
    let job = jobs::read(&mut tx, job).await?;
    let by = match by {
        Starter::Person(person) => person.into(),
        Starter::Plan(plan) => {
            planned::launched(&mut tx, &plan, round.id, now).await?;
            Actor::Server
        }
    };
    job_events::note(&mut tx, &by, &job, Change::Ordered, detail, now).await?;
    tx.commit().await?;
    Ok(round)
}

/// The project's rounds, newest first.
pub async fn list(db: &Db, project: ProjectId) -> Result<Vec<Round>> {
    projects::require(db, project).await?;
    let ids: Vec<i64> = sqlx::query_scalar(
        "select r.id from round r join job j on j.id = r.job_id where j.project_id = ?1 order by r.id desc",
    )
    .bind(project.0)
    .fetch_all(db.read())
    .await?;
    let mut conn = db.read().acquire().await?;
    let mut rounds = Vec::with_capacity(ids.len());
    for id in ids {
        rounds.push(read(&mut conn, RoundId(id)).await?);
    }
    Ok(rounds)
}

/// Fails with `NotFound` unless there is such a round.
pub async fn require(db: &Db, id: RoundId) -> Result<()> {
    let known: Option<i64> = sqlx::query_scalar("select id from round where id = ?1")
        .bind(id.0)
        .fetch_optional(db.read())
        .await?;
    known.map(drop).ok_or(Error::NotFound)
}

pub async fn get(db: &Db, id: RoundId) -> Result<Round> {
    let mut conn = db.read().acquire().await?;
    read(&mut conn, id).await
}

/// What an admin does to a round that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Pause,
    Resume,
    Abort,
}

/// Gives an order; where a trainer holds the round, it hears of it in the next answer.
pub async fn order(
    db: &Db,
    id: RoundId,
    order: Order,
    by: impl Into<Actor>,
    now: Timestamp,
) -> Result<Round> {
    let by = by.into();
    let mut tx = db.write().await?;
    let job: Option<i64> = sqlx::query_scalar("select job_id from round where id = ?1")
        .bind(id.0)
        .fetch_optional(&mut *tx)
        .await?;
    let job = JobId(job.ok_or(Error::NotFound)?);
    match order {
        Order::Pause => jobs::pause(&mut tx, job, &by, now).await?,
        Order::Resume => jobs::unpause(&mut tx, job, &by, now).await?,
        Order::Abort => jobs::abort(&mut tx, job, &by, now).await?,
    }
    let round = read(&mut tx, id).await?;
    tx.commit().await?;
    Ok(round)
}

/// The round that a job is.
pub async fn id_of(db: &Db, job: JobId) -> Result<RoundId> {
    let id: Option<i64> = sqlx::query_scalar("select id from round where job_id = ?1")
        .bind(job.0)
        .fetch_optional(db.read())
        .await?;
    Ok(RoundId(id.ok_or(Error::NotFound)?))
}

/// The job that a round is.
pub async fn job_of(db: &Db, id: RoundId) -> Result<JobId> {
    let job: Option<i64> = sqlx::query_scalar("select job_id from round where id = ?1")
        .bind(id.0)
        .fetch_optional(db.read())
        .await?;
    Ok(JobId(job.ok_or(Error::NotFound)?))
}

/// The snapshot of the round that a job is.
pub async fn snapshot_of(db: &Db, job: JobId) -> Result<SnapshotId> {
    let id: Option<i64> = sqlx::query_scalar("select snapshot_id from round where job_id = ?1")
        .bind(job.0)
        .fetch_optional(db.read())
        .await?;
    Ok(SnapshotId(id.ok_or(Error::NotFound)?))
}

pub async fn samples(db: &Db, id: RoundId) -> Result<Vec<Sample>> {
    let samples: Option<String> = sqlx::query_scalar("select samples from round where id = ?1")
        .bind(id.0)
        .fetch_optional(db.read())
        .await?;
    text::from_json(&samples.ok_or(Error::NotFound)?)
}

/// What the round trains on; none until its trainer has told.
pub async fn preview(db: &Db, id: RoundId) -> Result<Option<Preview>> {
    let preview: Option<Option<String>> = sqlx::query_scalar("select preview from round where id = ?1")
        .bind(id.0)
        .fetch_optional(db.read())
        .await?;
    let preview = preview.ok_or(Error::NotFound)?;
    preview.map(|text| text::from_json(&text)).transpose()
}

/// Ends a round well: its adapter, whose files are in place, is entered in the same transaction.
pub async fn finish(
    db: &Db,
    lease: &leases::Lease,
    installed: &Installed,
    made_with: &MadeWith,
    now: Timestamp,
) -> Result<()> {
    let mut tx = db.write().await?;
    let job = leases::require_lease(&mut tx, lease, now).await?;
    let round = read_by_job(&mut tx, job.id).await?;
    let maker = adapters::Maker {
        project: job.project_id,
        round: round.id,
        name: &round.name,
        kind: round.spec.kind,
        parent: round.starting_adapter,
    };
    let adapter = adapters::insert(&mut tx, &maker, installed, made_with, now).await?;
    let by = lease.holder();
    let accepted = Event {
        verb: Verb::AdapterAccepted,
        project: Some(job.project_id),
        kind: AuditSubject::Adapter,
        subject: Some(adapter.0),
        detail: json!({"round": round.id, "name": round.name, "hash": installed.hash}),
    };
    audit::note(&mut tx, &by, accepted, now).await?;
    jobs::end(&mut tx, &job, JobStatus::Done, None, &by, now).await?;
    scorings::work::after(&mut tx, &job, now).await?;
    tx.commit().await?;
    Ok(())
}

/// What a trainer is told of the round.
pub(super) async fn work_of(conn: &mut SqliteConnection, job: JobId) -> Result<Work> {
    let round = read_by_job(conn, job).await?;
    let prompts: Vec<(i64, String)> = sqlx::query_as(
        "select p.id, p.messages from round r, json_each(r.sample_prompts) s join prompt p on p.id = s.value
         where r.id = ?1 order by s.key",
    )
    .bind(round.id.0)
    .fetch_all(conn)
    .await?;
    let sample_prompt = |(id, messages): (i64, String)| {
        Ok(WorkPrompt {
            prompt_id: PromptId(id),
            messages: text::from_json(&messages)?,
            indexes: vec![0],
        })
    };
    Ok(Work::Round {
        round_id: round.id,
        spec: round.spec,
        n_rows: round.snapshot.n_rows,
        snapshot_hash: round.snapshot.hash,
        sample_prompts: prompts.into_iter().map(sample_prompt).collect::<Result<_>>()?,
    })
}

/// The reward model of the round that a job is.
pub(super) async fn reward_adapter(conn: &mut SqliteConnection, job: JobId) -> Result<Option<AdapterId>> {
    let id: Option<i64> = sqlx::query_scalar("select reward_adapter_id from round where job_id = ?1")
        .bind(job.0)
        .fetch_one(conn)
        .await?;
    Ok(id.map(AdapterId))
}

/// Prompts spread evenly over the project, by their numbers.
async fn spread_prompts(conn: &mut SqliteConnection, project: ProjectId) -> Result<Vec<i64>> {
    let ids = sqlx::query_scalar(
        "with numbered as (
             select id, row_number() over (order by id) - 1 as n, count(*) over () as total
             from prompt where project_id = ?1 and live = 0)
         select id from numbered
         where total <= ?2 or n * ?2 / total > (n - 1) * ?2 / total or n = 0
         order by id",
    )
    .bind(project.0)
    .bind(N_SAMPLE_PROMPTS)
    .fetch_all(conn)
    .await?;
    Ok(ids)
}

async fn read_by_job(conn: &mut SqliteConnection, job: JobId) -> Result<Round> {
    let id: Option<i64> = sqlx::query_scalar("select id from round where job_id = ?1")
        .bind(job.0)
        .fetch_optional(&mut *conn)
        .await?;
    read(conn, RoundId(id.ok_or(Error::NotFound)?)).await
}

async fn read(conn: &mut SqliteConnection, id: RoundId) -> Result<Round> {
    let row: Option<RoundRow> = sqlx::query_as(
        "select r.id, j.project_id, r.name, r.spec, j.adapter_id as starting_adapter, r.reward_adapter_id as reward_adapter,
                s.id as snapshot_id, s.hash, s.n_rows, s.n_ties_left_out, s.created_at as snapshot_at,
                j.status, j.abort_asked, j.pause_asked, r.step, r.n_steps, j.seconds_left, j.n_attempts, j.worker, j.error,
                a.id as adapter_id, j.created_at, j.started_at, j.finished_at
         from round r
         join job j on j.id = r.job_id
         join snapshot s on s.id = r.snapshot_id
         left join adapter a on a.round_id = r.id
         where r.id = ?1",
    )
    .bind(id.0)
    .fetch_optional(conn)
    .await?;
    row.ok_or(Error::NotFound)?.try_into()
}

#[derive(sqlx::FromRow)]
struct RoundRow {
    id: i64,
    project_id: i64,
    name: String,
    spec: String,
    starting_adapter: Option<i64>,
    reward_adapter: Option<i64>,
    snapshot_id: i64,
    hash: String,
    n_rows: i64,
    n_ties_left_out: i64,
    snapshot_at: i64,
    status: String,
    abort_asked: bool,
    pause_asked: bool,
    step: i64,
    n_steps: Option<i64>,
    seconds_left: Option<f64>,
    n_attempts: i64,
    worker: Option<String>,
    error: Option<String>,
    adapter_id: Option<i64>,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl TryFrom<RoundRow> for Round {
    type Error = Error;

    fn try_from(row: RoundRow) -> Result<Self> {
        let spec: RoundSpec = text::from_json(&row.spec)?;
        let status: JobStatus = text::from_name(&row.status)?;
        let asked = match (row.abort_asked, row.pause_asked) {
            _ if status != JobStatus::Running => None,
            (true, _) => Some(Asked::Abort),
            (false, true) => Some(Asked::Pause),
            (false, false) => None,
        };
        Ok(Self {
            id: RoundId(row.id),
            project_id: ProjectId(row.project_id),
            name: row.name,
            spec,
            starting_adapter: row.starting_adapter.map(AdapterId),
            reward_adapter: row.reward_adapter.map(AdapterId),
            snapshot: Snapshot {
                id: SnapshotId(row.snapshot_id),
                hash: row.hash,
                n_rows: text::count(row.n_rows),
                n_ties_left_out: text::count(row.n_ties_left_out),
                created_at: Timestamp(row.snapshot_at),
            },
            status,
            asked,
            step: text::count(row.step),
            n_steps: row.n_steps.map(text::count),
            seconds_left: row.seconds_left,
            n_attempts: row.n_attempts.try_into().unwrap_or(u32::MAX),
            worker: row.worker,
            error: row.error,
            adapter: row.adapter_id.map(AdapterId),
            created_at: Timestamp(row.created_at),
            started_at: text::time(row.started_at),
            finished_at: text::time(row.finished_at),
        })
    }
}
