//! A backup while people label: everything that was acknowledged before it began is in it, and a server runs on what is
//! restored from it.

use anyhow::{Context, Result};
use laurel_protocol::{
    Adapter, Answer, Choice, Held, Hold, Judgement, ProjectId, RankingRow, RoundKind, TaskId,
};
use laurel_tests::{Api, Scripted, TestServer, process::output, scene, within};
use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

const N_PEOPLE: usize = 4;
const N_TASKS: usize = 1500;

#[test]
fn a_backup_in_a_storm_of_answers_has_all_that_was_acknowledged_before_it_and_serves() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), N_TASKS)?;
    scripted.answer(project, 1)?;
    let adapter = scripted.train(project, RoundKind::Dpo)?;
    let people: Vec<Api> = (0..N_PEOPLE)
        .map(|n| scripted.server.annotator(&format!("person {n}")))
        .collect::<Result<_>>()?;
    let out = scripted.server.folder().join("backup");
    let (stop, n_answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let acknowledged = Mutex::new(BTreeSet::new());
    let before = thread::scope(|scope| -> Result<_> {
        let storm = || {
            for person in &people {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let Ok(Some(id)) = answer(person, project) else {
                            break;
                        };
                        acknowledged.lock().expect("no holder panics").insert(id);
                        n_answers.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        };
        storm();
        within(60, "the storm to rise", || {
            Ok((n_answers.load(Ordering::SeqCst) >= 40).then_some(()))
        })?;
        let before = acknowledged.lock().expect("no holder panics").clone();
        let backup = output(scripted.server.command(&["backup"]).arg("--out").arg(&out));
        let during = n_answers.load(Ordering::SeqCst) - before.len();
        stop.store(true, Ordering::SeqCst);
        backup?;
        assert!(during > 0, "nobody answered while the backup was made");
        Ok(before)
    })?;

    let restored = TestServer::restored_from(&out)?;
    let admin = restored.script_access(laurel_tests::server::ADMIN)?;
    let rows = admin.get_text(&format!("/projects/{project}/export?format=ranking"))?;
    let rows: Vec<RankingRow> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let there: BTreeSet<TaskId> = rows.iter().map(|row| row.task_id).collect();
    assert_eq!(there.len(), rows.len(), "no answer is there twice");
    let lost: Vec<_> = before.difference(&there).collect();
    assert!(
        lost.is_empty(),
        "acknowledged before the backup began, and not in it: {lost:?}"
    );
    // And it goes on: people label on what was restored.
    assert!(answer(&restored.script_access("person 0")?, project)?.is_some());
    let adapters: Vec<Adapter> = admin.get(&format!("/projects/{project}/adapters"))?;
    assert_eq!(adapters, std::slice::from_ref(&adapter));
    let file = format!("/adapters/{}/files/adapter_model.safetensors", adapter.id);
    assert_eq!(admin.get_bytes(&file)?, scripted.admin.get_bytes(&file)?);
    Ok(())
}

/// Answers the next task: which one it was, none when there is nothing left.
fn answer(person: &Api, project: ProjectId) -> Result<Option<TaskId>> {
    let held: Held = person.post(&format!("/projects/{project}/assignments"), &Hold { n: 1 })?;
    let Some(task) = held.assignments.first() else {
        return Ok(None);
    };
    let answer = Answer {
        judgement: Judgement::Pick {
            choice: Choice::Second,
            strength: None,
        },
        comment: String::new(),
        extras: Default::default(),
        seconds: 1.0,
        revision: task.revision,
    };
    let _: Held = person
        .post(&format!("/assignments/{}/annotation", task.id), &answer)
        .context("answer")?;
    Ok(Some(task.task_id))
}
