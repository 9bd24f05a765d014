//! Annotations: what an annotator answered. An answer is never changed: a new revision replaces it and both stay.
//! Storing one is one transaction: the annotation, the task's counter, the comparisons, the next hold.

use super::{
    Db, Error, Result,
    assignments::{self, Annotator, Slot, Status},
    audit::{Actor, Person},
    checks::{self, Kind},
    comparisons, contests, members, review, scorings, tasks, text,
    together::Work,
    undo, written,
};
use laurel_protocol::{
    AnnotationId, Answer, AssignmentId, Expected, Extras, Feedback, Held, Judgement, ProjectId, Timestamp,
    Verb,
};
use serde_json::json;
use sqlx::SqliteConnection;

/// What a submit did.
pub struct Submitted {
    pub held: Held,
    pub project: ProjectId,
}

/// Stores the answer to an assignment of this person and hands out the next task. The same answer sent again
/// changes nothing. A hold that ran out is good while nobody else has the slot.
pub async fn submit(
    db: &Db,
    id: AssignmentId,
    answer: &Answer,
    by: impl Into<Person>,
    lease_seconds: u32,
    now: Timestamp,
) -> Result<Submitted> {
    let sent = Sent {
        id,
        answer: answer.clone(),
        by: by.into(),
        lease_seconds,
        now,
    };
    let work: Work<Taken> = Box::new(|conn| Box::pin(sent.take_in(conn)));
    let taken = db.write_together(work).await?;
    let held = assignments::held(db, taken.who, &taken.holds).await?;
    Ok(Submitted {
        held: Held {
            feedback: taken.feedback,
            ..held
        },
        project: taken.who.project,
    })
}

/// What became of an answer.
struct Taken {
    who: Annotator,
    holds: Vec<AssignmentId>,
    feedback: Option<Feedback>,
}

/// An answer on its way in.
struct Sent {
    id: AssignmentId,
    answer: Answer,
    by: Person,
    lease_seconds: u32,
    now: Timestamp,
}

impl Sent {
    /// Stores it unless it is stored, and holds the next task: what its author holds now.
    async fn take_in(self, conn: &mut SqliteConnection) -> Result<Taken> {
        let slot = assignments::read(conn, self.id, self.by.user).await?;
        require_valid(conn, &slot, &self.answer).await?;
        let who = Annotator {
            user: self.by.user,
            project: slot.project,
            lease_seconds: self.lease_seconds,
            now: self.now,
        };
        let n_before = assignments::live(conn, who).await?.len();
        if !is_repeat(conn, &slot, &self.answer).await? {
            slot.require_not_live()?;
            members::require(conn, slot.project, slot.user).await?;
            store(conn, &slot, &self.answer, &self.by.into(), self.now).await?;
            contests::after_task(conn, slot.task, self.now).await?;
            scorings::due::order(conn, slot.project, scorings::due::News::Answer, self.now).await?;
        }
        let n = u8::try_from(n_before).unwrap_or(assignments::MAX_HELD);
        undo::end(conn, who).await?;
        let holds = assignments::top_up(conn, who, n).await?;
        let feedback = match slot.kind {
            Kind::Gold => checks::feedback(conn, &slot, &self.answer).await?,
            Kind::Label | Kind::Repeat | Kind::Review => None,
        };
        Ok(Taken { who, holds, feedback })
    }
}

async fn require_valid(conn: &mut SqliteConnection, slot: &Slot, answer: &Answer) -> Result<()> {
    // Only marked passages and edits are checked against the texts themselves.
    let texts = match answer.extras.spans.is_empty() && answer.extras.edits.is_empty() {
        true => vec![String::new(); slot.shown.len()],
        false => assignments::texts(conn, &slot.shown).await?,
    };
    let expected = Expected {
        label_type: slot.label_type,
        ask_strength: slot.ask_strength,
        questions: &slot.questions,
        texts: &texts.iter().map(String::as_str).collect::<Vec<_>>(),
    };
    answer.validate(&expected).map_err(Error::Invalid)
}

/// Whether this very answer is stored already. Another answer under a revision that is taken is a conflict.
async fn is_repeat(conn: &mut SqliteConnection, slot: &Slot, answer: &Answer) -> Result<bool> {
    let stored: Option<(String, String, String)> = sqlx::query_as(
        "select judgement, comment, extras from annotation where assignment_id = ?1 and revision = ?2",
    )
    .bind(slot.id.0)
    .bind(answer.revision)
    .fetch_optional(&mut *conn)
    .await?;
    if let Some((judgement, comment, extras)) = stored {
        // The seconds may differ: a page that was loaded anew counts from its own beginning.
        let is_same = text::from_json::<Judgement>(&judgement)? == answer.judgement
            && comment == answer.comment
            && text::from_json::<Extras>(&extras)? == answer.extras;
        if is_same {
            return Ok(true);
        }
        return Err(Error::Conflict(
            "This task was answered differently in between: undo to change that answer.".to_owned(),
        ));
    }
    if answer.revision != next_revision(conn, slot.id).await? {
        return Err(Error::Conflict(
            "This task changed in between: load the page again.".to_owned(),
        ));
    }
    Ok(false)
}

pub(super) async fn store(
    conn: &mut SqliteConnection,
    slot: &Slot,
    answer: &Answer,
    by: &Actor,
    now: Timestamp,
) -> Result<()> {
    let old = standing(conn, slot.id).await?.map(|(id, _)| id);
    if old.is_none() {
        // The slot is this person's, or free; the assignment itself does not stand in its own way.
        assignments::require_free(conn, slot, now).await?;
    }
    if let Some(old) = old {
        review::require_undecided(conn, slot.task).await?;
        comparisons::remove(conn, old).await?;
        written::remove(conn, old).await?;
        // Out of the index of standing ones first; the replacement is named below.
        sqlx::query("update annotation set withdrawn = 1 where id = ?1")
            .bind(old.0)
            .execute(&mut *conn)
            .await?;
    }
    let id: i64 = sqlx::query_scalar(
        "insert into annotation (assignment_id, revision, judgement, comment, seconds, created_at, extras)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7) returning id",
    )
    .bind(slot.id.0)
    .bind(answer.revision)
    .bind(text::to_json(&answer.judgement)?)
    .bind(&answer.comment)
    .bind(answer.seconds)
    .bind(now.0)
    .bind(text::to_json(&answer.extras)?)
    .fetch_one(&mut *conn)
    .await?;
    let id = AnnotationId(id);
    match old {
        Some(old) => {
            sqlx::query("update annotation set replaced_by = ?2, withdrawn = 0 where id = ?1")
                .bind(old.0)
                .bind(id.0)
                .execute(&mut *conn)
                .await?;
        }
        None => tasks::add_to_counter(conn, slot.task, 1).await?,
    }
    if slot.kind == Kind::Label {
        follow(conn, slot, id, answer, now).await?;
    }
    let verb = match old {
        Some(_) => Verb::AnswerReplaced,
        None => Verb::AnswerGiven,
    };
    let detail = json!({"task": slot.task, "annotation": id, "revision": answer.revision});
    slot.note(conn, by, verb, detail, now).await?;
    assignments::set_status(conn, slot.id, Status::Answered, now).await
}

/// Enters what follows from an answer: comparisons, and what the person wrote.
async fn follow(
    conn: &mut SqliteConnection,
    slot: &Slot,
    annotation: AnnotationId,
    answer: &Answer,
    now: Timestamp,
) -> Result<()> {
    let place = written::Place {
        prompt: slot.prompt,
        annotation,
        now,
    };
    // Where a reviewer has decided, the decision stands in place of what people say about the completions.
    if !review::is_decided(conn, slot.task).await? {
        comparisons::derive(conn, slot.project, place, answer, &slot.shown).await?;
    }
    let edits = written::edits(conn, place, &answer.extras.edits, &slot.shown).await?;
    for (edited, original) in edits {
        comparisons::insert_edit(conn, slot.project, place, edited, original).await?;
    }
    if let Some(demonstration) = &answer.extras.demonstration {
        written::demonstration(conn, place, demonstration).await?;
    }
    Ok(())
}

/// Takes back a standing answer whose task its author now skips.
pub(super) async fn withdraw(
    conn: &mut SqliteConnection,
    slot: &Slot,
    by: &Actor,
    now: Timestamp,
) -> Result<()> {
    review::require_undecided(conn, slot.task).await?;
    if take_out(conn, slot, by, now).await? {
        match slot.live {
            true => tasks::empty_live(conn, slot.task).await?,
            false => tasks::add_to_counter(conn, slot.task, -1).await?,
        }
    }
    Ok(())
}

/// Takes out a standing answer with all that follows from it, and leaves the task's counter to the caller. Gives whether
/// there was one.
pub(super) async fn take_out(
    conn: &mut SqliteConnection,
    slot: &Slot,
    by: &Actor,
    now: Timestamp,
) -> Result<bool> {
    let Some((id, _)) = standing(conn, slot.id).await? else {
        return Ok(false);
    };
    comparisons::remove(conn, id).await?;
    written::remove(conn, id).await?;
    sqlx::query("update annotation set withdrawn = 1 where id = ?1")
        .bind(id.0)
        .execute(&mut *conn)
        .await?;
    let detail = json!({"task": slot.task, "annotation": id});
    slot.note(conn, by, Verb::AnswerWithdrawn, detail, now).await?;
    Ok(true)
}

/// The answer that stands.
pub(super) async fn standing(
    conn: &mut SqliteConnection,
    assignment: AssignmentId,
) -> Result<Option<(AnnotationId, Answer)>> {
    let row: Option<(i64, String, String, String, f64, u32)> = sqlx::query_as(
        "select id, judgement, comment, extras, seconds, revision from annotation
         where assignment_id = ?1 and replaced_by is null and withdrawn = 0",
    )
    .bind(assignment.0)
    .fetch_optional(conn)
    .await?;
    row.map(|(id, judgement, comment, extras, seconds, revision)| {
        let answer = Answer {
            judgement: text::from_json(&judgement)?,
            comment,
            extras: text::from_json(&extras)?,
            seconds,
            revision,
        };
        Ok((AnnotationId(id), answer))
    })
    .transpose()
}

/// The revision that the next answer of this assignment has.
pub(super) async fn next_revision(conn: &mut SqliteConnection, assignment: AssignmentId) -> Result<u32> {
    let next: u32 =
        sqlx::query_scalar("select coalesce(max(revision) + 1, 0) from annotation where assignment_id = ?1")
            .bind(assignment.0)
            .fetch_one(conn)
            .await?;
    Ok(next)
}
