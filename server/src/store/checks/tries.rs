//! What people said in checks, beside what is right or what they had said before; all in the order in which the
//! completions are stored.

pub(super) use laurel_protocol::checks::moved;

use super::{Kind, of_project};
use crate::store::{Error, Result, assignments::Slot, text};
use laurel_protocol::{Answer, Choice, Extras, Feedback, Gold, Judgement, ProjectId, Said, TaskId, UserId};
use sqlx::SqliteConnection;
use std::collections::BTreeMap;

/// What the person hears after this answer: nothing unless it is to a gold item and the project tells.
pub(in crate::store) async fn feedback(
    conn: &mut SqliteConnection,
    slot: &Slot,
    answer: &Answer,
) -> Result<Option<Feedback>> {
    if !of_project(conn, slot.project).await?.gold_feedback {
        return Ok(None);
    }
    let gold: Option<String> = sqlx::query_scalar("select gold from task where id = ?1")
        .bind(slot.task.0)
        .fetch_one(&mut *conn)
        .await?;
    let Some(gold) = gold else { return Ok(None) };
    let gold: Gold = text::from_json(&gold)?;
    let stored = stored_order(conn, slot.task).await?;
    let shown: Vec<i64> = slot.shown.iter().map(|id| id.0).collect();
    let places = places(&stored, &shown)?;
    let expected = gold.judgement.moved(&places);
    let ratings = gold.ratings.iter();
    let expected_ratings = ratings
        .map(|(name, ratings)| (name.clone(), moved(ratings, &places)))
        .collect();
    let said = Said {
        judgement: &answer.judgement,
        ratings: &answer.extras.ratings,
    };
    let right = Said {
        judgement: &expected,
        ratings: &expected_ratings,
    };
    Ok(Some(Feedback {
        assignment_id: slot.id,
        right: said.is_right(&right, shown.len()),
        expected,
        expected_ratings,
        explanation: gold.explanation,
    }))
}

/// A person's try at a check.
pub(in crate::store) struct Try {
    pub user: UserId,
    pub task: TaskId,
    pub kind: Kind,
    /// The gold answer was met, or what was said before was said again. A skip is neither.
    pub right: bool,
    /// Of a repeat of two: the same position was chosen in both orders.
    pub same_position: bool,
}

#[derive(sqlx::FromRow)]
struct TryRow {
    user_id: i64,
    task_id: i64,
    kind: String,
    gold: Option<String>,
    display_order: String,
    judgement: Option<String>,
    extras: Option<String>,
    first_order: Option<String>,
    first_judgement: Option<String>,
    first_extras: Option<String>,
    stored_order: String,
}

/// Everybody's tries of gold items and repeats, in the order in which they were given.
pub(in crate::store) async fn every_try(conn: &mut SqliteConnection, project: ProjectId) -> Result<Vec<Try>> {
    tries(conn, project, None, i64::MAX).await
}

/// This person's first tries of gold items.
pub(super) async fn first_gold(
    conn: &mut SqliteConnection,
    project: ProjectId,
    user: UserId,
    n: u8,
) -> Result<Vec<Try>> {
    tries(conn, project, Some(user), n.into()).await
}

/// Of one person gold items alone.
async fn tries(
    conn: &mut SqliteConnection,
    project: ProjectId,
    user: Option<UserId>,
    most: i64,
) -> Result<Vec<Try>> {
    let tells = of_project(conn, project).await?.gold_feedback;
    let rows: Vec<TryRow> = sqlx::query_as(
        "select a.user_id, a.task_id, a.kind, t.gold, a.display_order, n.judgement, n.extras,
                f.display_order as first_order, m.judgement as first_judgement, m.extras as first_extras,
                (select json_group_array(c.completion_id order by c.position)
                 from task_completion c where c.task_id = a.task_id) as stored_order
         from assignment a join task t on t.id = a.task_id
         -- Where the person was told what is right, their first answer counts.
         left join annotation n on n.assignment_id = a.id
             and iif(a.kind = 'gold' and ?3, n.revision = 0, n.replaced_by is null and n.withdrawn = 0)
         left join assignment f on a.kind = 'repeat' and f.task_id = t.source_id and f.user_id = a.user_id
         left join annotation m on m.assignment_id = f.id and m.replaced_by is null and m.withdrawn = 0
         where a.project_id = ?1 and a.status in ('answered', 'skipped')
           and (?2 is null and a.kind in ('gold', 'repeat') or a.user_id = ?2 and a.kind = 'gold')
         order by a.id limit ?4",
    )
    .bind(project.0)
    .bind(user.map(|user| user.0))
    .bind(tells)
    .bind(most)
    .fetch_all(&mut *conn)
    .await?;
    let mut tries = Vec::with_capacity(rows.len());
    for row in rows {
        let kind: Kind = text::from_name(&row.kind)?;
        if kind == Kind::Repeat && (row.judgement.is_none() || row.first_judgement.is_none()) {
            continue; // one of the two was skipped
        }
        let stored: Vec<i64> = text::from_json(&row.stored_order)?;
        let read = |order: &Option<String>, judgement: &Option<String>, extras: &Option<String>| {
            let (Some(order), Some(judgement), Some(extras)) = (order, judgement, extras) else {
                return Ok(None);
            };
            Stored::read(&stored, order, judgement, extras).map(Some)
        };
        let said = read(&Some(row.display_order), &row.judgement, &row.extras)?;
        let expected = match kind {
            Kind::Repeat => read(&row.first_order, &row.first_judgement, &row.first_extras)?,
            Kind::Gold | Kind::Label | Kind::Review => {
                row.gold.as_deref().map(Stored::of_gold).transpose()?
            }
        };
        let Some(expected) = expected else { continue };
        let right = said
            .as_ref()
            .is_some_and(|said| said.said().is_right(&expected.said(), stored.len()));
        let same_position = match (&said, kind) {
            (Some(said), Kind::Repeat) => is_other_choice(&said.judgement, &expected.judgement),
            _ => false,
        };
        tries.push(Try {
            user: UserId(row.user_id),
            task: TaskId(row.task_id),
            kind,
            right,
            same_position,
        });
    }
    Ok(tries)
}

/// Both picks are strict and contradict each other: with the completions swapped, the same position was chosen.
fn is_other_choice(a: &Judgement, b: &Judgement) -> bool {
    match (a, b) {
        (Judgement::Pick { choice: a, .. }, Judgement::Pick { choice: b, .. }) => matches!(
            (a, b),
            (Choice::First, Choice::Second) | (Choice::Second, Choice::First)
        ),
        _ => false,
    }
}

/// An answer in the order in which the completions are stored.
pub(in crate::store) struct Stored {
    pub judgement: Judgement,
    pub ratings: BTreeMap<String, Vec<u8>>,
}

impl Stored {
    /// Of an annotation as the database has it, given in the order `shown`.
    pub(in crate::store) fn read(stored: &[i64], shown: &str, judgement: &str, extras: &str) -> Result<Self> {
        let shown: Vec<i64> = text::from_json(shown)?;
        let extras: Extras = text::from_json(extras)?;
        let answer: Judgement = text::from_json(judgement)?;
        Self::of(stored, &shown, &answer, &extras.ratings)
    }

    fn of(
        stored: &[i64],
        shown: &[i64],
        judgement: &Judgement,
        ratings: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self> {
        let places = places(shown, stored)?;
        let ratings = ratings.iter();
        Ok(Self {
            judgement: judgement.moved(&places),
            ratings: ratings
                .map(|(name, ratings)| (name.clone(), moved(ratings, &places)))
                .collect(),
        })
    }

    fn of_gold(gold: &str) -> Result<Self> {
        let gold: Gold = text::from_json(gold)?;
        Ok(Self {
            judgement: gold.judgement,
            ratings: gold.ratings,
        })
    }

    fn said(&self) -> Said<'_> {
        Said {
            judgement: &self.judgement,
            ratings: &self.ratings,
        }
    }
}

/// The gold answer that an answer shown in this order makes.
pub(super) fn gold_of(
    stored: &[i64],
    shown: &[i64],
    answer: &Answer,
    explanation: String,
    author: UserId,
) -> Result<Gold> {
    let answer = Stored::of(stored, shown, &answer.judgement, &answer.extras.ratings)?;
    Ok(Gold {
        judgement: answer.judgement,
        ratings: answer.ratings,
        explanation,
        author,
    })
}

pub(in crate::store) async fn stored_order(conn: &mut SqliteConnection, task: TaskId) -> Result<Vec<i64>> {
    let order =
        sqlx::query_scalar("select completion_id from task_completion where task_id = ?1 order by position")
            .bind(task.0)
            .fetch_all(conn)
            .await?;
    Ok(order)
}

/// Where each of `from` stands in `to`, which has the same completions.
pub(in crate::store) fn places(from: &[i64], to: &[i64]) -> Result<Vec<usize>> {
    let place = |id: &i64| to.iter().position(|other| other == id);
    let places: Option<Vec<usize>> = from.iter().map(place).collect();
    places.ok_or_else(|| Error::Conflict("The task's completions have changed.".to_owned()))
}
