//! The sample project: settings and prompts from a folder (`project.json`, `prompts.jsonl`).

use crate::store::{Db, projects, prompts};
use anyhow::{Context, bail};
use laurel_protocol::{ProjectId, ProjectSettings, Timestamp};
use std::{fs, path::Path};

/// Makes a project anew from the folder.
pub async fn load(db: &Db, folder: &Path, now: Timestamp) -> anyhow::Result<ProjectId> {
    let read = |name: &str| {
        fs::read(folder.join(name)).with_context(|| format!("read {name} in {}", folder.display()))
    };
    let settings: ProjectSettings =
        serde_json::from_slice(&read("project.json")?).context("read project.json")?;
    if let Err(errors) = settings.validate() {
        bail!("the sample project's settings are not valid: {errors:?}");
    }
    let lines = read("prompts.jsonl")?;
    let project = projects::create(db, &settings, now).await?;
    let report = prompts::import(db, project, &lines, false, now).await?;
    if let Some(bad) = report.bad_lines.first() {
        bail!("line {} of the sample's prompts.jsonl {}", bad.line, bad.reason);
    }
    Ok(project)
}
