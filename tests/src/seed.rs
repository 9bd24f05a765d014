//! A large project, written straight into a database: what a server must still be quick with.

use anyhow::{Context, Result, ensure};
use laurel_protocol::{
    AdapterConfig, AdapterId, Hyper, NewCompletionJob, RewardSource, RoundKind, RoundSpec, Sampling, TaskPlan,
};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

const DAY_MS: i64 = 86_400_000;

/// How much of everything. Each prompt has four completions and two tasks, and two people have judged three quarters of the
/// tasks; each round has an adapter and a metric point for each of its steps.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub n_prompts: u32,
    pub n_rounds: u32,
    pub n_steps: u32,
    pub n_snapshot_rows: u32,
}

impl Size {
    /// 100 000 prompts, 400 000 completions, 300 000 annotations, 200 rounds, 5 million metric points.
    pub const LARGE: Self = Self {
        n_prompts: 100_000,
        n_rounds: 200,
        n_steps: 25_000,
        n_snapshot_rows: 2000,
    };
}

/// Writes the project into the data folder of a server that is not running; the database is there and has no project.
pub fn fill(data: &Path, size: Size) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(write(data, size))
}

async fn write(data: &Path, size: Size) -> Result<()> {
    let file = data.join("laurel.sqlite");
    // Checked at the end at once; what is half written by a crash is thrown away.
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .foreign_keys(false)
        .pragma("synchronous", "off")
        .pragma("cache_size", "-500000");
    let mut conn = SqliteConnection::connect_with(&options)
        .await
        .with_context(|| format!("open {file:?}: start the server on it once"))?;
    let n_projects: i64 = sqlx::query_scalar("select count(*) from project")
        .fetch_one(&mut conn)
        .await?;
    ensure!(
        n_projects == 0,
        "{file:?} has projects already: seed a fresh data folder"
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let began = now - 120 * DAY_MS;
    sqlx::raw_sql(
        "create temp table setting (n_prompts integer, n_rounds integer, n_steps integer, n_snapshot_rows integer,
                                    began integer);
         create temp table round_plan (i integer primary key, kind text, spec text, parent integer, writer integer,
                                       request text, at integer);",
    )
    .execute(&mut conn)
    .await?;
    sqlx::query("insert into setting values (?1, ?2, ?3, ?4, ?5)")
        .bind(size.n_prompts)
        .bind(size.n_rounds)
        .bind(size.n_steps)
        .bind(size.n_snapshot_rows)
        .bind(began)
        .execute(&mut conn)
        .await?;
    let mut transaction = conn.begin().await?;
    let mut writer = None;
    for i in 1..=i64::from(size.n_rounds) {
        let kind = RoundKind::ALL[i as usize % 4];
        let parent = writer;
        if kind.makes_policy() {
            writer = Some(i);
        }
        sqlx::query("insert into round_plan values (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
            .bind(i)
            .bind(kind.as_str())
            .bind(serde_json::to_string(&spec(kind, i as u64))?)
            .bind(parent)
            .bind(writer)
            .bind(serde_json::to_string(&request(writer))?)
            .bind(began + i * 118 * DAY_MS / i64::from(size.n_rounds))
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::raw_sql(AssertSqlSafe(include_str!("seed/large.sql")))
        .execute(&mut *transaction)
        .await?;
    let broken: Vec<(String,)> = sqlx::query_as("select \"table\" from pragma_foreign_key_check limit 1")
        .fetch_all(&mut *transaction)
        .await?;
    ensure!(
        broken.is_empty(),
        "rows of {broken:?} name others that are not there"
    );
    transaction.commit().await?;
    sqlx::raw_sql("analyze").execute(&mut conn).await?;
    conn.close().await?;
    Ok(())
}

fn spec(kind: RoundKind, seed: u64) -> RoundSpec {
    RoundSpec {
        kind,
        adapter: AdapterConfig::default(),
        hyper: Hyper::for_kind(kind),
        reward: (kind == RoundKind::Ppo).then(RewardSource::default),
        seed,
    }
}

fn request(adapter: Option<i64>) -> NewCompletionJob {
    NewCompletionJob {
        adapter: adapter.map(AdapterId),
        base_model: adapter.is_none(),
        completions_per_prompt: 4,
        sampling: Sampling::default(),
        task_plan: TaskPlan::default(),
        n_prompts: None,
    }
}
