//! Databases of earlier versions.

use sqlx::{Connection, SqliteConnection, migrate::Migrator};
use std::{fs, path::Path};
use tempfile::TempDir;

/// A data folder whose database has the migrations before this number, and these rows.
pub async fn database(before: &str, rows: &'static str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("migrations");
    fs::create_dir(&old).unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().as_ref() < before {
            fs::copy(entry.path(), old.join(entry.file_name())).unwrap();
        }
    }
    let file = folder.path().join("laurel.sqlite");
    let mut conn = SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", file.display()))
        .await
        .unwrap();
    Migrator::new(old).await.unwrap().run(&mut conn).await.unwrap();
    sqlx::raw_sql(rows).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    folder
}
