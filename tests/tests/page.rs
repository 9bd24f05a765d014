//! The pages as a browser sees them: size, quiet console, narrow screens, accessibility.

use anyhow::Result;
use laurel_protocol::{CompletionJob, Project};
use laurel_tests::{
    Browser, Scripted, scene, scripted,
    server::{ADMIN, PASSWORD},
    until,
};
use std::fs;

/// For all that signing in and the labelling page make a person fetch.
const MAX_WASM_BYTES: u64 = 350_000;

#[test]
fn who_labels_fetches_little_wasm_and_none_of_the_admins_pages() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 1)?;
    scripted.server.add_user("ada", "annotator")?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in("ada", PASSWORD)?;
    let mut labelling = browser.fetched(".wasm")?;
    browser.open(&format!("/projects/{project}/label"))?;
    browser.sees("task")?;
    labelling.extend(browser.fetched(".wasm")?);
    let size: u64 = labelling.values().sum();

    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open("/people")?;
    browser.sees("invite-annotator")?;
    let mut apart = browser.fetched(".wasm")?;
    apart.retain(|file, _| !labelling.contains_key(file));
    let apart: u64 = apart.values().sum();
    println!("wasm, packed: {size} bytes to label, {apart} bytes more for the pages of admins");
    assert!(size <= MAX_WASM_BYTES, "{size} bytes of wasm to label");
    assert!(apart > 0, "the pages of admins came with the rest");
    Ok(())
}

#[test]
fn an_admins_page_that_did_not_come_can_be_asked_for_again() -> Result<()> {
    let scripted = Scripted::start()?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.block(&["*/app_admin-*"])?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.click("people-link")?;
    browser.click("retry")?;
    browser.sees("retry")?;
    browser.block(&[])?;
    browser.click("retry")?;
    browser.sees("invite-annotator")?;
    // From here on without a fetch: back to what everyone has, and forth.
    browser.back()?;
    browser.sees("load-sample")?;
    browser.block(&["*/app_admin-*"])?;
    browser.click("people-link")?;
    browser.sees("invite-annotator")
}

#[test]
fn pages_are_quiet_accessible_and_fit_a_phone() -> Result<()> {
    let scripted = Scripted::start()?;
    let pick = scripted.project(&scripted::pick_with_strength(), 4)?;
    let rank = scripted.project(&scripted::rank(4), 2)?;
    scripted.answer(pick, 1)?;
    let round = scripted.round_under_way(pick)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.open("/sign-in")?;
    browser.sees("submit-credentials")?;
    check(&browser, "/sign-in")?;
    browser.sign_in(ADMIN, PASSWORD)?;
    let project = format!("/projects/{pick}");
    let pages = [
        ("/".to_owned(), "project-link"),
        ("/projects/new".to_owned(), "save-project"),
        (project.clone(), "completion-job"),
        (format!("{project}/prompts"), "prompt-row"),
        (format!("{project}/progress"), "plot-days"),
        (format!("{project}/quality"), "annotator"),
        (format!("{project}/rounds/new"), "start-round"),
        (format!("{project}/arena"), "arena-closed"),
        (format!("{project}/label"), "task"),
        (format!("/projects/{rank}/label"), "task"),
        (format!("/rounds/{round}"), "round-chart-accuracy"),
        ("/people".to_owned(), "invite-annotator"),
        ("/tokens".to_owned(), "create-token"),
    ];
    for (path, sign) in &pages {
        browser.open(path)?;
        browser.sees(sign)?;
        check(&browser, path)?;
    }
    // The dialogs, and the choice that waits for its strength.
    browser.open(&format!("{project}/label"))?;
    browser.sees("task")?;
    browser.press("1")?;
    browser.sees("strength-1")?;
    check(&browser, "the strength")?;
    browser.press("s")?;
    browser.sees("skip-comment")?;
    check(&browser, "the skip dialog")
}

#[test]
fn what_an_admin_types_stands_while_answers_come_in() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 2)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}"))?;
    browser.counts_to("count-tasks", 2, 30)?;
    browser.run("document.querySelector('details.fold').open = true")?;
    browser.fill("guidelines-text", "half a sen")?;
    browser.fill("max-tokens", "77")?;
    scripted.answer(project, 1)?;
    browser.counts_to("count-annotations", 1, 30)?;
    let typed = browser.run(
        "const value = hook => document.querySelector(`[data-test='${hook}']`).value;
         return [value('guidelines-text'), value('max-tokens')]",
    )?;
    assert_eq!(typed, serde_json::json!(["half a sen", "77"]));
    // And it can still be sent.
    browser.click("save-project")?;
    until(30, "the settings to be stored", || {
        let project: Project = scripted.admin.get(&format!("/projects/{project}"))?;
        Ok(project.settings.guidelines == "half a sen")
    })?;
    browser.must_be_quiet()
}

#[test]
fn a_project_page_catches_up_after_the_server_was_away() -> Result<()> {
    let mut scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 1)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}"))?;
    browser.attribute_becomes("completion-job", "data-status", "done", 30)?;
    scripted.server.kill_and_restart()?;
    // Over before the page has its connection back: the stream alone would never tell of it.
    let order = scene::completions(2, 8, 1, None);
    let job: CompletionJob = scripted
        .admin
        .post(&format!("/projects/{project}/completion-jobs"), &order)?;
    let path = format!("/completion-jobs/{}/abort", job.id);
    let _: CompletionJob = scripted.admin.post(&path, &serde_json::json!({}))?;
    until(60, "the aborted job on the page", || {
        let newest = "return document.querySelector('[data-test=completion-job]').dataset.status";
        Ok(browser.run(newest)? == "aborted")
    })
}

#[test]
fn a_live_page_whose_session_ended_asks_to_sign_in() -> Result<()> {
    let mut scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 1)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}"))?;
    browser.counts_to("count-tasks", 1, 30)?;
    // As another tab would.
    let status = browser.run_async(
        "fetch('/api/v1/session', {method: 'DELETE'}).then(answer => done(answer.status), () => done(0))",
    )?;
    assert_eq!(status, 204);
    // The stream breaks, and is refused when it comes back: the browser alone would give it up in silence.
    scripted.server.kill_and_restart()?;
    browser.sees("submit-credentials")
}

#[test]
fn a_file_is_imported_as_it_lies_on_disk() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 1)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}/prompts"))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("prompts.jsonl");
    // Latin-1: no UTF-8, whatever a browser would make of it.
    fs::write(&file, b"{\"prompt\": \"caf\xe9\"}\n")?;
    browser.choose_file("import-file", &file)?;
    browser.reads("import-file-chosen", "prompts.jsonl")?;
    browser.click("import-submit")?;
    browser.reads("import-report", "UTF-8")?;
    assert_eq!(scripted.counts(project)?.n_prompts, 1);

    fs::write(&file, "{\"prompt\": \"café\"}\n")?;
    // The file that was chosen is not this one any more.
    browser.click("import-submit")?;
    browser.reads("import-report", "Choose it again")?;
    browser.run("document.querySelector('[data-test=import-file]').click()")?;
    browser.choose_file("import-file", &file)?;
    browser.click("import-submit")?;
    browser.reads("import-report", "1 prompt imported")?;
    assert_eq!(scripted.counts(project)?.n_prompts, 2);
    Ok(())
}

#[test]
fn copying_works_without_a_clipboard_or_says_that_it_does_not() -> Result<()> {
    let scripted = Scripted::start()?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open("/people")?;
    // As over plain http from another machine.
    browser.run(
        "Object.defineProperty(Navigator.prototype, 'clipboard', {get: () => undefined, configurable: true})",
    )?;
    browser.click("invite-annotator")?;
    browser.sees("invite-link")?;
    browser.click("copy")?;
    until(30, "an outcome", || Ok(browser.text("copy")? != "Copy"))?;
    browser.must_be_quiet()
}

#[test]
fn the_labelling_page_works_at_360_pixels() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 4)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.resize(360, 740)?;
    browser.open(&format!("/projects/{project}/label"))?;
    browser.sees("task")?;
    for control in [
        "choose-first",
        "choose-second",
        "choose-tie",
        "choose-both-bad",
        "skip",
    ] {
        let inside = browser.run(&format!(
            "const e = document.querySelector('[data-test=\"{control}\"]'); e.scrollIntoView();
             const r = e.getBoundingClientRect();
             return r.width > 0 && r.left >= 0 && r.right <= innerWidth && r.top >= 0 && r.bottom <= innerHeight"
        ))?;
        assert_eq!(inside, true, "{control} is out of reach");
    }
    browser.click("choose-first")?;
    // The page keeps the answer a moment: it says when it is stored.
    browser.attribute_becomes("save-state", "data-state", "saved", 30)?;
    until(30, "the answer to be stored", || {
        Ok(scripted.counts(project)?.n_annotations >= 1)
    })?;
    browser.must_be_quiet()
}

/// No console error, nothing wider than the window (wide and at 360 pixels), no serious violation in light or dark.
fn check(browser: &Browser, path: &str) -> Result<()> {
    for (width, height) in [(1280, 900), (360, 740)] {
        browser.resize(width, height)?;
        let fits = browser.run("return document.documentElement.scrollWidth <= innerWidth")?;
        assert_eq!(fits, true, "{path} scrolls sideways at {width} pixels");
    }
    browser.resize(1280, 900)?;
    for theme in ["light", "dark"] {
        browser.run(&format!("document.documentElement.dataset.theme = '{theme}'"))?;
        let violations = browser.accessibility_violations()?;
        assert!(violations.is_empty(), "{path}, {theme}: {violations:#?}");
    }
    browser.must_be_quiet()
}
