//! The pages in Korean: every label type by keyboard, what admins and reviewers see, and the way in and out.

use anyhow::{Context, Result};
use laurel_protocol::{LabelType, ProjectSettings, Questions};
use laurel_tests::{
    Browser, Desk, Scripted, scene,
    server::{ADMIN, PASSWORD},
    until,
};
use serde_json::json;

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";

/// Names of keys, of methods and formats, and what the tests call their own.
const MAY_BE_LATIN: &str = "Laurel English Enter Esc Tab Shift ada admin PEFT TRL DPOTrainer RewardTrainer KTOTrainer \
    SFTTrainer JSON Lines prompt chosen rejected completion label SFT DPO PPO GRPO RLOO KTO APO zero IPO SimPO ORPO SLiC LoRA \
    DoRA IA3 HTTP API Top SmolLM2 AdamW NLL GAE AVX CPU LLaMA Factory Alpaca ChatML Jinja json tokenizer config messages add \
    generation bos eos token wrong unsafe helpful harmless honest role user content nat docs TRAINING Bradley Terry Rao Kupper \
    Davidson Plackett Luce log worker trainer script priority CSV completions best worst ranks ratings rating tie \
    both bad explanation";

fn language(browser: &Browser) -> Result<String> {
    let language = browser.run("return document.documentElement.lang")?;
    Ok(language.as_str().context("the page has a language")?.to_owned())
}

/// Chooses in the menu, and waits for the page to come back.
fn choose(browser: &Browser, code: &str) -> Result<()> {
    browser.run(&format!(
        "const menu = document.querySelector('[data-test=language]'); menu.value = '{code}';
         menu.dispatchEvent(new Event('change', {{bubbles: true}}))"
    ))?;
    until(30, &format!("the page in {code}"), || {
        Ok(language(browser).is_ok_and(|now| now == code) && browser.count("language")? == 1)
    })
}

/// Latin words of three letters and more in what the page itself says, to the eye and to a screen reader.
fn latin_words(browser: &Browser) -> Result<Vec<String>> {
    let words = browser.run(&format!(
        "const other = '.prose, .sheet-source, .diff, .verbatim, .turn, .tokens, code, pre, script, style, noscript';
         const texts = [];
         const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
         while (walk.nextNode()) if (!walk.currentNode.parentElement.closest(other)) texts.push(walk.currentNode.data);
         for (const name of ['aria-label', 'title', 'placeholder'])
             for (const element of document.querySelectorAll(`[${{name}}]`)) texts.push(element.getAttribute(name));
         const known = new Set('{MAY_BE_LATIN}'.split(/\\s+/));
         return texts.filter(text => (text.match(/[A-Za-z]{{3,}}/g) ?? []).some(word => !known.has(word)))"
    ))?;
    Ok(serde_json::from_value(words)?)
}

fn is_korean(browser: &Browser, place: &str) -> Result<()> {
    let words = latin_words(browser)?;
    assert!(words.is_empty(), "{place}: {words:#?}");
    assert_eq!(language(browser)?, "ko", "{place}");
    Ok(())
}

fn fits_a_phone(browser: &Browser, place: &str) -> Result<()> {
    browser.resize(360, 800)?;
    let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth")?;
    assert!(overflow.as_i64() <= Some(0), "{place}: {overflow} px too wide");
    let violations = browser.accessibility_violations()?;
    assert!(violations.is_empty(), "{place}: {violations:#?}");
    browser.resize(1280, 900)
}

/// Asks for all that can be asked beside the judgement.
fn settings(label_type: LabelType, n: u8) -> ProjectSettings {
    ProjectSettings {
        name: "시험 프로젝트".into(),
        guidelines: "짧은 답변이 이깁니다.".into(),
        label_type,
        completions_per_task: n,
        questions: Questions {
            dimensions: vec!["도움".into()],
            span_labels: vec!["틀림".into()],
            edit: true,
            demonstration: true,
            acceptable_line: label_type == LabelType::Rank,
            ..Questions::default()
        },
        ..scene::pick(1)
    }
}

#[test]
fn every_label_type_is_answered_by_keyboard_in_korean() -> Result<()> {
    for (label_type, n, keys) in [
        (LabelType::Pick, 2, "1"),
        (LabelType::Rank, 3, "1j2j3"),
        (LabelType::BestWorst, 3, "21"),
        (LabelType::Rate, 1, ""),
    ] {
        let desk = Desk::open(&settings(label_type, n), 2)?;
        let browser = &desk.browser;
        choose(browser, "ko")?;
        browser.sees("task")?;
        let first = desk.task()?;
        browser.press(ENTER)?; // too early: it says why
        browser.run("document.querySelectorAll('details').forEach(details => details.open = true)")?;
        let place = format!("{label_type:?}");
        is_korean(browser, &place)?;
        fits_a_phone(browser, &place)?;
        for panel in ["g", "?", "s"] {
            browser.press(panel)?;
            until(30, "the panel", || {
                Ok(browser.run("return !!document.querySelector('dialog[open]')")? == json!(true))
            })?;
            is_korean(browser, &format!("{place}, {panel}"))?;
            browser.press(ESCAPE)?;
        }
        for key in keys.chars() {
            browser.press(&key.to_string())?;
        }
        browser.press("r")?;
        for rating in 1..=n {
            browser.press(&rating.to_string())?;
        }
        browser.reads("submit", "제출")?;
        is_korean(browser, &format!("{place}, filled in"))?;
        browser.press(ENTER)?;
        desk.moves_on(&first)?;
        desk.has_annotations(1)?;
        browser.press("u")?; // back to it, with words of its own
        browser.attribute_becomes("task", "data-assignment", &first, 30)?;
        is_korean(browser, &format!("{place}, undone"))?;
        browser.click("own-answers")?;
        browser.sees("own-answer")?;
        is_korean(browser, &format!("{place}, own answers"))?;
        fits_a_phone(browser, &format!("{place}, own answers"))?;
        browser.must_be_quiet()?;
    }
    Ok(())
}

#[test]
fn keys_of_a_korean_keyboard_do_what_lies_under_them() -> Result<()> {
    let desk = Desk::open(&scene::pick(1), 2)?;
    let browser = &desk.browser;
    let first = desk.task()?;
    for kind in ["keyDown", "keyUp"] {
        // ㅁ lies on A: A is better.
        let key = json!({"type": kind, "key": "ㅁ", "code": "KeyA", "windowsVirtualKeyCode": 65});
        browser.devtools("Input.dispatchKeyEvent", key)?;
    }
    desk.moves_on(&first)?;
    desk.has_annotations(1)
}

#[test]
fn the_menu_changes_the_language_and_english_fetches_none() -> Result<()> {
    let scripted = Scripted::start()?;
    scripted.server.add_user("ada", "annotator")?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.open("/sign-in")?;
    browser.reads("submit-credentials", "Sign in")?;
    assert!(browser.fetched(".json")?.is_empty());
    choose(&browser, "ko")?;
    browser.reads("submit-credentials", "로그인")?;
    is_korean(&browser, "sign-in")?;
    fits_a_phone(&browser, "sign-in")?;
    browser.fill("name", "ada")?;
    browser.fill("password", "wrong password")?;
    browser.click("submit-credentials")?;
    until(30, "the refusal", || {
        Ok(browser.run("return !!document.querySelector('.form-error')")? == json!(true))
    })?;
    is_korean(&browser, "a refused sign-in")?;
    choose(&browser, "en")?;
    browser.reads("submit-credentials", "Sign in")
}

#[test]
fn the_browsers_own_language_counts_and_a_table_that_does_not_come_leaves_english() -> Result<()> {
    let scripted = Scripted::start()?;
    let browser = Browser::start(&scripted.server.url())?;
    let agent = browser.run("return navigator.userAgent")?;
    let languages = json!({"userAgent": agent, "acceptLanguage": "ko-KR,en-US"});
    browser.devtools("Emulation.setUserAgentOverride", languages)?;
    browser.open("/sign-in")?;
    browser.reads("submit-credentials", "로그인")?;
    browser.devtools("Network.setCacheDisabled", json!({"cacheDisabled": true}))?;
    browser.block(&["*/languages/*"])?;
    browser.reload()?;
    browser.reads("submit-credentials", "Sign in")?;
    assert_eq!(language(&browser)?, "en");
    Ok(())
}

#[test]
fn what_admins_see_is_korean_too() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&settings(LabelType::Pick, 2), 2)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    choose(&browser, "ko")?;
    for (path, hook) in [
        ("/".to_owned(), "project-link"),
        ("/projects/new".to_owned(), "save-project"),
        (format!("/projects/{project}"), "start-completions"),
        (format!("/projects/{project}/prompts"), "prompt-row"),
        (format!("/projects/{project}/progress"), "plot-days"),
        (format!("/projects/{project}/review"), "nothing-to-review"),
        (format!("/projects/{project}/gold"), "language"),
        (format!("/projects/{project}/chat"), "chat-send"),
        (format!("/projects/{project}/rounds/new"), "start-round"),
        ("/people".to_owned(), "invite-annotator"),
        ("/tokens".to_owned(), "create-token"),
        ("/nowhere".to_owned(), "language"),
    ] {
        browser.open(&path)?;
        browser.sees(hook)?;
        is_korean(&browser, &path)?;
        fits_a_phone(&browser, &path)?;
    }
    browser.must_be_quiet()
}
