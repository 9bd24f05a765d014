//! Prompts: import of JSON Lines, all or nothing unless bad lines are to be skipped, and listing.

use super::{Db, Result, audit::Actor, projects, text};
use laurel_protocol::{
    BadLine, ImportReport, Message, ProjectId, Prompt, PromptId, PromptPage, PromptText, Timestamp, Verb,
    validate_prompt,
};
use serde::Deserialize;
use serde_json::json;
use sqlx::SqliteConnection;

/// The longest line of an import.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Bad lines that a report names; the rest are counted.
const MAX_BAD_LINES: usize = 100;
/// Prompts that one statement stores.
const CHUNK: usize = 100;

#[derive(Deserialize)]
struct Line {
    prompt: PromptText,
}

/// Reads JSON Lines and stores the prompts that the project does not have yet. When a line is bad and bad lines
/// are not to be skipped, nothing is stored and the report says which lines are bad and why.
pub async fn import(
    db: &Db,
    project: ProjectId,
    body: &[u8],
    skip_bad_lines: bool,
    by: impl Into<Actor>,
    now: Timestamp,
) -> Result<ImportReport> {
    let by = by.into();
    projects::require(db, project).await?;
    // The long part needs no database, and keeps nobody waiting.
    let parsed = Parsed::from(body);
    let mut report = parsed.report;
    if report.n_bad > 0 && !skip_bad_lines {
        return Ok(report);
    }
    let mut tx = db.write().await?;
    report.n_imported = insert(&mut tx, project, &parsed.prompts, now).await?;
    if report.n_imported > 0 {
        let detail = json!({"n_imported": report.n_imported, "n_bad": report.n_bad});
        projects::note(&mut tx, &by, Verb::PromptsImported, project, detail, now).await?;
    }
    tx.commit().await?;
    report.n_duplicates = parsed.prompts.len() as u64 - report.n_imported;
    Ok(report)
}

/// What an import's lines hold.
pub(super) struct Parsed {
    /// Messages as they are stored: JSON.
    pub prompts: Vec<String>,
    /// Of the bad lines.
    pub report: ImportReport,
}

impl From<&[u8]> for Parsed {
    fn from(body: &[u8]) -> Self {
        let mut parsed = Self {
            prompts: Vec::new(),
            report: ImportReport::default(),
        };
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body); // a byte-order mark of some editors
        for (at, line) in body.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let messages = parse(line).and_then(|messages| {
                serde_json::to_string(&messages).map_err(|error| format!("cannot be stored: {error}"))
            });
            match messages {
                Ok(messages) => parsed.prompts.push(messages),
                Err(reason) => {
                    parsed.report.n_bad += 1;
                    if parsed.report.bad_lines.len() < MAX_BAD_LINES {
                        parsed.report.bad_lines.push(BadLine {
                            line: at as u64 + 1,
                            reason,
                        });
                    }
                }
            }
        }
        parsed
    }
}

/// One line, or the reason why it is bad.
fn parse(line: &[u8]) -> std::result::Result<Vec<Message>, String> {
    if line.len() > MAX_LINE_BYTES {
        return Err("is longer than 1 MiB".to_owned());
    }
    let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    let value: serde_json::Value =
        serde_json::from_str(line).map_err(|error| format!("is not JSON: {error}"))?;
    let line: Line = serde_json::from_value(value).map_err(|_| {
        "must be an object with \"prompt\": a text, or a list of messages with \"role\" (system, user or assistant) \
         and \"content\""
            .to_owned()
    })?;
    let messages = line.prompt.into_messages();
    validate_prompt(&messages).map_err(|errors| {
        let reasons: Vec<String> = errors
            .into_iter()
            .map(|e| format!("{} {}", e.field, e.reason))
            .collect();
        reasons.join("; ")
    })?;
    Ok(messages)
}

/// Stores the prompts that the project does not have yet, many at a time. Gives how many.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    project: ProjectId,
    prompts: &[String],
    now: Timestamp,
) -> Result<u64> {
    let mut n_new = 0;
    for chunk in prompts.chunks(CHUNK) {
        let rows: Vec<(&String, String)> = chunk
            .iter()
            .map(|messages| (messages, text::sha256_hex(messages)))
            .collect();
        let inserted = sqlx::query(
            "insert into prompt (project_id, messages, content_hash, created_at)
             select ?1, value ->> 0, value ->> 1, ?3 from json_each(?2) where true order by key
             on conflict (project_id, content_hash) do nothing",
        )
        .bind(project.0)
        .bind(text::to_json(&rows)?)
        .bind(now.0)
        .execute(&mut *conn)
        .await?;
        n_new += inserted.rows_affected();
    }
    Ok(n_new)
}

/// One page in the order of import.
pub async fn page(db: &Db, project: ProjectId, after: PromptId, limit: u32) -> Result<PromptPage> {
    projects::require(db, project).await?;
    let rows: Vec<(i64, String, i64)> = sqlx::query_as(
        "select p.id, p.messages, (select count(*) from completion c where c.prompt_id = p.id and c.annotation_id is null)
         from prompt p where p.project_id = ?1 and p.id > ?2 order by p.id limit ?3",
    )
    .bind(project.0)
    .bind(after.0)
    .bind(limit)
    .fetch_all(db.read())
    .await?;
    let full = rows.len() == limit as usize;
    let prompts: Vec<Prompt> = rows
        .into_iter()
        .map(|(id, messages, n_completions)| {
            Ok(Prompt {
                id: PromptId(id),
                messages: text::from_json(&messages)?,
                n_completions: text::count(n_completions),
            })
        })
        .collect::<Result<_>>()?;
    let next = prompts.last().filter(|_| full).map(|prompt| prompt.id);
    Ok(PromptPage { prompts, next })
}

/// The project's next prompts after one of them, in the order of import.
pub(super) async fn after(
    conn: &mut SqliteConnection,
    project: ProjectId,
    after: PromptId,
    limit: i64,
) -> Result<Vec<(PromptId, Vec<Message>)>> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "select id, messages from prompt where project_id = ?1 and id > ?2 order by id limit ?3",
    )
    .bind(project.0)
    .bind(after.0)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    let prompt = |(id, messages): (i64, String)| Ok((PromptId(id), text::from_json(&messages)?));
    rows.into_iter().map(prompt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_why_they_are_bad() {
        assert_eq!(parse(br#"{"prompt": "hi"}"#).unwrap(), vec![Message::user("hi")]);
        assert!(parse(b"{").unwrap_err().starts_with("is not JSON"));
        assert!(parse(br#"{"text": "hi"}"#).unwrap_err().contains("\"prompt\""));
        assert!(parse(b"\xff").unwrap_err().contains("UTF-8"));
        let ends_with_assistant =
            br#"{"prompt": [{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#;
        assert!(
            parse(ends_with_assistant)
                .unwrap_err()
                .contains("end with a user message")
        );
    }
}
