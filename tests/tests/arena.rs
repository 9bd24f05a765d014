//! The arena from the browser: two hidden contenders answer in streams, the vote by keyboard and by mouse, the names after
//! it, the next turn, and what a real trainer makes of it.

use anyhow::{Context, Result, ensure};
use laurel_protocol::{
    Adapter, AdapterId, ChatAnswer, ChatReport, FinishReason, Hyper, JobStatus, LeasedJob, NewRound, Outcome,
    PreferenceRow, Project, ProjectId, Round, RoundKind, RoundSpec, Sampling, Speaker, Work,
};
use laurel_tests::{
    Browser, Scripted, TestTrainer, scene,
    scripted::pick_with_strength,
    server::{ADMIN, PASSWORD},
    until,
};

/// Opens the arena for the base model and one adapter.
fn open_arena(scripted: &Scripted, project: ProjectId, adapter: AdapterId, max_tokens: u32) -> Result<()> {
    let path = format!("/projects/{project}");
    let mut settings = scripted.admin.get::<Project>(&path)?.settings;
    settings.arena.on = true;
    settings.arena.adapters = vec![adapter];
    settings.arena.sampling = Sampling {
        max_tokens,
        ..Sampling::default()
    };
    let json = [("content-type", "application/json")];
    let body = serde_json::to_string(&settings)?;
    let answer = scripted
        .admin
        .send("PUT", &format!("{path}/settings"), &json, &body)?;
    ensure!(answer.status == 200, "the settings were refused: {answer:?}");
    Ok(())
}

fn report(texts: [&str; 2], finish: Option<FinishReason>) -> ChatReport {
    let answer = |text: &str| ChatAnswer {
        text: text.into(),
        n_tokens: 3,
        finish_reason: finish,
    };
    ChatReport {
        answers: texts.map(answer).into(),
        template_hash: Some("7e".repeat(32)),
    }
}

/// The conversation that the trainer was asked with, by side.
fn conversations(job: &LeasedJob) -> Vec<Vec<String>> {
    let Work::Chat { sides, .. } = &job.work else {
        panic!("a turn was leased, not {job:?}");
    };
    let said = |side: &laurel_protocol::ChatWork| {
        let messages = side.messages.iter();
        messages.map(|message| message.content.clone()).collect()
    };
    sides.iter().map(said).collect()
}

/// Whether anything on the page, hooks and all, names the contenders.
fn names_show(browser: &Browser, adapter: &Adapter) -> Result<bool> {
    let html = browser.run("return document.querySelector('[data-test=battle]').outerHTML")?;
    let html = html.as_str().context("the battle is on the page")?;
    Ok(html.contains(&adapter.name) || html.contains("base model") || html.contains("base_model"))
}

fn must_be_accessible(browser: &Browser, stage: &str) -> Result<()> {
    for width in [360, 768, 1440] {
        browser.resize(width, 900)?;
        let fits = browser.run("return document.documentElement.scrollWidth <= innerWidth")?;
        assert_eq!(fits, true, "{stage} scrolls sideways at {width} pixels");
    }
    for theme in ["light", "dark"] {
        browser.run(&format!("document.documentElement.dataset.theme = '{theme}'"))?;
        let violations = browser.accessibility_violations()?;
        assert!(violations.is_empty(), "{stage}, {theme}: {violations:#?}");
    }
    Ok(())
}

#[test]
fn two_hidden_streams_are_judged_by_keyboard_and_mouse_and_the_conversation_goes_on() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&pick_with_strength(), 1)?;
    scripted.answer(project, 1)?;
    let adapter = scripted.train(project, RoundKind::Dpo)?;
    open_arena(&scripted, project, adapter.id, 64)?;
    scripted.server.annotator("ada")?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in("ada", PASSWORD)?;
    browser.click("arena-link")?;
    browser.fill("arena-text", "What is a **bee**?\u{e007}")?;
    browser.attribute_becomes("battle", "data-status", "asked", 30)?;
    browser.sees("arena-waits")?;
    must_be_accessible(&browser, "a battle that waits")?;

    let job = scripted.lease()?;
    scripted.send(&job, "chat", &report(["An *insect*", "A letter"], None))?;
    browser.sees("arena-writing")?;
    until(30, "both streams", || {
        let texts = browser.run(
            "return [...document.querySelectorAll('[data-test=arena-answer] .prose')].map(e => e.textContent.trim())",
        )?;
        Ok(texts == serde_json::json!(["An insect", "A letter"]))
    })?;
    assert!(!names_show(&browser, &adapter)?);
    // Left and opened again in the middle: it is still there.
    browser.reload()?;
    browser.sees("arena-writing")?;
    let whole = report(
        ["An *insect* that makes honey.", "A letter?"],
        Some(FinishReason::Stop),
    );
    scripted.send(&job, "chat", &whole)?;
    scripted.send(&job, "finish", &Outcome::Done { made_with: None })?;
    browser.attribute_becomes("battle", "data-status", "answered", 30)?;
    assert!(!names_show(&browser, &adapter)?);
    must_be_accessible(&browser, "a battle that waits for the vote")?;
    browser.reload()?;
    browser.attribute_becomes("battle", "data-status", "answered", 30)?;

    browser.press("c")?;
    until(30, "the comment to have the focus", || {
        Ok(browser.run("return document.activeElement.id")? == "arena-comment")
    })?;
    browser.press("honey decides")?;
    browser.press("\u{e00c}")?;
    browser.press("1")?;
    browser.sees("strength-3")?;
    browser.press("3")?;
    browser.attribute_becomes("battle", "data-status", "judged", 30)?;
    browser.reads("arena-reveal", "goes on from answer A")?;
    assert!(names_show(&browser, &adapter)?);
    assert_eq!(browser.count("arena-name")?, 2);
    must_be_accessible(&browser, "the reveal")?;

    browser.fill("arena-text", "And a wasp?")?;
    browser.click("arena-send")?;
    browser.attribute_becomes("battle", "data-status", "asked", 30)?;
    let job = scripted.lease()?;
    let said = [
        "What is a **bee**?",
        "An *insect* that makes honey.",
        "And a wasp?",
    ];
    assert_eq!(conversations(&job), [said, said]);
    scripted.send(
        &job,
        "chat",
        &report(["Same.", "Same. "], Some(FinishReason::Stop)),
    )?;
    scripted.send(&job, "finish", &Outcome::Done { made_with: None })?;
    browser.sees("arena-same")?;
    browser.click("choose-first")?;
    browser.click("choose-tie")?;
    browser.attribute_becomes("battle", "data-status", "judged", 30)?;
    browser.reads("arena-reveal", "which was drawn")?;

    let rankings = scripted.rankings(project)?;
    assert_eq!(rankings.len(), 3);
    assert_eq!(
        (rankings[1].strength, rankings[1].comment.as_str()),
        (Some(3), "honey decides")
    );
    assert_eq!(rankings[2].ranks, [Some(1), Some(1)]);
    assert_eq!(rankings[2].prompt[1].role, Speaker::Assistant);
    browser.must_be_quiet()
}

#[test]
fn in_korean_and_by_touch_the_arena_is_reached_from_labelling_and_voted_in() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&pick_with_strength(), 6)?;
    scripted.answer(project, 1)?;
    let adapter = scripted.train(project, RoundKind::Dpo)?;
    scripted.server.annotator("ada")?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in("ada", PASSWORD)?;
    browser.open(&format!("/projects/{project}/label"))?;
    browser.sees("task")?;
    assert_eq!(browser.count("arena-link")?, 0, "the arena is closed");
    open_arena(&scripted, project, adapter.id, 64)?;
    browser.run(
        "const menu = document.querySelector('[data-test=language]'); menu.value = 'ko';
         menu.dispatchEvent(new Event('change', {bubbles: true}))",
    )?;
    until(30, "the page in Korean", || {
        Ok(browser.run("return document.documentElement.lang")? == "ko" && browser.count("arena-link")? == 1)
    })?;
    browser.fingers(true)?;
    browser.resize(360, 800)?;
    browser.tap("[data-test=arena-link]")?;
    browser.fill("arena-text", "벌은 무엇인가요?")?;
    browser.tap("[data-test=arena-send]")?;
    browser.attribute_becomes("battle", "data-status", "asked", 30)?;
    let job = scripted.lease()?;
    let whole = report(
        ["꿀을 만드는 곤충입니다.", "글자입니다."],
        Some(FinishReason::Stop),
    );
    scripted.send(&job, "chat", &whole)?;
    scripted.send(&job, "finish", &Outcome::Done { made_with: None })?;
    browser.attribute_becomes("battle", "data-status", "answered", 30)?;
    let english = |what: &str| -> Result<()> {
        let words = browser.run(
            "const own = [...document.querySelectorAll('.arena button, .arena summary, .arena label, .arena h2, .arena .notice')];
             const known = [/Enter/g, /Shift/g, /base model/g];
             return own.map(e => known.reduce((text, word) => text.replace(word, ''), e.textContent))
                 .filter(text => /[A-Za-z]{3,}/.test(text))",
        )?;
        assert_eq!(words, serde_json::json!([]), "{what}");
        Ok(())
    };
    english("the vote")?;
    browser.tap("[data-test=choose-second]")?;
    browser.sees("strength-2")?;
    english("how much better")?;
    browser.tap("[data-test=strength-2]")?;
    browser.attribute_becomes("battle", "data-status", "judged", 30)?;
    browser.sees("arena-reveal")?;
    let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth")?;
    assert!(overflow.as_i64() <= Some(0), "{overflow} px too wide");
    let rankings = scripted.rankings(project)?;
    let last = rankings.last().context("the vote is exported")?;
    assert_eq!(
        (last.strength, last.prompt[0].content.as_str()),
        (Some(2), "벌은 무엇인가요?")
    );
    browser.must_be_quiet()
}

#[test]
fn a_battle_is_stopped_skipped_and_asked_again_after_a_restart() -> Result<()> {
    let mut scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 1)?;
    scripted.answer(project, 1)?;
    let adapter = scripted.train(project, RoundKind::Dpo)?;
    open_arena(&scripted, project, adapter.id, 64)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}/arena"))?;
    browser.fill("arena-text", "Stop me\u{e007}")?;
    browser.sees("arena-waits")?;
    browser.click("arena-stop")?;
    browser.sees_no("battle")?;

    browser.fill("arena-text", "Half\u{e007}")?;
    browser.sees("arena-waits")?;
    let job = scripted.lease()?;
    scripted.send(&job, "chat", &report(["Ha", "Hm"], None))?;
    browser.sees("arena-writing")?;
    scripted.server.kill_and_restart()?;
    browser.open(&format!("/projects/{project}/arena"))?;
    browser.reads("arena-waits", "No trainer is at work")?;
    let job = scripted.lease()?;
    scripted.send(
        &job,
        "chat",
        &report(["Half?", "Half!"], Some(FinishReason::Stop)),
    )?;
    scripted.send(&job, "finish", &Outcome::Done { made_with: None })?;
    browser.attribute_becomes("battle", "data-status", "answered", 30)?;
    scripted.server.kill_and_restart()?;
    browser.open(&format!("/projects/{project}/arena"))?;
    browser.attribute_becomes("battle", "data-status", "answered", 30)?;
    browser.press("s")?;
    browser.click("arena-skip-cannot_judge")?;
    browser.sees_no("battle")?;
    browser.sees("arena-text")?;
    assert_eq!(scripted.rankings(project)?.len(), 1);
    Ok(())
}

/// The step sizes are far too large for a good adapter: it must answer otherwise than its base.
fn coarse_round() -> NewRound {
    let hyper = Hyper {
        learning_rate: 3e-3,
        max_steps: 6,
        epochs: 100,
        batch_size: 2,
        held_out: 0.0,
        eval_every: 0,
        warmup: 0.0,
        ..Hyper::for_kind(RoundKind::Sft)
    };
    NewRound {
        name: "zq-7".into(),
        spec: RoundSpec {
            kind: RoundKind::Sft,
            adapter: Default::default(),
            hyper,
            reward: None,
            seed: 3,
        },
        starting_adapter: None,
        reward_adapter: None,
    }
}

#[test]
fn a_real_trainer_answers_two_turns_and_both_votes_are_exported() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 4)?;
    scripted.answer(project, 4)?;
    let _trainer = TestTrainer::start(&scripted.server)?;
    let new = coarse_round();
    let round: Round = scripted
        .admin
        .post(&format!("/projects/{project}/rounds"), &new)?;
    until(300, "the round", || {
        let round: Round = scripted.admin.get(&format!("/rounds/{}", round.id))?;
        ensure!(!matches!(round.status, JobStatus::Failed), "{round:?}");
        Ok(round.status == JobStatus::Done)
    })?;
    let adapters: Vec<Adapter> = scripted.admin.get(&format!("/projects/{project}/adapters"))?;
    let adapter = adapters.first().context("the round made an adapter")?;
    open_arena(&scripted, project, adapter.id, 24)?;
    scripted.server.annotator("ada")?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in("ada", PASSWORD)?;
    browser.open(&format!("/projects/{project}/arena"))?;
    for (turn, text) in ["Tell me about the sea.", "And about ships?"]
        .into_iter()
        .enumerate()
    {
        browser.fill("arena-text", &format!("{text}\u{e007}"))?;
        until(30, "the turn to begin", || {
            Ok(browser
                .text("arena-turn")
                .is_ok_and(|words| words.contains(&format!("Turn {}", turn + 1))))
        })?;
        browser.attribute_becomes("battle", "data-status", "answered", 240)?;
        assert!(!names_show(&browser, adapter)?);
        let texts = browser.run(
            "return [...document.querySelectorAll('[data-test=completion] .prose')].map(e => e.textContent.trim())",
        )?;
        assert_ne!(texts[0], texts[1], "the adapter answers as its base does");
        let is_first_empty = texts[0].as_str().unwrap_or_default().is_empty();
        browser.press(if is_first_empty { "2" } else { "1" })?;
        browser.attribute_becomes("battle", "data-status", "judged", 60)?;
        assert!(names_show(&browser, adapter)?);
    }
    let export = scripted.export(project, "preference")?;
    let rows: Vec<PreferenceRow> = export
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect::<Result<_>>()?;
    let live: Vec<&PreferenceRow> = rows
        .iter()
        .filter(|row| row.prompt[0].content == "Tell me about the sea.")
        .collect();
    assert_eq!(live.len(), 2, "{rows:#?}");
    let context: Vec<&str> = live[1]
        .prompt
        .iter()
        .map(|message| message.content.as_str())
        .collect();
    assert_eq!(
        context,
        [
            "Tell me about the sea.",
            &live[0].chosen[0].content,
            "And about ships?"
        ]
    );
    for row in live {
        let provenance = row.provenance.as_ref().context("a project's rows have one")?;
        let mut names = [
            provenance.chosen_generator.as_str(),
            &provenance.rejected_generator,
        ];
        names.sort_unstable();
        let mut expected = ["base model", adapter.name.as_str()];
        expected.sort_unstable();
        assert_eq!(names, expected);
    }
    browser.must_be_quiet()
}
