//! Completions as trainers hand them in. A (job, prompt, index) that is already stored is left as it is, and the
//! last completion of a prompt makes the prompt's tasks in the same transaction.

use super::{
    Db, Error, Result, completion_jobs,
    contests::{self, Paired},
    jobs, leases, tasks, text,
};
use crate::render;
use laurel_protocol::{
    AdapterId, Completion, CompletionId, CompletionOrigin, Directive, FieldError, FinishedCompletion,
    FinishedCompletions, NewCompletionJob, PromptId, Sampling, Timestamp,
};
use sqlx::SqliteConnection;

/// The longest completion that is accepted.
pub(super) const MAX_TEXT_BYTES: usize = 512 * 1024;

/// What a trainer's call changed.
pub struct Stored {
    pub job: jobs::Job,
    pub directive: Directive,
    pub n_tasks_made: usize,
}

/// Stores finished completions of the job that the trainer holds.
pub async fn store(
    db: &Db,
    lease: &leases::Lease,
    finished: &FinishedCompletions,
    now: Timestamp,
) -> Result<Stored> {
    let mut tx = db.write().await?;
    let job = leases::require_lease(&mut tx, lease, now).await?;
    let order = completion_jobs::order_of(&mut tx, &job).await?;
    let contest = contests::of_job(&mut tx, order.id).await?;
    let mut n_new = 0;
    let mut n_tasks_made = 0;
    let mut n_without_task = 0;
    for completion in &finished.completions {
        check(completion, &order.request)?;
        if !insert(&mut tx, &order, completion, &finished.template_hash, now).await? {
            continue;
        }
        n_new += 1;
        let n_done: Option<i64> = sqlx::query_scalar(
            "update completion_job_prompt set n_done = n_done + 1
             where completion_job_id = ?1 and prompt_id = ?2 returning n_done",
        )
        .bind(order.id.0)
        .bind(completion.prompt_id.0)
        .fetch_optional(&mut *tx)
        .await?;
        let n_done = n_done.ok_or_else(|| refused("prompt_id", "is not a prompt of this job"))?;
        if n_done == i64::from(order.request.completions_per_prompt) {
            let (n_made, n_without) = match contest {
                Some(contest) => match contests::pair(&mut tx, contest, completion.prompt_id, now).await? {
                    Paired::Waits => (0, 0),
                    Paired::Task => (1, 0),
                    Paired::NoTask => (0, 1),
                },
                None => match tasks::make(&mut tx, &order, completion.prompt_id, now).await? {
                    0 => (0, 1),
                    n_made => (n_made, 0),
                },
            };
            n_tasks_made += n_made;
            n_without_task += n_without;
        }
    }
    if n_new > 0 {
        sqlx::query(
            "update completion_job set n_done = n_done + ?2, n_tasks = n_tasks + ?3,
                                       n_without_task = n_without_task + ?4
             where id = ?1",
        )
        .bind(order.id.0)
        .bind(n_new)
        .bind((n_tasks_made as u64).cast_signed())
        .bind(n_without_task)
        .execute(&mut *tx)
        .await?;
        jobs::note_progress(&mut tx, job.id, true, None).await?;
    }
    let directive = job.directive();
    tx.commit().await?;
    Ok(Stored {
        job,
        directive,
        n_tasks_made,
    })
}

/// All completions of a prompt, oldest first.
pub async fn of_prompt(db: &Db, prompt: PromptId) -> Result<Vec<Completion>> {
    let known: Option<i64> = sqlx::query_scalar("select id from prompt where id = ?1")
        .bind(prompt.0)
        .fetch_optional(db.read())
        .await?;
    known.ok_or(Error::NotFound)?;
    let rows: Vec<CompletionRow> = sqlx::query_as(
        "select c.id, c.prompt_id, c.text, c.n_tokens, c.model, c.adapter_id, a.hash as adapter_hash,
                coalesce(json_extract(j.request, '$.sampling'), b.sampling) as sampling,
                coalesce(u.name, i.name) as author, c.imported_by is not null as imported,
                c.position, c.finish_reason, c.template_hash
         from completion c
         left join completion_job j on j.id = c.completion_job_id
         left join battle b on b.id = c.battle_id
         left join annotation n on n.id = c.annotation_id
         left join assignment s on s.id = n.assignment_id left join user u on u.id = s.user_id
         left join user i on i.id = c.imported_by
         left join adapter a on a.id = c.adapter_id
         where c.prompt_id = ?1 order by c.id",
    )
    .bind(prompt.0)
    .fetch_all(db.read())
    .await?;
    rows.into_iter().map(Completion::try_from).collect()
}

fn check(completion: &FinishedCompletion, request: &NewCompletionJob) -> Result<()> {
    if completion.index >= u32::from(request.completions_per_prompt) {
        return Err(refused("index", "is not below the completions per prompt"));
    }
    if completion.text.len() > MAX_TEXT_BYTES {
        return Err(refused("text", "is longer than 512 KiB"));
    }
    Ok(())
}

fn refused(field: &str, reason: &str) -> Error {
    Error::Invalid(vec![FieldError::new(field, reason)])
}

/// Whether the completion was new.
async fn insert(
    conn: &mut SqliteConnection,
    order: &completion_jobs::Order,
    completion: &FinishedCompletion,
    template_hash: &str,
    now: Timestamp,
) -> Result<bool> {
    let belongs: Option<i64> = sqlx::query_scalar(
        "select prompt_id from completion_job_prompt where completion_job_id = ?1 and prompt_id = ?2",
    )
    .bind(order.id.0)
    .bind(completion.prompt_id.0)
    .fetch_optional(&mut *conn)
    .await?;
    if belongs.is_none() {
        return Err(refused("prompt_id", "is not a prompt of this job"));
    }
    let inserted = sqlx::query(
        "insert into completion (prompt_id, completion_job_id, position, text, text_hash, n_tokens, finish_reason,
                                 model, adapter_id, template_hash, created_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         on conflict (completion_job_id, prompt_id, position) do nothing",
    )
    .bind(completion.prompt_id.0)
    .bind(order.id.0)
    .bind(completion.index)
    .bind(&completion.text)
    // What differs in blank space at the ends alone looks the same to a person.
    .bind(text::sha256_hex(completion.text.trim()))
    .bind(completion.n_tokens)
    .bind(text::name_of(&completion.finish_reason))
    .bind(&order.model)
    .bind(order.adapter.map(|adapter| adapter.0))
    .bind(template_hash)
    .bind(now.0)
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

#[derive(sqlx::FromRow)]
struct CompletionRow {
    id: i64,
    prompt_id: i64,
    text: String,
    n_tokens: i64,
    model: String,
    adapter_id: Option<i64>,
    adapter_hash: Option<String>,
    sampling: Option<String>,
    author: Option<String>,
    imported: bool,
    position: i64,
    finish_reason: String,
    template_hash: String,
}

impl TryFrom<CompletionRow> for Completion {
    type Error = Error;

    fn try_from(row: CompletionRow) -> Result<Self> {
        let sampling: Option<Sampling> = row.sampling.as_deref().map(text::from_json).transpose()?;
        let finish_reason = text::from_name(&row.finish_reason)?;
        Ok(Self {
            id: CompletionId(row.id),
            prompt_id: PromptId(row.prompt_id),
            html: render::markdown(&row.text),
            text: row.text,
            n_tokens: row.n_tokens.try_into().unwrap_or(u32::MAX),
            author: row.author,
            imported: row.imported,
            origin: sampling.map(|sampling| CompletionOrigin {
                model: row.model,
                adapter: row.adapter_id.map(AdapterId),
                adapter_hash: row.adapter_hash,
                sampling,
                index: row.position.try_into().unwrap_or(u32::MAX),
                finish_reason,
                template_hash: row.template_hash,
            }),
        })
    }
}
