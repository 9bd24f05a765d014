//! Every label type by keyboard, by mouse and by touch, in both languages, on a phone, a tablet and a desk; and own
//! letters for the shortcuts.

use anyhow::{Context, Result, ensure};
use laurel_protocol::{LabelType, ProjectSettings, Questions, RankingRow};
use laurel_tests::{Browser, Desk, scene, scripted, until};

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const WIDTHS: [u32; 3] = [360, 768, 1440];

#[derive(Clone, Copy, Debug)]
enum Hand {
    Keys,
    Mouse,
    Touch,
}

impl Hand {
    /// Presses a button or what else is pressed.
    fn press(self, browser: &Browser, selector: &str) -> Result<()> {
        match self {
            Self::Touch => browser.tap(selector),
            _ => browser.click_at(selector),
        }
    }

    fn drag(self, browser: &Browser, from: &str, to: &str) -> Result<()> {
        match self {
            Self::Touch => browser.swipe(from, to),
            _ => browser.drag(from, to),
        }
    }
}

fn submit(browser: &Browser, hand: Hand) -> Result<()> {
    match hand {
        Hand::Keys => browser.press(ENTER),
        hand => hand.press(browser, "[data-test=submit]"),
    }
}

fn card(position: usize, part: &str) -> String {
    format!(".completion[data-position='{position}'] {part}")
}

/// A is better.
fn pick(browser: &Browser, hand: Hand) -> Result<()> {
    match hand {
        Hand::Keys => browser.press("1"),
        hand => hand.press(browser, "[data-test=choose-first]"),
    }
}

/// The order in which they are shown.
fn rank(browser: &Browser, hand: Hand) -> Result<()> {
    for position in 0..3 {
        match hand {
            Hand::Keys => {
                browser.press(&(position + 1).to_string())?;
                browser.press("j")?;
            }
            hand => {
                let lane = format!("[data-lane='{}']", position + 1);
                hand.drag(browser, &card(position, ".grip"), &lane)?;
            }
        }
    }
    submit(browser, hand)
}

/// The second is the best and the third the worst.
fn best_worst(browser: &Browser, hand: Hand) -> Result<()> {
    match hand {
        Hand::Keys => {
            browser.press("2")?;
            browser.press("3")?;
        }
        hand => {
            hand.press(browser, &card(1, "[data-test=best]"))?;
            hand.press(browser, &card(2, "[data-test=worst]"))?;
        }
    }
    submit(browser, hand)
}

/// Four of five.
fn rate(browser: &Browser, hand: Hand) -> Result<()> {
    match hand {
        Hand::Keys => {
            browser.press("r")?;
            browser.press("4")?;
        }
        hand => hand.press(browser, &card(0, "[data-test=rating] [data-value='4']"))?,
    }
    submit(browser, hand)
}

fn settings(label_type: LabelType, n: u8) -> ProjectSettings {
    let dimensions = match label_type {
        LabelType::Rate => vec!["helpful".to_owned()],
        _ => Vec::new(),
    };
    ProjectSettings {
        label_type,
        completions_per_task: n,
        questions: Questions {
            dimensions,
            ..Questions::default()
        },
        ..scene::pick(1)
    }
}

/// Ranks in the order in which they were shown.
fn shown_ranks(row: &RankingRow) -> Vec<Option<u8>> {
    row.display_order
        .iter()
        .map(|&at| row.ranks[at as usize])
        .collect()
}

fn speak(browser: &Browser, language: &str) -> Result<()> {
    browser.run(&format!(
        "const menu = document.querySelector('[data-test=language]');
         if (menu.value !== '{language}') {{ menu.value = '{language}'; menu.dispatchEvent(new Event('change', {{bubbles: true}})) }}"
    ))?;
    until(30, &format!("the page in {language}"), || {
        let now = browser.run("return document.documentElement.lang")?;
        Ok(now == language && browser.count("task")? == 1)
    })
}

/// Answers task after task with each hand, at each width and in each language.
fn by_every_hand(
    settings: &ProjectSettings,
    answer: fn(&Browser, Hand) -> Result<()>,
    is_right: impl Fn(&RankingRow) -> bool,
) -> Result<()> {
    let ways = ["en", "ko"].into_iter().flat_map(|language| {
        let hands = [Hand::Keys, Hand::Mouse, Hand::Touch].into_iter();
        hands.flat_map(move |hand| WIDTHS.map(|width| (language, hand, width)))
    });
    let ways: Vec<_> = ways.collect();
    let desk = Desk::open(settings, ways.len() + 1)?;
    let browser = &desk.browser;
    for (n, (language, hand, width)) in ways.into_iter().enumerate() {
        let way = format!("{:?}, {language}, {hand:?}, {width} px", settings.label_type);
        speak(browser, language)?;
        browser.fingers(matches!(hand, Hand::Touch))?;
        browser.resize(width, 800)?;
        let before = desk.task()?;
        answer(browser, hand).with_context(|| way.clone())?;
        desk.moves_on(&before)
            .with_context(|| format!("{way}, ranks {:?}", desk.shown_ranks()))?;
        desk.has_annotations(n as u64 + 1).with_context(|| way.clone())?;
        let rows = desk.scripted.rankings(desk.project)?;
        let row = rows.last().context("an answer is stored")?;
        ensure!(is_right(row), "{way}: {row:?}");
    }
    browser.must_be_quiet()
}

#[test]
fn a_pick_is_made_by_keyboard_mouse_and_touch() -> Result<()> {
    by_every_hand(&settings(LabelType::Pick, 2), pick, |row| {
        shown_ranks(row) == [Some(1), Some(2)]
    })
}

#[test]
fn a_ranking_is_made_by_keyboard_mouse_and_touch() -> Result<()> {
    by_every_hand(&scripted::rank(3), rank, |row| {
        shown_ranks(row) == [Some(1), Some(2), Some(3)]
    })
}

#[test]
fn the_best_and_the_worst_are_named_by_keyboard_mouse_and_touch() -> Result<()> {
    by_every_hand(&settings(LabelType::BestWorst, 3), best_worst, |row| {
        shown_ranks(row) == [Some(2), Some(1), Some(3)]
    })
}

#[test]
fn an_answer_is_rated_by_keyboard_mouse_and_touch() -> Result<()> {
    by_every_hand(&settings(LabelType::Rate, 1), rate, |row| {
        row.ratings["helpful"] == [4]
    })
}

#[test]
fn a_passage_is_marked_by_touch_on_a_phone() -> Result<()> {
    let settings = ProjectSettings {
        questions: Questions {
            span_labels: vec!["wrong".into(), "unsafe".into()],
            ..Questions::default()
        },
        ..scene::pick(1)
    };
    let desk = Desk::open(&settings, 2)?;
    let browser = &desk.browser;
    browser.fingers(true)?;
    browser.resize(360, 800)?;
    browser.tap(&card(1, "[data-test=spans] summary"))?;
    let marks = || browser.count("span");
    // Without a selection it says what is missing.
    browser.tap(&card(1, "[data-label=unsafe]"))?;
    until(30, "the reason", || {
        let script = format!(
            "return document.querySelector(\"{}\").textContent",
            card(1, "[data-test=spans] .form-error")
        );
        Ok(browser.run(&script)? == "Select a passage in the text first.")
    })?;
    assert_eq!(marks()?, 0);
    // What the handles of a phone's own selection do; taps on labels must leave it as it is.
    let select = |start: u32, end: u32| {
        let source = card(1, ".sheet-source");
        browser.run(&format!(
            "const source = document.querySelector(\"{source}\"); source.focus(); source.setSelectionRange({start}, {end})"
        ))
    };
    select(0, 6)?;
    browser.tap(&card(1, "[data-label=unsafe]"))?;
    browser.tap(&card(1, "[data-label=wrong]"))?;
    until(30, "two marks", || Ok(marks()? == 2))?;
    select(7, 8)?;
    browser.tap(&card(1, "[data-label=wrong]"))?;
    until(30, "three marks", || Ok(marks()? == 3))?;
    browser.tap(&card(1, "[data-test=span]:nth-child(2) button"))?; // taken away again
    until(30, "two marks that are left", || Ok(marks()? == 2))?;
    let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth")?;
    assert!(overflow.as_i64() <= Some(0), "{overflow} px too wide");
    let violations = browser.accessibility_violations()?;
    assert!(violations.is_empty(), "{violations:#?}");
    let first = desk.task()?;
    browser.tap("[data-test=choose-first]")?;
    browser.reads("submit", "Submit")?;
    browser.tap("[data-test=submit]")?;
    desk.moves_on(&first)?;
    desk.has_annotations(1)?;
    let rows = desk.scripted.rankings(desk.project)?;
    let row = rows.last().context("an answer is stored")?;
    let mut spans: Vec<_> = row
        .spans
        .iter()
        .map(|span| (span.start, span.end, span.label.as_str()))
        .collect();
    spans.sort_unstable();
    assert_eq!(spans, [(0, 6, "unsafe"), (7, 8, "wrong")]);
    browser.must_be_quiet()
}

#[test]
fn letters_of_the_shortcuts_are_changed_kept_and_reset() -> Result<()> {
    let desk = Desk::open(&scene::pick(1), 3)?;
    let browser = &desk.browser;
    let letter = |first: &str| format!("[data-test=letter][data-letter='{first}']");
    let reads = |first: &str, word: &str| {
        until(30, &format!("{word} for {first}"), || {
            let script = format!("return document.querySelector(\"{}\").textContent", letter(first));
            Ok(browser.run(&script)? == word)
        })
    };
    browser.press("?")?;
    browser.sees("shortcut-hint")?;
    browser.click_at(&letter("a"))?;
    browser.press(ESCAPE)?; // leaves it as it is, and the list open
    reads("a", "A")?;
    browser.click_at(&letter("a"))?;
    browser.press("s")?; // skips until now: the two change places
    reads("a", "S")?;
    reads("s", "A")?;
    assert!(browser.accessibility_violations()?.is_empty());
    browser.press(ESCAPE)?;
    browser.reload()?;
    browser.sees("task")?;
    let first = desk.task()?;
    browser.press("s")?;
    desk.moves_on(&first)?;
    desk.has_annotations(1)?;
    browser.press("a")?;
    browser.sees("skip-reason")?;
    browser.press(ESCAPE)?;
    browser.sees_no("skip-reason")?;
    browser.press("?")?;
    browser.click("reset-letters")?;
    reads("a", "A")?;
    browser.sees_no("reset-letters")?;
    browser.press(ESCAPE)?;
    browser.sees_no("shortcut-hint")?;
    let second = desk.task()?;
    browser.press("a")?;
    desk.moves_on(&second)?;
    desk.has_annotations(2)?;
    browser.must_be_quiet()
}
