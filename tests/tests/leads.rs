//! What a lead does in a browser: reads how the work goes on, says who works, and what comes first.

use anyhow::{Context, Result};
use laurel_protocol::{
    Answer, Assignment, Choice, ErrorCode, Held, Hold, Judgement, Members, ProjectId, ProjectProgress,
    Stopped,
};
use laurel_tests::{
    Api, Browser, Scripted, scene,
    server::{ADMIN, PASSWORD},
    until,
};

/// What a person holds, topped up to one task.
fn hold(who: &Api, project: ProjectId) -> Result<Held> {
    who.post(&format!("/projects/{project}/assignments"), &Hold { n: 1 })
}

fn picks(choice: Choice, shown: &Assignment) -> Answer {
    Answer {
        judgement: Judgement::Pick {
            choice,
            strength: None,
        },
        comment: String::new(),
        extras: Default::default(),
        seconds: 12.0,
        revision: shown.revision,
    }
}

/// "answer 0" is better, whatever its place; answers so many tasks.
fn label(who: &Api, project: ProjectId, n: usize) -> Result<()> {
    for _ in 0..n {
        let held = hold(who, project)?;
        let task = held.assignments.first().context("there is a task")?;
        let is_first = task.completions[0].text.starts_with("answer 0");
        let answer = picks(if is_first { Choice::First } else { Choice::Second }, task);
        let _: Held = who.post(&format!("/assignments/{}/annotation", task.id), &answer)?;
    }
    Ok(())
}

fn is_good_at_every_width(browser: &Browser, page: &str) -> Result<()> {
    for (width, theme) in [(360, "light"), (768, "dark"), (1440, "light")] {
        browser.resize(width, 900)?;
        browser.run(&format!("document.documentElement.dataset.theme = '{theme}'"))?;
        let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth")?;
        assert!(
            overflow.as_i64() <= Some(0),
            "{page}, {width}: {overflow} px too wide"
        );
        let violations = browser.accessibility_violations()?;
        assert!(violations.is_empty(), "{page}, {width}: {violations:#?}");
    }
    Ok(())
}

/// The first number of the last row of a picture's table.
fn last_row(browser: &Browser, plot: &str) -> Result<String> {
    let text = browser.run(&format!(
        "return [...document.querySelectorAll(`[data-test='{plot}'] [data-test=plot-row]`)].at(-1)
             .querySelector('td').textContent"
    ))?;
    text.as_str().map(str::to_owned).context("a cell has a text")
}

#[test]
fn a_lead_reads_how_the_work_goes_on_and_when_it_will_be_done() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(2), 30)?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}"))?;
    browser.click("progress-link")?;
    browser.reads("progress-queue", "60 answers are wanted in 30 open tasks.")?;
    browser.reads("progress-queue", "Nobody has answered in the last 14 days")?;
    browser.sees("nobody-answered")?;
    let ada = scripted.server.annotator("ada")?;
    let bob = scripted.server.annotator("bob")?;
    label(&ada, project, 24)?;
    label(&bob, project, 20)?;
    // It heard of the answers, and counts again when it is asked.
    browser.reads("progress-as-of", "44 answers have come since.")?;
    browser.click("progress-reload")?;
    browser.reads("progress-queue", "16 answers are wanted in 10 open tasks.")?;
    browser.reads("progress-queue", "44 answers a day")?;
    browser.reads("progress-queue", "a guess")?;
    assert_eq!(last_row(&browser, "plot-days")?, "44");
    assert_eq!(browser.count("progress-person")?, 2);
    assert_eq!(last_row(&browser, "plot-agreement")?, "1.00 (1.00 to 1.00)");
    browser.reads("progress-bias", "The answer shown first was the best in")?;
    let progress: ProjectProgress = scripted.admin.get(&format!("/projects/{project}/progress"))?;
    assert_eq!(
        progress.given.seconds.last().map(|bin| (bin.from, bin.n)),
        Some((10, 44))
    );
    is_good_at_every_width(&browser, "progress")?;

    // One person's days alone, and a longer time.
    let bobs = progress
        .annotators
        .iter()
        .find(|one| one.name == "bob")
        .context("bob")?;
    browser.select("progress-who", &bobs.user.to_string())?;
    until(30, "Bob's days", || Ok(last_row(&browser, "plot-days")? == "20"))?;
    browser.select("progress-days", "365")?;
    browser.attribute_becomes("plot-days", "data-points", "365", 30)?;
    assert_eq!(last_row(&browser, "plot-days")?, "20", "still Bob's");

    browser.select("language", "ko")?;
    browser.reads("progress-queue", "열린 작업 10개에 답 16개가 더 필요합니다.")?;
    is_good_at_every_width(&browser, "progress-ko")?;
    browser.must_be_quiet()
}

#[test]
fn only_who_is_assigned_is_given_tasks_and_who_is_taken_out_loses_no_answer() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 4)?;
    let ada = scripted.server.annotator("ada")?;
    let bob = scripted.server.annotator("bob")?;
    let lead = Browser::start(&scripted.server.url())?;
    lead.sign_in(ADMIN, PASSWORD)?;
    lead.open(&format!("/projects/{project}"))?;
    lead.sees("no-members")?;
    lead.fill("member-search", "AD")?;
    until(30, "Ada and the admin", || Ok(lead.count("member-add")? == 2))?;
    lead.fill("member-search", "ada")?;
    until(30, "Ada alone", || Ok(lead.count("member-add")? == 1))?;
    lead.click("member-add")?;
    lead.attribute_becomes("member", "data-name", "ada", 30)?;
    lead.click("access-assigned")?;
    until(30, "the project to be assigned", || {
        let members: Members = scripted.admin.get(&format!("/projects/{project}/members"))?;
        Ok(members.assigned)
    })?;
    is_good_at_every_width(&lead, "members")?;

    let held = hold(&bob, project)?;
    assert_eq!(
        (held.assignments.len(), held.stopped),
        (0, Some(Stopped::NotAssigned))
    );
    let page = Browser::start(&scripted.server.url())?;
    page.sign_in("ada", PASSWORD)?;
    page.open(&format!("/projects/{project}/label"))?;
    page.sees("task")?;

    // A limit of her own, and a bad one.
    let limit = |text: &str| {
        lead.run(&format!(
            "const field = document.querySelector('[data-test=member-limit]'); field.value = '{text}';
             field.dispatchEvent(new Event('change', {{bubbles: true}}))"
        ))
    };
    limit("none")?;
    lead.reads("bad-limit", "must be a whole number")?;
    limit("3")?;
    until(30, "the limit", || {
        let members: Members = scripted.admin.get(&format!("/projects/{project}/members"))?;
        Ok(members.members[0].max_tasks == Some(3))
    })?;

    // Taken out while she looks at a task: her answer is refused with a sentence, and she can copy it.
    lead.click("member-remove")?;
    lead.sees("no-members")?;
    page.press("1")?;
    page.reads("refused", "You are not assigned to this project")?;
    page.sees("not-assigned")?;
    page.reload()?;
    page.reads("refused", "You are not assigned to this project")?;
    let violations = page.accessibility_violations()?;
    assert!(violations.is_empty(), "{violations:#?}");
    page.open("/")?;
    page.sees("no-projects")?;
    let answered = bob.send("GET", &format!("/projects/{project}"), &[], "")?;
    assert_eq!(answered.code(), Some(ErrorCode::NotAssigned));

    // Back in the list, she is given tasks again.
    lead.fill("member-search", "ada")?;
    lead.click("member-add")?;
    lead.sees("member")?;
    page.open(&format!("/projects/{project}/label"))?;
    page.sees("task")?;
    assert_eq!(hold(&ada, project)?.stopped, None);
    lead.must_be_quiet()
}

#[test]
fn a_lead_finds_prompts_and_says_that_they_come_first() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 12)?;
    let lead = Browser::start(&scripted.server.url())?;
    lead.sign_in(ADMIN, PASSWORD)?;
    lead.open(&format!("/projects/{project}/prompts"))?;
    until(30, "all prompts", || Ok(lead.count("prompt-row")? == 12))?;
    lead.fill("prompt-search", "question 11")?;
    lead.click("prompt-find")?;
    until(30, "the prompt that is sought", || {
        Ok(lead.count("prompt-row")? == 1)
    })?;
    lead.click("choose-shown")?;
    lead.reads("n-chosen", "1 prompt chosen")?;
    lead.click("priority-first")?;
    lead.reads("priority-report", "1 prompt with 1 open task come first now.")?;
    lead.reads("prompt-priority", "comes first (50)")?;
    is_good_at_every_width(&lead, "prompts")?;
    let ada = scripted.server.annotator("ada")?;
    let held = hold(&ada, project)?;
    let task = held.assignments.first().context("there is a task")?;
    assert!(task.prompt[0].html.contains("question 11"), "{:?}", task.prompt);

    lead.fill("prompt-search", "nothing like this")?;
    lead.click("prompt-find")?;
    lead.sees("no-prompt-found")?;
    lead.must_be_quiet()
}
