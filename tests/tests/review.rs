//! The review page in a browser: what people see differently is decided, and the annotator hears of it.

use anyhow::{Context, Result};
use laurel_protocol::{
    Answer, Choice, Held, Hold, Judgement, LabelType, ProjectId, ProjectSettings, Skip, SkipReason,
};
use laurel_tests::{Api, Browser, Scripted, scene, scripted, server::PASSWORD};

/// Answers or skips the next task: "answer 0" is better if `zero`, else the other; nothing is a skip.
fn say(who: &Api, project: ProjectId, zero: Option<bool>) -> Result<()> {
    let held: Held = who.post(&format!("/projects/{project}/assignments"), &Hold { n: 1 })?;
    let task = &held.assignments[0];
    let Some(zero) = zero else {
        let skip = Skip {
            reason: SkipReason::Offensive,
            comment: "It insults <b>people</b>.".into(),
            revision: task.revision,
        };
        let _: Held = who.post(&format!("/assignments/{}/skip", task.id), &skip)?;
        return Ok(());
    };
    let is_first = task.completions[0].text.starts_with("answer 0");
    let answer = Answer {
        judgement: Judgement::Pick {
            choice: if is_first == zero {
                Choice::First
            } else {
                Choice::Second
            },
            strength: None,
        },
        comment: String::new(),
        extras: Default::default(),
        seconds: 2.0,
        revision: task.revision,
    };
    let _: Held = who.post(&format!("/assignments/{}/annotation", task.id), &answer)?;
    Ok(())
}

fn is_accessible(browser: &Browser) -> Result<()> {
    let violations = browser.accessibility_violations()?;
    assert!(violations.is_empty(), "{violations:#?}");
    browser.resize(360, 800)?;
    let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth")?;
    assert!(overflow.as_i64() <= Some(0), "{overflow} px too wide");
    browser.resize(1280, 800)
}

#[test]
fn a_reviewer_decides_writes_a_note_and_the_annotator_reads_both() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(2), 3)?;
    let (ada, bob) = (
        scripted.server.annotator("ada")?,
        scripted.server.annotator("bob")?,
    );
    say(&ada, project, Some(true))?;
    say(&bob, project, Some(false))?;
    say(&ada, project, Some(true))?;
    say(&bob, project, Some(true))?;
    say(&ada, project, None)?;

    scripted.server.add_user("rita", "reviewer")?;
    let rita = Browser::start(&scripted.server.url())?;
    rita.sign_in("rita", PASSWORD)?;
    rita.click("review-link")?;
    rita.sees("review-task")?;
    assert_eq!((rita.count("review-task")?, rita.count("voice")?), (1, 2));
    is_accessible(&rita)?;
    rita.fill("decision-reason", "The first one invents a source.")?;
    rita.run("document.querySelectorAll('[data-test=adopt]')[1].click()")?; // bob is right
    rita.reads("decision", "B is better")?;
    rita.fill("note-text", "Look at the second sentence.")?;
    rita.click("note-send")?;
    rita.reads("note", "Look at the second sentence.")?;
    rita.click("review-disagreements")?; // asks anew: nothing is contested any more
    rita.sees("nothing-to-review")?;
    rita.click("review-decided")?;
    rita.sees("decision")?;

    rita.click("review-flagged")?;
    rita.reads("flag", "It insults <b>people</b>.")?;
    is_accessible(&rita)?;
    rita.click("retire")?;
    rita.attribute_becomes("retire", "aria-pressed", "true", 30)?;
    rita.must_be_quiet()?;

    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in("ada", PASSWORD)?;
    browser.open(&format!("/projects/{project}/mine"))?;
    browser.reads("own-decision", "A reviewer decided: ")?;
    browser.reads("own-decision", "The first one invents a source.")?;
    browser.reads("note", "Look at the second sentence.")?;
    browser.fill("note-text", "I see.")?;
    browser.click("note-send")?;
    laurel_tests::until(30, "the answer to the note", || Ok(browser.count("note")? == 2))?;
    is_accessible(&browser)?;
    browser.must_be_quiet()
}

/// Answers the next task with this judgement.
fn judge(who: &Api, project: ProjectId, judgement: Judgement) -> Result<()> {
    let held: Held = who.post(&format!("/projects/{project}/assignments"), &Hold { n: 1 })?;
    let task = &held.assignments[0];
    let answer = Answer {
        judgement,
        comment: String::new(),
        extras: Default::default(),
        seconds: 2.0,
        revision: task.revision,
    };
    let _: Held = who.post(&format!("/assignments/{}/annotation", task.id), &answer)?;
    Ok(())
}

/// Two people contradict each other; the reviewer presses these buttons and decides. Gives the ranks that are exported.
fn decide_by_oneself(
    label_type: LabelType,
    said: [Judgement; 2],
    presses: &[(&str, usize)],
) -> Result<Vec<Option<u8>>> {
    let settings = ProjectSettings {
        label_type,
        overlap: 2,
        ..scripted::rank(3)
    };
    let scripted = Scripted::start()?;
    let project = scripted.project(&settings, 1)?;
    let names = ["ada", "bob"];
    for (name, judgement) in names.into_iter().zip(said) {
        judge(&scripted.server.annotator(name)?, project, judgement)?;
    }
    scripted.server.add_user("rita", "reviewer")?;
    let rita = Browser::start(&scripted.server.url())?;
    rita.sign_in("rita", PASSWORD)?;
    rita.open(&format!("/projects/{project}/review"))?;
    rita.click("review-all")?;
    rita.sees("review-task")?;
    for (at, (hook, number)) in presses.iter().enumerate() {
        let waits = rita.run("return document.querySelector('[data-test=decide-own]').disabled")?;
        assert_eq!(waits, true, "before press {at}");
        rita.run(&format!(
            "document.querySelectorAll('[data-test={hook}]')[{number}].click()"
        ))?;
        if at == 0 {
            // A note in between leaves what was said so far.
            rita.fill("note-text", "I rank them anew.")?;
            rita.click("note-send")?;
            rita.sees("note")?;
        }
    }
    is_accessible(&rita)?;
    rita.click("decide-own")?;
    rita.sees("decision")?;
    assert_eq!(rita.count("decide-own")?, 0);
    rita.must_be_quiet()?;
    let rows = scripted.rankings(project)?;
    let decision = rows.iter().find(|row| row.decision);
    Ok(decision.context("the decision is exported")?.ranks.clone())
}

#[test]
fn a_reviewer_ranks_by_themselves_as_nobody_did() -> Result<()> {
    let rank = |ranks: [u8; 3]| Judgement::Rank { ranks: ranks.into() };
    // B first, then A and C: of the three ranks of each answer, row by row.
    let presses = [("own-rank", 1), ("own-rank", 3), ("own-rank", 7)];
    let ranks = decide_by_oneself(LabelType::Rank, [rank([1, 2, 3]), rank([3, 2, 1])], &presses)?;
    assert_eq!(ranks, [Some(2), Some(1), Some(2)]);
    Ok(())
}

#[test]
fn a_reviewer_names_the_best_and_the_worst_by_themselves() -> Result<()> {
    let named = |best, worst| Judgement::BestWorst { best, worst };
    let presses = [("own-best", 2), ("own-worst", 0)];
    let ranks = decide_by_oneself(LabelType::BestWorst, [named(0, 1), named(1, 0)], &presses)?;
    assert_eq!(ranks, [Some(3), Some(2), Some(1)]);
    Ok(())
}
