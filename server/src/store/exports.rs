//! Exports, a page at a time: memory stays constant however much there is. All pages are read in one transaction,
//! so that an export is the project as it was at one moment, whatever people label meanwhile.

use super::{Db, Result, comparisons, completion_jobs::BASE_MODEL, text};
use laurel_protocol::{
    AnnotationId, CompletionId, ExportFormat, ImplicitRow, Judgement, ProjectId, PromptId, RankedCompletion,
    RankingRow, Timestamp, UserId,
};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use std::fmt::Write as _;

const PAGE: i64 = 200;

/// An export under way. It holds a connection for readers: take the pages as fast as they come, and never wait for
/// a client in between.
pub struct Export {
    tx: Transaction<'static, Sqlite>,
    project: ProjectId,
    format: ExportFormat,
    /// Number of the last row given.
    after: i64,
}

impl Export {
    /// The moment that is exported is that of the first page.
    pub async fn begin(db: &Db, project: ProjectId, format: ExportFormat) -> Result<Self> {
        Ok(Self {
            tx: db.read().begin().await?,
            project,
            format,
            after: 0,
        })
    }

    /// The next lines, or `None` once there are no more.
    pub async fn next_page(&mut self) -> Result<Option<String>> {
        let page = match self.format {
            ExportFormat::Preference
            | ExportFormat::ImplicitPreference
            | ExportFormat::UnpairedPreference => {
                preferences(&mut self.tx, self.project, self.format, self.after).await?
            }
            ExportFormat::Ranking => rankings(&mut self.tx, self.project, self.after).await?,
        };
        Ok(page.map(|(lines, last)| {
            self.after = last;
            lines
        }))
    }
}

async fn preferences(
    conn: &mut SqliteConnection,
    project: ProjectId,
    format: ExportFormat,
    after: i64,
) -> Result<Option<(String, i64)>> {
    let rows = comparisons::strict_page(conn, project, after, PAGE).await?;
    let Some(last) = rows.last().map(|row| row.id) else {
        return Ok(None);
    };
    let mut lines = String::new();
    for row in rows {
        let line = match format {
            ExportFormat::ImplicitPreference => {
                let whole = |answer| [row.row.prompt.clone(), answer].concat();
                text::to_json(&ImplicitRow {
                    chosen: whole(row.row.chosen.clone()),
                    rejected: whole(row.row.rejected.clone()),
                    provenance: row.row.provenance.clone(),
                })?
            }
            ExportFormat::UnpairedPreference => {
                let [chosen, rejected] = row.row.unpaired();
                format!("{}\n{}", text::to_json(&chosen)?, text::to_json(&rejected)?)
            }
            _ => text::to_json(&row.row)?,
        };
        let _ = writeln!(lines, "{line}");
    }
    Ok(Some((lines, last)))
}

#[derive(sqlx::FromRow)]
struct AnnotationRow {
    id: i64,
    judgement: String,
    comment: String,
    seconds: f64,
    created_at: i64,
    display_order: String,
    user_id: i64,
    task_id: i64,
    prompt_id: i64,
    messages: String,
    pseudonym_key: String,
}

async fn rankings(
    conn: &mut SqliteConnection,
    project: ProjectId,
    after: i64,
) -> Result<Option<(String, i64)>> {
    let rows: Vec<AnnotationRow> = sqlx::query_as(
        "select n.id, n.judgement, n.comment, n.seconds, n.created_at, a.display_order, a.user_id,
                t.id as task_id, t.prompt_id, p.messages, o.pseudonym_key
         from annotation n join assignment a on a.id = n.assignment_id join task t on t.id = a.task_id
         join prompt p on p.id = t.prompt_id join project o on o.id = t.project_id
         where t.project_id = ?1 and n.replaced_by is null and n.withdrawn = 0 and n.id > ?2
         order by n.id limit ?3",
    )
    .bind(project.0)
    .bind(after)
    .bind(PAGE)
    .fetch_all(&mut *conn)
    .await?;
    let Some(last) = rows.last().map(|row| row.id) else {
        return Ok(None);
    };
    let mut lines = String::new();
    for row in rows {
        let line = text::to_json(&ranking(conn, row).await?)?;
        let _ = writeln!(lines, "{line}");
    }
    Ok(Some((lines, last)))
}

/// Number, text, adapter's name, adapter's hash, finish reason.
type CompletionRow = (i64, String, Option<String>, Option<String>, String);

async fn ranking(conn: &mut SqliteConnection, row: AnnotationRow) -> Result<RankingRow> {
    let completions: Vec<CompletionRow> = sqlx::query_as(
        "select c.id, c.text, a.name, a.hash, c.finish_reason
         from task_completion x join completion c on c.id = x.completion_id left join adapter a on a.id = c.adapter_id
         where x.task_id = ?1 order by x.position",
    )
    .bind(row.task_id)
    .fetch_all(conn)
    .await?;
    let shown: Vec<i64> = text::from_json(&row.display_order)?;
    let judgement: Judgement = text::from_json(&row.judgement)?;
    let by_position = ranks_by_position(&judgement, shown.len());
    let position = |id: i64| shown.iter().position(|other| *other == id);
    let ranks = completions
        .iter()
        .map(|c| position(c.0).and_then(|at| by_position[at]))
        .collect();
    let display_order = shown
        .iter()
        .filter_map(|id| completions.iter().position(|c| c.0 == *id))
        .map(|at| at as u32)
        .collect();
    let (strength, both_bad) = match &judgement {
        Judgement::Pick { choice, strength } => (*strength, *choice == laurel_protocol::Choice::BothBad),
        Judgement::Rank { .. } => (None, false),
    };
    Ok(RankingRow {
        prompt: text::from_json(&row.messages)?,
        completions: completions
            .into_iter()
            .map(|(id, text, generator, adapter_hash, finish_reason)| {
                Ok(RankedCompletion {
                    id: CompletionId(id),
                    text,
                    generator: generator.unwrap_or_else(|| BASE_MODEL.to_owned()),
                    adapter_hash,
                    finish_reason: text::from_name(&finish_reason)?,
                })
            })
            .collect::<Result<_>>()?,
        ranks,
        display_order,
        strength,
        both_bad,
        comment: row.comment,
        seconds: row.seconds,
        annotator: comparisons::pseudonym(&row.pseudonym_key, UserId(row.user_id)),
        prompt_id: PromptId(row.prompt_id),
        annotation_id: AnnotationId(row.id),
        created_at: Timestamp(row.created_at),
    })
}

/// The rank of each display position; none where both were judged bad.
fn ranks_by_position(judgement: &Judgement, n: usize) -> Vec<Option<u8>> {
    use laurel_protocol::Choice::{BothBad, First, Second, Tie};
    match judgement {
        Judgement::Rank { ranks } => ranks.iter().copied().map(Some).collect(),
        Judgement::Pick { choice, .. } => match choice {
            First => vec![Some(1), Some(2)],
            Second => vec![Some(2), Some(1)],
            Tie => vec![Some(1); n],
            BothBad => vec![None; n],
        },
    }
}
