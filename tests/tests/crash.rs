//! `kill -9` of the server, then of the trainer, under ten scripted annotators.

use anyhow::{Result, bail};
use laurel_protocol::{
    Assignment, ErrorCode, Held, Hold, Hyper, JobStatus, NewRound, RankingRow, Round, RoundKind, RoundSpec,
};
use laurel_tests::{Api, Scene, TestServer, scene, shorter_wins, until};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

const OVERLAP: u8 = 3;
const N_PROMPTS: usize = 24;
const N_ANNOTATORS: usize = 10;
const N_KILLS: usize = 3;
const SEED: u64 = 20;

#[test]
fn killing_server_and_trainer_loses_and_doubles_nothing() -> Result<()> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut scene = Scene::start(TestServer::with_leases(5)?, &scene::pick(OVERLAP), N_PROMPTS)?;
    let request = scene::completions(2, 12, 3, None);
    let job = scene.complete(&request)?;
    assert_eq!(job.n_done, job.n_total);
    let annotators: Vec<Api> = (0..N_ANNOTATORS)
        .map(|at| scene.server.annotator(&format!("annotator {at}")))
        .collect::<Result<_>>()?;

    let n_acknowledged = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let n_tasks = scene.counts()?.n_tasks as usize;
    let wanted = n_tasks * usize::from(OVERLAP);
    let acknowledged: Vec<i64> = thread::scope(|scope| -> Result<Vec<i64>> {
        let work = |api: Api| {
            let (n_acknowledged, over, project) = (&n_acknowledged, &over, scene.project);
            move || {
                annotate(
                    &api,
                    &format!("/projects/{project}/assignments"),
                    n_acknowledged,
                    over,
                )
            }
        };
        let threads: Vec<_> = annotators
            .iter()
            .map(|api| scope.spawn(work(api.clone())))
            .collect();
        let kills = (|| -> Result<()> {
            for kill in 1..=N_KILLS {
                // A random moment of each stretch of the work.
                let at = wanted * kill / (N_KILLS + 1) - random.usize(0..wanted / (2 * N_KILLS));
                until(120, "the annotators", || {
                    Ok(n_acknowledged.load(Ordering::SeqCst) >= at)
                })?;
                scene.server.kill_and_restart()?;
            }
            until(120, "every slot to be filled", || {
                Ok(scene.counts()?.n_annotations as usize >= wanted)
            })
        })();
        over.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().expect("an annotator panicked")?);
        }
        kills.map(|()| all)
    })?;

    let export = scene
        .admin
        .get_text(&format!("/projects/{}/export?format=ranking", scene.project))?;
    let rows: Vec<RankingRow> = export
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect::<Result<_>>()?;
    let mut by_task: BTreeMap<Vec<i64>, Vec<&str>> = BTreeMap::new();
    for row in &rows {
        let mut task: Vec<i64> = row.completions.iter().map(|completion| completion.id.0).collect();
        task.sort_unstable();
        by_task.entry(task).or_default().push(&row.annotator);
    }
    assert_eq!(by_task.len(), n_tasks);
    for (task, annotators) in &mut by_task {
        annotators.sort_unstable();
        annotators.dedup();
        assert_eq!(
            annotators.len(),
            usize::from(OVERLAP),
            "task {task:?} by different people"
        );
    }
    assert_eq!(rows.len(), wanted, "one row for each slot");
    assert!(
        acknowledged.len() <= wanted,
        "more answers acknowledged than slots"
    );
    assert_eq!(scene.counts()?.n_annotations as usize, wanted);
    finish_a_round_through_kills(&mut scene, &mut random)
}

/// Works until there is nothing left; returns the assignments whose answers the server acknowledged.
fn annotate(api: &Api, path: &str, n_acknowledged: &AtomicUsize, over: &AtomicBool) -> Result<Vec<i64>> {
    let mut acknowledged = Vec::new();
    while !over.load(Ordering::SeqCst) {
        // An answer that never came is asked again: the server may be down at this moment.
        let Ok(held) = api.post::<Held>(path, &Hold { n: 1 }) else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        let Some(assignment) = held.assignments.first() else {
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        if answer(api, assignment, over)? {
            acknowledged.push(assignment.id.0);
            n_acknowledged.fetch_add(1, Ordering::SeqCst);
        }
    }
    let mut distinct = acknowledged.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(
        distinct.len(),
        acknowledged.len(),
        "an answered assignment was handed out again"
    );
    Ok(acknowledged)
}

/// Sends the same answer until the server takes it (true) or says that the slot is someone else's (false).
fn answer(api: &Api, assignment: &Assignment, over: &AtomicBool) -> Result<bool> {
    let body = serde_json::to_string(&shorter_wins(assignment))?;
    let path = format!("/assignments/{}/annotation", assignment.id);
    loop {
        match api.send("POST", &path, &[], &body) {
            Ok(answered) if answered.status == 200 => return Ok(true),
            Ok(answered) if answered.code() == Some(ErrorCode::LeaseLost) => return Ok(false),
            Ok(answered) if answered.status != 503 => bail!("an answer was refused: {answered:?}"),
            // Not acknowledged: the same answer again is harmless.
            _ if over.load(Ordering::SeqCst) => return Ok(false),
            _ => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A DPO round ends although the trainer, then the server, is killed in the middle of it.
fn finish_a_round_through_kills(scene: &mut Scene, random: &mut fastrand::Rng) -> Result<()> {
    let hyper = Hyper {
        max_steps: 6,
        epochs: 10,
        batch_size: 2,
        checkpoint_every: 1,
        eval_every: 0,
        ..Hyper::for_kind(RoundKind::Dpo)
    };
    let spec = RoundSpec {
        kind: RoundKind::Dpo,
        adapter: Default::default(),
        hyper,
        seed: 5,
    };
    let id = scene.queue_round(&NewRound {
        name: String::new(),
        spec,
        starting_adapter: None,
    })?;
    let at = random.u64(1..3);
    let path = format!("/rounds/{id}");
    until(300, "the round's first steps", || {
        Ok(scene.admin.get::<Round>(&path)?.step >= at)
    })?;
    scene.trainer.kill_and_restart()?;
    scene.server.kill_and_restart()?;
    let round = scene.finish_round(id)?;
    assert_eq!(round.status, JobStatus::Done);
    assert!(
        round.n_attempts >= 2,
        "the killed trainer's round was not taken up again: {round:?}"
    );
    let adapter = scene.adapter(round.adapter.expect("a finished round has an adapter"))?;
    assert!(adapter.is_some_and(|adapter| adapter.size_bytes > 0));
    Ok(())
}
