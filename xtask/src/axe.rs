//! axe-core, the accessibility checker that the browser tests load into a page. A test tool only: it is kept
//! in the cache folder and is no part of what is built.

use crate::{place::Place, shell};
use anyhow::{Result, bail};
use std::{path::PathBuf, process::Command};

const PACKAGE: &str = "axe-core@4.14.1";

/// The path of the script.
pub fn ensure(place: &Place) -> Result<PathBuf> {
    let folder = place.cache.join(PACKAGE);
    let script = folder.join("node_modules/axe-core/axe.min.js");
    if script.is_file() {
        return Ok(script);
    }
    if shell::find(&["npm"]).is_none() {
        shell::apt_install(&["npm"], "fetching the accessibility checker")?;
    }
    std::fs::create_dir_all(&folder)?;
    shell::run_quietly(
        "Fetch axe-core, the accessibility checker (npm)",
        Command::new("npm")
            .args([
                "install",
                "--no-audit",
                "--no-fund",
                "--no-save",
                "--ignore-scripts",
                "--prefix",
            ])
            .arg(&folder)
            .arg(PACKAGE),
    )?;
    if !script.is_file() {
        bail!("npm installed {PACKAGE}, but {script:?} is not there");
    }
    Ok(script)
}
