//! How a round ends: its adapter's files, put in place whole.

use crate::adapters::{Adapter, TaskType};
use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    path::Path,
};

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundOutcome {
    /// The adapter lies in `adapter/`.
    Done,
    /// Asked to stop; the last checkpoint goes on from here.
    Stopped,
}

/// Writes `adapter/` in the round's folder, whole or not at all.
pub(super) fn write_adapter(
    adapter: &Adapter,
    out: &Path,
    base_model: &str,
    task_type: TaskType,
) -> Result<()> {
    let (draft, target) = (out.join("adapter.draft"), out.join("adapter"));
    for old in [&draft, &target] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("remove {old:?}"))?;
        }
    }
    fs::create_dir_all(&draft).with_context(|| format!("create {draft:?}"))?;
    adapter.save_peft(&draft, base_model, task_type)?;
    // What the report will call done must be on disk before it says so.
    for entry in fs::read_dir(&draft).with_context(|| format!("list {draft:?}"))? {
        File::open(entry?.path())?.sync_all()?;
    }
    fs::rename(&draft, &target).with_context(|| format!("write {target:?}"))?;
    Ok(File::open(out)?.sync_all()?)
}
