//! Comparisons: chosen ≻ rejected or a tie, derived from each standing annotation, and read back as dataset rows
//! in the order in which they came.

use super::{
    Result,
    completion_jobs::BASE_MODEL,
    text,
    written::{ANNOTATOR, Place},
};
use laurel_protocol::{
    AnnotationId, Answer, CompletionId, Judgement, Message, PreferenceRow, ProjectId, PromptId,
    RowProvenance, TaskId, UserId,
};
use sqlx::SqliteConnection;

/// A comparison as a dataset row.
pub(super) struct ComparedRow {
    /// The comparison's own number: where the next page begins.
    pub id: i64,
    pub annotation: AnnotationId,
    pub annotator: UserId,
    /// By a reviewer, in place of what annotators said.
    pub decided: bool,
    pub prompt: PromptId,
    pub chosen: CompletionId,
    /// The same annotation puts another completion above the chosen one.
    pub beaten: bool,
    /// The annotator called it good enough, or was not asked.
    pub acceptable: bool,
    pub row: PreferenceRow,
}

/// Enters what follows from an answer. `shown` are the completions in display order.
pub(super) async fn derive(
    conn: &mut SqliteConnection,
    project: ProjectId,
    place: Place,
    answer: &Answer,
    shown: &[CompletionId],
) -> Result<()> {
    for pair in answer.judgement.comparisons(shown.len()) {
        sqlx::query(
            "insert into comparison (project_id, annotation_id, prompt_id, chosen_id, rejected_id, tie, strength,
                                     chosen_acceptable)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(project.0)
        .bind(place.annotation.0)
        .bind(place.prompt.0)
        .bind(shown[pair.chosen].0)
        .bind(shown[pair.rejected].0)
        .bind(pair.tie)
        .bind(pair.strength)
        .bind(is_acceptable(answer, pair.chosen))
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

fn is_acceptable(answer: &Answer, position: usize) -> bool {
    match (&answer.judgement, answer.extras.acceptable) {
        (Judgement::Rank { ranks }, Some(last)) => ranks[position] <= last,
        _ => true,
    }
}

/// Enters that an edited answer is better than what it was made of.
pub(super) async fn insert_edit(
    conn: &mut SqliteConnection,
    project: ProjectId,
    place: Place,
    edited: CompletionId,
    original: CompletionId,
) -> Result<()> {
    sqlx::query(
        "insert into comparison (project_id, annotation_id, prompt_id, chosen_id, rejected_id, tie)
         values (?1, ?2, ?3, ?4, ?5, 0)",
    )
    .bind(project.0)
    .bind(place.annotation.0)
    .bind(place.prompt.0)
    .bind(edited.0)
    .bind(original.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes out what followed from an annotation that no longer stands.
pub(super) async fn remove(conn: &mut SqliteConnection, annotation: AnnotationId) -> Result<()> {
    sqlx::query("delete from comparison where annotation_id = ?1")
        .bind(annotation.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes out what followed from an annotation about the completions of its task; what it says of edited ones stays.
pub(super) async fn remove_of_task(
    conn: &mut SqliteConnection,
    annotation: AnnotationId,
    task: TaskId,
) -> Result<()> {
    sqlx::query(
        "delete from comparison where annotation_id = ?1
             and chosen_id in (select completion_id from task_completion where task_id = ?2)",
    )
    .bind(annotation.0)
    .bind(task.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// Which comparisons are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Strict,
    StrictAndTies,
}

/// The next strict comparisons of a project after comparison number `after`.
pub(super) async fn strict_page(
    conn: &mut SqliteConnection,
    project: ProjectId,
    after: i64,
    limit: i64,
) -> Result<Vec<ComparedRow>> {
    page(conn, project, Which::Strict, after, limit).await
}

/// The next comparisons of a project after comparison number `after`.
pub(super) async fn page(
    conn: &mut SqliteConnection,
    project: ProjectId,
    which: Which,
    after: i64,
    limit: i64,
) -> Result<Vec<ComparedRow>> {
    let rows: Vec<ComparisonRow> = sqlx::query_as(
        "select c.id, c.annotation_id, c.prompt_id, c.chosen_id, c.rejected_id, c.tie, c.strength,
                c.chosen_acceptable, p.messages, w.text as chosen_text, l.text as rejected_text,
                iif(w.annotation_id is null, wa.name, ?5) as chosen_generator, la.name as rejected_generator,
                s.user_id, s.kind = 'review' as decided, o.pseudonym_key,
                exists (select 1 from comparison b
                        where b.annotation_id = c.annotation_id and b.tie = 0 and b.rejected_id = c.chosen_id)
                    as beaten
         from comparison c
         join project o on o.id = c.project_id
         join prompt p on p.id = c.prompt_id
         join completion w on w.id = c.chosen_id left join adapter wa on wa.id = w.adapter_id
         join completion l on l.id = c.rejected_id left join adapter la on la.id = l.adapter_id
         join annotation a on a.id = c.annotation_id
         join assignment s on s.id = a.assignment_id
         -- Strict ones and ties each by their part of the index, in the order of the numbers.
         where c.id in (
             select id from (select id from comparison
                             where project_id = ?1 and tie = 0 and id > ?2 order by id limit ?3)
             union all
             select id from (select id from comparison
                             where project_id = ?1 and tie = 1 and ?4 and id > ?2 order by id limit ?3))
         order by c.id limit ?3",
    )
    .bind(project.0)
    .bind(after)
    .bind(limit)
    .bind(which == Which::StrictAndTies)
    .bind(ANNOTATOR)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(ComparisonRow::into_row).collect()
}

/// Ties of a project, which most losses leave out.
pub(super) async fn n_ties(conn: &mut SqliteConnection, project: ProjectId) -> Result<i64> {
    let n = sqlx::query_scalar("select count(*) from comparison where project_id = ?1 and tie = 1")
        .bind(project.0)
        .fetch_one(conn)
        .await?;
    Ok(n)
}

/// The annotator's name in exports: stable within a project, and of no use without the project's key.
pub(super) fn pseudonym(project_key: &str, user: UserId) -> String {
    let mut hash = text::sha256_hex(format!("{project_key}:{user}"));
    hash.truncate(12);
    hash
}

#[derive(sqlx::FromRow)]
struct ComparisonRow {
    id: i64,
    annotation_id: i64,
    prompt_id: i64,
    chosen_id: i64,
    rejected_id: i64,
    tie: bool,
    strength: Option<i64>,
    chosen_acceptable: bool,
    messages: String,
    chosen_text: String,
    rejected_text: String,
    chosen_generator: Option<String>,
    rejected_generator: Option<String>,
    user_id: i64,
    decided: bool,
    pseudonym_key: String,
    beaten: bool,
}

impl ComparisonRow {
    fn into_row(self) -> Result<ComparedRow> {
        let generator = |name: Option<String>| name.unwrap_or_else(|| BASE_MODEL.to_owned());
        Ok(ComparedRow {
            id: self.id,
            annotation: AnnotationId(self.annotation_id),
            annotator: UserId(self.user_id),
            decided: self.decided,
            prompt: PromptId(self.prompt_id),
            chosen: CompletionId(self.chosen_id),
            beaten: self.beaten,
            acceptable: self.chosen_acceptable,
            row: PreferenceRow {
                prompt: text::from_json(&self.messages)?,
                chosen: vec![Message::assistant(self.chosen_text)],
                rejected: vec![Message::assistant(self.rejected_text)],
                tie: self.tie,
                weight: None,
                provenance: Some(RowProvenance {
                    prompt_id: PromptId(self.prompt_id),
                    annotation_id: AnnotationId(self.annotation_id),
                    chosen_id: CompletionId(self.chosen_id),
                    rejected_id: CompletionId(self.rejected_id),
                    strength: self
                        .strength
                        .and_then(|strength| strength.try_into().ok())
                        .unwrap_or(0),
                    annotator: pseudonym(&self.pseudonym_key, UserId(self.user_id)),
                    chosen_generator: generator(self.chosen_generator),
                    rejected_generator: generator(self.rejected_generator),
                }),
            },
        })
    }
}
