//! Calls about projects and their prompts, and the addresses of the exports.

use super::{Result, get, post, post_empty, post_text, put, url};
use laurel_protocol::{
    AnnotatorFigures, Completion, ImportReport, Project, ProjectId, ProjectSettings, PromptId, PromptPage,
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

pub async fn prompts(id: ProjectId, after: Option<PromptId>, limit: u32) -> Result<PromptPage> {
    let after = after.map_or(0, |id| id.0);
    get(&format!("/projects/{id}/prompts?after={after}&limit={limit}")).await
}

/// Imports JSON Lines, each `{"prompt": "text"}` or `{"prompt": [{"role", "content"} …]}`.
pub async fn import_prompts(id: ProjectId, lines: String, skip_bad_lines: bool) -> Result<ImportReport> {
    let path = format!("/projects/{id}/prompts?skip_bad_lines={skip_bad_lines}");
    post_text(&path, lines, "application/jsonl").await
}

pub async fn completions(prompt: PromptId) -> Result<Vec<Completion>> {
    get(&format!("/prompts/{prompt}/completions")).await
}

/// Where the browser downloads an export; `format` is the name in the API.
pub fn export_url(id: ProjectId, format: &str) -> String {
    url(&format!("/projects/{id}/export?format={format}"))
}
