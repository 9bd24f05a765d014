//! Calls about projects and their prompts, and the addresses of the exports.

use super::{Payload, Result, get, post, post_empty, post_payload, put, url};
use laurel_protocol::{
    AnnotatorFigures, Completion, ImportReport, Period, PriorityReport, ProgressQuery, Project, ProjectId,
    ProjectProgress, ProjectSettings, PromptId, PromptPage, PromptPriority, Quality,
};

pub async fn list() -> Result<Vec<Project>> {
    get("/projects").await
}

pub async fn create(settings: &ProjectSettings) -> Result<Project> {
    post("/projects", settings).await
}

pub async fn load_sample() -> Result<Project> {
    post_empty("/projects/sample").await
}

pub async fn load(id: ProjectId) -> Result<Project> {
    get(&format!("/projects/{id}")).await
}

pub async fn change_settings(id: ProjectId, settings: &ProjectSettings) -> Result<Project> {
    put(&format!("/projects/{id}/settings"), settings).await
}

pub async fn annotators(id: ProjectId) -> Result<Vec<AnnotatorFigures>> {
    get(&format!("/projects/{id}/annotators")).await
}

pub async fn quality(id: ProjectId, period: Period) -> Result<Quality> {
    let since = period.since.map(|at| format!("since={}", at.0));
    let until = period.until.map(|at| format!("until={}", at.0));
    let query: Vec<String> = since.into_iter().chain(until).collect();
    get(&format!("/projects/{id}/agreement?{}", query.join("&"))).await
}

pub async fn progress(id: ProjectId, query: ProgressQuery) -> Result<ProjectProgress> {
    let (ahead, days) = (query.tz_offset_minutes, query.days);
    get(&format!(
        "/projects/{id}/progress?tz_offset_minutes={ahead}&days={days}"
    ))
    .await
}

/// Those in which a text occurs; an empty one occurs in all.
pub async fn prompts(id: ProjectId, search: &str, after: Option<PromptId>, limit: u32) -> Result<PromptPage> {
    let after = after.map_or(0, |id| id.0);
    let search = String::from(js_sys::encode_uri_component(search));
    get(&format!(
        "/projects/{id}/prompts?after={after}&limit={limit}&search={search}"
    ))
    .await
}

pub async fn set_priority(id: ProjectId, wanted: &PromptPriority) -> Result<PriorityReport> {
    put(&format!("/projects/{id}/prompts/priority"), wanted).await
}

/// Lines to import.
pub enum Lines {
    Text(String),
    /// Sent as it is: whether it is UTF-8 is for the server to say.
    File(web_sys::File),
}

/// JSON Lines, each `{"prompt": "text"}` or `{"prompt": [{"role", "content"} …]}`.
pub async fn import_prompts(id: ProjectId, lines: Lines, skip_bad_lines: bool) -> Result<ImportReport> {
    import(&format!("/projects/{id}/prompts"), lines, skip_bad_lines).await
}

/// Gold items as JSON Lines or as a table of comma-separated values; the server sees which it is.
pub async fn import_gold(id: ProjectId, lines: Lines, skip_bad_lines: bool) -> Result<ImportReport> {
    import(&format!("/projects/{id}/gold"), lines, skip_bad_lines).await
}

async fn import(path: &str, lines: Lines, skip_bad_lines: bool) -> Result<ImportReport> {
    const JSON_LINES: &str = "application/jsonl";
    let path = format!("{path}?skip_bad_lines={skip_bad_lines}");
    let payload = match &lines {
        Lines::Text(text) => Payload::text(text, JSON_LINES),
        Lines::File(file) => Payload::file(file, JSON_LINES),
    };
    post_payload(&path, payload).await
}

pub async fn completions(prompt: PromptId) -> Result<Vec<Completion>> {
    get(&format!("/prompts/{prompt}/completions")).await
}

/// Where the browser downloads an export; `format` is the name in the API.
pub fn export_url(id: ProjectId, format: &str) -> String {
    url(&format!("/projects/{id}/export?format={format}"))
}
