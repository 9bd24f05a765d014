//! The beginning of a contest: its contenders and prompts, and a completion job of each contender.

use super::{note, read};
use crate::store::{
    Db, Error, Result, adapters, audit::Person, completion_jobs, new_rounds::refused, prompts, text,
};
use laurel_protocol::{
    AdapterId, CompletionJobId, Contest, ContestId, LabelType, NewContest, ProjectId, PromptId, RoundId,
    RoundKind, Timestamp, Verb,
};
use serde_json::json;
use sqlx::SqliteConnection;

/// Orders the answers of both contenders; the tasks come with them.
pub async fn create(
    db: &Db,
    project: ProjectId,
    new: &NewContest,
    by: impl Into<Person>,
    now: Timestamp,
) -> Result<Contest> {
    let by = by.into();
    let mut tx = db.write().await?;
    require_pick(&mut tx, project).await?;
    for (field, adapter) in [("first", new.first), ("second", new.second)] {
        require_policy(&mut tx, project, field, adapter).await?;
    }
    if let Some(round) = new.round {
        require_maker(&mut tx, project, round, new.first).await?;
    }
    let prompts = prompts_of(&mut tx, project, new, now).await?;
    let mut jobs = Vec::with_capacity(2);
    for adapter in [new.first, new.second] {
        let order = completion_jobs::Ordered {
            project,
            adapter,
            sampling: &new.sampling,
            prompts: &prompts,
        };
        jobs.push(completion_jobs::order(&mut tx, &order, &by, now).await?);
    }
    let id = insert(&mut tx, project, new, &jobs, by.user.0, now).await?;
    for prompt in &prompts {
        sqlx::query("insert into contest_prompt (contest_id, prompt_id, state) values (?1, ?2, 'waits')")
            .bind(id.0)
            .bind(prompt.0)
            .execute(&mut *tx)
            .await?;
    }
    let detail = json!({
        "first": new.first, "second": new.second, "round": new.round, "n_prompts": prompts.len(),
        "n_people": new.n_people, "alpha": new.alpha, "seed": new.sampling.seed,
    });
    note(
        &mut tx,
        &by.into(),
        Verb::ContestBegun,
        (project, id),
        detail,
        now,
    )
    .await?;
    let contest = read(&mut tx, id).await?;
    tx.commit().await?;
    Ok(contest)
}

async fn insert(
    conn: &mut SqliteConnection,
    project: ProjectId,
    new: &NewContest,
    jobs: &[CompletionJobId],
    by: i64,
    now: Timestamp,
) -> Result<ContestId> {
    let id: i64 = sqlx::query_scalar(
        "insert into contest (project_id, first_id, second_id, round_id, first_job_id, second_job_id, status, n_people,
                              alpha, seed, created_by, created_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, 'open', ?7, ?8, ?9, ?10, ?11) returning id",
    )
    .bind(project.0)
    .bind(new.first.map(|adapter| adapter.0))
    .bind(new.second.map(|adapter| adapter.0))
    .bind(new.round.map(|round| round.0))
    .bind(jobs[0].0)
    .bind(jobs[1].0)
    .bind(new.n_people)
    .bind(new.alpha)
    .bind(new.sampling.seed.cast_signed())
    .bind(by)
    .bind(now.0)
    .fetch_one(conn)
    .await?;
    Ok(ContestId(id))
}

/// Two answers side by side are what the label type pick shows.
async fn require_pick(conn: &mut SqliteConnection, project: ProjectId) -> Result<()> {
    let label_type: Option<String> = sqlx::query_scalar("select label_type from project where id = ?1")
        .bind(project.0)
        .fetch_optional(conn)
        .await?;
    match text::from_name(&label_type.ok_or(Error::NotFound)?)? {
        LabelType::Pick => Ok(()),
        LabelType::Rank | LabelType::BestWorst | LabelType::Rate => Err(Error::Conflict(
            "A contest works with the label type pick only: make a project of that type for it.".to_owned(),
        )),
    }
}

async fn require_policy(
    conn: &mut SqliteConnection,
    project: ProjectId,
    field: &str,
    adapter: Option<AdapterId>,
) -> Result<()> {
    let Some(adapter) = adapter else { return Ok(()) };
    let kind = adapters::kind_in_project(conn, adapter, project).await?;
    match kind.is_some_and(RoundKind::makes_policy) {
        true => Ok(()),
        false => Err(refused(field, "must be a policy adapter of this project")),
    }
}

/// A round's gate is about what the round made.
async fn require_maker(
    conn: &mut SqliteConnection,
    project: ProjectId,
    round: RoundId,
    first: Option<AdapterId>,
) -> Result<()> {
    let made: Option<i64> =
        sqlx::query_scalar("select id from adapter where round_id = ?1 and project_id = ?2")
            .bind(round.0)
            .bind(project.0)
            .fetch_optional(conn)
            .await?;
    match made.is_some() && made.map(AdapterId) == first {
        true => Ok(()),
        false => Err(refused(
            "round",
            "must be the round that made the first contender",
        )),
    }
}

/// The own prompts, and a sample of the project's others, by the order of a hash of the seed and their number.
async fn prompts_of(
    conn: &mut SqliteConnection,
    project: ProjectId,
    new: &NewContest,
    now: Timestamp,
) -> Result<Vec<PromptId>> {
    let own = prompts::require_all(conn, project, &new.prompts, now).await?;
    let all: Vec<i64> = sqlx::query_scalar("select id from prompt where project_id = ?1 and live = 0")
        .bind(project.0)
        .fetch_all(conn)
        .await?;
    let mut others: Vec<(String, i64)> = all
        .into_iter()
        .filter(|id| !own.contains(&PromptId(*id)))
        .map(|id| (text::sha256_hex(format!("{} {id}", new.sampling.seed)), id))
        .collect();
    others.sort();
    others.truncate(new.n_prompts as usize);
    let mut chosen = own;
    chosen.extend(others.into_iter().map(|(_, id)| PromptId(id)));
    match chosen.is_empty() {
        false => Ok(chosen),
        true => Err(refused(
            "n_prompts",
            "the project has no prompts yet: import some first",
        )),
    }
}
