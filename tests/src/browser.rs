//! A real Chromium, driven through chromedriver. Elements are found by their `data-test` hook.

mod pointer;

use crate::{
    api,
    process::{Process, free_port, given},
    server::PASSWORD,
    wait::{until, within},
};
use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use fantoccini::{Client, ClientBuilder, Locator, elements::Element, error::CmdError};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path, process::Command};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longest wait for an element or a text on a page.
const PAGE_SECONDS: u64 = 30;
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
];

pub struct Browser {
    client: Client,
    runtime: Runtime,
    driver_url: String,
    origin: String,
    // Dropped in this order: the driver (which ends Chromium) before the profile folder.
    _driver: Process,
    folder: TempDir,
}

impl Browser {
    /// A browser with an empty profile, for pages of `origin`.
    pub fn start(origin: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let mut command = Command::new(given("LAUREL_CHROMEDRIVER")?);
        command.arg(format!("--port={port}"));
        let mut driver = Process::start("chromedriver", &mut command, &folder.path().join("driver.log"))?;
        let driver_url = format!("http://127.0.0.1:{port}");
        until(30, "chromedriver", || {
            driver.must_run()?;
            Ok(api::get_status(&format!("{driver_url}/status")) == Some(200))
        })?;
        let runtime = Runtime::new()?;
        let capabilities = capabilities(folder.path())?;
        let client = runtime
            .block_on(
                ClientBuilder::new(HttpConnector::new())
                    .capabilities(capabilities)
                    .connect(&driver_url),
            )
            .context("start Chromium")?;
        let browser = Self {
            client,
            runtime,
            driver_url,
            origin: origin.to_owned(),
            _driver: driver,
            folder,
        };
        browser.resize(1280, 900)?;
        Ok(browser)
    }

    pub fn open(&self, path: &str) -> Result<()> {
        self.wait(self.client.goto(&format!("{}{path}", self.origin)))
    }

    pub fn path(&self) -> Result<String> {
        Ok(self.wait(self.client.current_url())?.path().to_owned())
    }

    /// Goes back one page in the history.
    pub fn back(&self) -> Result<()> {
        self.wait(self.client.back())
    }

    /// Signs in on the sign-in page and waits until the app shows who is in.
    pub fn sign_in(&self, name: &str, password: &str) -> Result<()> {
        self.open("/sign-in")?;
        self.enter_credentials(name, password)
    }

    /// Makes an account on the page of a set-up or invite link that is open.
    pub fn make_account(&self, name: &str) -> Result<()> {
        self.enter_credentials(name, PASSWORD)
    }

    fn enter_credentials(&self, name: &str, password: &str) -> Result<()> {
        self.fill("name", name)?;
        self.fill("password", password)?;
        self.click("submit-credentials")?;
        self.sees("sign-out")
    }

    /// Waits until the page's path ends so.
    pub fn arrives_at(&self, end: &str) -> Result<()> {
        until(PAGE_SECONDS, &format!("the page …{end}"), || {
            Ok(self.path()?.ends_with(end))
        })
        .with_context(|| format!("still at {}", self.path().unwrap_or_default()))
    }

    pub fn click(&self, hook: &str) -> Result<()> {
        // The page may draw the element anew between finding and clicking.
        until(PAGE_SECONDS, &format!("a click on {hook}"), || {
            Ok(self.wait(self.find(hook)?.click()).is_ok())
        })
    }

    /// Replaces what stands in a field.
    pub fn fill(&self, hook: &str, text: &str) -> Result<()> {
        let field = self.find(hook)?;
        self.wait(field.clear())?;
        self.wait(field.send_keys(text))
    }

    /// Chooses an option of a select by its value.
    pub fn select(&self, hook: &str, value: &str) -> Result<()> {
        let field = self.find(hook)?;
        self.wait(field.select_by_value(value))
    }

    /// Presses keys where the focus is.
    pub fn press(&self, keys: &str) -> Result<()> {
        let focused = self.wait(self.client.active_element())?;
        self.wait(focused.send_keys(keys))
    }

    /// Chooses a file for an input, as the file dialog would.
    pub fn choose_file(&self, hook: &str, file: &Path) -> Result<()> {
        let input = self.find(hook)?;
        self.wait(input.send_keys(&file.display().to_string()))
    }

    /// Lets requests to these addresses fail (`*` stands for anything) until it is called again.
    pub fn block(&self, addresses: &[&str]) -> Result<()> {
        self.devtools("Network.enable", json!({}))?;
        self.devtools("Network.setBlockedURLs", json!({"urls": addresses}))
            .map(drop)
    }

    /// Leaves the page for an empty one.
    pub fn leave(&self) -> Result<()> {
        self.wait(self.client.goto("about:blank"))
    }

    pub fn reload(&self) -> Result<()> {
        self.wait(self.client.refresh())
    }

    pub fn text(&self, hook: &str) -> Result<String> {
        self.wait(self.find(hook)?.text())
    }

    pub fn attribute(&self, hook: &str, name: &str) -> Result<Option<String>> {
        within(PAGE_SECONDS, &format!("the attribute {name} of {hook}"), || {
            Ok(self.wait(self.find(hook)?.attr(name)).ok())
        })
    }

    pub fn count(&self, hook: &str) -> Result<usize> {
        Ok(self
            .wait(self.client.find_all(Locator::Css(&selector(hook))))?
            .len())
    }

    /// Waits until an element is there.
    pub fn sees(&self, hook: &str) -> Result<()> {
        self.find(hook).map(drop)
    }

    /// Waits until an element is gone.
    pub fn sees_no(&self, hook: &str) -> Result<()> {
        until(PAGE_SECONDS, &format!("{hook} to go"), || {
            Ok(self.count(hook)? == 0)
        })
    }

    /// Waits until the element's text has these words in it.
    pub fn reads(&self, hook: &str, words: &str) -> Result<()> {
        until(PAGE_SECONDS, &format!("{words:?} in {hook}"), || {
            Ok(self.text(hook).is_ok_and(|text| text.contains(words)))
        })
        .with_context(|| format!("it reads {:?}", self.text(hook).unwrap_or_default()))
    }

    /// Waits up to so many seconds until the element's text is a number of at least `least`.
    pub fn counts_to(&self, hook: &str, least: u64, seconds: u64) -> Result<()> {
        until(seconds, &format!("{hook} to reach {least}"), || {
            Ok(self.text(hook)?.trim().parse::<u64>().is_ok_and(|n| n >= least))
        })
        .with_context(|| format!("it is at {:?}", self.text(hook).unwrap_or_default()))
    }

    /// Waits up to so many seconds until an attribute has a value.
    pub fn attribute_becomes(&self, hook: &str, name: &str, value: &str, seconds: u64) -> Result<()> {
        until(seconds, &format!("{hook}[{name}] to become {value}"), || {
            Ok(self.attribute(hook, name)?.as_deref() == Some(value))
        })
        .with_context(|| format!("it is {:?}", self.attribute(hook, name).ok().flatten()))
    }

    pub fn resize(&self, width: u32, height: u32) -> Result<()> {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .map(drop)
    }

    /// The value of a script's `return`.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.wait(self.client.execute(script, vec![]))
    }

    /// The value that a script hands to `done(value)`.
    pub fn run_async(&self, script: &str) -> Result<Value> {
        let script = format!("const done = arguments[arguments.length - 1];\n{script}");
        self.wait(self.client.execute_async(&script, vec![]))
    }

    /// A command of the DevTools protocol.
    pub fn devtools(&self, command: &str, params: Value) -> Result<Value> {
        let session = self.session()?;
        let url = format!("{}/session/{session}/goog/cdp/execute", self.driver_url);
        let answer = api::post_json(&url, &json!({"cmd": command, "params": params}))?;
        Ok(answer["value"].clone())
    }

    /// The files with this ending that the open page has fetched: address and size on the wire, packed.
    pub fn fetched(&self, ending: &str) -> Result<BTreeMap<String, u64>> {
        let files = self.run(&format!(
            "return Object.fromEntries(performance.getEntriesByType('resource')
               .filter(entry => entry.name.endsWith({ending:?})).map(entry => [entry.name, entry.encodedBodySize]))"
        ))?;
        let files: BTreeMap<String, u64> = serde_json::from_value(files)?;
        ensure!(
            files.values().all(|size| *size > 0),
            "the browser tells no size: {files:?}"
        );
        Ok(files)
    }

    pub fn screenshot(&self, file: &Path) -> Result<()> {
        let picture = self.devtools("Page.captureScreenshot", json!({"format": "png"}))?;
        let data = picture["data"].as_str().context("the browser made no picture")?;
        fs::write(file, BASE64_STANDARD.decode(data)?).with_context(|| format!("write {file:?}"))
    }

    /// Every error that the browser's console has shown since the last call.
    pub fn console_errors(&self) -> Result<Vec<String>> {
        let url = format!("{}/session/{}/se/log", self.driver_url, self.session()?);
        let answer = api::post_json(&url, &json!({"type": "browser"}))?;
        let entries = answer["value"].as_array().context("the driver gave no log")?;
        let errors = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        Ok(errors.map(|entry| entry["message"].to_string()).collect())
    }

    /// An error if the console has shown one.
    pub fn must_be_quiet(&self) -> Result<()> {
        let errors = self.console_errors()?;
        if !errors.is_empty() {
            bail!("the console shows errors on {}: {errors:#?}", self.path()?);
        }
        Ok(())
    }

    /// Clicks a download link and returns the file's text.
    pub fn download(&self, hook: &str) -> Result<String> {
        let folder = self.folder.path().join("downloads");
        self.click(hook)?;
        within(PAGE_SECONDS, "the download", || {
            let Ok(files) = fs::read_dir(&folder) else {
                return Ok(None);
            };
            let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
            // While it grows it has another extension.
            let done = paths.find(|path| path.extension().is_some_and(|e| e == "jsonl"));
            let Some(done) = done else { return Ok(None) };
            let text = fs::read_to_string(&done)?;
            fs::remove_file(done)?;
            Ok(Some(text))
        })
    }

    /// Serious and critical violations that axe-core finds on the page as it is.
    pub fn accessibility_violations(&self) -> Result<Vec<String>> {
        let axe = fs::read_to_string(given("LAUREL_AXE")?)?;
        // Through the driver, which the page's content security policy does not bind.
        self.run(&axe)?;
        let found = self.run_async(
            // A colour on its way to another one has too little contrast for a moment.
            "const running = document.getAnimations().filter(a => a instanceof CSSTransition);
             Promise.allSettled(running.map(a => a.finished))
               .then(() => axe.run(document, {resultTypes: ['violations']})).then(r => done(r.violations
               .filter(v => ['serious', 'critical'].includes(v.impact))
               .map(v => v.id + ': ' + v.nodes.map(n => n.html).join(' | '))), e => done(['axe failed: ' + e]));",
        )?;
        Ok(serde_json::from_value(found)?)
    }

    fn find(&self, hook: &str) -> Result<Element> {
        let selector = selector(hook);
        within(PAGE_SECONDS, &format!("{hook} on the page"), || {
            Ok(self.wait(self.client.find(Locator::Css(&selector))).ok())
        })
        .with_context(|| {
            format!(
                "at {}: {:?}",
                self.path().unwrap_or_default(),
                self.console_errors()
            )
        })
    }

    fn session(&self) -> Result<String> {
        self.wait(self.client.session_id())?
            .context("the browser has a session")
    }

    fn wait<T>(&self, command: impl Future<Output = Result<T, CmdError>>) -> Result<T> {
        Ok(self.runtime.block_on(command)?)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver's own end would leave Chromium running; a broken session has nothing left to close.
        let _ = self.runtime.block_on(self.client.clone().close());
    }
}

fn selector(hook: &str) -> String {
    format!("[data-test=\"{hook}\"]")
}

fn capabilities(folder: &Path) -> Result<serde_json::Map<String, Value>> {
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let flags: Vec<String> = FLAGS
        .iter()
        .map(|flag| flag.to_string())
        .chain([profile])
        .collect();
    let capabilities = json!({
        "goog:chromeOptions": {
            "args": flags,
            "binary": given("LAUREL_CHROMIUM")?,
            "prefs": {"download.default_directory": folder.join("downloads"), "download.prompt_for_download": false},
        },
        "goog:loggingPrefs": {"browser": "ALL"},
    });
    serde_json::from_value(capabilities).context("capabilities are an object")
}
