//! Whether a database that nobody uses is sound: for backups. It is opened so that nothing is written, not even beside it.

use super::{Db, text};
use anyhow::{Context, Result, ensure};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use std::path::Path;

/// What a backup's database says of itself.
#[derive(Debug)]
pub struct Found {
    /// The number of its last migration.
    pub schema: i64,
    /// Hashes and file names of the adapters that must lie beside it.
    pub adapters: Vec<(String, Vec<String>)>,
}

/// Checks the file from end to end: its pages, its indexes, its foreign keys.
pub async fn check(file: &Path) -> Result<Found> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .immutable(true);
    let mut conn = options.connect().await.context("open the database")?;
    let sound: String = sqlx::query_scalar("pragma integrity_check(1)")
        .fetch_one(&mut conn)
        .await
        .context("read the database")?;
    ensure!(sound == "ok", "the database is damaged: {sound}");
    let schema: Option<i64> = sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
        .fetch_one(&mut conn)
        .await
        .context("this is no database of Laurel's")?;
    let schema = schema.context("this is no database of Laurel's")?;
    ensure!(
        schema <= Db::newest_schema(),
        "the database is of a newer Laurel (schema {schema}, this program knows {}): use that one's program",
        Db::newest_schema()
    );
    let broken: Option<String> =
        sqlx::query_scalar(r#"select "table" from pragma_foreign_key_check limit 1"#)
            .fetch_optional(&mut conn)
            .await?;
    ensure!(
        broken.is_none(),
        "rows of the table {} point to rows that are not there",
        broken.unwrap_or_default()
    );
    // Before version 19 no adapter lost its files.
    let sql = match schema >= 19 {
        true => "select distinct hash, files from adapter where deleted_at is null",
        false => "select distinct hash, files from adapter",
    };
    let rows: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut conn).await?;
    let adapters = rows
        .into_iter()
        .map(|(hash, files)| Ok((hash, text::from_json(&files)?)));
    let adapters = adapters.collect::<super::Result<_>>()?;
    conn.close().await?;
    Ok(Found { schema, adapters })
}
