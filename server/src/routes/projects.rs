//! Projects, their prompts, and the completions of a prompt.

use crate::{
    clock,
    error::Failure,
    extract::{Body, Path, Query, RawBody},
    guards::{Admin, Caller, CurrentUser},
    sample,
    state::AppState,
    store::{completions, members, projects, prompts},
};
use axum::{Json, extract::State};
use laurel_protocol::*;
use serde::Deserialize;

type Answer<T> = Result<Json<T>, Failure>;

/// All projects, newest first; to annotators those that they work on.
#[utoipa::path(get, path = "/projects", tag = "projects", responses((status = 200, body = [Project])))]
pub async fn list(State(app): State<AppState>, CurrentUser(caller): CurrentUser) -> Answer<Vec<Project>> {
    let projects = projects::list(&app.db, &caller.user).await?;
    Ok(Json(
        projects
            .into_iter()
            .map(|project| as_seen_by(&caller, project))
            .collect(),
    ))
}

/// Who may meet in the arena is for admins to know: annotators vote on hidden contenders.
fn as_seen_by(caller: &Caller, mut project: Project) -> Project {
    if caller.user.role != Role::Admin {
        project.settings.arena.adapters.clear();
    }
    project
}

/// Makes a project.
#[utoipa::path(post, path = "/projects", tag = "projects", request_body = ProjectSettings,
    responses((status = 200, body = Project), (status = 422, body = ApiError)))]
pub async fn create(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Body(settings): Body<ProjectSettings>,
) -> Answer<Project> {
    settings.validate()?;
    let id = projects::create(&app.db, &settings, admin.person(), clock::now()).await?;
    Ok(Json(projects::get(&app.db, id).await?))
}

/// Makes the sample project, prompts included.
#[utoipa::path(post, path = "/projects/sample", tag = "projects", responses((status = 200, body = Project)))]
pub async fn create_sample(State(app): State<AppState>, Admin(admin): Admin) -> Answer<Project> {
    let folder = app.settings.sample.as_ref().ok_or_else(|| {
        Failure::new(
            ErrorCode::NotFound,
            "The server was started without a sample project: give it --sample DIR.",
        )
    })?;
    let id = sample::load(&app.db, folder, admin.person(), clock::now())
        .await
        .map_err(|error| Failure::internal(format!("{error:#}")))?;
    Ok(Json(projects::get(&app.db, id).await?))
}

/// One project.
#[utoipa::path(get, path = "/projects/{id}", tag = "projects", params(("id" = i64, Path)),
    responses((status = 200, body = Project), (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub async fn get(
    State(app): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Path(id): Path<ProjectId>,
) -> Answer<Project> {
    members::require_visible(&app.db, id, &caller.user).await?;
    let project = projects::get(&app.db, id).await?;
    Ok(Json(as_seen_by(&caller, project)))
}

/// Changes the settings; label type and completions per task stay once there are tasks.
#[utoipa::path(put, path = "/projects/{id}/settings", tag = "projects", params(("id" = i64, Path)),
    request_body = ProjectSettings, responses((status = 200, body = Project), (status = 422, body = ApiError)))]
pub async fn change(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<ProjectId>,
    Body(settings): Body<ProjectSettings>,
) -> Answer<Project> {
    settings.validate()?;
    projects::change(&app.db, id, &settings, admin.person(), clock::now()).await?;
    Ok(Json(projects::get(&app.db, id).await?))
}

#[derive(Deserialize)]
pub struct Page {
    #[serde(default)]
    after: i64,
    #[serde(default = "fifty")]
    limit: u32,
    #[serde(default)]
    search: String,
}

fn fifty() -> u32 {
    50
}

/// Prompts in the order of import, those with a text in them if one is given.
#[utoipa::path(get, path = "/projects/{id}/prompts", tag = "projects",
    params(("id" = i64, Path), ("after" = Option<i64>, Query), ("limit" = Option<u32>, Query),
           ("search" = Option<String>, Query)),
    responses((status = 200, body = PromptPage)))]
pub async fn list_prompts(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<ProjectId>,
    Query(page): Query<Page>,
) -> Answer<PromptPage> {
    let limit = page.limit.clamp(1, 200);
    Ok(Json(
        prompts::page(&app.db, id, page.search.trim(), PromptId(page.after), limit).await?,
    ))
}

/// Says which prompts come first, or last.
#[utoipa::path(put, path = "/projects/{id}/prompts/priority", tag = "projects", params(("id" = i64, Path)),
    request_body = PromptPriority, responses((status = 200, body = PriorityReport), (status = 422, body = ApiError)))]
pub async fn set_priority(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<ProjectId>,
    Body(new): Body<PromptPriority>,
) -> Answer<PriorityReport> {
    new.validate()?;
    Ok(Json(
        prompts::set_priority(&app.db, id, &new, &admin.person(), clock::now()).await?,
    ))
}

#[derive(Deserialize)]
pub struct Import {
    #[serde(default)]
    pub skip_bad_lines: bool,
}

/// An error that names the bad lines, unless they were to be skipped.
pub(super) fn all_or_nothing(import: &Import, report: ImportReport) -> Result<ImportReport, Failure> {
    if report.n_bad == 0 || import.skip_bad_lines {
        return Ok(report);
    }
    let field = |bad: BadLine| FieldError::new(&format!("line {}", bad.line), bad.reason);
    let fields: Vec<FieldError> = report.bad_lines.into_iter().map(field).collect();
    let n_named = fields.len();
    let detail = format!(
        "{} lines are bad and nothing was imported. Correct them, or skip them; the first {n_named} are named.",
        report.n_bad
    );
    Err(Failure::invalid(fields).with_detail(detail))
}

/// Imports prompts from JSON Lines.
#[utoipa::path(post, path = "/projects/{id}/prompts", tag = "projects",
    params(("id" = i64, Path), ("skip_bad_lines" = Option<bool>, Query)),
    request_body(content = String, content_type = "application/jsonl"),
    responses((status = 200, body = ImportReport), (status = 422, body = ApiError)))]
pub async fn import_prompts(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<ProjectId>,
    Query(import): Query<Import>,
    RawBody(body): RawBody,
) -> Answer<ImportReport> {
    let skip = import.skip_bad_lines;
    let report = prompts::import(&app.db, id, &body, skip, admin.person(), clock::now()).await?;
    let report = all_or_nothing(&import, report)?;
    app.events.counts(id);
    Ok(Json(report))
}

/// All completions of a prompt with where they came from.
#[utoipa::path(get, path = "/prompts/{id}/completions", tag = "projects", params(("id" = i64, Path)),
    responses((status = 200, body = [Completion])))]
pub async fn prompt_completions(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<PromptId>,
) -> Answer<Vec<Completion>> {
    Ok(Json(completions::of_prompt(&app.db, id).await?))
}
