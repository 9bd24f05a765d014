//! The sample project: settings and prompts from a folder (`project.json`, `prompts.jsonl`).

use crate::store::{Db, audit::Actor, projects};
use anyhow::{Context, bail};
use laurel_protocol::{ProjectId, ProjectSettings, Timestamp};
use std::{fs, path::Path};

/// Makes a project anew from the folder, whole or not at all.
pub async fn load(db: &Db, folder: &Path, by: impl Into<Actor>, now: Timestamp) -> anyhow::Result<ProjectId> {
    let read = |name: &str| {
        fs::read(folder.join(name)).with_context(|| format!("read {name} in {}", folder.display()))
    };
    let settings: ProjectSettings =
        serde_json::from_slice(&read("project.json")?).context("read project.json")?;
    if let Err(errors) = settings.validate() {
        bail!("the sample project's settings are not valid: {errors:?}");
    }
    let lines = read("prompts.jsonl")?;
    projects::create_with_prompts(db, &settings, &lines, by, now)
        .await
        .context("make the project of project.json and prompts.jsonl")
}
