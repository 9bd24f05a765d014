//! Prompts: import of JSON Lines, all or nothing unless bad lines are to be skipped, and listing.

use super::{Db, Error, Result, projects, text};
use laurel_protocol::{
    BadLine, ImportReport, Message, ProjectId, Prompt, PromptId, PromptPage, PromptText, Timestamp,
    validate_prompt,
};
use serde::Deserialize;
use sqlx::SqliteConnection;

/// The longest line of an import.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Bad lines that a report names; the rest are counted.
const MAX_BAD_LINES: usize = 100;

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
    now: Timestamp,
) -> Result<ImportReport> {
    let mut tx = db.write().await?;
    let known: Option<i64> = sqlx::query_scalar("select id from project where id = ?1")
        .bind(project.0)
        .fetch_optional(&mut *tx)
        .await?;
    known.ok_or(Error::NotFound)?;
    let report = import_into(&mut tx, project, body, now).await?;
    if report.n_bad > 0 && !skip_bad_lines {
        return Ok(ImportReport {
            n_imported: 0,
            n_duplicates: 0,
            ..report
        });
    }
    tx.commit().await?;
    Ok(report)
}

pub(super) async fn import_into(
    conn: &mut SqliteConnection,
    project: ProjectId,
    body: &[u8],
    now: Timestamp,
) -> Result<ImportReport> {
    let mut report = ImportReport::default();
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body); // a byte-order mark of some editors
    for (at, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match parse(line) {
            Ok(messages) if insert(conn, project, &messages, now).await? => report.n_imported += 1,
            Ok(_) => report.n_duplicates += 1,
            Err(reason) => {
                report.n_bad += 1;
                if report.bad_lines.len() < MAX_BAD_LINES {
                    report.bad_lines.push(BadLine {
                        line: at as u64 + 1,
                        reason,
                    });
                }
            }
        }
    }
    Ok(report)
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

/// Whether the prompt was new to the project.
async fn insert(
    conn: &mut SqliteConnection,
    project: ProjectId,
    messages: &[Message],
    now: Timestamp,
) -> Result<bool> {
    let messages = text::to_json(&messages)?;
    let inserted = sqlx::query(
        "insert into prompt (project_id, messages, content_hash, created_at) values (?1, ?2, ?3, ?4)
         on conflict (project_id, content_hash) do nothing",
    )
    .bind(project.0)
    .bind(&messages)
    .bind(text::sha256_hex(&messages))
    .bind(now.0)
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// One page in the order of import.
pub async fn page(db: &Db, project: ProjectId, after: PromptId, limit: u32) -> Result<PromptPage> {
    projects::require(db, project).await?;
    let rows: Vec<(i64, String, i64)> = sqlx::query_as(
        "select p.id, p.messages, (select count(*) from completion c where c.prompt_id = p.id)
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
