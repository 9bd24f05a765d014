//! The database file: one writer, many readers. WAL with `synchronous=FULL`: what was committed survives a crash
//! of the process and of the machine.

use super::Result;
use anyhow::Context;
use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, time::Duration};

/// The name of the database in the data folder.
pub const FILE: &str = "laurel.sqlite";

#[derive(Clone, Debug)]
pub struct Db {
    write: SqlitePool,
    read: SqlitePool,
}

impl Db {
    /// Opens (or makes) the database in `data` and brings its schema up to date.
    pub async fn open(data: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data).with_context(|| format!("make the data folder {}", data.display()))?;
        let file = data.join(FILE);
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(options.clone())
            .await
            .with_context(|| format!("open the database {}", file.display()))?;
        sqlx::migrate!("../migrations")
            .run(&write)
            .await
            .with_context(|| format!("bring the database {} up to date", file.display()))?;
        let read = SqlitePoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(options.read_only(true))
            .await
            .with_context(|| format!("open the database {}", file.display()))?;
        Ok(Self { write, read })
    }

    /// For statements that only read.
    pub fn read(&self) -> &SqlitePool {
        &self.read
    }

    /// The single writer's transaction; dropped without a commit it changes nothing.
    pub async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.write.begin_with("begin immediate").await?)
    }

    /// Whether the database answers.
    pub async fn is_ready(&self) -> bool {
        sqlx::query("select 1").execute(&self.read).await.is_ok()
    }

    /// Writes a consistent copy while the server may run.
    pub async fn backup(&self, out: &Path) -> Result<()> {
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
