//! Projects: settings, counts, and the figures of those who label in them.

use super::{
    Db, Error, Result,
    audit::{self, Actor, Event},
    battles,
    checks::{self, Kind, Try},
    prompts, scorings, tasks, text,
};
use crate::render;
use laurel_protocol::{
    AnnotatorFigures, AuditSubject, BadLine, FieldError, LabelType, Project, ProjectCounts, ProjectId,
    ProjectSettings, Timestamp, User, UserId, Verb,
};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

/// The projects that this person works on or may decide on, newest first.
pub async fn list(db: &Db, user: &User) -> Result<Vec<Project>> {
    let rows: Vec<ProjectRow> = sqlx::query_as(
        "select id, name, guidelines, label_type, completions_per_task, overlap, ask_strength, questions,
                checks, arena, selection, leave_out_truncated, base_model, template, created_at from project
         where ?1 or assigned = 0
               or exists (select 1 from project_member where project_id = project.id and user_id = ?2)
         order by id desc",
    )
    .bind(user.role.may_review())
    .bind(user.id.0)
    .fetch_all(db.read())
    .await?;
    let mut projects = Vec::with_capacity(rows.len());
    for row in rows {
        let counts = counts(db, ProjectId(row.id)).await?;
        projects.push(row.with(counts)?);
    }
    Ok(projects)
}

pub async fn get(db: &Db, id: ProjectId) -> Result<Project> {
    let mut conn = db.read().acquire().await?;
    let row = read(&mut conn, id).await?;
    drop(conn);
    row.with(counts(db, id).await?)
}

/// Fails with `NotFound` unless there is such a project.
pub async fn require(db: &Db, id: ProjectId) -> Result<()> {
    let known: Option<i64> = sqlx::query_scalar("select id from project where id = ?1")
        .bind(id.0)
        .fetch_optional(db.read())
        .await?;
    known.map(drop).ok_or(Error::NotFound)
}

/// The same within a transaction.
pub(super) async fn require_in(conn: &mut SqliteConnection, id: ProjectId) -> Result<()> {
    let known: Option<i64> = sqlx::query_scalar("select id from project where id = ?1")
        .bind(id.0)
        .fetch_optional(conn)
        .await?;
    known.map(drop).ok_or(Error::NotFound)
}

/// Whether there is any project.
pub async fn any(db: &Db) -> Result<bool> {
    let any = sqlx::query_scalar("select exists (select 1 from project)")
        .fetch_one(db.read())
        .await?;
    Ok(any)
}

/// Makes a project with the prompts of these JSON Lines, or neither.
pub async fn create_with_prompts(
    db: &Db,
    settings: &ProjectSettings,
    lines: &[u8],
    by: impl Into<Actor>,
    now: Timestamp,
) -> Result<ProjectId> {
    let by = by.into();
    let parsed = prompts::Parsed::from(lines);
    let bad = |bad: &BadLine| FieldError::new(&format!("line {}", bad.line), bad.reason.clone());
    if parsed.report.n_bad > 0 {
        return Err(Error::Invalid(parsed.report.bad_lines.iter().map(bad).collect()));
    }
    let mut tx = db.write().await?;
    let id = insert(&mut tx, settings, now).await?;
    note(
        &mut tx,
        &by,
        Verb::ProjectCreated,
        id,
        json!({"name": settings.name.trim()}),
        now,
    )
    .await?;
    let n_imported = prompts::insert(&mut tx, id, &parsed.prompts, now).await?;
    note(
        &mut tx,
        &by,
        Verb::PromptsImported,
        id,
        json!({"n_imported": n_imported}),
        now,
    )
    .await?;
    tx.commit().await?;
    Ok(id)
}

pub async fn create(
    db: &Db,
    settings: &ProjectSettings,
    by: impl Into<Actor>,
    now: Timestamp,
) -> Result<ProjectId> {
    let by = by.into();
    let mut tx = db.write().await?;
    let id = insert(&mut tx, settings, now).await?;
    note(
        &mut tx,
        &by,
        Verb::ProjectCreated,
        id,
        json!({"name": settings.name.trim()}),
        now,
    )
    .await?;
    tx.commit().await?;
    Ok(id)
}

/// Changes the settings. What tasks were made from stays as it is once there are tasks.
pub async fn change(
    db: &Db,
    id: ProjectId,
    new: &ProjectSettings,
    by: impl Into<Actor>,
    now: Timestamp,
) -> Result<()> {
    let by = by.into();
    let mut tx = db.write().await?;
    let old = read(&mut tx, id).await?.settings()?;
    let has_tasks: bool = sqlx::query_scalar(
        "select exists (select 1 from task where project_id = ?1)
             or exists (select 1 from contest where project_id = ?1)",
    )
    .bind(id.0)
    .fetch_one(&mut *tx)
    .await?;
    let mut fixed = Vec::new();
    if has_tasks {
        let reason = "cannot change any more: the project has tasks";
        if old.label_type != new.label_type {
            fixed.push(FieldError::new("label_type", reason));
        }
        if old.completions_per_task != new.completions_per_task {
            fixed.push(FieldError::new("completions_per_task", reason));
        }
        if old.base_model != new.base_model {
            fixed.push(FieldError::new("base_model", reason));
        }
        if old.template != new.template {
            fixed.push(FieldError::new("template", reason));
        }
    }
    if !fixed.is_empty() {
        return Err(Error::Invalid(fixed));
    }
    battles::require_contenders(&mut tx, Some(id), &new.arena).await?;
    sqlx::query(
        "update project set name = ?2, guidelines = ?3, label_type = ?4, completions_per_task = ?5, overlap = ?6,
                            ask_strength = ?7, leave_out_truncated = ?8, base_model = ?9, template = ?10,
                            questions = ?11, checks = ?12, arena = ?13, selection = ?14
         where id = ?1",
    )
    .bind(id.0)
    .bind(new.name.trim())
    .bind(&new.guidelines)
    .bind(text::name_of(&new.label_type))
    .bind(new.completions_per_task)
    .bind(new.overlap)
    .bind(new.ask_strength)
    .bind(new.leave_out_truncated)
    .bind(&new.base_model)
    .bind(text::to_json(&new.template)?)
    .bind(text::to_json(&new.questions)?)
    .bind(text::to_json(&new.checks)?)
    .bind(text::to_json(&new.arena)?)
    .bind(text::to_json(&new.selection)?)
    .execute(&mut *tx)
    .await?;
    scorings::due::order(&mut tx, id, scorings::due::News::Other, now).await?;
    let changed = changed_fields(&old, new);
    if !changed.is_empty() {
        note(
            &mut tx,
            &by,
            Verb::ProjectChanged,
            id,
            json!({"changed": changed}),
            now,
        )
        .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The names of the settings that differ.
fn changed_fields(old: &ProjectSettings, new: &ProjectSettings) -> Vec<String> {
    let fields = |settings| serde_json::to_value(settings).unwrap_or_default();
    let (old, new) = (fields(old), fields(new));
    let names = old.as_object().into_iter().flatten().map(|(name, _)| name);
    names.filter(|name| old[*name] != new[*name]).cloned().collect()
}

/// Where the project stands.
pub async fn counts(db: &Db, id: ProjectId) -> Result<ProjectCounts> {
    let conn = &mut *db.read().acquire().await?;
    let (n_open, n_done) = tasks::counted(conn, id).await?;
    let row: (i64, i64, i64, i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from prompt where project_id = ?1 and live = 0),
                (select coalesce(sum(c.n_done), 0) from job j join completion_job c on c.job_id = j.id
                 where j.project_id = ?1),
                (select count(*) from assignment where project_id = ?1 and status = 'answered' and kind = 'label'),
                (select count(*) from comparison where project_id = ?1 and tie = 0),
                (select count(*) from comparison where project_id = ?1 and tie = 1),
                (select count(*) from assignment where project_id = ?1 and status = 'skipped' and kind = 'label')",
    )
    .bind(id.0)
    .fetch_one(conn)
    .await?;
    Ok(ProjectCounts {
        n_prompts: text::count(row.0),
        n_completions: text::count(row.1),
        n_tasks: text::count(n_open + n_done),
        n_tasks_done: text::count(n_done),
        n_annotations: text::count(row.2),
        n_comparisons: text::count(row.3),
        n_ties: text::count(row.4),
        n_skips: text::count(row.5),
    })
}

/// Each annotator's share, most annotations first.
pub async fn annotators(db: &Db, id: ProjectId) -> Result<Vec<AnnotatorFigures>> {
    get(db, id).await?;
    let rows: Vec<(i64, String, i64, i64)> = sqlx::query_as(
        "select u.id, u.name, sum(a.status = 'answered' and a.kind = 'label'),
                sum(a.status = 'skipped' and a.kind = 'label')
         from assignment a join user u on u.id = a.user_id
         where a.project_id = ?1 and a.kind <> 'review' and a.status in ('answered', 'skipped')
         group by u.id order by 3 desc, u.id",
    )
    .bind(id.0)
    .fetch_all(db.read())
    .await?;
    let tries = checks::every_try(&mut *db.read().acquire().await?, id).await?;
    let mut figures = Vec::with_capacity(rows.len());
    for (user, name, n_annotations, n_skips) in rows {
        let answers: Vec<(f64, Option<String>)> = sqlx::query_as(
            "select n.seconds, json_extract(n.judgement, '$.choice')
             from assignment a join annotation n on n.assignment_id = a.id
             where a.project_id = ?1 and a.kind = 'label' and a.user_id = ?2 and n.replaced_by is null and n.withdrawn = 0
             order by n.seconds",
        )
        .bind(id.0)
        .bind(user)
        .fetch_all(db.read())
        .await?;
        let n_of = |choice: &str| {
            answers
                .iter()
                .filter(|(_, c)| c.as_deref() == Some(choice))
                .count() as f64
        };
        let (first, second) = (n_of("first"), n_of("second"));
        let n_tries = |kind: Kind, counts: &dyn Fn(&Try) -> bool| {
            let own = tries
                .iter()
                .filter(|one| one.user == UserId(user) && one.kind == kind);
            own.filter(|one| counts(one)).count() as u64
        };
        figures.push(AnnotatorFigures {
            user: UserId(user),
            name,
            n_annotations: text::count(n_annotations),
            n_skips: text::count(n_skips),
            median_seconds: median(&answers),
            first_position_share: (first + second > 0.0).then(|| first / (first + second)),
            n_gold: n_tries(Kind::Gold, &|_| true),
            n_gold_right: n_tries(Kind::Gold, &|one| one.right),
            n_repeats: n_tries(Kind::Repeat, &|_| true),
            n_repeats_same: n_tries(Kind::Repeat, &|one| one.right),
            n_repeats_same_position: n_tries(Kind::Repeat, &|one| one.same_position),
        });
    }
    Ok(figures)
}

/// The median of answers ordered by seconds.
fn median(ordered: &[(f64, Option<String>)]) -> Option<f64> {
    let n = ordered.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(ordered[n / 2].0),
        _ => Some((ordered[n / 2 - 1].0 + ordered[n / 2].0) / 2.0),
    }
}

/// Notes what was done to a project as a whole.
pub(super) async fn note(
    conn: &mut SqliteConnection,
    by: &Actor,
    verb: Verb,
    id: ProjectId,
    detail: Value,
    now: Timestamp,
) -> Result<()> {
    let event = Event {
        verb,
        project: Some(id),
        kind: AuditSubject::Project,
        subject: Some(id.0),
        detail,
    };
    audit::note(conn, by, event, now).await
}

pub(super) async fn insert(
    conn: &mut SqliteConnection,
    settings: &ProjectSettings,
    now: Timestamp,
) -> Result<ProjectId> {
    battles::require_contenders(conn, None, &settings.arena).await?;
    let id: i64 = sqlx::query_scalar(
        "insert into project (name, guidelines, label_type, completions_per_task, overlap, ask_strength,
                              leave_out_truncated, base_model, template, pseudonym_key, created_at, questions,
                              checks, arena, selection)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) returning id",
    )
    .bind(settings.name.trim())
    .bind(&settings.guidelines)
    .bind(text::name_of(&settings.label_type))
    .bind(settings.completions_per_task)
    .bind(settings.overlap)
    .bind(settings.ask_strength)
    .bind(settings.leave_out_truncated)
    .bind(&settings.base_model)
    .bind(text::to_json(&settings.template)?)
    .bind(text::random_secret()?)
    .bind(now.0)
    .bind(text::to_json(&settings.questions)?)
    .bind(text::to_json(&settings.checks)?)
    .bind(text::to_json(&settings.arena)?)
    .bind(text::to_json(&settings.selection)?)
    .fetch_one(conn)
    .await?;
    Ok(ProjectId(id))
}

pub(super) async fn settings(conn: &mut SqliteConnection, id: ProjectId) -> Result<ProjectSettings> {
    read(conn, id).await?.settings()
}

async fn read(conn: &mut SqliteConnection, id: ProjectId) -> Result<ProjectRow> {
    let row: Option<ProjectRow> = sqlx::query_as(
        "select id, name, guidelines, label_type, completions_per_task, overlap, ask_strength, questions,
                checks, arena, selection, leave_out_truncated, base_model, template, created_at from project where id = ?1",
    )
    .bind(id.0)
    .fetch_optional(conn)
    .await?;
    row.ok_or(Error::NotFound)
}

#[derive(sqlx::FromRow)]
struct ProjectRow {
    id: i64,
    name: String,
    guidelines: String,
    label_type: String,
    completions_per_task: u8,
    overlap: u8,
    ask_strength: bool,
    questions: String,
    checks: String,
    arena: String,
    selection: String,
    leave_out_truncated: bool,
    base_model: String,
    template: String,
    created_at: i64,
}

impl ProjectRow {
    fn settings(&self) -> Result<ProjectSettings> {
        Ok(ProjectSettings {
            name: self.name.clone(),
            guidelines: self.guidelines.clone(),
            label_type: text::from_name::<LabelType>(&self.label_type)?,
            completions_per_task: self.completions_per_task,
            overlap: self.overlap,
            ask_strength: self.ask_strength,
            questions: text::from_json(&self.questions)?,
            checks: text::from_json(&self.checks)?,
            arena: text::from_json(&self.arena)?,
            selection: text::from_json(&self.selection)?,
            leave_out_truncated: self.leave_out_truncated,
            base_model: self.base_model.clone(),
            template: text::from_json(&self.template)?,
        })
    }

    fn with(self, counts: ProjectCounts) -> Result<Project> {
        Ok(Project {
            id: ProjectId(self.id),
            settings: self.settings()?,
            guidelines_html: render::markdown(&self.guidelines),
            created_at: Timestamp(self.created_at),
            counts,
        })
    }
}
