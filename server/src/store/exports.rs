//! Exports, a page at a time: memory stays constant however much there is. All pages are read in one transaction,
//! so that an export is the project as it was at one moment, whatever people label meanwhile.

use super::{Db, Result, comparisons, completion_jobs::BASE_MODEL, text, written};
use laurel_protocol::{
    AnnotationId, CompletionId, ExampleRow, ExportFormat, Extras, ImplicitRow, Judgement, ProjectId,
    PromptId, RankedCompletion, RankingRow, Span, TaskId, Timestamp, UserId,
};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use std::{collections::HashSet, fmt::Write as _};

const PAGE: i64 = 200;

/// An export under way. It holds a connection for readers: take the pages as fast as they come, and never wait for
/// a client in between.
pub struct Export {
    tx: Transaction<'static, Sqlite>,
    project: ProjectId,
    format: ExportFormat,
    /// Number of the last row given.
    after: i64,
    examples: Examples,
}

/// How far the examples to imitate are.
#[derive(Default)]
struct Examples {
    /// What comparisons chose has been given; demonstrations follow.
    chosen_done: bool,
    taught: HashSet<(PromptId, CompletionId)>,
}

impl Export {
    /// The moment that is exported is that of the first page.
    pub async fn begin(db: &Db, project: ProjectId, format: ExportFormat) -> Result<Self> {
        Ok(Self {
            tx: db.read().begin().await?,
            project,
            format,
            after: 0,
            examples: Examples::default(),
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
            ExportFormat::Sft => self.examples().await?,
        };
        Ok(page.map(|(lines, last)| {
            self.after = last;
            lines
        }))
    }

    /// What a round of the kind SFT would imitate now: the best answers of comparisons, each once, then demonstrations.
    async fn examples(&mut self) -> Result<Option<(String, i64)>> {
        if !self.examples.chosen_done {
            if let Some(page) = self.chosen().await? {
                return Ok(Some(page));
            }
            (self.examples.chosen_done, self.after) = (true, 0);
        }
        let rows = written::demonstrations(&mut self.tx, self.project, self.after, PAGE).await?;
        let Some(last) = rows.last().map(|row| row.completion_id.0) else {
            return Ok(None);
        };
        let mut lines = String::new();
        for row in rows {
            let _ = writeln!(lines, "{}", text::to_json(&row)?);
        }
        Ok(Some((lines, last)))
    }

    async fn chosen(&mut self) -> Result<Option<(String, i64)>> {
        let rows = comparisons::strict_page(&mut self.tx, self.project, self.after, PAGE).await?;
        let Some(last) = rows.last().map(|row| row.id) else {
            return Ok(None);
        };
        let mut lines = String::new();
        for compared in rows {
            let is_best = compared.acceptable && !compared.beaten;
            if !is_best || !self.examples.taught.insert((compared.prompt, compared.chosen)) {
                continue;
            }
            let Some(provenance) = compared.row.provenance else {
                continue; // a project's rows have one
            };
            let example = ExampleRow {
                prompt: compared.row.prompt,
                completion: compared.row.chosen,
                prompt_id: compared.prompt,
                annotation_id: compared.annotation,
                completion_id: compared.chosen,
                generator: provenance.chosen_generator,
                annotator: provenance.annotator,
            };
            let _ = writeln!(lines, "{}", text::to_json(&example)?);
        }
        Ok(Some((lines, last)))
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
    extras: String,
    seconds: f64,
    created_at: i64,
    display_order: String,
    user_id: i64,
    task_id: i64,
    judged_id: i64,
    decision: bool,
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
        "select n.id, n.judgement, n.comment, n.extras, n.seconds, n.created_at, a.display_order, a.user_id,
                t.id as task_id, coalesce(t.source_id, t.id) as judged_id, t.kind = 'review' as decision, t.prompt_id, p.messages, o.pseudonym_key
         from annotation n join assignment a on a.id = n.assignment_id join task t on t.id = a.task_id
         join prompt p on p.id = t.prompt_id join project o on o.id = t.project_id
         where t.project_id = ?1 and t.kind in ('label', 'review') and n.replaced_by is null and n.withdrawn = 0 and n.id > ?2
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
        Judgement::Rank { .. } | Judgement::BestWorst { .. } | Judgement::Rate => (None, false),
    };
    let extras: Extras = text::from_json(&row.extras)?;
    let positions: Vec<Option<usize>> = completions.iter().map(|c| position(c.0)).collect();
    let of_each = |ratings: &Vec<u8>| {
        let rating = |at: &Option<usize>| at.and_then(|at| ratings.get(at)).copied();
        positions.iter().filter_map(rating).collect()
    };
    let edit_at = |at: usize| {
        let mut edits = extras.edits.iter();
        edits.find(|edit| usize::from(edit.position) == at)
    };
    let stored = |at: u8| {
        positions
            .iter()
            .position(|position| *position == Some(usize::from(at)))
    };
    let span = |span: &Span| {
        let position = stored(span.position)?.try_into().ok()?;
        Some(Span {
            position,
            ..span.clone()
        })
    };
    let ratings = extras.ratings.iter();
    let ratings = ratings.map(|(name, ratings)| (name.clone(), of_each(ratings)));
    let edits = positions
        .iter()
        .map(|at| at.and_then(edit_at).map(|edit| edit.text.clone()));
    Ok(RankingRow {
        ratings: ratings.collect(),
        spans: extras.spans.iter().filter_map(span).collect(),
        edits: edits.collect(),
        decision: row.decision,
        task_id: TaskId(row.judged_id),
        demonstration: extras.demonstration.clone(),
        acceptable: extras.acceptable,
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
        Judgement::Rate => vec![None; n],
        Judgement::BestWorst { best, worst } => {
            let rank = |at: usize| match at {
                at if at == usize::from(*best) => 1,
                at if at == usize::from(*worst) && n > 2 => 3,
                _ => 2,
            };
            (0..n).map(|at| Some(rank(at))).collect()
        }
        Judgement::Pick { choice, .. } => match choice {
            First => vec![Some(1), Some(2)],
            Second => vec![Some(2), Some(1)],
            Tie => vec![Some(1); n],
            BothBad => vec![None; n],
        },
    }
}
