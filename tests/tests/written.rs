//! What people write, followed to where it is learnt: an edit and an answer of one's own are rows of an SFT round that
//! the real trainer runs.

use anyhow::{Context, Result, bail};
use laurel_protocol::{
    Answer, Choice, Edit, Extras, Held, Hold, Hyper, JobStatus, Judgement, NewRound, Preview,
    ProjectSettings, Questions, Round, RoundKind, RoundSpec,
};
use laurel_tests::{Scripted, TestTrainer, scene, within};

/// Longest wait for a round of two steps on a slow machine.
const ROUND_SECONDS: u64 = 300;

#[test]
fn an_sft_round_learns_from_edits_and_demonstrations_beside_chosen_answers() -> Result<()> {
    let settings = ProjectSettings {
        questions: Questions {
            edit: true,
            demonstration: true,
            ..Questions::default()
        },
        ..scene::pick(1)
    };
    let scripted = Scripted::start()?;
    let project = scripted.project(&settings, 2)?;
    let path = format!("/projects/{project}/assignments");
    for n in 1..=2 {
        let held: Held = scripted.admin.post(&path, &Hold { n: 1 })?;
        let task = held.assignments.first().context("there is a task")?;
        let answer = Answer {
            judgement: Judgement::Pick {
                choice: Choice::First,
                strength: None,
            },
            comment: String::new(),
            extras: Extras {
                edits: vec![Edit {
                    position: 1,
                    text: format!("edited {n}"),
                }],
                demonstration: Some(format!("my own {n}")),
                ..Extras::default()
            },
            seconds: 1.0,
            revision: task.revision,
        };
        let _: Held = scripted
            .admin
            .post(&format!("/assignments/{}/annotation", task.id), &answer)?;
    }
    let spec = RoundSpec {
        kind: RoundKind::Sft,
        adapter: Default::default(),
        hyper: Hyper {
            max_steps: 2,
            held_out: 0.0,
            ..Hyper::for_kind(RoundKind::Sft)
        },
        reward: None,
        seed: 1,
    };
    let new = NewRound {
        name: String::new(),
        spec,
        starting_adapter: None,
        reward_adapter: None,
    };
    let round: Round = scripted
        .admin
        .post(&format!("/projects/{project}/rounds"), &new)?;
    let rows = scripted.admin.get_text(&format!("/rounds/{}/rows", round.id))?;
    let n_own = rows.lines().filter(|row| row.contains("my own")).count();
    let n_edited = rows.lines().filter(|row| row.contains("edited")).count();
    assert_eq!((rows.lines().count(), n_edited, n_own), (6, 2, 2), "{rows}");

    let mut trainer = TestTrainer::start(&scripted.server)?;
    let done: Round = within(ROUND_SECONDS, "the round", || {
        trainer.must_run()?;
        let round: Round = scripted.admin.get(&format!("/rounds/{}", round.id))?;
        match round.status {
            JobStatus::Done => Ok(Some(round)),
            JobStatus::Failed | JobStatus::Aborted => bail!("{:?}", round.error),
            _ => Ok(None),
        }
    })?;
    assert!(done.adapter.is_some());
    let preview: Preview = scripted.admin.get(&format!("/rounds/{}/preview", round.id))?;
    let shown: Vec<String> = preview
        .rows
        .iter()
        .map(|row| row.tokens.iter().map(|token| token.text.as_str()).collect())
        .collect();
    assert!(
        shown.iter().any(|text: &String| text.contains("my own 1")),
        "{shown:?}"
    );
    Ok(())
}
