//! Dataset snapshots: the rows that a round trains on, frozen as the very lines that are streamed and hashed, so
//! that later labels change nothing about a round and a resumed round reads the same bytes.

use super::{Db, Result, comparisons, text};
use laurel_protocol::{ProjectId, RoundKind, Snapshot, SnapshotId, Timestamp};
use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;
use std::collections::HashSet;

/// Rows read at once: bounds the memory, whatever the project's size.
const PAGE: i64 = 500;

/// Freezes the strict comparisons of the project, oldest first.
///
/// For SFT a row teaches its chosen answer alone, so each best answer of an annotation comes once, and what the
/// annotator put below another answer does not come.
pub(super) async fn freeze(
    conn: &mut SqliteConnection,
    project: ProjectId,
    kind: RoundKind,
    now: Timestamp,
) -> Result<Snapshot> {
    let id: i64 = sqlx::query_scalar(
        "insert into snapshot (project_id, hash, n_rows, n_ties_left_out, created_at)
         values (?1, '', 0, ?2, ?3) returning id",
    )
    .bind(project.0)
    .bind(comparisons::n_ties(conn, project).await?)
    .bind(now.0)
    .fetch_one(&mut *conn)
    .await?;

    let mut hash = Sha256::new();
    let mut n_rows = 0_i64;
    let mut taught = HashSet::new();
    let mut after = 0;
    loop {
        let page = comparisons::strict_page(conn, project, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for strict in page {
            if kind == RoundKind::Sft && (strict.beaten || !taught.insert((strict.prompt, strict.chosen))) {
                continue;
            }
            let line = text::to_json(&strict.row)?;
            hash.update(line.as_bytes());
            hash.update(b"\n");
            sqlx::query(
                "insert into snapshot_row (snapshot_id, position, annotation_id, body) values (?1, ?2, ?3, ?4)",
            )
            .bind(id)
            .bind(n_rows)
            .bind(strict.annotation.0)
            .bind(line)
            .execute(&mut *conn)
            .await?;
            n_rows += 1;
        }
    }
    sqlx::query("update snapshot set hash = ?2, n_rows = ?3 where id = ?1")
        .bind(id)
        .bind(text::hex(&hash.finalize()))
        .bind(n_rows)
        .execute(&mut *conn)
        .await?;
    let row: SnapshotRow =
        sqlx::query_as("select id, hash, n_rows, n_ties_left_out, created_at from snapshot where id = ?1")
            .bind(id)
            .fetch_one(conn)
            .await?;
    Ok(row.into())
}

/// The next lines of a snapshot after position `after` (−1 for the first page), with their positions.
pub async fn lines(db: &Db, snapshot: SnapshotId, after: i64) -> Result<Vec<(i64, String)>> {
    let rows = sqlx::query_as(
        "select position, body from snapshot_row
         where snapshot_id = ?1 and position > ?2 order by position limit ?3",
    )
    .bind(snapshot.0)
    .bind(after)
    .bind(PAGE)
    .fetch_all(db.read())
    .await?;
    Ok(rows)
}

#[derive(sqlx::FromRow)]
struct SnapshotRow {
    id: i64,
    hash: String,
    n_rows: i64,
    n_ties_left_out: i64,
    created_at: i64,
}

impl From<SnapshotRow> for Snapshot {
    fn from(row: SnapshotRow) -> Self {
        Self {
            id: SnapshotId(row.id),
            hash: row.hash,
            n_rows: text::count(row.n_rows),
            n_ties_left_out: text::count(row.n_ties_left_out),
            created_at: Timestamp(row.created_at),
        }
    }
}
