//! Prompts: import of JSON Lines, all or nothing unless bad lines are to be skipped; listing; and which come first.

use super::{
    Db, Error, Result,
    audit::{Actor, Person},
    import, projects, text,
};
use laurel_protocol::{
    FieldError, ImportReport, MAX_PRIORITY, Message, PriorityReport, ProjectId, Prompt, PromptId, PromptPage,
    PromptPriority, PromptText, Timestamp, Verb, validate_prompt,
};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::SqliteConnection;

/// Prompts that one statement stores.
const CHUNK: usize = 100;

#[derive(Deserialize)]
struct Line {
    prompt: PromptText,
    #[serde(default)]
    priority: Value,
}

/// A line that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewPrompt {
    /// As they are stored: JSON.
    messages: String,
    priority: i32,
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
    pub prompts: Vec<NewPrompt>,
    /// Of the bad lines.
    pub report: ImportReport,
}

impl From<&[u8]> for Parsed {
    fn from(body: &[u8]) -> Self {
        let mut parsed = Self {
            prompts: Vec::new(),
            report: ImportReport::default(),
        };
        for (number, line) in import::lines(body) {
            let prompt = parse(line).and_then(|(messages, priority)| {
                let messages =
                    serde_json::to_string(&messages).map_err(|error| format!("cannot be stored: {error}"))?;
                Ok(NewPrompt { messages, priority })
            });
            match prompt {
                Ok(prompt) => parsed.prompts.push(prompt),
                Err(reason) => import::note_bad(&mut parsed.report, number, reason),
            }
        }
        parsed
    }
}

/// One line and its priority, or the reason why it is bad.
fn parse(line: &[u8]) -> std::result::Result<(Vec<Message>, i32), String> {
    let line: Line = serde_json::from_value(import::json(line)?).map_err(|_| {
        "must be an object with \"prompt\": a text, or a list of messages with \"role\" (system, user or assistant) \
         and \"content\""
            .to_owned()
    })?;
    let priority = match &line.priority {
        Value::Null => Some(0),
        priority => priority
            .as_i64()
            .and_then(|priority| i32::try_from(priority).ok()),
    };
    let priority = priority
        .filter(|priority| (-MAX_PRIORITY..=MAX_PRIORITY).contains(priority))
        .ok_or_else(|| "has a \"priority\" that is no whole number from -100 to 100".to_owned())?;
    let messages = line.prompt.into_messages();
    validate_prompt(&messages).map_err(joined)?;
    Ok((messages, priority))
}

/// What is wrong with the parts of a line.
pub(super) fn joined(errors: Vec<FieldError>) -> String {
    let reasons = errors.into_iter().map(|e| format!("{} {}", e.field, e.reason));
    reasons.collect::<Vec<String>>().join("; ")
}

/// Stores the prompts that the project does not have yet, many at a time; those that it has stay as they are. Gives how
/// many are new.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    project: ProjectId,
    prompts: &[NewPrompt],
    now: Timestamp,
) -> Result<u64> {
    let mut n_new = 0;
    for chunk in prompts.chunks(CHUNK) {
        let rows: Vec<(&String, String, i32)> = chunk
            .iter()
            .map(|new| (&new.messages, text::sha256_hex(&new.messages), new.priority))
            .collect();
        let inserted = sqlx::query(
            "insert into prompt (project_id, messages, content_hash, created_at, priority)
             select ?1, value ->> 0, value ->> 1, ?3, value ->> 2 from json_each(?2) where true order by key
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

/// The project's prompt with these messages, stored now where there was none.
pub(super) async fn keep(
    conn: &mut SqliteConnection,
    project: ProjectId,
    messages: &[Message],
    now: Timestamp,
) -> Result<PromptId> {
    let messages = text::to_json(&messages)?;
    let hash = text::sha256_hex(&messages);
    let new = NewPrompt {
        messages,
        priority: 0,
    };
    insert(conn, project, &[new], now).await?;
    let id = sqlx::query_scalar("select id from prompt where project_id = ?1 and content_hash = ?2")
        .bind(project.0)
        .bind(&hash)
        .fetch_one(conn)
        .await?;
    Ok(PromptId(id))
}

/// The numbers of these prompts; those that the project lacks are stored first. They are good: `NewContest::validate` checked.
pub(super) async fn require_all(
    conn: &mut SqliteConnection,
    project: ProjectId,
    prompts: &[PromptText],
    now: Timestamp,
) -> Result<Vec<PromptId>> {
    let mut new = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        new.push(NewPrompt {
            messages: text::to_json(&prompt.clone().into_messages())?,
            priority: 0,
        });
    }
    insert(conn, project, &new, now).await?;
    let hashes: Vec<String> = new.iter().map(|new| text::sha256_hex(&new.messages)).collect();
    let ids: Vec<i64> = sqlx::query_scalar(
        "select id from prompt
         where project_id = ?1 and content_hash in (select value from json_each(?2)) order by id",
    )
    .bind(project.0)
    .bind(text::to_json(&hashes)?)
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(PromptId).collect())
}

/// One page in the order of import, of those in which a text occurs if one is given; capital letters of English do not
/// matter.
pub async fn page(
    db: &Db,
    project: ProjectId,
    search: &str,
    after: PromptId,
    limit: u32,
) -> Result<PromptPage> {
    projects::require(db, project).await?;
    let rows: Vec<(i64, String, i64, i32)> = sqlx::query_as(
        "select p.id, p.messages,
                (select count(*) from completion c where c.prompt_id = p.id and c.annotation_id is null), p.priority
         from prompt p
         where p.project_id = ?1 and p.live = 0 and p.id > ?2
           and (?4 = '' or exists (select 1 from json_each(p.messages) m
                                   where instr(lower(m.value ->> 'content'), lower(?4)) > 0))
         order by p.id limit ?3",
    )
    .bind(project.0)
    .bind(after.0)
    .bind(limit)
    .bind(search)
    .fetch_all(db.read())
    .await?;
    let full = rows.len() == limit as usize;
    let prompts: Vec<Prompt> = rows
        .into_iter()
        .map(|(id, messages, n_completions, priority)| {
            Ok(Prompt {
                id: PromptId(id),
                messages: text::from_json(&messages)?,
                n_completions: text::count(n_completions),
                priority,
            })
        })
        .collect::<Result<_>>()?;
    let next = prompts.last().filter(|_| full).map(|prompt| prompt.id);
    Ok(PromptPage { prompts, next })
}

/// Prompts that the audit log names; of more it has the number.
const MAX_NAMED: usize = 100;

/// Sets the priority of prompts and of their tasks.
pub async fn set_priority(
    db: &Db,
    project: ProjectId,
    new: &PromptPriority,
    by: &Person,
    now: Timestamp,
) -> Result<PriorityReport> {
    let prompts = text::to_json(&new.prompts)?;
    projects::require(db, project).await?;
    let mut tx = db.write().await?;
    let unknown: Option<i64> = sqlx::query_scalar(
        "select value from json_each(?2)
         where not exists (select 1 from prompt where id = value and project_id = ?1) limit 1",
    )
    .bind(project.0)
    .bind(&prompts)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(id) = unknown {
        let reason = format!("names prompt {id}, which is not in this project");
        return Err(Error::Invalid(vec![FieldError::new("prompts", reason)]));
    }
    let changed =
        sqlx::query("update prompt set priority = ?2 where id in (select value from json_each(?1))")
            .bind(&prompts)
            .bind(new.priority)
            .execute(&mut *tx)
            .await?;
    // Done ones as well: they are open again when an answer is taken back.
    sqlx::query(
        "update task set priority = ?2
         where prompt_id in (select value from json_each(?1)) and kind = 'label' and priority <> ?2",
    )
    .bind(&prompts)
    .bind(new.priority)
    .execute(&mut *tx)
    .await?;
    let n_open: i64 = sqlx::query_scalar(
        "select count(*) from task
         where prompt_id in (select value from json_each(?1)) and kind = 'label' and status = 'open'",
    )
    .bind(&prompts)
    .fetch_one(&mut *tx)
    .await?;
    let named: Vec<PromptId> = new.prompts.iter().take(MAX_NAMED).copied().collect();
    let detail = json!({"priority": new.priority, "n_prompts": changed.rows_affected(), "prompts": named});
    projects::note(
        &mut tx,
        &by.clone().into(),
        Verb::PrioritySet,
        project,
        detail,
        now,
    )
    .await?;
    tx.commit().await?;
    Ok(PriorityReport {
        n_prompts: changed.rows_affected(),
        n_open_tasks: text::count(n_open),
    })
}

/// The project's next prompts after one of them, in the order of import.
pub(super) async fn after(
    conn: &mut SqliteConnection,
    project: ProjectId,
    after: PromptId,
    limit: i64,
) -> Result<Vec<(PromptId, Vec<Message>)>> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "select id, messages from prompt where project_id = ?1 and live = 0 and id > ?2 order by id limit ?3",
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
        assert_eq!(
            parse(br#"{"prompt": "hi"}"#).unwrap(),
            (vec![Message::user("hi")], 0)
        );
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

    #[test]
    fn a_line_may_say_how_urgent_it_is() {
        let priority = |text: &str| parse(format!(r#"{{"prompt": "hi", "priority": {text}}}"#).as_bytes());
        for (text, expected) in [("null", 0), ("-100", -100), ("100", 100)] {
            assert_eq!(priority(text).unwrap().1, expected);
        }
        for text in ["101", "-101", "1.5", "\"high\"", "99999999999"] {
            assert!(priority(text).unwrap_err().contains("-100 to 100"), "{text}");
        }
    }
}
