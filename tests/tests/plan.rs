//! Planning rounds in the browser: what a round would take, presets, a copy of a round, one that waits for another, and a
//! recipe, through a kill of the server.

use anyhow::{Result, ensure};
use laurel_protocol::{PlannedStatus, ProjectId, RoundId, RoundQueue};
use laurel_tests::{
    Browser, Scripted, scene,
    server::{ADMIN, PASSWORD},
};

/// The server looks every two seconds.
const SECONDS: u64 = 60;

fn queue(scripted: &Scripted, project: ProjectId) -> Result<RoundQueue> {
    scripted.admin.get(&format!("/projects/{project}/planned-rounds"))
}

/// A disclosure, opened.
fn unfold(browser: &Browser, hook: &str) -> Result<()> {
    browser.sees(hook)?;
    let script = format!("document.querySelector('[data-test={hook}]').open = true");
    browser.run(&script).map(drop)
}

#[test]
fn an_admin_plans_a_night_of_rounds_and_each_starts_when_its_time_has_come() -> Result<()> {
    let mut scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 4)?;
    scripted.answer(project, 4)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;

    // What it would take, and again after each change.
    let form = format!("/projects/{project}/rounds/new");
    browser.open(&form)?;
    browser.reads("plan-rows", "4 rows of 4 prompts")?;
    browser.reads("plan-steps", "1")?;
    browser.reads("plan-seconds", "unknown")?;
    browser.attribute_becomes("concern", "data-kind", "few_rows", SECONDS)?;
    browser.click("preset-careful")?;
    browser.reads("plan-steps", "3")?;
    browser.fill("round-epochs", "many")?;
    browser.sees("plan-incomplete")?;
    browser.fill("round-epochs", "5")?;
    browser.reads("plan-steps", "5")?;
    let violations = browser.accessibility_violations()?;
    ensure!(violations.is_empty(), "{violations:#?}");
    browser.click("start-round")?;
    browser.arrives_at("/rounds/1")?;

    // A copy of it with another seed waits for it.
    browser.click("clone-round")?;
    browser.sees("plan-rows")?;
    unfold(&browser, "round-from")?;
    browser.sees("no-difference")?;
    browser.fill("round-epochs", "2")?;
    browser.attribute_becomes("difference", "data-field", "hyper.epochs", SECONDS)?;
    unfold(&browser, "round-later")?;
    browser.select("round-after", "round:1")?;
    browser.reads("start-round", "Plan the round")?;
    browser.click("start-round")?;
    browser.arrives_at("/plan")?;
    browser.reads("waits-for", "DPO 1")?;
    browser.sees("queued-round")?;
    let violations = browser.accessibility_violations()?;
    ensure!(violations.is_empty(), "{violations:#?}");
    scripted.end_round(project, RoundId(1))?;
    browser.attribute_becomes("planned-round", "data-status", "done", SECONDS)?;
    ensure!(queue(&scripted, project)?.planned[0].launched == Some(RoundId(2)));

    // A recipe, kept through a kill: its first round starts once.
    browser.select("recipe-preset", "0")?;
    browser.click("recipe-sft-dpo")?;
    browser.attribute_becomes("planned-round", "data-status", "queued", SECONDS)?;
    scripted.server.kill_and_restart()?;
    browser.open(&format!("/projects/{project}/plan"))?;
    browser.reads("waits-for", "SFT")?;
    browser.console_errors()?; // of the stream that the killed server broke
    let launched = |queue: &RoundQueue| {
        let all = queue.planned.iter();
        all.filter(|one| one.status == PlannedStatus::Launched).count()
    };
    laurel_tests::until(SECONDS, "the recipe's first round", || {
        Ok(launched(&queue(&scripted, project)?) == 2)
    })?;
    scripted.end_round(project, RoundId(2))?;
    scripted.end_round(project, RoundId(3))?;
    laurel_tests::until(SECONDS, "the recipe's second round", || {
        Ok(launched(&queue(&scripted, project)?) == 3)
    })?;
    browser.must_be_quiet()
}

#[test]
fn a_webhook_shows_its_key_once_and_what_came_of_a_test() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 1)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}/plan"))?;
    browser.sees("browser-notifications")?;
    unfold(&browser, "add-webhook")?;
    browser.fill("webhook-url", "ftp://example.org")?;
    browser.click("save-webhook")?;
    browser.sees_no("webhook")?;
    browser.fill("webhook-url", "http://127.0.0.1:9/")?;
    browser.click("save-webhook")?;
    ensure!(browser.text("webhook-secret")?.len() == 64);
    browser.click("test-webhook")?;
    // This server was not told that it may send to its own machine.
    browser.reads("delivery", "may not send")?;
    browser.attribute_becomes("delivery", "data-status", "pending", SECONDS)?;
    browser.reload()?;
    browser.sees("webhook")?;
    browser.sees_no("webhook-secret")?;
    browser.click("delete-webhook")?;
    browser.sees_no("webhook")?;
    browser.must_be_quiet()
}

#[test]
fn a_planned_round_is_taken_back_tried_again_and_changed() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 4)?;
    scripted.answer(project, 4)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}/rounds/new"))?;
    unfold(&browser, "round-later")?;
    browser.fill("round-new-comparisons", "100")?;
    browser.click("start-round")?;
    browser.arrives_at("/plan")?;
    browser.reads("waits-for", "0 of 100")?;
    browser.click("cancel-planned")?;
    browser.attribute_becomes("planned-round", "data-status", "aborted", SECONDS)?;
    browser.click("retry-planned")?;
    browser.attribute_becomes("planned-round", "data-status", "queued", SECONDS)?;
    browser.click("change-planned")?;
    browser.reads("start-round", "Save the plan")?;
    browser.fill("round-new-comparisons", "0")?;
    browser.click("start-round")?;
    browser.arrives_at("/plan")?;
    browser.attribute_becomes("planned-round", "data-status", "done", SECONDS)?;
    browser.must_be_quiet()
}
