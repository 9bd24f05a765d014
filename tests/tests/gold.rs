//! Gold items in a browser: made of an admin's own answer or imported from a file, and what the annotator hears.

use anyhow::Result;
use laurel_protocol::{Checks, ProjectSettings};
use laurel_tests::{
    Browser, Scripted, scene,
    server::{ADMIN, PASSWORD},
    until,
};
use std::fs;

/// One gold item decides whether a person may work here.
fn settings() -> ProjectSettings {
    ProjectSettings {
        checks: Checks {
            qualification: 1,
            gold_feedback: true,
            qualification_percent: 100,
            ..Checks::default()
        },
        ..scene::pick(2)
    }
}

#[test]
fn a_gold_item_is_made_by_an_admin_and_tells_the_annotator_what_is_right() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&settings(), 3)?;
    let admin = Browser::start(&scripted.server.url())?;
    admin.sign_in(ADMIN, PASSWORD)?;
    admin.open(&format!("/projects/{project}/label"))?;
    admin.sees("task")?;
    admin.press("4")?; // both bad, which is so in any order
    admin.attribute_becomes("save-state", "data-state", "saved", 60)?;
    admin.click("own-answers")?;
    admin.click("to-gold")?;
    admin.fill("gold-explanation", "Both are made up.")?;
    admin.click("make-gold")?;
    admin.reads("gold-item", "Both bad")?;
    let violations = admin.accessibility_violations()?;
    assert!(violations.is_empty(), "{violations:#?}");

    scripted.server.add_user("ada", "annotator")?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in("ada", PASSWORD)?;
    browser.open(&format!("/projects/{project}/label"))?;
    browser.sees("task")?;
    browser.press("1")?;
    browser.reads("feedback", "The right answer was: Both bad.")?;
    browser.reads("feedback", "Both are made up.")?;
    browser.sees("not-qualified")?;
    let violations = browser.accessibility_violations()?;
    assert!(violations.is_empty(), "{violations:#?}");
    browser.click("feedback-look")?;
    browser.sees("task")?;
    browser.click("feedback-read")?;
    browser.sees_no("feedback")?;
    admin.open(&format!("/projects/{project}/quality"))?;
    let right =
        "return [...document.querySelectorAll('[data-test=gold-right]')].map(cell => cell.textContent)";
    until(30, "the figures of both", || {
        Ok(admin.run(right)? == serde_json::json!(["–", "0 of 1"]))
    })?;
    admin.must_be_quiet()?;
    browser.must_be_quiet()
}

#[test]
fn gold_items_come_in_from_a_file_whose_bad_lines_are_named() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&settings(), 1)?;
    let admin = Browser::start(&scripted.server.url())?;
    admin.sign_in(ADMIN, PASSWORD)?;
    admin.open(&format!("/projects/{project}/gold"))?;
    let table = "prompt,completion_1,completion_2,best,explanation\n\"Name a fruit, please\",An apple,A hammer,1,Nobody eats one.\n";
    admin.fill("import-text", &format!("{table}only a prompt\n"))?;
    admin.click("import-submit")?;
    admin.reads("import-report", "line 3")?;
    admin.reads("import-report", "must have 2 completions")?;
    assert_eq!(scripted.counts(project)?.n_prompts, 1);
    admin.console_errors()?; // of the refusal
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gold.csv");
    fs::write(&file, table)?;
    admin.choose_file("import-file", &file)?;
    admin.click("import-submit")?;
    admin.reads("import-report", "1 gold item imported")?;
    admin.reads("gold-item", "A is better")?;
    let violations = admin.accessibility_violations()?;
    assert!(violations.is_empty(), "{violations:#?}");
    admin.must_be_quiet()?;

    scripted.server.add_user("ada", "annotator")?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in("ada", PASSWORD)?;
    browser.open(&format!("/projects/{project}/label"))?;
    browser.reads("task", "Name a fruit, please")?;
    browser.press("4")?;
    browser.reads("feedback", "Nobody eats one.")?;
    browser.must_be_quiet()
}
