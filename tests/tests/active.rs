//! Active selection over real processes: people label, a trainer computes features and scores the open tasks, and the
//! least sure task is handed out next.

use anyhow::{Context, Result, ensure};
use laurel_protocol::{
    Answer, Assignment, Choice, Held, Hold, Hyper, JobStatus, Judgement, NewRound, ProjectId,
    ProjectSettings, Round, RoundKind, RoundSpec, Scoring, ScoringReason, Selection, WorkPrompt,
};
use laurel_tests::{
    Browser, Scripted, TestTrainer, scene,
    server::{ADMIN, PASSWORD},
    within,
};
use std::ops::Range;

const SECONDS: u64 = 240;
const LABELLED: Range<usize> = 1..13;
/// Tasks whose two answers differ in a comma.
const ALIKE: Range<usize> = 13..25;
/// Tasks whose answers have nothing in common.
const DIFFERENT: Range<usize> = 25..31;

#[test]
fn the_task_that_the_model_is_least_sure_about_is_handed_out_next() -> Result<()> {
    let scripted = Scripted::start()?;
    let settings = ProjectSettings {
        selection: Selection {
            active: true,
            explore_percent: 0,
        },
        ..scene::pick(1)
    };
    let project = scripted.project_with(&settings, DIFFERENT.end - 1, &answer)?;
    let given: Vec<usize> = LABELLED
        .map(|_| label(&scripted, project))
        .collect::<Result<_>>()?;
    assert_eq!(
        given,
        LABELLED.collect::<Vec<_>>(),
        "as they were made, while nothing is known"
    );

    // The tenth label ordered a scoring, which waits for a trainer.
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/projects/{project}"))?;
    browser.attribute_becomes("scoring", "data-status", "queued", SECONDS)?;
    let mut trainer = TestTrainer::start(&scripted.server)?;
    browser.attribute_becomes("scoring", "data-status", "done", SECONDS)?;
    let done = newest(&scripted, project)?;
    let n_open = (ALIKE.len() + DIFFERENT.len()) as u64;
    assert_eq!(
        (done.n_tasks, done.n_comparisons, done.adapter),
        (n_open, LABELLED.len() as u64, None)
    );
    // The next one was held already when the tenth label came in.
    assert!(ALIKE.contains(&label(&scripted, project)?));
    // Two answers that have nothing in common tell more than two that differ in a comma. What comes behind is what is left
    // open with the first one answered: not the next one of its kind, which would tell much the same.
    let given: Vec<usize> = (0..=DIFFERENT.len())
        .map(|_| label(&scripted, project))
        .collect::<Result<_>>()?;
    assert!(DIFFERENT.contains(&given[0]), "questions {given:?}");

    // A reward model is new: its features are used from now on, without anybody asking.
    let round = reward_round(&scripted, project)?;
    let scored = within(SECONDS, "the scoring by the reward model", || {
        trainer.must_run()?;
        let scoring = newest(&scripted, project)?;
        ensure!(scoring.status != JobStatus::Failed, "{scoring:?}");
        let is_new = scoring.reason == ScoringReason::RewardModel && scoring.status == JobStatus::Done;
        Ok(is_new.then_some(scoring))
    })?;
    assert_eq!(scored.model, round.name);
    assert_eq!(scored.n_tasks, ALIKE.len() as u64 - 2);

    browser.open(&format!("/projects/{project}"))?;
    browser.click("score-tasks")?;
    within(SECONDS, "the scoring that was asked for", || {
        let scoring = newest(&scripted, project)?;
        Ok((scoring.reason == ScoringReason::Asked && scoring.status == JobStatus::Done).then_some(()))
    })?;
    browser.must_be_quiet()
}

fn answer(prompt: &WorkPrompt, index: u32) -> String {
    let number = number(&prompt.messages[0].content);
    let (one, other) = match number {
        n if ALIKE.contains(&n) => (
            format!("It is {n}, as far as I know."),
            format!("It is {n} as far as I know."),
        ),
        n if DIFFERENT.contains(&n) => (
            format!("Rivers run to the sea, and {n} of them are long enough to be known by name!"),
            format!("no no no {n} {n} ???"),
        ),
        n => (
            format!("Of course: the number is {n}. Ask me for more."),
            format!("{n}"),
        ),
    };
    if index == 0 { one } else { other }
}

fn number(text: &str) -> usize {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// Answers the next task: the longer answer is better. Gives the number of its question.
fn label(scripted: &Scripted, project: ProjectId) -> Result<usize> {
    let held: Held = scripted
        .admin
        .post(&format!("/projects/{project}/assignments"), &Hold { n: 1 })?;
    let task: &Assignment = held.assignments.first().context("there is a task")?;
    let lengths = [0, 1].map(|at| task.completions[at].text.len());
    let choice = if lengths[0] > lengths[1] {
        Choice::First
    } else {
        Choice::Second
    };
    let answer = Answer {
        judgement: Judgement::Pick {
            choice,
            strength: None,
        },
        comment: String::new(),
        extras: Default::default(),
        seconds: 1.0,
        revision: task.revision,
    };
    let _: Held = scripted
        .admin
        .post(&format!("/assignments/{}/annotation", task.id), &answer)?;
    Ok(number(&task.prompt[0].html))
}

fn newest(scripted: &Scripted, project: ProjectId) -> Result<Scoring> {
    let all: Vec<Scoring> = scripted.admin.get(&format!("/projects/{project}/scorings"))?;
    all.into_iter().next().context("there is a scoring")
}

fn reward_round(scripted: &Scripted, project: ProjectId) -> Result<Round> {
    let hyper = Hyper {
        max_steps: 2,
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
    scripted.admin.post(&format!("/projects/{project}/rounds"), &new)
}
