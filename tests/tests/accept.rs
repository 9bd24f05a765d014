//! From a round to a new default, in Chromium and with the real trainer: a contest of what the round made against what it began
//! from, judged by three people who cannot tell which is which, the gate, promotion, the next completions, and the way back. The
//! server is killed in the middle of the votes.

use anyhow::{Context, Result, ensure};
use laurel_protocol::{
    AdapterId, Answer, Assignment, Choice, CompletionJob, Contest, ContestStatus, Held, Hold, Hyper,
    Judgement, NewRound, Round, RoundKind, RoundSpec,
};
use laurel_tests::{
    Api, Browser, Scene, TestServer, scene,
    server::{ADMIN, PASSWORD},
    shorter_wins, until,
};
use std::collections::BTreeSet;

const N_PROMPTS: usize = 12;
const JOB_SECONDS: u64 = 480;

#[test]
fn a_round_that_people_prefer_becomes_the_default_and_goes_back() -> Result<()> {
    let mut scene = Scene::start(
        TestServer::start()?,
        &scene::pick(1),
        &scene::sample_prompts(N_PROMPTS)?,
    )?;
    let people: Vec<Api> = ["ann", "bob", "cat"]
        .iter()
        .map(|name| scene.server.annotator(name))
        .collect::<Result<_>>()?;
    let round = round_on_first_labels(&mut scene, &people[0])?;
    let adapter = round.adapter.context("the round left an adapter")?;

    let admin = Browser::start(&scene.server.url())?;
    admin.sign_in(ADMIN, PASSWORD)?;
    let page = format!("/rounds/{}", round.id);
    admin.open(&page)?;
    admin.attribute_becomes("gate", "data-gate", "none", 30)?;
    is_accessible(&admin)?;
    admin.click("begin-gate")?;
    admin.fill("contest-prompts", &N_PROMPTS.to_string())?;
    admin.fill("contest-people", "3")?;
    admin.fill("contest-max-tokens", "16")?;
    is_accessible(&admin)?;
    admin.click("begin-contest")?;
    admin.attribute_becomes("contest-status", "data-status", "open", 30)?;
    let contests: Vec<Contest> = scene
        .admin
        .get(&format!("/projects/{}/contests", scene.project))?;
    let contest = contests.first().context("the contest is in the list")?.clone();
    for job in &contest.jobs {
        scene.finish_completions(job.id)?;
    }
    let favoured = written_by(&scene, adapter)?;
    admin.leave()?;

    // One has judged all, the second some, when the server dies; nothing of it is lost.
    judge(&scene, &people[0], &favoured, usize::MAX)?;
    judge(&scene, &people[1], &favoured, 5)?;
    scene.server.kill_and_restart()?;
    ensure!(now(&scene, &contest)?.status == ContestStatus::Open);
    judge(&scene, &people[1], &favoured, usize::MAX)?;
    admin.open(&format!("/contests/{}", contest.id))?;
    admin.attribute_becomes("contest-status", "data-status", "open", 30)?;
    is_accessible(&admin)?;
    judge(&scene, &people[2], &favoured, usize::MAX)?;
    admin.attribute_becomes("contest-status", "data-status", "decided", 30)?;

    admin.click("contest-round")?;
    admin.attribute_becomes("gate", "data-gate", "accepted", 30)?;
    admin.sees_no("without-gate")?;
    admin.fill("promote-reason", "Three people prefer it.")?;
    admin.click("promote")?;
    admin.sees("is-current")?;

    let name = &round.name;
    let overview = format!("/projects/{}", scene.project);
    admin.open(&overview)?;
    admin.reads("current", name)?;
    is_accessible(&admin)?;
    ensure!(ordered_from_the_form(&scene, &admin)?.request.adapter == Some(adapter));
    admin.open(&format!("{overview}/ladder"))?;
    until(30, "both on the ladder", || Ok(admin.count("rung")? == 2))?;
    is_accessible(&admin)?;

    admin.open(&overview)?;
    admin.click("roll-back")?;
    admin.reads("current", "Base model")?;
    ensure!(ordered_from_the_form(&scene, &admin)?.request.adapter.is_none());
    admin.must_be_quiet()
}

/// Some labels, and a short DPO round at a rate that changes what the model says.
fn round_on_first_labels(scene: &mut Scene, person: &Api) -> Result<Round> {
    scene.complete(&scene::completions(2, 16, 3, None))?;
    let path = format!("/projects/{}/assignments", scene.project);
    let mut held: Held = person.post(&path, &Hold { n: 1 })?;
    while let Some(task) = held.assignments.first() {
        held = person.post(
            &format!("/assignments/{}/annotation", task.id),
            &shorter_wins(task),
        )?;
    }
    let spec = RoundSpec {
        kind: RoundKind::Dpo,
        adapter: Default::default(),
        hyper: Hyper {
            learning_rate: 2e-3,
            max_steps: 6,
            epochs: 10,
            batch_size: 2,
            eval_every: 0,
            ..Hyper::for_kind(RoundKind::Dpo)
        },
        reward: None,
        seed: 5,
    };
    let id = scene.queue_round(&NewRound {
        name: "The new one".into(),
        spec,
        starting_adapter: None,
        reward_adapter: None,
    })?;
    scene.finish_round(id)
}

/// What this adapter answered: how the test knows whose answers it prefers. The people are not told.
fn written_by(scene: &Scene, adapter: AdapterId) -> Result<BTreeSet<String>> {
    let by = |completion: &laurel_protocol::Completion| {
        let origin = completion.origin.as_ref();
        origin.is_some_and(|origin| origin.adapter == Some(adapter))
    };
    let all = scene.completions()?;
    Ok(all
        .into_iter()
        .filter(by)
        .map(|completion| completion.text)
        .collect())
}

/// Answers at most so many tasks for the favoured answers.
fn judge(scene: &Scene, person: &Api, favoured: &BTreeSet<String>, most: usize) -> Result<()> {
    let path = format!("/projects/{}/assignments", scene.project);
    let mut held: Held = person.post(&path, &Hold { n: 1 })?;
    for _ in 0..most {
        let Some(task) = held.assignments.first() else {
            return Ok(());
        };
        held = person.post(
            &format!("/assignments/{}/annotation", task.id),
            &answer(task, favoured),
        )?;
    }
    Ok(())
}

fn answer(task: &Assignment, favoured: &BTreeSet<String>) -> Answer {
    let is_first = favoured.contains(&task.completions[0].text);
    Answer {
        judgement: Judgement::Pick {
            choice: if is_first { Choice::First } else { Choice::Second },
            strength: None,
        },
        comment: String::new(),
        extras: Default::default(),
        seconds: 1.0,
        revision: task.revision,
    }
}

fn now(scene: &Scene, contest: &Contest) -> Result<Contest> {
    scene.admin.get(&format!("/contests/{}", contest.id))
}

/// Presses the button of the form as it is, and gives the job that came of it.
fn ordered_from_the_form(scene: &Scene, admin: &Browser) -> Result<CompletionJob> {
    let path = format!("/projects/{}/completion-jobs", scene.project);
    let before = scene.admin.get::<Vec<CompletionJob>>(&path)?.len();
    admin.fill("n-prompts-limit", "1")?;
    admin.fill("max-tokens", "8")?;
    admin.click("start-completions")?;
    until(JOB_SECONDS, "the ordered job", || {
        Ok(scene.admin.get::<Vec<CompletionJob>>(&path)?.len() > before)
    })?;
    let jobs: Vec<CompletionJob> = scene.admin.get(&path)?;
    jobs.into_iter().next().context("the newest comes first")
}

fn is_accessible(browser: &Browser) -> Result<()> {
    for width in [1280, 360] {
        browser.resize(width, 900)?;
        let violations = browser.accessibility_violations()?;
        ensure!(
            violations.is_empty(),
            "{} at {width}: {violations:#?}",
            browser.path()?
        );
    }
    browser.resize(1280, 900)
}
