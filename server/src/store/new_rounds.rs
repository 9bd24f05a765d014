//! What is checked of a new round before it is queued: the adapters that it names, and its own name.

use super::{Db, Error, Result, adapters, completion_jobs::BASE_MODEL};
use laurel_protocol::{AdapterId, FieldError, NewRound, ProjectId, RoundKind};
use sqlx::SqliteConnection;

/// Checks what is asked for; gives the project's base model and the round's name.
pub(super) async fn accept(
    conn: &mut SqliteConnection,
    project: ProjectId,
    new: &NewRound,
) -> Result<(String, String)> {
    let base_model: Option<String> = sqlx::query_scalar("select base_model from project where id = ?1")
        .bind(project.0)
        .fetch_optional(&mut *conn)
        .await?;
    let base_model = base_model.ok_or(Error::NotFound)?;
    if let Some(adapter) = new.starting_adapter {
        check_start(conn, new.spec.kind, adapter, project).await?;
    }
    if let Some(adapter) = new.reward_adapter {
        check_reward(conn, adapter, project, &base_model).await?;
    }
    let name = free_name(conn, project, new).await?;
    Ok((base_model, name))
}

/// The same for a plan, which changes nothing.
pub async fn check(db: &Db, project: ProjectId, new: &NewRound) -> Result<()> {
    accept(&mut *db.read().acquire().await?, project, new)
        .await
        .map(drop)
}

/// A policy goes on from a policy; a reward model from either (on a policy it gets a new head).
pub(super) async fn check_start(
    conn: &mut SqliteConnection,
    kind: RoundKind,
    adapter: AdapterId,
    project: ProjectId,
) -> Result<()> {
    let start = adapters::kind_in_project(conn, adapter, project)
        .await?
        .ok_or_else(|| refused("starting_adapter", "is not an adapter of this project"))?;
    fits_start(kind, start)
}

/// Whether a round of a kind can go on from what a round of another one makes.
pub(super) fn fits_start(kind: RoundKind, start: RoundKind) -> Result<()> {
    if start == RoundKind::Reward && kind != RoundKind::Reward {
        return Err(refused(
            "starting_adapter",
            "is a reward model: start from a policy adapter or from the base model",
        ));
    }
    Ok(())
}

/// Whether what a round of this kind makes can score answers.
pub(super) fn fits_reward(kind: RoundKind) -> Result<()> {
    match kind {
        RoundKind::Reward => Ok(()),
        RoundKind::Sft | RoundKind::Dpo | RoundKind::Ppo => Err(refused(
            "reward_adapter",
            "is no reward model: choose what a reward round made",
        )),
    }
}

/// What scores a PPO round's answers is a reward model of the same project and base.
pub(super) async fn check_reward(
    conn: &mut SqliteConnection,
    adapter: AdapterId,
    project: ProjectId,
    base_model: &str,
) -> Result<()> {
    let refused = |reason| refused("reward_adapter", reason);
    let kind = adapters::kind_in_project(conn, adapter, project).await?;
    fits_reward(kind.ok_or_else(|| refused("is not an adapter of this project"))?)?;
    if adapters::base_model(conn, adapter).await? != base_model {
        return Err(refused(
            "was trained on another base model than the project has now",
        ));
    }
    Ok(())
}

/// The name asked for, or one made up. Adapters bear their round's name and exports name them as generators, so
/// a project has each name once.
async fn free_name(conn: &mut SqliteConnection, project: ProjectId, new: &NewRound) -> Result<String> {
    let taken: Vec<String> = sqlx::query_scalar(
        "select r.name from round r join job j on j.id = r.job_id where j.project_id = ?1",
    )
    .bind(project.0)
    .fetch_all(conn)
    .await?;
    let is_free = |name: &str| name != BASE_MODEL && !taken.iter().any(|other| other == name);
    let asked = new.name.trim();
    if asked.chars().count() > 100 {
        return Err(refused("name", "must have at most 100 characters"));
    }
    if !asked.is_empty() {
        return match is_free(asked) {
            true => Ok(asked.to_owned()),
            false => Err(refused("name", "is taken in this project")),
        };
    }
    let kind = kind_name(new.spec.kind);
    let name = (1..).map(|n| format!("{kind} {n}")).find(|name| is_free(name));
    Ok(name.expect("some number is free: a project has finitely many rounds"))
}

pub(super) fn kind_name(kind: RoundKind) -> &'static str {
    match kind {
        RoundKind::Sft => "SFT",
        RoundKind::Reward => "Reward",
        RoundKind::Dpo => "DPO",
        RoundKind::Ppo => "PPO",
    }
}

pub(super) fn refused(field: &str, reason: &str) -> Error {
    Error::Invalid(vec![FieldError::new(field, reason)])
}
