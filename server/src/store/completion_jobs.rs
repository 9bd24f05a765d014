//! Completion jobs: an admin orders so many completions a prompt, a trainer asks what is still missing, and
//! [`super::completions`] stores what comes.

use super::{
    Db, Error, Result, adapters,
    audit::{Actor, Person},
    contests,
    job_events::{self, Change},
    jobs, projects, promotions, text,
};
use laurel_protocol::{
    AdapterId, CompletionJob, CompletionJobId, FieldError, JobId, NewCompletionJob, ProjectId, PromptId,
    RoundKind, Sampling, TaskPlan, Timestamp, Work, WorkPrompt,
};
use serde_json::json;
use sqlx::SqliteConnection;

/// The generator's name where no adapter sat on the base model.
pub const BASE_MODEL: &str = "base model";

/// Orders completions of the project's prompts. An adapter must be the project's own, and a policy; where none is named, it is
/// the current one.
pub async fn create(
    db: &Db,
    project: ProjectId,
    request: &NewCompletionJob,
    by: impl Into<Person>,
    now: Timestamp,
) -> Result<CompletionJob> {
    let by = by.into();
    let mut tx = db.write().await?;
    let found: Option<(String, String)> =
        sqlx::query_as("select base_model, label_type from project where id = ?1")
            .bind(project.0)
            .fetch_optional(&mut *tx)
            .await?;
    let (base_model, label_type) = found.ok_or(Error::NotFound)?;
    request
        .validate_for(text::from_name(&label_type)?)
        .map_err(Error::Invalid)?;
    let request = &with_generator(&mut tx, project, request).await?;
    if let Some(adapter) = request.adapter {
        let kind = adapters::kind_in_project(&mut tx, adapter, project).await?;
        if !kind.is_some_and(RoundKind::makes_policy) {
            return Err(Error::Invalid(vec![FieldError::new(
                "adapter",
                "must be a policy adapter of this project",
            )]));
        }
    }
    let prompts: Vec<i64> =
        sqlx::query_scalar("select id from prompt where project_id = ?1 and live = 0 order by id limit ?2")
            .bind(project.0)
            .bind(request.n_prompts.map_or(-1, i64::from))
            .fetch_all(&mut *tx)
            .await?;
    if prompts.is_empty() {
        return Err(Error::Invalid(vec![FieldError::new(
            "n_prompts",
            "the project has no prompts yet: import some first",
        )]));
    }
    let id = insert(&mut tx, project, &base_model, request, &prompts, &by, now).await?;
    let created = read(&mut tx, id).await?;
    tx.commit().await?;
    Ok(created)
}

/// Names what the job samples from: where nothing is named, what is current at this moment.
async fn with_generator(
    conn: &mut SqliteConnection,
    project: ProjectId,
    request: &NewCompletionJob,
) -> Result<NewCompletionJob> {
    let adapter = match request.adapter {
        None if !request.base_model => promotions::current(conn, project).await?,
        named => named,
    };
    Ok(NewCompletionJob {
        adapter,
        base_model: false,
        ..request.clone()
    })
}

/// What a contest orders of one of its contenders.
pub(super) struct Ordered<'a> {
    pub project: ProjectId,
    pub adapter: Option<AdapterId>,
    pub sampling: &'a Sampling,
    pub prompts: &'a [PromptId],
}

/// Orders one completion of each of these prompts. Who orders makes what follows from them.
pub(super) async fn order(
    conn: &mut SqliteConnection,
    ordered: &Ordered<'_>,
    by: &Person,
    now: Timestamp,
) -> Result<CompletionJobId> {
    let base_model: String = sqlx::query_scalar("select base_model from project where id = ?1")
        .bind(ordered.project.0)
        .fetch_one(&mut *conn)
        .await?;
    let request = NewCompletionJob {
        adapter: ordered.adapter,
        base_model: false,
        completions_per_prompt: 1,
        sampling: ordered.sampling.clone(),
        task_plan: TaskPlan::default(),
        n_prompts: None,
    };
    let prompts: Vec<i64> = ordered.prompts.iter().map(|prompt| prompt.0).collect();
    insert(conn, ordered.project, &base_model, &request, &prompts, by, now).await
}

/// The job with its prompts, of which there is one at least.
async fn insert(
    conn: &mut SqliteConnection,
    project: ProjectId,
    base_model: &str,
    request: &NewCompletionJob,
    prompts: &[i64],
    by: &Person,
    now: Timestamp,
) -> Result<CompletionJobId> {
    let job = jobs::NewJob {
        kind: jobs::JobKind::Completions,
        project,
        base_model,
        adapter: request.adapter,
        created_by: Some(by.user),
    };
    let job = jobs::insert(conn, &job, now).await?;
    let n_prompts = prompts.len() as u64;
    let id: i64 = sqlx::query_scalar(
        "insert into completion_job (job_id, request, n_total) values (?1, ?2, ?3) returning id",
    )
    .bind(job.0)
    .bind(text::to_json(request)?)
    .bind((n_prompts * u64::from(request.completions_per_prompt)).cast_signed())
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query(
        "insert into completion_job_prompt (completion_job_id, prompt_id) select ?1, value from json_each(?2)",
    )
    .bind(id)
    .bind(text::to_json(&prompts)?)
    .execute(&mut *conn)
    .await?;
    let detail = json!({
        "adapter": request.adapter, "completions_per_prompt": request.completions_per_prompt, "n_prompts": n_prompts,
        "seed": request.sampling.seed,
    });
    let job = jobs::read(conn, job).await?;
    job_events::note(conn, &by.clone().into(), &job, Change::Ordered, detail, now).await?;
    Ok(CompletionJobId(id))
}

/// The project's completion jobs, newest first.
pub async fn list(db: &Db, project: ProjectId) -> Result<Vec<CompletionJob>> {
    projects::require(db, project).await?;
    let rows: Vec<CompletionJobRow> = sqlx::query_as(
        "select c.id, j.project_id, c.request, a.name as adapter_name, j.status, c.n_done, c.n_total,
                c.n_tasks, c.n_without_task, j.seconds_left, j.worker, j.error, j.created_at, j.started_at, j.finished_at
         from job j join completion_job c on c.job_id = j.id left join adapter a on a.id = j.adapter_id
         where j.project_id = ?1 order by j.id desc",
    )
    .bind(project.0)
    .fetch_all(db.read())
    .await?;
    rows.into_iter().map(CompletionJob::try_from).collect()
}

pub async fn get(db: &Db, id: CompletionJobId) -> Result<CompletionJob> {
    let mut conn = db.read().acquire().await?;
    read(&mut conn, id).await
}

pub async fn abort(
    db: &Db,
    id: CompletionJobId,
    by: impl Into<Actor>,
    now: Timestamp,
) -> Result<CompletionJob> {
    let by = by.into();
    let mut tx = db.write().await?;
    let job: Option<i64> = sqlx::query_scalar("select job_id from completion_job where id = ?1")
        .bind(id.0)
        .fetch_optional(&mut *tx)
        .await?;
    let job = JobId(job.ok_or(Error::NotFound)?);
    jobs::abort(&mut tx, job, &by, now).await?;
    contests::after_job(&mut tx, job, now).await?;
    let job = read(&mut tx, id).await?;
    tx.commit().await?;
    Ok(job)
}

/// Aborts a job of a contest that is over, where it is not.
pub(super) async fn abort_unless_over(
    conn: &mut SqliteConnection,
    id: CompletionJobId,
    by: &Actor,
    now: Timestamp,
) -> Result<()> {
    let job: i64 = sqlx::query_scalar("select job_id from completion_job where id = ?1")
        .bind(id.0)
        .fetch_one(&mut *conn)
        .await?;
    match jobs::read(conn, JobId(job)).await?.status.is_over() {
        true => Ok(()),
        false => jobs::abort(conn, JobId(job), by, now).await,
    }
}

/// The completion job that a job is, for those who watch it.
pub async fn id_of(db: &Db, job: JobId) -> Result<CompletionJobId> {
    let id: Option<i64> = sqlx::query_scalar("select id from completion_job where job_id = ?1")
        .bind(job.0)
        .fetch_optional(db.read())
        .await?;
    Ok(CompletionJobId(id.ok_or(Error::NotFound)?))
}

/// One page of the prompts that still lack completions, with the indexes that are missing.
pub async fn missing(db: &Db, job: JobId, after: PromptId, limit: i64) -> Result<Vec<WorkPrompt>> {
    let rows: Vec<(i64, String, i64, String)> = sqlx::query_as(
        "select p.id, p.messages, json_extract(c.request, '$.completions_per_prompt'),
                (select json_group_array(x.position) from completion x
                 where x.completion_job_id = c.id and x.prompt_id = p.id)
         from completion_job c
         join completion_job_prompt o on o.completion_job_id = c.id
         join prompt p on p.id = o.prompt_id
         where c.job_id = ?1 and o.prompt_id > ?2
           and o.n_done < json_extract(c.request, '$.completions_per_prompt')
         order by o.prompt_id limit ?3",
    )
    .bind(job.0)
    .bind(after.0)
    .bind(limit)
    .fetch_all(db.read())
    .await?;
    let work = |(prompt, messages, n_wanted, stored): (i64, String, i64, String)| {
        let stored: Vec<u32> = text::from_json(&stored)?;
        let n_wanted = u32::try_from(n_wanted).unwrap_or(0);
        Ok(WorkPrompt {
            prompt_id: PromptId(prompt),
            messages: text::from_json(&messages)?,
            indexes: (0..n_wanted).filter(|index| !stored.contains(index)).collect(),
        })
    };
    rows.into_iter().map(work).collect()
}

/// What a trainer is told of the job.
pub async fn work_of(conn: &mut SqliteConnection, job: JobId) -> Result<Work> {
    let (id, request): (i64, String) =
        sqlx::query_as("select id, request from completion_job where job_id = ?1")
            .bind(job.0)
            .fetch_one(conn)
            .await?;
    let request: NewCompletionJob = text::from_json(&request)?;
    Ok(Work::Completions {
        completion_job_id: CompletionJobId(id),
        sampling: request.sampling,
    })
}

pub(super) async fn read(conn: &mut SqliteConnection, id: CompletionJobId) -> Result<CompletionJob> {
    let row: Option<CompletionJobRow> = sqlx::query_as(
        "select c.id, j.project_id, c.request, a.name as adapter_name, j.status, c.n_done, c.n_total,
                c.n_tasks, c.n_without_task, j.seconds_left, j.worker, j.error, j.created_at, j.started_at, j.finished_at
         from completion_job c join job j on j.id = c.job_id left join adapter a on a.id = j.adapter_id
         where c.id = ?1",
    )
    .bind(id.0)
    .fetch_optional(conn)
    .await?;
    row.ok_or(Error::NotFound)?.try_into()
}

#[derive(sqlx::FromRow)]
struct CompletionJobRow {
    id: i64,
    project_id: i64,
    request: String,
    adapter_name: Option<String>,
    status: String,
    n_done: i64,
    n_total: i64,
    n_tasks: i64,
    n_without_task: i64,
    seconds_left: Option<f64>,
    worker: Option<String>,
    error: Option<String>,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl TryFrom<CompletionJobRow> for CompletionJob {
    type Error = Error;

    fn try_from(row: CompletionJobRow) -> Result<Self> {
        Ok(Self {
            id: CompletionJobId(row.id),
            project_id: ProjectId(row.project_id),
            request: text::from_json(&row.request)?,
            generator: row.adapter_name.unwrap_or_else(|| BASE_MODEL.to_owned()),
            status: text::from_name(&row.status)?,
            n_done: text::count(row.n_done),
            n_total: text::count(row.n_total),
            n_tasks: text::count(row.n_tasks),
            n_prompts_without_task: text::count(row.n_without_task),
            seconds_left: row.seconds_left,
            worker: row.worker,
            error: row.error,
            created_at: Timestamp(row.created_at),
            started_at: text::time(row.started_at),
            finished_at: text::time(row.finished_at),
        })
    }
}

/// What a job asks for, as far as storing its completions and making its tasks needs it.
pub(super) struct Order {
    pub id: CompletionJobId,
    pub project: ProjectId,
    pub request: NewCompletionJob,
    pub model: String,
    pub adapter: Option<AdapterId>,
}

pub(super) async fn order_of(conn: &mut SqliteConnection, job: &jobs::Job) -> Result<Order> {
    let row: Option<(i64, String)> =
        sqlx::query_as("select id, request from completion_job where job_id = ?1")
            .bind(job.id.0)
            .fetch_optional(conn)
            .await?;
    let (id, request) = row.ok_or(Error::NotFound)?;
    Ok(Order {
        id: CompletionJobId(id),
        project: job.project_id,
        request: text::from_json(&request)?,
        model: job.base_model.clone(),
        adapter: job.adapter_id,
    })
}
