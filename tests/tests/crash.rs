//! `kill -9` of the server, then of the trainer, under ten scripted annotators.

use anyhow::{Result, bail};
use laurel_protocol::{
    Answer, Assignment, CompletionJobId, ErrorCode, Held, Hold, Hyper, JobStatus, NewRound, RankingRow,
    Round, RoundKind, RoundSpec,
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
    let mut scene = Scene::start(
        TestServer::with_leases(5)?,
        &scene::pick(OVERLAP),
        &scene::sample_prompts(N_PROMPTS)?,
    )?;
    let annotators: Vec<(String, Api)> = (0..N_ANNOTATORS)
        .map(|at| {
            let name = format!("annotator {at}");
            let api = scene.server.annotator(&name)?;
            Ok((name, api))
        })
        .collect::<Result<_>>()?;
    let job = scene.queue_completions(&scene::completions(2, 12, 3, None))?;

    let n_acknowledged = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let path = format!("/projects/{}/assignments", scene.project);
    let acknowledged: Vec<String> = thread::scope(|scope| -> Result<Vec<String>> {
        let threads: Vec<_> = annotators
            .iter()
            .map(|(name, api)| scope.spawn(|| annotate(name, api, &path, &n_acknowledged, &over)))
            .collect();
        let kills = kill_while_they_work(&mut scene, job, &n_acknowledged, &mut random);
        over.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().expect("an annotator panicked")?);
        }
        kills.map(|()| all)
    })?;

    let n_tasks = scene.counts()?.n_tasks as usize;
    let wanted = n_tasks * usize::from(OVERLAP);
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
    assert_eq!(scene.counts()?.n_annotations as usize, wanted);
    // Each answer carries a mark of its own: every acknowledged one is there, once.
    assert!(
        acknowledged.len() >= wanted / 2,
        "the kills left few answers to check"
    );
    for mark in &acknowledged {
        let n = rows.iter().filter(|row| row.comment == *mark).count();
        assert_eq!(n, 1, "the acknowledged answer {mark:?} is there {n} times");
    }
    finish_a_round_through_kills(&mut scene, &mut random)
}

/// The trainer in the middle of its completions, then the server again and again, at random moments.
fn kill_while_they_work(
    scene: &mut Scene,
    job: CompletionJobId,
    n_acknowledged: &AtomicUsize,
    random: &mut fastrand::Rng,
) -> Result<()> {
    let reaches = |at: usize| {
        until(120, &format!("{at} answers"), || {
            Ok(n_acknowledged.load(Ordering::SeqCst) >= at)
        })
    };
    reaches(random.usize(1..8))?;
    scene.trainer.kill_and_restart()?;
    reaches(random.usize(8..16))?;
    scene.server.kill_and_restart()?;
    let job = scene.finish_completions(job)?;
    assert_eq!(job.n_done, job.n_total);
    let wanted = scene.counts()?.n_tasks as usize * usize::from(OVERLAP);
    let begun = n_acknowledged.load(Ordering::SeqCst);
    for kill in 1..=N_KILLS {
        // A random moment of each stretch of what is left.
        let stretch = wanted.saturating_sub(begun) / (N_KILLS + 1);
        reaches((begun + stretch * kill).saturating_sub(random.usize(0..=stretch / 2)))?;
        scene.server.kill_and_restart()?;
    }
    until(120, "every slot to be filled", || {
        Ok(scene.counts()?.n_annotations as usize >= wanted)
    })
}

/// Works until told that it is over; returns the marks of the answers that the server acknowledged.
fn annotate(
    name: &str,
    api: &Api,
    path: &str,
    n_acknowledged: &AtomicUsize,
    over: &AtomicBool,
) -> Result<Vec<String>> {
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
        let mark = format!("assignment {} by {name}", assignment.id);
        assert!(
            !acknowledged.contains(&mark),
            "{mark} was handed out again after its answer"
        );
        if answer(api, assignment, &mark, over)? {
            acknowledged.push(mark);
            n_acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        // A person takes a moment, too: the kills then meet people in all stages of their work.
        thread::sleep(Duration::from_millis(fastrand::u64(5..40)));
    }
    Ok(acknowledged)
}

/// Sends the same answer until the server takes it (true) or says that the slot is someone else's (false).
fn answer(api: &Api, assignment: &Assignment, mark: &str, over: &AtomicBool) -> Result<bool> {
    let answer = Answer {
        comment: mark.to_owned(),
        ..shorter_wins(assignment)
    };
    let body = serde_json::to_string(&answer)?;
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
        reward: None,
        seed: 5,
    };
    let id = scene.queue_round(&NewRound {
        name: String::new(),
        spec,
        starting_adapter: None,
        reward_adapter: None,
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
