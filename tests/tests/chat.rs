//! Chats from the browser: the place in the queue, answers as they are written, and a real trainer that answers between
//! the steps of a round.

use anyhow::{Result, ensure};
use laurel_protocol::{
    ChatAnswer, ChatReport, Hyper, JobStatus, NewRound, Outcome, Round, RoundKind, RoundSpec, Work,
};
use laurel_tests::{
    Browser, Scripted, TestTrainer, scene,
    server::{ADMIN, PASSWORD},
    until,
};

#[test]
fn a_turn_waits_in_its_place_is_read_while_it_is_written_and_can_be_stopped() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 1)?;
    scripted.answer(project, 1)?;
    scripted.round_under_way(project)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}"))?;
    browser.click("chat-link")?;
    browser.fill("chat-text", "How are you?")?;
    browser.click("chat-send")?;
    browser.reads("chat-waits", "the next to be answered")?;
    browser.reads("chat-waits", "busy with DPO 1")?;
    browser.reads("chat-said", "How are you?")?;
    let job = scripted.lease()?;
    let Work::Chat { sides, .. } = &job.work else {
        panic!("a turn was leased, not {job:?}");
    };
    assert_eq!(sides.len(), 1);
    let written = |text: &str| ChatReport {
        answers: vec![ChatAnswer {
            text: text.into(),
            n_tokens: 2,
            finish_reason: None,
        }],
        template_hash: None,
    };
    scripted.send(&job, "chat", &written("Fine, "))?;
    browser.reads("chat-writing", "Fine,")?;
    browser.sees_no("chat-waits")?;
    scripted.send(&job, "chat", &written("Fine, thank you."))?;
    scripted.send(&job, "finish", &Outcome::Done { made_with: None })?;
    browser.reads("chat-answer", "Fine, thank you.")?;

    // The next turn carries what was said, and is stopped while it waits.
    browser.fill("chat-text", "And")?;
    browser.press("\u{e008}\u{e007}\u{e008}you?\u{e007}")?;
    browser.sees("chat-waits")?;
    browser.click("chat-stop")?;
    browser.sees_no("chat-waits")?;
    until(30, "the end of the stopped turn", || {
        Ok(browser.run("return document.querySelectorAll('[data-test=chat-answer]').length")? == 2)
    })?;
    browser.fill("chat-text", "again")?;
    browser.click("chat-send")?;
    browser.sees("chat-waits")?;
    let job = scripted.lease()?;
    let Work::Chat { sides, .. } = &job.work else {
        panic!("a turn was leased, not {job:?}");
    };
    let said: Vec<&str> = sides[0]
        .messages
        .iter()
        .map(|message| message.content.as_str())
        .collect();
    assert_eq!(said, ["How are you?", "Fine, thank you.", "And\nyou?\nagain"]);
    let failed = Outcome::Failed {
        error: "The model is not here: fetch it.".into(),
    };
    scripted.send(&job, "finish", &failed)?;
    until(30, "the failure on the page", || {
        Ok(browser.run("return document.body.innerText.includes('The model is not here')")? == true)
    })?;
    browser.must_be_quiet()
}

#[test]
fn the_chat_page_is_accessible_and_fits_a_phone() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 1)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}/chat"))?;
    browser.click("chat-compare")?;
    browser.fill("chat-text", "Tell me something.")?;
    browser.click("chat-send")?;
    browser.sees("chat-waits")?;
    let job = scripted.lease()?;
    let answer = |text: &str| ChatAnswer {
        text: text.into(),
        n_tokens: 2,
        finish_reason: None,
    };
    let report = ChatReport {
        answers: vec![
            answer("Bees dance to tell where flowers are."),
            answer("Honey keeps"),
        ],
        template_hash: None,
    };
    scripted.send(&job, "chat", &report)?;
    browser.reads("chat-writing", "Bees")?;
    for width in [360, 1280] {
        browser.resize(width, 900)?;
        let fits = browser.run("return document.documentElement.scrollWidth <= innerWidth")?;
        assert_eq!(fits, true, "the page scrolls sideways at {width} pixels");
    }
    for theme in ["light", "dark"] {
        browser.run(&format!("document.documentElement.dataset.theme = '{theme}'"))?;
        let violations = browser.accessibility_violations()?;
        assert!(violations.is_empty(), "{theme}: {violations:#?}");
    }
    browser.must_be_quiet()
}

#[test]
fn a_trainer_answers_between_the_steps_of_a_round() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 4)?;
    scripted.answer(project, 4)?;
    let hyper = Hyper {
        epochs: 100,
        max_steps: 200,
        batch_size: 2,
        held_out: 0.0,
        eval_every: 0,
        ..Hyper::for_kind(RoundKind::Reward)
    };
    let new = NewRound {
        name: String::new(),
        spec: RoundSpec {
            kind: RoundKind::Reward,
            adapter: Default::default(),
            hyper,
            reward: None,
            seed: 3,
        },
        starting_adapter: None,
        reward_adapter: None,
    };
    let round: Round = scripted
        .admin
        .post(&format!("/projects/{project}/rounds"), &new)?;
    let load = || -> Result<Round> { scripted.admin.get(&format!("/rounds/{}", round.id)) };
    let _trainer = TestTrainer::start(&scripted.server)?;
    until(240, "the round's first step", || Ok(load()?.step >= 1))?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}/chat"))?;
    browser.click("chat-compare")?;
    browser.run("document.querySelector('details.fold').open = true")?;
    browser.fill("chat-max-tokens", "12")?;
    browser.fill("chat-temperature", "0")?;
    browser.fill("chat-text", "Say hello.")?;
    browser.click("chat-send")?;
    until(120, "both answers", || {
        Ok(browser.run("return document.querySelectorAll('[data-test=chat-answer]').length")? == 2)
    })?;
    let texts = browser.run(
        "return [...document.querySelectorAll('[data-test=chat-answer]')].map(answer => answer.textContent)",
    )?;
    // Both sides are the base model, and greedy.
    assert_eq!(texts[0], texts[1]);
    ensure!(
        texts[0].as_str().is_some_and(|text| !text.is_empty()),
        "an empty answer"
    );
    let standing = load()?;
    assert_eq!(
        (standing.status, standing.n_attempts),
        (JobStatus::Running, 1),
        "the round was over before the chat, or was given up for it: {standing:?}"
    );
    let step = standing.step;
    until(120, "the round to go on", || Ok(load()?.step > step))?;
    browser.must_be_quiet()
}
