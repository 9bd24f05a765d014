//! Several scripted annotators with a rule each, and what an admin reads about them in a browser.

use anyhow::{Context, Result};
use laurel_protocol::{
    Answer, Assignment, Choice, Held, Hold, Judgement, LabelType, ProjectId, ProjectSettings, Quality,
    Questions,
};
use laurel_tests::{
    Api, Browser, Scripted, scene,
    server::{ADMIN, PASSWORD},
};

const N_TASKS: usize = 24;

/// How somebody answers.
type Rule = fn(&Assignment) -> Judgement;

fn settings(label_type: LabelType, completions_per_task: u8, overlap: u8) -> ProjectSettings {
    ProjectSettings {
        label_type,
        completions_per_task,
        overlap,
        ..scene::pick(overlap)
    }
}

/// The number in "answer 1 to *question 7*".
fn number(text: &str) -> usize {
    let words: Vec<&str> = text.split(' ').collect();
    words[1].parse().expect("an answer has its number")
}

/// The answer whose number is that of the question modulo 2.
fn knows(assignment: &Assignment) -> Judgement {
    let question = assignment.prompt[0]
        .html
        .trim_matches(|c: char| !c.is_ascii_digit());
    let wanted = question.parse::<usize>().expect("a question has its number") % 2;
    let is_first = number(&assignment.completions[0].text) == wanted;
    choice(if is_first { Choice::First } else { Choice::Second })
}

fn contradicts(assignment: &Assignment) -> Judgement {
    match knows(assignment) {
        Judgement::Pick {
            choice: Choice::First,
            ..
        } => choice(Choice::Second),
        _ => choice(Choice::First),
    }
}

fn takes_the_first(_: &Assignment) -> Judgement {
    choice(Choice::First)
}

fn choice(choice: Choice) -> Judgement {
    Judgement::Pick {
        choice,
        strength: None,
    }
}

fn ranks_by_number(assignment: &Assignment) -> Judgement {
    let rank = |text: &str| 1 + number(text) as u8;
    Judgement::Rank {
        ranks: assignment
            .completions
            .iter()
            .map(|shown| rank(&shown.text))
            .collect(),
    }
}

/// Answers all there is, each completion rated by its number where ratings are asked.
fn label(who: &Api, project: ProjectId, rule: Rule) -> Result<()> {
    let mut held: Held = who.post(&format!("/projects/{project}/assignments"), &Hold { n: 1 })?;
    while let Some(task) = held.assignments.first() {
        let mut answer = Answer {
            judgement: rule(task),
            comment: String::new(),
            extras: Default::default(),
            seconds: 4.0,
            revision: task.revision,
        };
        for dimension in &task.questions.dimensions {
            let ratings = task.completions.iter().map(|shown| 1 + number(&shown.text) as u8);
            answer.extras.ratings.insert(dimension.clone(), ratings.collect());
        }
        held = who.post(&format!("/assignments/{}/annotation", task.id), &answer)?;
    }
    Ok(())
}

/// The text of an annotator's cell.
fn cell(browser: &Browser, name: &str, hook: &str) -> Result<String> {
    let text = browser.run(&format!(
        "return document.querySelector(`[data-test=annotator][data-name='{name}'] [data-test='{hook}']`).innerText"
    ))?;
    text.as_str().map(str::to_owned).context("a cell has a text")
}

/// The value of a measure.
fn figure(browser: &Browser, measure: &str) -> Result<String> {
    let text = browser.run(&format!(
        "return document.querySelector(`[data-measure='{measure}'] [data-test=agreement-value]`).innerText"
    ))?;
    text.as_str().map(str::to_owned).context("a figure has a text")
}

fn is_good_at_every_width(browser: &Browser, page: &str) -> Result<()> {
    for width in [360, 768, 1440] {
        browser.resize(width, 900)?;
        let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth")?;
        assert!(
            overflow.as_i64() <= Some(0),
            "{page}, {width}: {overflow} px too wide"
        );
        let violations = browser.accessibility_violations()?;
        assert!(violations.is_empty(), "{page}, {width}: {violations:#?}");
        if let Some(folder) = std::env::var_os("LAUREL_SHOTS") {
            browser.resize(width, 2000)?;
            browser.screenshot(&std::path::Path::new(&folder).join(format!("quality-{page}-{width}.png")))?;
        }
    }
    browser.must_be_quiet()
}

#[test]
fn an_admin_reads_who_agrees_who_contradicts_and_who_looks_at_the_place() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&settings(LabelType::Pick, 2, 5), N_TASKS)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}"))?;
    browser.click("quality-link")?;
    browser.sees("quality-empty")?;
    let rules: [(&str, Rule); 5] = [
        ("ada", knows),
        ("bob", knows),
        ("cyd", knows),
        ("eve", contradicts),
        ("fay", takes_the_first),
    ];
    for (name, rule) in rules {
        label(&scripted.server.annotator(name)?, project, rule)?;
    }
    browser.reload()?;
    browser.reads(
        "quality-basis",
        "120 annotations of 24 tasks. At least two people judged 24 of these",
    )?;
    let quality: Quality = scripted.admin.get(&format!("/projects/{project}/agreement"))?;
    let percent = quality.agreement[0].estimate.context("all is shared")?.value;
    assert_eq!(figure(&browser, "percent")?, format!("{:.0} %", percent * 100.0));
    let alpha = quality.agreement[2].estimate.context("all is shared")?.value;
    assert_eq!(
        figure(&browser, "alpha_nominal")?.replace('−', "-"),
        format!("{alpha:.2}")
    );
    assert_eq!(browser.count("pair")?, 10);
    assert!(cell(&browser, "fay", "annotator-first")?.starts_with("100 %\n86 % to 100 %"));
    let reliability = |name| -> Result<f64> {
        let text = cell(&browser, name, "annotator-reliability")?;
        Ok(text.lines().next().context("a value")?.parse()?)
    };
    assert!(reliability("ada")? > 0.85 && reliability("eve")? < 0.3);
    assert!((0.3..0.7).contains(&reliability("fay")?));
    browser.select("quality-period", "7")?;
    browser.reads("quality-basis", "120 annotations")?;
    is_good_at_every_width(&browser, "pick")
}

#[test]
fn rankings_and_ratings_have_their_own_figures() -> Result<()> {
    let scripted = Scripted::start()?;
    let settings = ProjectSettings {
        questions: Questions {
            dimensions: vec!["helpful".into()],
            ..Questions::default()
        },
        ..settings(LabelType::Rank, 4, 2)
    };
    let project = scripted.project(&settings, 6)?;
    for name in ["ada", "bob"] {
        label(&scripted.server.annotator(name)?, project, ranks_by_number)?;
    }
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}/quality"))?;
    browser.sees("agreement-figure")?;
    assert_eq!(figure(&browser, "kendall_tau_b")?, "1.00");
    assert_eq!(figure(&browser, "alpha_interval")?, "1.00");
    browser.reads("position-bias", "The answer shown first was the best")?;
    is_good_at_every_width(&browser, "rank")
}

#[test]
fn where_nobody_shares_a_task_the_page_says_what_to_change() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 2)?;
    scripted.answer(project, 2)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}/quality"))?;
    browser.reads("nothing-shared", "a larger overlap")?;
    browser.reads("agreement-figure", "No two people judged the same.")?;
    browser.must_be_quiet()
}
