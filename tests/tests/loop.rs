//! The whole loop in Chromium: set-up, sample project, completions, labels by keyboard, a DPO round with its
//! chart, new completions from the new adapter, the export.

use anyhow::{Context, Result};
use laurel_protocol::{PreferenceRow, RankingRow};
use laurel_tests::{Browser, TestServer, TestTrainer, scene, server::PASSWORD, until};

const N_PROMPTS: u64 = 12;
const JOB_SECONDS: u64 = 300;

#[test]
fn prompts_become_labels_a_better_adapter_and_an_export() -> Result<()> {
    let server = TestServer::start()?;
    let _trainer = TestTrainer::start(&server)?;
    let admin = Browser::start(&server.url())?;

    admin.open(&server.setup_path()?)?;
    admin.make_account("grace")?;
    admin.click("load-sample")?;
    open_first_project(&admin)?;
    let project = admin.path()?;
    admin.counts_to("count-prompts", 120, 30)?;

    admin.fill("n-prompts-limit", &N_PROMPTS.to_string())?;
    admin.fill("completions-per-prompt", "2")?;
    admin.fill("max-tokens", "24")?;
    admin.click("start-completions")?;
    admin.counts_to("count-completions", 2 * N_PROMPTS, JOB_SECONDS)?;
    admin.attribute_becomes("completion-job", "data-status", "done", JOB_SECONDS)?;

    admin.open("/people")?;
    admin.click("invite-annotator")?;
    let link = admin.text("invite-link")?;
    let invite = link
        .strip_prefix(&server.url())
        .context("the link has the page's origin")?;
    let annotator = Browser::start(&server.url())?;
    annotator.open(invite)?;
    annotator.make_account("ada")?;
    label_ten(&annotator, &project)?;
    annotator.must_be_quiet()?;

    admin.open(&project)?;
    admin.counts_to("count-annotations", 10, 30)?;
    admin.click("new-round")?;
    admin.select("round-kind", "dpo")?;
    admin.fill("round-max-steps", "4")?;
    admin.click("start-round")?;
    admin.sees("round-status")?;
    until(JOB_SECONDS, "the chart to move", || {
        let points = admin.attribute("round-chart", "data-points")?;
        Ok(points.and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n >= 2))
    })?;
    admin.attribute_becomes("round-status", "data-status", "done", JOB_SECONDS)?;
    until(30, "the samples", || Ok(admin.count("round-sample")? == 8))?;

    let before = completions_count(&admin, &project)?;
    admin.back()?;
    admin.click("new-completions")?;
    admin.open(&project)?;
    admin.counts_to("count-completions", before + N_PROMPTS, JOB_SECONDS)?;

    let export = admin.download("export-preference")?;
    let rows: Vec<PreferenceRow> = export
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect::<Result<_>>()?;
    assert!(!rows.is_empty(), "the export is empty");
    assert!(rows.iter().all(|row| row.chosen != row.rejected));
    admin.must_be_quiet()
}

fn open_first_project(browser: &Browser) -> Result<()> {
    until(30, "the sample project", || {
        if browser.path()?.starts_with("/projects/") {
            return Ok(true);
        }
        browser.click("project-link")?;
        Ok(false)
    })
}

fn completions_count(browser: &Browser, project: &str) -> Result<u64> {
    browser.open(project)?;
    browser.counts_to("count-completions", 1, 30)?;
    Ok(browser.text("count-completions")?.trim().parse()?)
}

/// Ten tasks with keys alone; the sample is a pick project.
fn label_ten(browser: &Browser, project: &str) -> Result<()> {
    browser.open(&format!("{project}/label"))?;
    for (at, key) in ["1", "2", "a", "b", "1", "2", "3", "1", "b", "a"]
        .iter()
        .enumerate()
    {
        let shown = browser.attribute("task", "data-assignment")?;
        browser.press(key)?;
        until(30, &format!("the task after answer {}", at + 1), || {
            if browser.count("all-done")? > 0 {
                return Ok(true);
            }
            Ok(browser.attribute("task", "data-assignment")? != shown)
        })?;
    }
    browser.attribute_becomes("save-state", "data-state", "saved", 30)
}

/// What the form offers is reachable: label type, completions per task; and the prompts come from a file.
#[test]
fn a_rank_project_made_in_the_form_is_ranked_by_keys_and_exported() -> Result<()> {
    let server = TestServer::start()?;
    let _trainer = TestTrainer::start(&server)?;
    let admin = Browser::start(&server.url())?;
    admin.open(&server.setup_path()?)?;
    admin.make_account("grace")?;
    admin.open("/projects/new")?;
    admin.fill("project-name", "Three in order")?;
    admin.sees("ask-strength")?;
    admin.select("label-type", "rank")?;
    admin.fill("completions-per-task", "3")?;
    admin.click("save-project")?;
    admin.arrives_at("/prompts")?;
    let path = admin.path()?;
    let project = path
        .strip_suffix("/prompts")
        .context("a new project leads to its prompts")?;
    let file = server.folder().join("prompts.jsonl");
    std::fs::write(&file, scene::sample_prompts(2)?)?;
    admin.choose_file("import-file", &file)?;
    admin.click("import-submit")?;
    admin.reads("import-report", "2 prompts imported")?;
    admin.open(project)?;
    admin.fill("max-tokens", "12")?;
    admin.fill("seed", "7")?;
    admin.click("start-completions")?;
    admin.attribute_becomes("completion-job", "data-status", "done", JOB_SECONDS)?;
    admin.counts_to("count-tasks", 2, 30)?;

    admin.open(&format!("{project}/label"))?;
    for n in 1..=2 {
        admin.attribute_becomes("task", "data-label-type", "rank", 30)?;
        // In order, then the last goes up past the second, and ties with the first.
        for key in ["1", "j", "2", "j", "3", "\u{e008}\u{e013}", "t", "\u{e007}"] {
            admin.press(key)?;
        }
        until(30, &format!("{n} rankings to be stored"), || {
            let rest = admin.count("all-done")? > 0;
            Ok(
                admin.attribute("save-state", "data-state")?.as_deref() == Some("saved")
                    && (rest || n == 1 && admin.text("progress")?.starts_with('1')),
            )
        })?;
    }
    admin.sees("all-done")?;
    admin.open(project)?;
    let export = admin.download("export-ranking")?;
    let rows: Vec<RankingRow> = export
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect::<Result<_>>()?;
    assert_eq!(rows.len(), 2);
    for row in rows {
        let shown: Vec<_> = row
            .display_order
            .iter()
            .map(|&at| row.ranks[at as usize])
            .collect();
        assert_eq!(shown, [Some(1), Some(2), Some(1)], "{row:?}");
    }
    admin.must_be_quiet()
}

#[test]
fn the_set_up_link_works_once() -> Result<()> {
    let server = TestServer::start()?;
    let path = server.setup_path()?;
    let browser = Browser::start(&server.url())?;
    browser.open(&path)?;
    browser.make_account("grace")?;
    let again = laurel_tests::Api::new(&server.url(), None);
    let body = serde_json::json!({"name": "mallory", "password": PASSWORD}).to_string();
    let refused = again.send("POST", &path, &[], &body)?;
    assert!(
        refused.status >= 400,
        "a used link made another admin: {refused:?}"
    );
    Ok(())
}
