//! The labelling page in a browser: what a person does, what goes wrong, and what of it the server has afterwards.

use anyhow::{Context, Result};
use laurel_protocol::{Answer, Choice, Held, Hold, Judgement, Session};
use laurel_tests::{Browser, Desk, scene, scripted, until};
use serde_json::Value;

const SHIFT_UP: &str = "\u{e008}\u{e013}";
const SHIFT_DOWN: &str = "\u{e008}\u{e015}";
const ESCAPE: &str = "\u{e00c}";
const ENTER: &str = "\u{e007}";

#[test]
fn a_ranking_is_made_with_keys_and_stored_as_shown() -> Result<()> {
    let desk = Desk::open(&scripted::rank(3), 2)?;
    let browser = &desk.browser;
    let first = desk.task()?;
    browser.press(ENTER)?; // too early: nothing has a rank
    for key in ["1", "j", "3", "j", "2"] {
        browser.press(key)?;
    }
    assert_eq!(desk.shown_ranks()?, [Some(1), Some(3), Some(2)]);
    browser.press(SHIFT_UP)?; // the third passes the first
    assert_eq!(desk.shown_ranks()?, [Some(2), Some(3), Some(1)]);
    browser.press(SHIFT_DOWN)?;
    browser.press(SHIFT_UP)?;
    browser.press("k")?;
    browser.press("t")?; // the second ties with the one above it
    assert_eq!(desk.shown_ranks()?, [Some(2), Some(2), Some(1)]);
    assert_eq!(desk.task()?, first, "an incomplete ranking was sent");
    browser.press(ENTER)?;
    desk.moves_on(&first)?;
    desk.saved()?;
    let row = desk.only_row()?;
    let shown: Vec<_> = row
        .display_order
        .iter()
        .map(|&at| row.ranks[at as usize])
        .collect();
    assert_eq!(shown, [Some(2), Some(2), Some(1)]);
    browser.must_be_quiet()
}

#[test]
fn a_completion_is_dragged_to_its_rank() -> Result<()> {
    let desk = Desk::open(&scripted::rank(3), 1)?;
    let browser = &desk.browser;
    for (position, lane) in [(0, 2), (1, 1), (2, 3)] {
        let grip = format!("[data-test=completion][data-position='{position}'] .grip");
        browser.drag(&grip, &format!("[data-lane='{lane}']"))?;
    }
    assert_eq!(desk.shown_ranks()?, [Some(2), Some(1), Some(3)]);
    // A chip in its lane can be dragged on: here onto another, which is a tie.
    browser.drag("[data-lane='3'] .chip", "[data-lane='1']")?;
    assert_eq!(desk.shown_ranks()?, [Some(2), Some(1), Some(1)]);
    browser.click("submit")?;
    desk.has_annotations(1)?;
    let row = desk.only_row()?;
    let shown: Vec<_> = row
        .display_order
        .iter()
        .map(|&at| row.ranks[at as usize])
        .collect();
    assert_eq!(shown, [Some(2), Some(1), Some(1)]);
    browser.must_be_quiet()
}

#[test]
fn a_choice_that_waits_for_its_strength_still_waits_after_a_reload() -> Result<()> {
    let desk = Desk::open(&scripted::pick_with_strength(), 2)?;
    let browser = &desk.browser;
    browser.press("2")?;
    browser.sees("strength-3")?;
    browser.press(ESCAPE)?;
    browser.sees_no("strength-3")?;
    browser.reload()?;
    browser.sees("task")?;
    assert_eq!(
        browser.count("strength-3")?,
        0,
        "a choice that was taken back came back"
    );
    browser.press("1")?;
    browser.sees("strength-3")?;
    browser.reload()?;
    browser.sees("strength-3")?;
    browser.press("3")?;
    desk.has_annotations(1)?;
    assert_eq!(desk.only_row()?.strength, Some(3));
    Ok(())
}

#[test]
fn the_next_task_is_there_within_two_frames_and_without_the_network() -> Result<()> {
    let desk = Desk::open(&scene::pick(1), 3)?;
    let first = desk.task()?;
    desk.browser.block(&["*/api/*"])?;
    let shown = desk.browser.run_async(
        "const now = () => [document.querySelector('[data-test=task]')?.dataset.assignment,
                            document.querySelectorAll('.waiting').length];
         document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: '1', bubbles: true, cancelable: true}));
         requestAnimationFrame(() => requestAnimationFrame(() => done(now())));",
    )?;
    let (task, n_spinners): (Option<String>, u64) = serde_json::from_value(shown)?;
    assert!(
        task.is_some_and(|task| task != first),
        "the first task is still there"
    );
    assert_eq!(n_spinners, 0);
    desk.browser.block(&[])?;
    desk.has_annotations(1)
}

#[test]
fn undo_brings_the_last_answer_back_to_be_changed() -> Result<()> {
    let desk = Desk::open(&scene::pick(1), 3)?;
    let browser = &desk.browser;
    let first = desk.task()?;
    browser.press("1")?;
    desk.moves_on(&first)?;
    desk.saved()?;
    browser.press("u")?;
    until(30, "the first task again", || Ok(desk.task()? == first))?;
    assert_eq!(
        browser.attribute("choose-first", "aria-pressed")?.as_deref(),
        Some("true")
    );
    browser.press("3")?;
    desk.moves_on(&first)?;
    desk.saved()?;
    let row = desk.only_row()?;
    assert_eq!(row.ranks, [Some(1), Some(1)], "a tie replaced the choice");
    browser.must_be_quiet()
}

#[test]
fn an_earlier_answer_is_looked_up_in_the_list_and_changed() -> Result<()> {
    let desk = Desk::open(&scene::pick(1), 3)?;
    let browser = &desk.browser;
    let first = desk.task()?;
    browser.press("1")?;
    desk.moves_on(&first)?;
    let second = desk.task()?;
    browser.press("3")?;
    desk.moves_on(&second)?;
    desk.saved()?;
    browser.click("own-answers")?;
    browser.sees("own-answer")?;
    let said = "return [...document.querySelectorAll('[data-test=own-said]')].map(said => said.textContent)";
    assert_eq!(browser.run(said)?, serde_json::json!(["Tie", "A is better"]));
    let violations = browser.accessibility_violations()?;
    assert!(violations.is_empty(), "{violations:#?}");
    browser.run("document.querySelectorAll('[data-test=change-answer]')[1].click()")?;
    browser.attribute_becomes("task", "data-assignment", &first, 30)?;
    browser.press("2")?;
    desk.moves_on(&first)?;
    desk.saved()?;
    browser.click("own-answers")?;
    browser.reads("own-said", "Tie")?;
    assert_eq!(browser.run(said)?, serde_json::json!(["Tie", "B is better"]));
    browser.must_be_quiet()
}

#[test]
fn undo_after_a_lost_response_changes_what_the_server_stored() -> Result<()> {
    let desk = Desk::open(&scene::pick(1), 3)?;
    let browser = &desk.browser;
    let first = desk.task()?;
    // The first answer arrives, but the page never hears of it.
    browser.run(
        "const fetch = window.fetch; let is_first = true; window.fetch = async (url, init) => {
             const answer = await fetch(url, init);
             if (is_first && url.endsWith('/annotation')) { is_first = false; window.lost = true; throw new TypeError('lost'); }
             return answer; };",
    )?;
    browser.press("1")?;
    until(30, "the lost response", || {
        Ok(browser.run("return window.lost === true")? == true)
    })?;
    browser.press("u")?;
    until(30, "the first task again", || Ok(desk.task()? == first))?;
    browser.press("2")?;
    desk.moves_on(&first)?;
    desk.saved()?;
    assert_eq!(browser.count("refused")?, 0);
    let row = desk.only_row()?;
    let second_shown = row.display_order[1] as usize;
    assert_eq!(row.ranks[second_shown], Some(1), "{row:?}");
    Ok(())
}

#[test]
fn a_skip_carries_its_reason_and_no_comment_of_a_cancelled_one() -> Result<()> {
    let desk = Desk::open(&scene::pick(1), 2)?;
    let browser = &desk.browser;
    let first = desk.task()?;
    desk.record_requests()?;
    browser.press("s")?;
    browser.fill("skip-comment", "meant for nobody")?;
    browser.press(ESCAPE)?;
    browser.sees_no("skip-comment")?;
    browser.press("s")?;
    browser.sees("skip-comment")?;
    browser.press("2")?;
    desk.moves_on(&first)?;
    until(30, "the skip", || {
        Ok(desk.scripted.counts(desk.project)?.n_skips == 1)
    })?;
    let sent = desk.requests()?;
    let skip = sent.iter().find(|(path, _)| path.ends_with("/skip"));
    let (path, body) = skip.context("a skip was sent")?;
    assert!(path.contains(&first), "{path}");
    let body: Value = serde_json::from_str(body.as_deref().context("a skip has a body")?)?;
    assert_eq!(
        body,
        serde_json::json!({"reason": "prompt_unclear", "comment": "", "revision": 0})
    );
    Ok(())
}

#[test]
fn a_skip_that_does_not_know_of_an_answer_leaves_it() -> Result<()> {
    let desk = Desk::open(&scene::pick(1), 2)?;
    let browser = &desk.browser;
    let task = desk.task()?;
    // In another tab.
    let held: Held = desk
        .ada
        .post(&format!("/projects/{}/assignments", desk.project), &Hold { n: 1 })?;
    assert_eq!(held.assignments[0].id.to_string(), task);
    let answer = Answer {
        judgement: Judgement::Pick {
            choice: Choice::First,
            strength: None,
        },
        comment: String::new(),
        extras: Default::default(),
        seconds: 1.0,
        revision: 0,
    };
    let _: Held = desk
        .ada
        .post(&format!("/assignments/{task}/annotation"), &answer)?;
    browser.press("s")?;
    browser.sees("skip-comment")?;
    browser.press("1")?;
    browser.sees("refused")?;
    let counts = desk.scripted.counts(desk.project)?;
    assert_eq!((counts.n_annotations, counts.n_skips), (1, 0));
    Ok(())
}

#[test]
fn a_double_click_answers_one_task() -> Result<()> {
    let desk = Desk::open(&scene::pick(1), 4)?;
    let first = desk.task()?;
    desk.browser.double_click("choose-first")?;
    desk.moves_on(&first)?;
    desk.saved()?;
    assert_eq!(desk.scripted.counts(desk.project)?.n_annotations, 1);
    desk.browser.click("choose-second")?;
    desk.has_annotations(2)
}

#[test]
fn answers_given_offline_outlive_the_page_and_are_sent_once_from_any_other_one() -> Result<()> {
    let mut desk = Desk::open(&scene::pick(1), 4)?;
    desk.scripted.server.kill()?;
    let first = desk.task()?;
    desk.browser.press("1")?;
    desk.moves_on(&first)?;
    desk.browser.press("2")?;
    // Both that were here are answered, and the next ones come with the server's answer.
    desk.browser.sees("offline")?;
    desk.browser
        .attribute_becomes("save-state", "data-state", "offline", 30)?;
    desk.browser.leave()?;
    desk.scripted.server.restart()?;
    // Not the labelling page. One request at most was on its way when that closed, and outlives it.
    desk.browser.open("/")?;
    desk.has_annotations(2)?;
    until(30, "the browser to know", || Ok(n_unsent(&desk.browser)? == 0))?;
    desk.browser.open(&format!("/projects/{}/label", desk.project))?;
    desk.browser.sees("task")?;
    desk.saved()?;
    assert_eq!(desk.scripted.rankings(desk.project)?.len(), 2, "sent once each");
    Ok(())
}

#[test]
fn signing_out_with_an_answer_on_its_way_asks_first() -> Result<()> {
    let desk = Desk::open(&scene::pick(1), 2)?;
    let browser = &desk.browser;
    browser.block(&["*/annotation"])?;
    browser.press("1")?;
    browser.attribute_becomes("save-state", "data-state", "offline", 30)?;
    browser.click("sign-out")?;
    let is_asked =
        browser.run("return document.querySelector('dialog[open] [data-test=confirm]') !== null")?;
    assert_eq!(is_asked, true, "signed out with an answer on its way");
    // The question has the keys now: neither of these answers a task.
    browser.press("1")?;
    browser.press(ESCAPE)?;
    until(30, "the question to go", || {
        Ok(browser.run("return document.querySelector('dialog[open]') === null")? == true)
    })?;
    assert_eq!(n_unsent(browser)?, 1);
    browser.block(&[])?;
    desk.has_annotations(1)?;
    desk.saved()?;
    browser.click("sign-out")?;
    browser.sees("submit-credentials")
}

/// How many verdicts wait in the browser's storage.
fn n_unsent(browser: &Browser) -> Result<u64> {
    let keys = "return Object.keys(localStorage).filter(key => key.startsWith('laurel-unsent')).length";
    Ok(serde_json::from_value(browser.run(keys)?)?)
}

#[test]
fn a_task_whose_answer_was_refused_can_be_answered_after_a_reload() -> Result<()> {
    let desk = Desk::open(&scene::pick(1), 1)?;
    let browser = &desk.browser;
    let who: Session = desk.ada.get("/session")?;
    // As an earlier visit left it.
    let (user, task, project) = (who.user.id, desk.task()?, desk.project);
    browser.run(&format!(
        "localStorage.setItem('laurel-unsent-{user}-{task}-0', JSON.stringify({{project: {project}, assignment: {task},
             revision: 0, verdict: {{skip: {{reason: 'broken', comment: 'kept words'}}}}, at: 1, refused: 'No.'}}))"
    ))?;
    browser.reload()?;
    browser.reads("refused", "kept words")?;
    assert_eq!(desk.task()?, task);
    browser.press("1")?;
    desk.has_annotations(1)?;
    browser.sees_no("refused")
}
