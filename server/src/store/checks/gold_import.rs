//! Import of gold items: each line of a file becomes completions and a gold task, all lines or none unless bad ones are to
//! be skipped.

use super::{gold, gold_lines, gold_lines::Item, tries};
use crate::store::{
    Db, Error, Result,
    audit::{self, Person},
    import, projects, prompts, text,
};
use laurel_protocol::{Gold, ImportReport, Judgement, ProjectId, PromptId, TaskId, Timestamp, Verb};
use sqlx::SqliteConnection;
use std::collections::BTreeMap;

/// Stores the items that the project does not have yet. Where a line is bad and bad lines are not to be skipped, nothing is
/// stored, and the report says which lines are bad and why.
pub async fn import(
    db: &Db,
    project: ProjectId,
    body: &[u8],
    skip_bad_lines: bool,
    by: &Person,
    now: Timestamp,
) -> Result<ImportReport> {
    let settings = projects::get(db, project).await?.settings;
    // The long part needs no database, and keeps nobody waiting.
    let (items, mut report) = gold_lines::read(body, &settings);
    if report.n_bad > 0 && !skip_bad_lines {
        return Ok(report);
    }
    let mut tx = db.write().await?;
    if projects::settings(&mut tx, project).await?.label_type != settings.label_type {
        return Err(Error::Conflict(
            "The project's label type was changed meanwhile: import again.".to_owned(),
        ));
    }
    let place = Place { project, by, now };
    for item in &items {
        match place.add(&mut tx, item).await? {
            Added::Item(task) => {
                audit::note_task(&mut tx, &by.clone().into(), Verb::GoldMade, (project, task), now).await?;
                report.n_imported += 1;
            }
            Added::IsThere => report.n_duplicates += 1,
            Added::Contradicts => import::note_bad(
                &mut report,
                item.line,
                "names another right answer than a gold item with the same completions: close that one first"
                    .to_owned(),
            ),
        }
    }
    report.bad_lines.sort_by_key(|bad| bad.line);
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

/// Where items go.
struct Place<'a> {
    project: ProjectId,
    by: &'a Person,
    now: Timestamp,
}

enum Added {
    Item(TaskId),
    IsThere,
    Contradicts,
}

impl Place<'_> {
    async fn add(&self, conn: &mut SqliteConnection, item: &Item) -> Result<Added> {
        let prompt = prompts::keep(conn, self.project, &item.messages, self.now).await?;
        if let Some(is_right) = self.known(conn, prompt, item).await? {
            return Ok(if is_right {
                Added::IsThere
            } else {
                Added::Contradicts
            });
        }
        let gold = Gold {
            judgement: item.judgement.clone(),
            ratings: item.ratings.clone(),
            explanation: item.explanation.clone(),
            author: self.by.user,
        };
        let new = gold::NewTask {
            project: self.project,
            prompt,
            source: None,
            gold: &gold,
        };
        let task = gold::insert(conn, &new, self.now).await?;
        for (position, answer) in (0_i64..).zip(&item.completions) {
            let completion = self.completion(conn, prompt, position, answer).await?;
            sqlx::query("insert into task_completion (task_id, completion_id, position) values (?1, ?2, ?3)")
                .bind(task.0)
                .bind(completion)
                .bind(position)
                .execute(&mut *conn)
                .await?;
        }
        Ok(Added::Item(task))
    }

    /// Whether an open item has these completions, in whatever order, and if so whether it says the same is right.
    async fn known(
        &self,
        conn: &mut SqliteConnection,
        prompt: PromptId,
        item: &Item,
    ) -> Result<Option<bool>> {
        let open: Vec<(String, String)> = sqlx::query_as(
            "select t.gold, (select json_group_array(c.text_hash order by k.position)
                             from task_completion k join completion c on c.id = k.completion_id where k.task_id = t.id)
             from task t
             where t.project_id = ?1 and t.kind = 'gold' and t.status = 'open' and t.prompt_id = ?2",
        )
        .bind(self.project.0)
        .bind(prompt.0)
        .fetch_all(conn)
        .await?;
        let hashes: Vec<String> = item.completions.iter().map(|answer| hash(answer)).collect();
        for (gold, known) in open {
            let known: Vec<String> = text::from_json(&known)?;
            let places: Option<Vec<usize>> = hashes
                .iter()
                .map(|hash| known.iter().position(|other| other == hash))
                .collect();
            if let Some(places) = places.filter(|places| places.len() == known.len()) {
                let gold: Gold = text::from_json(&gold)?;
                return Ok(Some(is_same(&gold, item, &places)));
            }
        }
        Ok(None)
    }

    /// The completion of an earlier import with this text, or a new one.
    async fn completion(
        &self,
        conn: &mut SqliteConnection,
        prompt: PromptId,
        position: i64,
        answer: &str,
    ) -> Result<i64> {
        let known: Option<i64> = sqlx::query_scalar(
            "select id from completion where prompt_id = ?1 and text = ?2 and imported_by is not null limit 1",
        )
        .bind(prompt.0)
        .bind(answer)
        .fetch_optional(&mut *conn)
        .await?;
        if let Some(id) = known {
            return Ok(id);
        }
        let id = sqlx::query_scalar(
            "insert into completion (prompt_id, imported_by, position, text, text_hash, n_tokens, finish_reason, model,
                                     template_hash, created_at)
             values (?1, ?2, ?3, ?4, ?5, 0, 'stop', '', '', ?6) returning id",
        )
        .bind(prompt.0)
        .bind(self.by.user.0)
        .bind(position)
        .bind(answer)
        .bind(hash(answer))
        .bind(self.now.0)
        .fetch_one(conn)
        .await?;
        Ok(id)
    }
}

/// As completions of trainers are hashed.
fn hash(answer: &str) -> String {
    text::sha256_hex(answer.trim())
}

/// `places` says where each completion of the item stands in the gold task.
fn is_same(gold: &Gold, item: &Item, places: &[usize]) -> bool {
    let ratings = item.ratings.iter();
    let ratings: BTreeMap<String, Vec<u8>> = ratings
        .map(|(name, ratings)| (name.clone(), tries::moved(ratings, places)))
        .collect();
    ratings == gold.ratings && item.judgement.moved(places) == without_strength(&gold.judgement)
}

/// Of an admin's own answer it may have one, which nobody is checked by.
fn without_strength(judgement: &Judgement) -> Judgement {
    match judgement {
        Judgement::Pick { choice, .. } => Judgement::Pick {
            choice: *choice,
            strength: None,
        },
        other => other.clone(),
    }
}
