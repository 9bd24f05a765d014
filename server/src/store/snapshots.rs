//! Dataset snapshots: the rows that a round trains on, frozen as the very lines that are streamed and hashed, so
//! that later labels change nothing about a round and a resumed round reads the same bytes.

use super::{
    Db, Result,
    comparisons::{self, Which},
    text,
};
use laurel_protocol::{
    CompletionId, ProjectId, PromptId, RoundKind, RoundSpec, Snapshot, SnapshotId, Timestamp,
};
use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;
use std::collections::HashSet;

/// Rows read at once: bounds the memory, whatever the project's size.
const PAGE: i64 = 500;

/// Freezes the strict comparisons of the project as they are at one moment, oldest first, and with a loss that trains
/// ties those as well; `None` when there are none. Where nothing has changed since an earlier snapshot, that is the one.
///
/// Everything is read in one transaction, and twice: for the hash, then to be stored a page at a time, so that
/// neither memory nor the single writer is taken up by a large project.
pub(super) async fn freeze(
    db: &Db,
    project: ProjectId,
    spec: &RoundSpec,
    now: Timestamp,
) -> Result<Option<Snapshot>> {
    let mut moment = db.read().begin().await?;
    let n_ties = match spec.hyper.loss.trains_ties() {
        true => 0, // none is left out
        false => comparisons::n_ties(&mut moment, project).await?,
    };
    let mut hash = Sha256::new();
    let mut n_rows = 0_i64;
    let mut rows = Rows::new(project, spec);
    while let Some(page) = rows.next_page(&mut moment).await? {
        for (_, line) in &page {
            hash.update(line.as_bytes());
            hash.update(b"\n");
        }
        n_rows += page.len() as i64;
    }
    if n_rows == 0 {
        return Ok(None);
    }
    let hash = text::hex(&hash.finalize());
    let same: Option<SnapshotRow> = sqlx::query_as(
        "select id, hash, n_rows, n_ties_left_out, created_at from snapshot
         where project_id = ?1 and hash = ?2 and n_ties_left_out = ?3 order by id desc limit 1",
    )
    .bind(project.0)
    .bind(&hash)
    .bind(n_ties)
    .fetch_optional(db.read())
    .await?;
    if let Some(same) = same {
        return Ok(Some(same.into()));
    }
    let id = begin(db, project, n_ties, now).await?;
    let mut first = 0;
    let mut rows = Rows::new(project, spec);
    while let Some(page) = rows.next_page(&mut moment).await? {
        add(db, id, first, &page).await?;
        first += page.len() as i64;
    }
    finish(db, id, &hash, n_rows).await.map(Some)
}

/// Removes what a server that was killed had not finished to freeze: at start, before anyone freezes anew.
pub async fn clear_unfinished(db: &Db) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query("delete from snapshot where hash = ''")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// The lines that a round learns from, page by page.
///
/// For SFT a row teaches its chosen answer alone, so each best answer of an annotation comes once, and what the
/// annotator put below another answer does not come.
struct Rows {
    project: ProjectId,
    kind: RoundKind,
    which: Which,
    taught: HashSet<(PromptId, CompletionId)>,
    after: i64,
}

impl Rows {
    fn new(project: ProjectId, spec: &RoundSpec) -> Self {
        Self {
            project,
            kind: spec.kind,
            which: match spec.hyper.loss.trains_ties() {
                true => Which::StrictAndTies,
                false => Which::Strict,
            },
            taught: HashSet::new(),
            after: 0,
        }
    }

    /// The next lines with the annotations that they follow from; a page may be empty.
    async fn next_page(&mut self, conn: &mut SqliteConnection) -> Result<Option<Vec<(i64, String)>>> {
        let page = comparisons::page(conn, self.project, self.which, self.after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        self.after = last.id;
        let mut lines = Vec::with_capacity(page.len());
        for compared in page {
            let teaches = (compared.prompt, compared.chosen);
            if self.kind == RoundKind::Sft && (compared.beaten || !self.taught.insert(teaches)) {
                continue;
            }
            lines.push((compared.annotation.0, text::to_json(&compared.row)?));
        }
        Ok(Some(lines))
    }
}

/// A snapshot without a hash is one that is being made.
async fn begin(db: &Db, project: ProjectId, n_ties: i64, now: Timestamp) -> Result<i64> {
    let mut tx = db.write().await?;
    let id: i64 = sqlx::query_scalar(
        "insert into snapshot (project_id, hash, n_rows, n_ties_left_out, created_at)
         values (?1, '', 0, ?2, ?3) returning id",
    )
    .bind(project.0)
    .bind(n_ties)
    .bind(now.0)
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(id)
}

async fn add(db: &Db, id: i64, first: i64, page: &[(i64, String)]) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query(
        "insert into snapshot_row (snapshot_id, position, annotation_id, body)
         select ?1, ?2 + key, value ->> 0, value ->> 1 from json_each(?3)",
    )
    .bind(id)
    .bind(first)
    .bind(text::to_json(&page)?)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

async fn finish(db: &Db, id: i64, hash: &str, n_rows: i64) -> Result<Snapshot> {
    let mut tx = db.write().await?;
    let row: SnapshotRow = sqlx::query_as(
        "update snapshot set hash = ?2, n_rows = ?3 where id = ?1
         returning id, hash, n_rows, n_ties_left_out, created_at",
    )
    .bind(id)
    .bind(hash)
    .bind(n_rows)
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
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
