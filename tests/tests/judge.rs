//! What can be said about an answer beside the choice, in a browser, by keys and by mouse, and what of it is stored.

use anyhow::{Context, Result};
use laurel_protocol::{LabelType, ProjectSettings, Questions, RankingRow};
use laurel_tests::{Desk, scene, scripted};
use serde_json::json;

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const ARROW_RIGHT: &str = "\u{e014}";

fn asking(settings: ProjectSettings, questions: Questions) -> ProjectSettings {
    ProjectSettings {
        questions,
        ..settings
    }
}

fn dimensions(names: &[&str]) -> Questions {
    Questions {
        dimensions: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Questions::default()
    }
}

/// A value for each stored completion, in display order.
fn shown<T: Clone>(row: &RankingRow, values: &[T]) -> Vec<T> {
    let at = row.display_order.iter();
    at.map(|&at| values[at as usize].clone()).collect()
}

#[test]
fn best_and_worst_are_named_by_two_digits_or_two_clicks() -> Result<()> {
    let settings = ProjectSettings {
        label_type: LabelType::BestWorst,
        ..scripted::rank(4)
    };
    let desk = Desk::open(&settings, 2)?;
    let browser = &desk.browser;
    let first = desk.task()?;
    browser.press(ENTER)?; // too early
    browser.press("3")?;
    browser.press("1")?;
    browser.reads("submit", "Submit")?;
    browser.reload()?; // what was named is kept
    browser.reads("submit", "Submit")?;
    browser.press(ENTER)?;
    desk.moves_on(&first)?;
    desk.has_annotations(1)?;
    let row = desk.only_row()?;
    assert_eq!(shown(&row, &row.ranks), [Some(3), Some(2), Some(1), Some(2)]);
    browser.run(
        "const card = at => document.querySelector(`[data-test=completion][data-position='${at}']`);
         card(1).querySelector('[data-test=best]').click(); card(2).querySelector('[data-test=worst]').click();",
    )?;
    browser.click("submit")?;
    desk.has_annotations(2)?;
    let rows = desk.scripted.rankings(desk.project)?;
    assert_eq!(
        shown(&rows[1], &rows[1].ranks),
        [Some(2), Some(1), Some(3), Some(2)]
    );
    browser.must_be_quiet()
}

#[test]
fn answers_are_rated_by_digits_and_arrows_and_no_rating_may_be_missing() -> Result<()> {
    let settings = ProjectSettings {
        label_type: LabelType::Rate,
        completions_per_task: 2,
        ..asking(scene::pick(1), dimensions(&["helpful", "harmless"]))
    };
    let desk = Desk::open(&settings, 1)?;
    let browser = &desk.browser;
    browser.press("r")?;
    browser.press("4")?; // helpful A; the focus goes on to harmless A
    browser.press("2")?;
    browser.press("5")?; // helpful B
    browser.reads("submit", "Some ratings are missing")?;
    browser.press("1")?;
    browser.press("r")?; // none is missing: the first one
    browser.press(ARROW_RIGHT)?;
    browser.reads("submit", "Submit")?;
    browser.press(ENTER)?;
    desk.has_annotations(1)?;
    let row = desk.only_row()?;
    assert_eq!(shown(&row, &row.ratings["helpful"]), [5, 5]);
    assert_eq!(shown(&row, &row.ratings["harmless"]), [2, 1]);
    browser.must_be_quiet()
}

#[test]
fn a_choice_waits_for_the_ratings_that_are_asked_and_keeps_them_over_a_reload() -> Result<()> {
    let desk = Desk::open(
        &asking(scripted::pick_with_strength(), dimensions(&["honest"])),
        1,
    )?;
    let browser = &desk.browser;
    browser.press("1")?;
    browser.press("3")?; // much better
    browser.reads("submit", "Some ratings are missing")?;
    browser.run(
        "document.querySelectorAll('[data-test=rating]')[0].querySelector('[data-value=\"4\"]').click()",
    )?;
    browser.reload()?;
    browser.reads("submit", "Some ratings are missing")?;
    browser.run(
        "document.querySelectorAll('[data-test=rating]')[1].querySelector('[data-value=\"2\"]').click()",
    )?;
    browser.reads("submit", "Submit")?;
    browser.click("submit")?;
    desk.has_annotations(1)?;
    let row = desk.only_row()?;
    assert_eq!(
        (shown(&row, &row.ranks), row.strength),
        (vec![Some(1), Some(2)], Some(3))
    );
    assert_eq!(shown(&row, &row.ratings["honest"]), [4, 2]);
    browser.must_be_quiet()
}

#[test]
fn a_passage_is_marked_where_it_was_selected_and_can_be_unmarked() -> Result<()> {
    let questions = Questions {
        span_labels: vec!["wrong".into(), "unsafe".into()],
        ..Questions::default()
    };
    let desk = Desk::open(&asking(scene::pick(1), questions), 1)?;
    let browser = &desk.browser;
    browser.run("document.querySelector('[data-test=spans] summary').click()")?;
    browser.click("span-label")?;
    browser.reads("spans", "Select a passage in the text first.")?;
    let select = |from: u32, to: u32| {
        browser.run(&format!(
            "const field = document.querySelector('.sheet-source'); field.focus(); field.setSelectionRange({from}, {to})"
        ))
    };
    select(0, 6)?;
    browser.click("span-label")?;
    browser.reads("span", "answer")?;
    select(7, 8)?;
    browser.run("document.querySelectorAll('[data-test=span-label]')[1].click()")?;
    assert_eq!(browser.count("span")?, 2);
    browser.run("document.querySelector('[data-test=span] button').click()")?;
    browser.press(ESCAPE)?; // out of the field
    browser.press("3")?;
    browser.click("submit")?;
    desk.has_annotations(1)?;
    let row = desk.only_row()?;
    let at = row.display_order[0] as u8;
    let expected = json!([{"position": at, "start": 7, "end": 8, "label": "unsafe"}]);
    assert_eq!(serde_json::to_value(&row.spans)?, expected);
    browser.must_be_quiet()
}

#[test]
fn an_answer_is_edited_beside_what_changed_and_an_own_one_is_written() -> Result<()> {
    let questions = Questions {
        edit: true,
        demonstration: true,
        ..Questions::default()
    };
    let desk = Desk::open(&asking(scene::pick(1), questions), 2)?;
    let browser = &desk.browser;
    let first = desk.task()?;
    browser.run("document.querySelector('[data-test=edit] summary').click()")?;
    browser.run("const field = document.querySelector('[data-test=edit] textarea'); field.focus(); field.setSelectionRange(0, 0)")?;
    browser.press("A fine ")?;
    browser.reads("diff", "A fine")?;
    assert_eq!(
        browser.run("return document.querySelectorAll('[data-test=diff] ins').length")?,
        1
    );
    browser.press(ESCAPE)?;
    browser.press("w")?;
    browser.press("My own words: 1 2 3")?;
    browser.press(ESCAPE)?;
    browser.reload()?;
    browser.reads("diff", "A fine")?;
    browser.press("1")?;
    browser.press(ENTER)?;
    desk.moves_on(&first)?;
    desk.has_annotations(1)?;
    let row = desk.only_row()?;
    let edits = shown(&row, &row.edits);
    let edited = edits[0].as_deref().context("A was edited")?;
    assert!(edited.starts_with("A fine answer "), "{edited}");
    assert_eq!(edits[1], None);
    assert_eq!(row.demonstration.as_deref(), Some("My own words: 1 2 3"));
    browser.must_be_quiet()
}

#[test]
fn a_line_below_which_nothing_is_acceptable_is_drawn_in_a_ranking() -> Result<()> {
    let questions = Questions {
        acceptable_line: true,
        ..Questions::default()
    };
    let desk = Desk::open(&asking(scripted::rank(3), questions), 1)?;
    let browser = &desk.browser;
    for key in ["1", "j", "2", "j", "3", "k", "x"] {
        browser.press(key)?; // B and what stands below are unacceptable
    }
    assert_eq!(
        browser.run("return document.querySelector('[data-test=acceptable]').value")?,
        "1"
    );
    browser.click("submit")?;
    desk.has_annotations(1)?;
    assert_eq!(desk.only_row()?.acceptable, Some(1));
    browser.must_be_quiet()
}

#[test]
fn the_words_that_differ_are_shown_on_demand() -> Result<()> {
    let desk = Desk::open(&scene::pick(1), 1)?;
    let browser = &desk.browser;
    assert_eq!(browser.count("diff")?, 0);
    browser.press("d")?;
    assert_eq!(browser.count("diff")?, 2);
    let new =
        "return [...document.querySelectorAll('[data-test=diff] ins')].map(word => word.textContent.trim())";
    let mut words: Vec<String> = serde_json::from_value(browser.run(new)?)?;
    words.sort();
    assert_eq!(words, ["0", "1"]);
    browser.press("d")?;
    assert_eq!(browser.count("diff")?, 0);
    browser.must_be_quiet()
}

#[test]
fn pages_that_ask_for_everything_are_accessible_and_fit_a_phone() -> Result<()> {
    let everything = |acceptable_line| Questions {
        span_labels: vec!["wrong".into()],
        edit: true,
        demonstration: true,
        acceptable_line,
        ..dimensions(&["helpful", "harmless", "honest"])
    };
    for (label_type, n) in [
        (LabelType::Pick, 2),
        (LabelType::Rank, 4),
        (LabelType::BestWorst, 4),
        (LabelType::Rate, 1),
    ] {
        let settings = ProjectSettings {
            label_type,
            completions_per_task: n,
            ..asking(scene::pick(1), everything(label_type == LabelType::Rank))
        };
        let desk = Desk::open(&settings, 1)?;
        let browser = &desk.browser;
        browser.run("document.querySelectorAll('details').forEach(details => details.open = true)")?;
        for width in [360, 768, 1440] {
            browser.resize(width, 800)?;
            let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth")?;
            assert!(
                overflow.as_i64() <= Some(0),
                "{label_type:?}, {width}: {overflow} px too wide"
            );
            let violations = browser.accessibility_violations()?;
            assert!(violations.is_empty(), "{label_type:?}, {width}: {violations:#?}");
        }
        browser.must_be_quiet()?;
    }
    Ok(())
}
