//! Answers that people write: completions edited into better ones, and demonstrations. They follow from a standing
//! annotation, as comparisons do, and go with it; the annotation itself keeps their text.

use super::{Result, comparisons, text};
use laurel_protocol::{
    AnnotationId, CompletionId, Edit, ExampleRow, Message, ProjectId, PromptId, Timestamp, UserId,
};
use sqlx::SqliteConnection;

/// The generator of what a person wrote, as exports name it.
pub(super) const ANNOTATOR: &str = "annotator";

/// Where something was written.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub prompt: PromptId,
    pub annotation: AnnotationId,
    pub now: Timestamp,
}

/// Stores edits with the completions that they were made of, `shown` in display order. Gives the pairs, edited first.
pub(super) async fn edits(
    conn: &mut SqliteConnection,
    place: Place,
    edits: &[Edit],
    shown: &[CompletionId],
) -> Result<Vec<(CompletionId, CompletionId)>> {
    let mut pairs = Vec::with_capacity(edits.len());
    for edit in edits {
        let original = shown[usize::from(edit.position)];
        let position = i64::from(edit.position) + 1;
        let edited = insert(conn, place, position, &edit.text, Some(original)).await?;
        pairs.push((edited, original));
    }
    Ok(pairs)
}

/// Stores an answer written anew.
pub(super) async fn demonstration(conn: &mut SqliteConnection, place: Place, answer: &str) -> Result<()> {
    insert(conn, place, 0, answer, None).await.map(drop)
}

async fn insert(
    conn: &mut SqliteConnection,
    place: Place,
    position: i64,
    answer: &str,
    edited: Option<CompletionId>,
) -> Result<CompletionId> {
    let answer = answer.trim();
    let id: i64 = sqlx::query_scalar(
        "insert into completion (prompt_id, annotation_id, edited_id, position, text, text_hash, n_tokens,
                                 finish_reason, model, template_hash, created_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, 0, 'stop', '', '', ?7) returning id",
    )
    .bind(place.prompt.0)
    .bind(place.annotation.0)
    .bind(edited.map(|id| id.0))
    .bind(position)
    .bind(answer)
    .bind(text::sha256_hex(answer))
    .bind(place.now.0)
    .fetch_one(conn)
    .await?;
    Ok(CompletionId(id))
}

/// Takes out what was written in an annotation that no longer stands; its comparisons have gone before.
pub(super) async fn remove(conn: &mut SqliteConnection, annotation: AnnotationId) -> Result<()> {
    sqlx::query("delete from completion where annotation_id = ?1")
        .bind(annotation.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// The next demonstrations of a project behind completion number `after`, oldest first.
pub(super) async fn demonstrations(
    conn: &mut SqliteConnection,
    project: ProjectId,
    after: i64,
    limit: i64,
) -> Result<Vec<ExampleRow>> {
    let rows: Vec<(i64, i64, i64, String, String, i64, String)> = sqlx::query_as(
        "select c.id, c.annotation_id, c.prompt_id, c.text, p.messages, s.user_id, o.pseudonym_key
         from completion c
         join annotation a on a.id = c.annotation_id
         join assignment s on s.id = a.assignment_id
         join prompt p on p.id = c.prompt_id
         join project o on o.id = s.project_id
         where s.project_id = ?1 and c.id > ?2 and c.edited_id is null
         order by c.id limit ?3",
    )
    .bind(project.0)
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    let example = |(id, annotation, prompt, answer, messages, user, key): (
        i64,
        i64,
        i64,
        String,
        String,
        i64,
        String,
    )| {
        Ok(ExampleRow {
            prompt: text::from_json(&messages)?,
            completion: vec![Message::assistant(answer)],
            prompt_id: PromptId(prompt),
            annotation_id: AnnotationId(annotation),
            completion_id: CompletionId(id),
            generator: ANNOTATOR.to_owned(),
            annotator: comparisons::pseudonym(&key, UserId(user)),
        })
    };
    rows.into_iter().map(example).collect()
}
