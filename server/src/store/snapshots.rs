//! Dataset snapshots: the rows that a round trains on, frozen as the very lines that are streamed and hashed, so
//! that later labels change nothing about a round and a resumed round reads the same bytes.

use super::{
    Db, Result,
    comparisons::{self, Which},
    prompts,
    row_weights::{self, Weights},
    text, written,
};
use laurel_protocol::{
    AnnotationId, CompletionId, ExampleRow, Message, PlanRow, ProjectId, PromptId, PromptRow, RoundKind,
    RoundSpec, Snapshot, SnapshotId, Timestamp,
};
use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;
use std::collections::HashSet;

/// Rows read at once: bounds the memory, whatever the project's size.
const PAGE: i64 = 500;

/// Freezes what a round of this spec trains on, as it is at one moment; `None` when there is nothing. That is the strict
/// comparisons, oldest first, and with a loss that trains ties those as well; for SFT demonstrations behind them; for PPO
/// the prompts, and where it imitates the chosen answers beside, those first. Where nothing has changed since an earlier
/// snapshot, that is the one.
///
/// Everything is read in one transaction, and twice: for the hash, then to be stored a page at a time, so that
/// neither memory nor the single writer is taken up by a large project.
pub(super) async fn freeze(
    db: &Db,
    project: ProjectId,
    spec: &RoundSpec,
    now: Timestamp,
) -> Result<Option<Snapshot>> {
    let weights = row_weights::weights(db, project, spec).await?;
    let mut moment = db.read().begin().await?;
    let n_ties = match spec.hyper.loss.trains_ties() || spec.kind == RoundKind::Ppo {
        true => 0, // none is left out
        false => comparisons::n_ties(&mut moment, project).await?,
    };
    let mut hash = Sha256::new();
    let mut n_rows = 0_i64;
    let mut rows = Rows::new(project, spec, weights.as_ref());
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
    let mut rows = Rows::new(project, spec, weights.as_ref());
    while let Some(page) = rows.next_page(&mut moment).await? {
        add(db, id, first, &page).await?;
        first += page.len() as i64;
    }
    finish(db, id, &hash, n_rows).await.map(Some)
}

/// Characters of a text that a plan shows, and rows.
const SHOWN: usize = 1500;
const N_SHOWN: usize = 3;

/// The first rows that a snapshot for this spec would have, long texts cut.
pub(super) async fn first_rows(
    conn: &mut SqliteConnection,
    project: ProjectId,
    spec: &RoundSpec,
) -> Result<Vec<PlanRow>> {
    let mut shown = Vec::new();
    let mut rows = Rows::new(project, spec, None);
    while shown.len() < N_SHOWN
        && let Some(page) = rows.next_page(conn).await?
    {
        for (_, line) in page.iter().take(N_SHOWN - shown.len()) {
            shown.push(first_row(line, rows.teaches_chosen)?);
        }
    }
    Ok(shown)
}

fn first_row(line: &str, teaches_chosen: bool) -> Result<PlanRow> {
    #[derive(serde::Deserialize)]
    struct Line {
        prompt: Vec<Message>,
        #[serde(alias = "completion")]
        chosen: Option<Vec<Message>>,
        rejected: Option<Vec<Message>>,
    }
    let cut = |text: &str| match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    let answer = |side: Option<Vec<Message>>| {
        let last = side.and_then(|mut messages| messages.pop());
        last.map(|message| cut(&message.content))
    };
    let Line {
        mut prompt,
        chosen,
        rejected,
    } = text::from_json(line)?;
    for message in &mut prompt {
        message.content = cut(&message.content);
    }
    Ok(PlanRow {
        prompt,
        chosen: answer(chosen),
        rejected: answer(rejected.filter(|_| !teaches_chosen)),
    })
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

/// What a line of a snapshot follows from.
#[derive(Clone, Copy)]
enum Origin {
    Annotation(AnnotationId),
    Prompt(PromptId),
}

/// The lines that a round learns from, page by page: first what follows from comparisons, then prompts.
///
/// For SFT a row teaches its chosen answer alone, so each best answer of an annotation comes once, and what the
/// annotator put below another answer, or called unacceptable, does not come; demonstrations follow. The same holds for a
/// PPO round that imitates chosen answers; every prompt without such a row comes by itself then.
struct Rows<'a> {
    project: ProjectId,
    which: Which,
    has_comparisons: bool,
    has_demonstrations: bool,
    has_prompts: bool,
    teaches_chosen: bool,
    weights: Option<&'a Weights>,
    taught: HashSet<(PromptId, CompletionId)>,
    /// Prompts of lines that have been given, where prompts follow.
    seen: HashSet<PromptId>,
    /// The number of the last comparison, then of the last prompt, that was read.
    after: i64,
}

impl<'a> Rows<'a> {
    fn new(project: ProjectId, spec: &RoundSpec, weights: Option<&'a Weights>) -> Self {
        let imitates = spec.hyper.ppo.as_ref().is_some_and(|ppo| ppo.sft_weight > 0.0);
        Self {
            project,
            which: match spec.hyper.loss.trains_ties() {
                true => Which::StrictAndTies,
                false => Which::Strict,
            },
            has_comparisons: spec.kind != RoundKind::Ppo || imitates,
            has_demonstrations: spec.kind == RoundKind::Sft || imitates,
            has_prompts: spec.kind == RoundKind::Ppo,
            teaches_chosen: spec.kind == RoundKind::Sft || imitates,
            weights,
            taught: HashSet::new(),
            seen: HashSet::new(),
            after: 0,
        }
    }

    /// The next lines with what they follow from; a page may be empty.
    async fn next_page(&mut self, conn: &mut SqliteConnection) -> Result<Option<Vec<(Origin, String)>>> {
        if self.has_comparisons {
            if let Some(page) = self.compared(conn).await? {
                return Ok(Some(page));
            }
            (self.has_comparisons, self.after) = (false, 0);
        }
        if self.has_demonstrations {
            if let Some(page) = self.demonstrations(conn).await? {
                return Ok(Some(page));
            }
            (self.has_demonstrations, self.after) = (false, 0);
        }
        if self.has_prompts {
            return self.prompts(conn).await;
        }
        Ok(None)
    }

    async fn compared(&mut self, conn: &mut SqliteConnection) -> Result<Option<Vec<(Origin, String)>>> {
        let page = comparisons::page(conn, self.project, self.which, self.after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        self.after = last.id;
        let mut lines = Vec::with_capacity(page.len());
        for mut compared in page {
            let teaches = (compared.prompt, compared.chosen);
            let is_best = compared.acceptable && !compared.beaten;
            if self.teaches_chosen && !(is_best && self.taught.insert(teaches)) {
                continue;
            }
            if self.has_prompts {
                self.seen.insert(compared.prompt);
            }
            compared.row.weight = self.weights.map(|weights| weights.of(&compared));
            let line = text::to_json(&compared.row)?;
            lines.push((Origin::Annotation(compared.annotation), line));
        }
        Ok(Some(lines))
    }

    async fn demonstrations(&mut self, conn: &mut SqliteConnection) -> Result<Option<Vec<(Origin, String)>>> {
        let page = written::demonstrations(conn, self.project, self.after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        self.after = last.completion_id.0;
        if self.has_prompts {
            self.seen.extend(page.iter().map(|row| row.prompt_id));
        }
        let line = |row: &ExampleRow| Ok((Origin::Annotation(row.annotation_id), text::to_json(row)?));
        page.iter().map(line).collect::<Result<_>>().map(Some)
    }

    async fn prompts(&mut self, conn: &mut SqliteConnection) -> Result<Option<Vec<(Origin, String)>>> {
        let page = prompts::after(conn, self.project, PromptId(self.after), PAGE).await?;
        let Some((last, _)) = page.last() else {
            return Ok(None);
        };
        self.after = last.0;
        let unseen = page.into_iter().filter(|(id, _)| !self.seen.contains(id));
        let line = |(prompt_id, prompt)| {
            let line = text::to_json(&PromptRow { prompt, prompt_id })?;
            Ok((Origin::Prompt(prompt_id), line))
        };
        unseen.map(line).collect::<Result<_>>().map(Some)
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

async fn add(db: &Db, id: i64, first: i64, page: &[(Origin, String)]) -> Result<()> {
    let (mut compared, mut alone) = (Vec::new(), Vec::new());
    for (position, (origin, line)) in (first..).zip(page) {
        match origin {
            Origin::Annotation(annotation) => compared.push((position, annotation.0, line)),
            Origin::Prompt(prompt) => alone.push((position, prompt.0, line)),
        }
    }
    let mut tx = db.write().await?;
    sqlx::query(
        "insert into snapshot_row (snapshot_id, position, annotation_id, body)
         select ?1, value ->> 0, value ->> 1, value ->> 2 from json_each(?2)",
    )
    .bind(id)
    .bind(text::to_json(&compared)?)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "insert into snapshot_prompt (snapshot_id, position, prompt_id, body)
         select ?1, value ->> 0, value ->> 1, value ->> 2 from json_each(?2)",
    )
    .bind(id)
    .bind(text::to_json(&alone)?)
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
    // What the graph of the project's lineage draws, counted once: a snapshot has many rows, and never changes.
    sqlx::query(
        "insert into snapshot_source (snapshot_id, completion_job_id, n_annotations)
         select ?1, c.completion_job_id, count(distinct r.annotation_id)
         from snapshot_row r
         join annotation a on a.id = r.annotation_id
         join assignment s on s.id = a.assignment_id
         join task_completion t on t.task_id = s.task_id
         join completion c on c.id = t.completion_id
         where r.snapshot_id = ?1 and c.completion_job_id is not null
         group by c.completion_job_id",
    )
    .bind(id)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(row.into())
}

/// Bytes of a snapshot as it is streamed.
pub async fn size_bytes(db: &Db, snapshot: SnapshotId) -> Result<u64> {
    let n: i64 = sqlx::query_scalar(
        "select coalesce(sum(n), 0) from (
             select octet_length(body) + 1 as n from snapshot_row where snapshot_id = ?1
             union all
             select octet_length(body) + 1 from snapshot_prompt where snapshot_id = ?1)",
    )
    .bind(snapshot.0)
    .fetch_one(db.read())
    .await?;
    Ok(text::count(n))
}

/// The next lines of a snapshot after position `after` (−1 for the first page), with their positions.
pub async fn lines(db: &Db, snapshot: SnapshotId, after: i64) -> Result<Vec<(i64, String)>> {
    let rows = sqlx::query_as(
        "select position, body from snapshot_row where snapshot_id = ?1 and position > ?2
         union all
         select position, body from snapshot_prompt where snapshot_id = ?1 and position > ?2
         order by position limit ?3",
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
