//! The database file: one writer, many readers. WAL with `synchronous=FULL`: what was committed survives a crash
//! of the process and of the machine.

use super::{
    Result,
    together::{Together, Work},
};
use anyhow::{Context, ensure};
use sqlx::{
    ConnectOptions, Connection, Sqlite, SqlitePool, Transaction,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, time::Duration};

/// The name of the database in the data folder.
pub const FILE: &str = "laurel.sqlite";

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

#[derive(Clone, Debug)]
pub struct Db {
    write: SqlitePool,
    read: SqlitePool,
    together: Together,
}

impl Db {
    /// Opens (or makes) the database in `data` and brings its schema up to date.
    pub async fn open(data: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data).with_context(|| format!("make the data folder {}", data.display()))?;
        let file = data.join(FILE);
        migrate(&file)
            .await
            .with_context(|| format!("bring the database in {} up to date", data.display()))?;
        Self::connect(&file).await
    }

    /// Opens the database in `data` as it is: for those who only look, beside a server of another version perhaps.
    pub async fn open_as_it_is(data: &Path) -> anyhow::Result<Self> {
        let file = data.join(FILE);
        ensure!(file.is_file(), "there is no database {}", file.display());
        Self::connect(&file).await
    }

    /// An error unless the schema is this program's own.
    pub async fn require_own_schema(&self) -> anyhow::Result<()> {
        let version: Option<i64> =
            sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
                .fetch_one(&self.read)
                .await
                .context("read the version of the database")?;
        let own = MIGRATIONS.iter().map(|migration| migration.version).max();
        ensure!(
            version == own,
            "the database is of another version of Laurel: use that one's program, or start this one's server once"
        );
        Ok(())
    }

    /// The newest schema that this program knows.
    pub fn newest_schema() -> i64 {
        MIGRATIONS
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or(0)
    }

    async fn connect(file: &Path) -> anyhow::Result<Self> {
        let options = options(file);
        let pool = |n: u32| {
            SqlitePoolOptions::new()
                .max_connections(n)
                .acquire_timeout(Duration::from_secs(30))
        };
        let failed = || format!("open the database {}", file.display());
        // The writer first: it makes the files beside the database that readers need.
        let write = pool(1).connect_with(options.clone()).await.with_context(failed)?;
        let read = pool(8)
            .connect_with(options.read_only(true))
            .await
            .with_context(failed)?;
        let together = Together::start(write.clone());
        Ok(Self {
            write,
            read,
            together,
        })
    }

    /// For statements that only read.
    pub fn read(&self) -> &SqlitePool {
        &self.read
    }

    /// The single writer's transaction; dropped without a commit it changes nothing.
    pub async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.write.begin_with("begin immediate").await?)
    }

    /// A small write that shares its transaction with others of the same moment, and is on disk when this returns. A
    /// client that goes away in the middle leaves it whole.
    pub(super) async fn write_together<T: Send + 'static>(&self, work: Work<T>) -> Result<T> {
        self.together.write(work).await
    }

    /// Whether the database answers.
    pub async fn is_ready(&self) -> bool {
        sqlx::query("select 1").execute(&self.read).await.is_ok()
    }

    /// Writes a consistent copy of the database while the server may run.
    pub async fn copy_to(&self, out: &Path) -> Result<()> {
        sqlx::query("vacuum into ?1")
            .bind(out.to_string_lossy().into_owned())
            .execute(&self.write)
            .await?;
        Ok(())
    }

    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
}

/// Makes the database where there is none, and runs the migrations that it lacks. Foreign keys are not enforced
/// meanwhile, for a migration that makes a table anew drops the old one; none may be broken afterwards.
async fn migrate(file: &Path) -> anyhow::Result<()> {
    let options = options(file).create_if_missing(true).foreign_keys(false);
    let mut conn = options.connect().await?;
    MIGRATIONS.run(&mut conn).await?;
    let broken: Option<String> =
        sqlx::query_scalar(r#"select "table" from pragma_foreign_key_check limit 1"#)
            .fetch_optional(&mut conn)
            .await?;
    ensure!(
        broken.is_none(),
        "rows of the table {} point to rows that are not there",
        broken.unwrap_or_default()
    );
    Ok(conn.close().await?)
}
