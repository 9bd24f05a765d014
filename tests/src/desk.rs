//! The labelling page in front of an annotator.

use crate::{Api, Browser, Scripted, server::PASSWORD, until};
use anyhow::{Context, Result};
use laurel_protocol::{ProjectId, ProjectSettings, RankingRow};

/// Ada at a project's labelling page with the first of `n` tasks before her.
pub struct Desk {
    pub scripted: Scripted,
    pub project: ProjectId,
    pub ada: Api,
    pub browser: Browser,
}

impl Desk {
    pub fn open(settings: &ProjectSettings, n: usize) -> Result<Self> {
        let scripted = Scripted::start()?;
        let project = scripted.project(settings, n)?;
        let ada = scripted.server.annotator("ada")?;
        let browser = Browser::start(&scripted.server.url())?;
        browser.sign_in("ada", PASSWORD)?;
        browser.open(&format!("/projects/{project}/label"))?;
        browser.sees("task")?;
        Ok(Self {
            scripted,
            project,
            ada,
            browser,
        })
    }

    pub fn task(&self) -> Result<String> {
        self.browser
            .attribute("task", "data-assignment")?
            .context("a task has a number")
    }

    /// Waits until another task than this one is on screen.
    pub fn moves_on(&self, from: &str) -> Result<()> {
        until(30, &format!("a task after {from}"), || Ok(self.task()? != from))
    }

    pub fn has_annotations(&self, n: u64) -> Result<()> {
        until(30, &format!("{n} annotations"), || {
            Ok(self.scripted.counts(self.project)?.n_annotations == n)
        })
    }

    pub fn saved(&self) -> Result<()> {
        self.browser
            .attribute_becomes("save-state", "data-state", "saved", 60)
    }

    /// The only annotation that stands.
    pub fn only_row(&self) -> Result<RankingRow> {
        let mut rows = self.scripted.rankings(self.project)?;
        assert_eq!(rows.len(), 1, "{rows:?}");
        Ok(rows.remove(0))
    }

    /// Ranks in display order as the page shows them now.
    pub fn shown_ranks(&self) -> Result<Vec<Option<u64>>> {
        let ranks = self.browser.run(
            "return [...document.querySelectorAll('[data-test=completion]')].map(c => c.dataset.rank ? +c.dataset.rank : null)",
        )?;
        Ok(serde_json::from_value(ranks)?)
    }

    /// Notes the requests that the page sends from now on.
    pub fn record_requests(&self) -> Result<()> {
        self.browser
            .run(
                "window.sent = []; const fetch = window.fetch; window.fetch = (url, init) => {
                     sent.push([new URL(url, location).pathname, init && init.body]); return fetch(url, init); };",
            )
            .map(drop)
    }

    pub fn requests(&self) -> Result<Vec<(String, Option<String>)>> {
        Ok(serde_json::from_value(self.browser.run("return window.sent")?)?)
    }
}
