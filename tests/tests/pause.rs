//! Pausing a round from its page: it survives restarts, and comes to the weights of a round that nobody paused, on the
//! trainer that has its checkpoint as on one that has not.

use anyhow::{Context, Result};
use laurel_protocol::{
    Adapter, Hyper, JobStatus, LogLine, NewRound, ProjectId, Round, RoundId, RoundKind, RoundSpec,
};
use laurel_tests::{
    Browser, Scripted, TestTrainer, scene,
    server::{ADMIN, PASSWORD},
    until, within,
};
use serde_json::json;
use std::fs;

const JOB_SECONDS: u64 = 240;

#[test]
fn a_paused_round_comes_to_the_same_weights_with_its_checkpoint_and_without() -> Result<()> {
    let mut scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), 4)?;
    scripted.answer(project, 4)?;
    let whole = queue(&scripted, project)?;
    let paused = queue(&scripted, project)?;
    let mut trainer = TestTrainer::start(&scripted.server)?;
    let expected = weights(&scripted, whole)?;

    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in(ADMIN, PASSWORD)?;
    browser.open(&format!("/rounds/{paused}"))?;
    reaches(&scripted, paused, 2)?;
    browser.click("pause-round")?;
    browser.attribute_becomes("round-status", "data-status", "paused", JOB_SECONDS)?;
    let standing = load(&scripted, paused)?;
    // Neither a new server nor a new trainer takes it up.
    scripted.server.kill_and_restart()?;
    trainer.kill_and_restart()?;
    browser.open(&format!("/rounds/{paused}"))?;
    browser.attribute_becomes("round-status", "data-status", "paused", JOB_SECONDS)?;
    browser.console_errors()?; // of the stream that the killed server broke
    browser.click("resume-round")?;
    reaches(&scripted, paused, standing.step + 1)?;

    // As on a trainer that never had it: its checkpoint is gone.
    let _: Round = scripted
        .admin
        .post(&format!("/rounds/{paused}/pause"), &json!({}))?;
    browser.attribute_becomes("round-status", "data-status", "paused", JOB_SECONDS)?;
    until(30, "the trainer to let go of the round", || {
        Ok(load(&scripted, paused)?.status == JobStatus::Paused)
    })?;
    fs::remove_dir_all(scripted.server.folder().join("laurel-work"))?;
    fs::create_dir(scripted.server.folder().join("laurel-work"))?;
    browser.click("resume-round")?;
    assert_eq!(weights(&scripted, paused)?, expected);
    let log: Vec<LogLine> = scripted.admin.get(&format!("/rounds/{paused}/log"))?;
    let n_lines = |words: &str| log.iter().filter(|line| line.text.contains(words)).count();
    assert_eq!(n_lines("Going on from the checkpoint"), 1, "{log:#?}");
    assert_eq!(n_lines("it starts over"), 1, "{log:#?}");
    let round = load(&scripted, paused)?;
    assert_eq!((round.n_attempts, round.status), (3, JobStatus::Done));
    browser.must_be_quiet()
}

/// A reward round of many short steps. It writes no checkpoint of its own accord.
fn queue(scripted: &Scripted, project: ProjectId) -> Result<RoundId> {
    let hyper = Hyper {
        epochs: 100,
        max_steps: 24,
        batch_size: 2,
        held_out: 0.0,
        eval_every: 0,
        checkpoint_every: 1000,
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
    Ok(round.id)
}

fn load(scripted: &Scripted, id: RoundId) -> Result<Round> {
    scripted.admin.get(&format!("/rounds/{id}"))
}

fn reaches(scripted: &Scripted, id: RoundId, step: u64) -> Result<()> {
    until(JOB_SECONDS, &format!("step {step}"), || {
        let round = load(scripted, id)?;
        assert!(!round.status.is_over(), "it was too fast to be paused: {round:?}");
        Ok(round.step >= step)
    })
}

/// The hash of the adapter that the round ends with.
fn weights(scripted: &Scripted, id: RoundId) -> Result<String> {
    let round = within(JOB_SECONDS, "the end of the round", || {
        let round = load(scripted, id)?;
        assert!(
            !matches!(round.status, JobStatus::Failed | JobStatus::Aborted),
            "{round:?}"
        );
        Ok((round.status == JobStatus::Done).then_some(round))
    })?;
    let adapters: Vec<Adapter> = scripted
        .admin
        .get(&format!("/projects/{}/adapters", round.project_id))?;
    let made = adapters
        .into_iter()
        .find(|adapter| Some(adapter.id) == round.adapter);
    Ok(made.context("a finished round has an adapter")?.hash)
}
