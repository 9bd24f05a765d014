//! What a plan of a round is made from: the project's comparisons, answers and prompts as numbers, what earlier rounds of
//! the base model took, and who would take this one.

use super::{Db, Error, Result, projects, text};
use crate::plan::{Answer, Compared, Data, Demonstration, Earlier, Maker, Start, Surroundings, Version};
use laurel_protocol::{
    AdapterId, AnnotationId, CompletionId, LastWorker, Message, ProjectId, PromptId, RoundId, RoundSpec,
    Timestamp, UserId,
};
use sqlx::SqliteConnection;
use std::collections::{HashMap, HashSet};

/// Earlier rounds that are looked at.
const N_EARLIER: i64 = 50;

/// Changes whenever [`read`] would give something else, names apart.
pub async fn version(db: &Db, project: ProjectId) -> Result<Version> {
    projects::require(db, project).await?;
    let version: (i64, i64, i64, i64) = sqlx::query_as(
        "select coalesce((select max(id) from comparison where project_id = ?1), 0),
                (select count(*) from comparison where project_id = ?1),
                coalesce((select max(id) from prompt where project_id = ?1), 0),
                coalesce((select max(changed_at) from assignment where project_id = ?1), 0)",
    )
    .bind(project.0)
    .fetch_one(db.read())
    .await?;
    Ok(version.into())
}

/// The data, its near-duplicates not grouped yet, and the texts to group it by.
pub async fn read(db: &Db, project: ProjectId, now: Timestamp) -> Result<(Data, Vec<(PromptId, String)>)> {
    let mut moment = db.read().begin().await?;
    let comparisons = comparisons(&mut moment, project).await?;
    let demonstrations = demonstrations(&mut moment, project).await?;
    let answers = answers(&mut moment, project).await?;
    let generators: Vec<(i64, String)> = sqlx::query_as("select id, name from adapter where project_id = ?1")
        .bind(project.0)
        .fetch_all(&mut *moment)
        .await?;
    let prompts: Vec<(i64, String, bool)> =
        sqlx::query_as("select id, messages, live from prompt where project_id = ?1 order by id")
            .bind(project.0)
            .fetch_all(&mut *moment)
            .await?;
    let mut texts = Vec::with_capacity(prompts.len());
    let mut to_answer = Vec::new();
    for (id, messages, live) in prompts {
        if !live {
            to_answer.push(PromptId(id));
        }
        texts.push((PromptId(id), joined(&messages)?));
    }
    let data = Data {
        comparisons,
        demonstrations,
        answers,
        prompts: texts
            .iter()
            .map(|(id, text)| (*id, text.chars().count() as u32))
            .collect(),
        to_answer,
        generators: generators
            .into_iter()
            .map(|(id, name)| (AdapterId(id), name))
            .collect(),
        as_of: now,
        ..Data::default()
    };
    Ok((data, texts))
}

fn joined(messages: &str) -> Result<String> {
    let messages: Vec<Message> = text::from_json(messages)?;
    let contents: Vec<String> = messages.into_iter().map(|message| message.content).collect();
    Ok(contents.join("\n"))
}

async fn comparisons(conn: &mut SqliteConnection, project: ProjectId) -> Result<Vec<Compared>> {
    let rows: Vec<(i64, i64, i64, i64, i64, bool, bool)> = sqlx::query_as(
        "select c.annotation_id, s.user_id, c.prompt_id, c.chosen_id, c.rejected_id, c.tie,
                c.chosen_acceptable and not exists (
                    select 1 from comparison b
                    where b.annotation_id = c.annotation_id and b.tie = 0 and b.rejected_id = c.chosen_id) as is_best
         from comparison c
         join annotation a on a.id = c.annotation_id
         join assignment s on s.id = a.assignment_id
         where c.project_id = ?1 order by c.id",
    )
    .bind(project.0)
    .fetch_all(conn)
    .await?;
    let compared = |(annotation, user, prompt, chosen, rejected, tie, is_best)| Compared {
        annotation: AnnotationId(annotation),
        user: UserId(user),
        prompt: PromptId(prompt),
        chosen: CompletionId(chosen),
        rejected: CompletionId(rejected),
        tie,
        is_best,
    };
    Ok(rows.into_iter().map(compared).collect())
}

async fn demonstrations(conn: &mut SqliteConnection, project: ProjectId) -> Result<Vec<Demonstration>> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        "select s.user_id, c.prompt_id, c.id
         from completion c
         join annotation a on a.id = c.annotation_id
         join assignment s on s.id = a.assignment_id
         where s.project_id = ?1 and c.edited_id is null
         order by c.id",
    )
    .bind(project.0)
    .fetch_all(conn)
    .await?;
    let shown = |(user, prompt, completion)| Demonstration {
        user: UserId(user),
        prompt: PromptId(prompt),
        completion: CompletionId(completion),
    };
    Ok(rows.into_iter().map(shown).collect())
}

/// Those that were compared, and those that people wrote.
async fn answers(conn: &mut SqliteConnection, project: ProjectId) -> Result<HashMap<CompletionId, Answer>> {
    let rows: Vec<(i64, i64, i64, bool, Option<i64>, bool)> = sqlx::query_as(
        "select id, length(text), n_tokens, finish_reason = 'length', adapter_id, annotation_id is not null
         from completion
         where id in (select chosen_id from comparison where project_id = ?1
                      union select rejected_id from comparison where project_id = ?1)
            or annotation_id in (select a.id from annotation a join assignment s on s.id = a.assignment_id
                                 where s.project_id = ?1)",
    )
    .bind(project.0)
    .fetch_all(conn)
    .await?;
    let answer = |(id, n_characters, n_tokens, is_cut_off, adapter, written): (
        i64,
        i64,
        i64,
        bool,
        Option<i64>,
        bool,
    )| {
        let made_by = match (written, adapter) {
            (true, _) => Maker::Person,
            (false, Some(id)) => Maker::Adapter(AdapterId(id)),
            (false, None) => Maker::Base,
        };
        let answer = Answer {
            n_characters: small(n_characters),
            n_tokens: small(n_tokens),
            is_cut_off,
            made_by,
        };
        (CompletionId(id), answer)
    };
    Ok(rows.into_iter().map(answer).collect())
}

fn small(n: i64) -> u32 {
    n.clamp(0, u32::MAX.into()) as u32
}

/// What a plan needs beside the project's data.
pub async fn surroundings(
    db: &Db,
    project: ProjectId,
    spec: &RoundSpec,
    start: Option<AdapterId>,
) -> Result<Surroundings> {
    let base_model: Option<String> = sqlx::query_scalar("select base_model from project where id = ?1")
        .bind(project.0)
        .fetch_optional(db.read())
        .await?;
    let base_model = base_model.ok_or(Error::NotFound)?;
    let mut conn = db.read().acquire().await?;
    Ok(Surroundings {
        earlier: earlier(&mut conn, &base_model).await?,
        worker: last_worker(&mut conn, &base_model).await?,
        n_jobs_ahead: n_jobs_ahead(&mut conn, &base_model).await?,
        first_rows: super::snapshots::first_rows(&mut conn, project, spec).await?,
        start: match start {
            Some(adapter) => Some(start_of(&mut conn, adapter).await?),
            None => None,
        },
    })
}

#[derive(sqlx::FromRow)]
struct EarlierRow {
    id: i64,
    name: String,
    spec: String,
    n_steps: Option<i64>,
    seconds: Option<f64>,
    size: Option<String>,
    n_rows: i64,
}

async fn earlier(conn: &mut SqliteConnection, base_model: &str) -> Result<Vec<Earlier>> {
    let rows: Vec<EarlierRow> = sqlx::query_as(
        "select r.id, r.name, r.spec, r.n_steps, s.n_rows, json_extract(r.preview, '$.size') as size,
                case when j.status = 'done' and j.n_attempts = 1
                     then (j.finished_at - j.started_at) / 1000.0 end as seconds
         from round r join job j on j.id = r.job_id join snapshot s on s.id = r.snapshot_id
         where j.base_model = ?1 order by r.id desc limit ?2",
    )
    .bind(base_model)
    .bind(N_EARLIER)
    .fetch_all(conn)
    .await?;
    let earlier = |row: EarlierRow| {
        Ok(Earlier {
            id: RoundId(row.id),
            name: row.name,
            spec: text::from_json(&row.spec)?,
            n_steps: text::count(row.n_steps.unwrap_or(0)),
            seconds: row.seconds,
            size: row.size.as_deref().map(text::from_json).transpose()?,
            n_rows: text::count(row.n_rows),
        })
    };
    rows.into_iter().map(earlier).collect()
}

async fn last_worker(conn: &mut SqliteConnection, base_model: &str) -> Result<Option<LastWorker>> {
    let last: Option<(String, i64)> = sqlx::query_as(
        "select worker, started_at from job
         where base_model = ?1 and worker is not null and started_at is not null and kind in ('round', 'completions')
         order by started_at desc limit 1",
    )
    .bind(base_model)
    .fetch_optional(conn)
    .await?;
    Ok(last.map(|(name, at)| LastWorker {
        name,
        at: Timestamp(at),
    }))
}

async fn n_jobs_ahead(conn: &mut SqliteConnection, base_model: &str) -> Result<u64> {
    let n: i64 = sqlx::query_scalar(
        "select count(*) from job
         where base_model = ?1 and status in ('queued', 'running') and kind in ('round', 'completions')",
    )
    .bind(base_model)
    .fetch_one(conn)
    .await?;
    Ok(text::count(n))
}

/// All that an adapter and those before it have seen, through the snapshots of the rounds that made them.
async fn start_of(conn: &mut SqliteConnection, adapter: AdapterId) -> Result<Start> {
    let made: Vec<(i64, String, String)> = sqlx::query_as(
        "with recursive line (id) as (
             select ?1 union select a.parent_id from adapter a join line l on l.id = a.id where a.parent_id is not null)
         select r.snapshot_id, a.name, r.spec
         from line l join adapter a on a.id = l.id join round r on r.id = a.round_id order by l.id = ?1 desc",
    )
    .bind(adapter.0)
    .fetch_all(&mut *conn)
    .await?;
    let snapshots: Vec<i64> = made.iter().map(|(snapshot, ..)| *snapshot).collect();
    let seen: Vec<i64> = sqlx::query_scalar(
        "select t.prompt_id from snapshot_row s
         join annotation n on n.id = s.annotation_id
         join assignment g on g.id = n.assignment_id join task t on t.id = g.task_id
         where s.snapshot_id in (select value from json_each(?1))
         union
         select prompt_id from snapshot_prompt where snapshot_id in (select value from json_each(?1))",
    )
    .bind(text::to_json(&snapshots)?)
    .fetch_all(conn)
    .await?;
    let mut splits = Vec::with_capacity(made.len());
    for (_, _, spec) in &made {
        let spec: RoundSpec = text::from_json(spec)?;
        splits.push((spec.seed, spec.hyper.held_out));
    }
    Ok(Start {
        name: made
            .into_iter()
            .next()
            .map(|(_, name, _)| name)
            .unwrap_or_default(),
        seen: seen.into_iter().map(PromptId).collect::<HashSet<_>>(),
        splits,
    })
}
