//! Chromium and its driver, for the browser tests.

use crate::shell;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// The browser and the driver that the tests use.
pub struct Browser {
    pub chromium: PathBuf,
    pub driver: PathBuf,
}

impl Browser {
    fn find() -> Option<Self> {
        Some(Self {
            chromium: shell::find(&["chromium", "chromium-browser", "google-chrome"])?,
            driver: shell::find(&["chromedriver", "chromium-driver"])?,
        })
    }
}

pub fn ensure() -> Result<Browser> {
    if let Some(browser) = Browser::find() {
        return Ok(browser);
    }
    shell::apt_install(&["chromium", "chromium-driver"], "the browser tests")?;
    match Browser::find() {
        Some(browser) => Ok(browser),
        None => bail!("chromium and chromedriver are installed but not in PATH"),
    }
}
