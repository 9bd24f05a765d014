//! Active selection: who is given which task, when the open tasks are scored, and what a trainer may say about them.

use crate::{
    app::Caller,
    scene::{Scene, done, order, pick, plain, round, settings},
};
use laurel_protocol::*;
use laurel_server::{clock, store::leases};
use std::collections::BTreeMap;

const ENOUGH: usize = Scoring::MIN_COMPARISONS as usize;
const EVERY: usize = Scoring::EVERY_ANNOTATIONS as usize;

/// A pick project with so many tasks, and active selection with this share of others.
async fn scene(n_tasks: usize, explore_percent: u8) -> Scene {
    let selection = Selection {
        active: true,
        explore_percent,
    };
    let settings = ProjectSettings {
        selection,
        ..settings(LabelType::Pick, 2)
    };
    let scene = Scene::new(&settings, n_tasks).await;
    scene.complete(&order(2), plain).await;
    scene
}

/// The admin answers so many tasks, and holds the next one.
async fn label(scene: &Scene, n: usize) -> Vec<TaskId> {
    label_as(scene, &scene.admin, n).await
}

async fn label_as(scene: &Scene, who: &Caller, n: usize) -> Vec<TaskId> {
    let mut tasks = Vec::new();
    for _ in 0..n {
        let answered = scene.answer(who, |shown| pick(Choice::First, shown)).await;
        tasks.push(answered.task_id);
    }
    tasks
}

async fn scorings(scene: &Scene) -> Vec<Scoring> {
    scene.admin.get(&scene.path("/scorings")).await.json()
}

fn path(job: &LeasedJob, rest: &str) -> String {
    format!("/worker/jobs/{}/{rest}", job.job_id)
}

/// Does the scoring that waits: each open task gets what this says of its number among them.
async fn score(scene: &Scene, uncertainty: impl Fn(usize) -> Option<f64>) -> Vec<TaskId> {
    let (job, holder) = scene.lease().await;
    assert!(matches!(job.work, Work::Scoring { .. }), "{job:?}");
    let tasks: Vec<WorkTask> = holder.get(&path(&job, "tasks")).await.lines();
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.task_id).collect();
    let told = ids.iter().enumerate().filter_map(|(at, task)| {
        Some(TaskUncertainty {
            task_id: *task,
            uncertainty: uncertainty(at)?,
        })
    });
    tell(&holder, &job, told.collect()).await;
    let end = holder.post(&path(&job, "finish"), &done()).await;
    assert_eq!(end.status, 204, "{end:?}");
    ids
}

async fn tell(holder: &Caller, job: &LeasedJob, tasks: Vec<TaskUncertainty>) {
    let told = Uncertainties {
        n_comparisons: 10,
        tasks,
    };
    let _: Directive = holder.make(&path(job, "uncertainties"), &told).await;
}

#[tokio::test]
async fn the_least_sure_task_comes_first_and_one_without_a_score_last() {
    let scene = scene(ENOUGH + 5, 0).await;
    label(&scene, ENOUGH).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let ids = score(&scene, |at| {
        [Some(0.6), Some(0.1), None, Some(0.5), Some(0.3)][at]
    })
    .await;
    // The admin holds the first of them.
    let given = label_as(&scene, &ada, 4).await;
    assert_eq!(given, [ids[3], ids[4], ids[1], ids[2]]);
}

#[tokio::test]
async fn without_active_selection_scores_change_nothing() {
    let scene = Scene::with_tasks(ENOUGH + 3).await;
    label(&scene, ENOUGH).await;
    assert!(scorings(&scene).await.is_empty());
    let asked: Scoring = scene.admin.make(&scene.path("/scorings"), &()).await;
    assert_eq!(
        (asked.reason, asked.status),
        (ScoringReason::Asked, JobStatus::Queued)
    );
    let ids = score(&scene, |at| Some(0.1 * at as f64)).await;
    assert_eq!(label(&scene, 3).await, ids);
}

#[tokio::test]
async fn a_task_of_higher_priority_comes_before_any_doubt() {
    let scene = scene(ENOUGH + 4, 0).await;
    label(&scene, ENOUGH).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let ids = score(&scene, |at| Some(0.6 - 0.1 * at as f64)).await;
    let mut tx = scene.app.db.write().await.unwrap();
    sqlx::query("update task set priority = 1 where id = ?1")
        .bind(ids[3].0)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(label_as(&scene, &ada, 3).await, [ids[3], ids[1], ids[2]]);
}

#[tokio::test]
async fn exactly_the_explored_share_comes_in_the_usual_order() {
    let scene = scene(ENOUGH + 41, 25).await;
    label(&scene, ENOUGH).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    // The last made is the least sure, so the two orders never agree while more than one is open.
    let ids = score(&scene, |at| Some(0.01 * at as f64)).await;
    let given = label_as(&scene, &ada, 20).await;
    // The admin holds the first of them.
    let (mut open, mut n_usual) = (ids[1..].to_vec(), 0);
    for task in given {
        n_usual += usize::from(task == open[0]);
        assert!(task == open[0] || Some(&task) == open.last());
        open.retain(|other| *other != task);
    }
    assert_eq!(n_usual, 5);
}

#[tokio::test]
async fn people_who_label_at_once_are_given_different_tasks_the_least_sure_first() {
    let scene = scene(ENOUGH + 6, 0).await;
    label(&scene, ENOUGH).await;
    let ids = score(&scene, |at| Some(0.05 * at as f64)).await;
    let (ada, grace) = (
        scene.app.person("ada", Role::Annotator).await,
        scene.app.person("grace", Role::Annotator).await,
    );
    let held = tokio::join!(scene.hold(&ada, 2), scene.hold(&grace, 2));
    let mut tasks: Vec<TaskId> = [held.0, held.1]
        .iter()
        .flat_map(|held| held.assignments.iter().map(|one| one.task_id))
        .collect();
    tasks.sort();
    assert_eq!(tasks, ids[2..], "the four least sure ones, each once");
}

#[tokio::test]
async fn labels_order_a_scoring_when_they_are_enough_and_never_a_second_one() {
    let scene = scene(ENOUGH + 3 * EVERY, 0).await;
    label(&scene, ENOUGH - 1).await;
    assert!(scorings(&scene).await.is_empty());
    label(&scene, 1).await;
    let first = &scorings(&scene).await[0];
    assert_eq!(
        (first.reason, first.adapter, first.model.as_str()),
        (ScoringReason::Labels, None, "base model")
    );
    label(&scene, EVERY).await;
    assert_eq!(scorings(&scene).await.len(), 1);
    score(&scene, |_| Some(0.1)).await; // and what has come meanwhile orders the next one
    let listed = scorings(&scene).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (listed[1].status, listed[1].n_tasks, listed[1].n_comparisons),
        (JobStatus::Done, 2 * EVERY as u64, 10)
    );
    score(&scene, |_| Some(0.1)).await;
    label(&scene, EVERY - 1).await;
    assert_eq!(scorings(&scene).await.len(), 2);
    label(&scene, 1).await;
    assert_eq!(scorings(&scene).await.len(), 3);
}

#[tokio::test]
async fn answers_that_compare_nothing_order_nothing() {
    let scene = scene(ENOUGH + 2, 0).await;
    for _ in 0..=ENOUGH {
        scene
            .answer(&scene.admin, |shown| pick(Choice::BothBad, shown))
            .await;
    }
    assert!(scorings(&scene).await.is_empty());
}

#[tokio::test]
async fn a_new_reward_model_orders_a_scoring_with_itself() {
    let scene = scene(ENOUGH + 4, 0).await;
    label(&scene, ENOUGH).await;
    score(&scene, |_| Some(0.1)).await;
    let adapter = scene.train_on(&round(RoundKind::Reward)).await;
    let listed = scorings(&scene).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (listed[0].reason, listed[0].adapter),
        (ScoringReason::RewardModel, Some(adapter.id))
    );
    assert_eq!(listed[0].model, adapter.name);
    // One that waits takes the newer one, and none is added.
    let newer = scene.train_on(&round(RoundKind::Reward)).await;
    let listed = scorings(&scene).await;
    assert_eq!((listed.len(), listed[0].adapter), (2, Some(newer.id)));
    let (job, holder) = scene.lease().await;
    let reference = job.adapter.as_ref().unwrap();
    assert_eq!((reference.id, &reference.hash), (newer.id, &newer.hash));
    let rows: Vec<PreferenceRow> = holder.get(&path(&job, "rows")).await.lines();
    assert_eq!(rows.len(), ENOUGH);
    // A policy orders none.
    let end = holder.post(&path(&job, "finish"), &done()).await;
    assert_eq!(end.status, 204, "{end:?}");
    scene.train().await;
    assert_eq!(scorings(&scene).await.len(), 2);
}

#[tokio::test]
async fn new_tasks_order_a_scoring_and_all_other_work_goes_before_it() {
    let scene = scene(ENOUGH + 1, 0).await;
    label(&scene, ENOUGH).await;
    scene.import(100..=101).await;
    let later: CompletionJob = scene.admin.make(&scene.path("/completion-jobs"), &order(2)).await;
    let (job, holder) = scene.lease().await;
    assert!(
        matches!(job.work, Work::Completions { .. }),
        "the scoring is older, and waits: {later:?}"
    );
    let failed = Outcome::Failed { error: "no".into() };
    assert_eq!(holder.post(&path(&job, "finish"), &failed).await.status, 204);
    score(&scene, |_| Some(0.2)).await;
    scene
        .complete(&order(2), |prompt, index| {
            format!("another {}", plain(prompt, index))
        })
        .await;
    let newest = &scorings(&scene).await[0];
    assert_eq!(
        (newest.reason, newest.status),
        (ScoringReason::Tasks, JobStatus::Queued)
    );
}

#[tokio::test]
async fn switching_it_on_scores_what_is_there() {
    let scene = Scene::with_tasks(ENOUGH + 2).await;
    label(&scene, ENOUGH).await;
    let selection = Selection {
        active: true,
        ..Selection::default()
    };
    let on = ProjectSettings {
        selection,
        ..settings(LabelType::Pick, 2)
    };
    let json = scene.admin.with("content-type", "application/json");
    let body = serde_json::to_string(&on).unwrap();
    let changed: Project = json.send("PUT", &scene.path("/settings"), body).await.json();
    assert_eq!(changed.settings.selection, selection);
    assert_eq!(scorings(&scene).await.len(), 1);
}

#[tokio::test]
async fn a_scoring_whose_trainer_fell_silent_is_taken_up_by_the_next() {
    let scene = scene(ENOUGH + 3, 0).await;
    label(&scene, ENOUGH).await;
    let (first, silent) = scene.lease().await;
    let report = Report {
        step: Some(7),
        n_steps: Some(26),
        seconds_left: Some(3.0),
        ..Report::default()
    };
    let _: Directive = silent.make(&path(&first, "report"), &report).await;
    let under_way = &scorings(&scene).await[0];
    assert_eq!((under_way.n_done, under_way.n_total), (7, Some(26)));
    let late = clock::now().plus_seconds(3600);
    leases::sweep(&scene.app.db, late).await.unwrap();
    let (second, holder) = scene.lease().await;
    assert_eq!((second.job_id, second.attempt), (first.job_id, 2));
    let told = Uncertainties {
        n_comparisons: 10,
        tasks: Vec::new(),
    };
    let lost = silent.post(&path(&first, "uncertainties"), &told).await;
    assert_eq!(lost.code(), ErrorCode::LeaseLost);
    tell(&holder, &second, Vec::new()).await;
    assert_eq!(scorings(&scene).await[0].status, JobStatus::Running);
}

#[tokio::test]
async fn what_is_no_uncertainty_of_an_open_task_is_refused_with_the_reason() {
    let scene = scene(ENOUGH + 3, 0).await;
    label(&scene, ENOUGH).await;
    let (job, holder) = scene.lease().await;
    let tasks: Vec<WorkTask> = holder.get(&path(&job, "tasks")).await.lines();
    assert_eq!(tasks.len(), 3);
    assert_eq!(tasks[0].completions.len(), 2);
    let id = tasks[0].task_id;
    let one = |task_id, uncertainty| Uncertainties {
        n_comparisons: 10,
        tasks: vec![TaskUncertainty { task_id, uncertainty }],
    };
    for (wrong, words) in [
        (one(id, 1.1), "from 0 to 1"),
        (one(id, -0.1), "from 0 to 1"),
        (
            one(TaskId(99_999), 0.1),
            "task 99999, which is none of this project's",
        ),
    ] {
        let refused = holder.post(&path(&job, "uncertainties"), &wrong).await.problem();
        assert_eq!((refused.status, refused.code), (422, ErrorCode::Invalid));
        assert!(refused.fields[0].reason.contains(words), "{refused:?}");
    }
    let shapeless = holder
        .post(
            &path(&job, "uncertainties"),
            &serde_json::json!({"tasks": [[1, 0.5]]}),
        )
        .await;
    assert_eq!(shapeless.code(), ErrorCode::BadRequest);
    // A part that is sent twice counts once, and an answered task is passed over.
    let answered = TaskId(1);
    for _ in 0..2 {
        tell(
            &holder,
            &job,
            vec![
                TaskUncertainty {
                    task_id: id,
                    uncertainty: 0.2,
                },
                TaskUncertainty {
                    task_id: answered,
                    uncertainty: 0.3,
                },
            ],
        )
        .await;
    }
    assert_eq!(scorings(&scene).await[0].n_tasks, 1);
}

#[tokio::test]
async fn only_a_scoring_takes_uncertainties_and_hands_out_tasks() {
    let scene = scene(2, 0).await;
    label(&scene, 1).await;
    let (job, holder) = scene.lease_round().await;
    let none = Uncertainties {
        n_comparisons: 0,
        tasks: Vec::new(),
    };
    let refused = holder.post(&path(&job, "uncertainties"), &none).await.problem();
    assert!(refused.fields[0].reason.contains("no scoring"), "{refused:?}");
    assert_eq!(holder.get(&path(&job, "tasks")).await.code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn an_admin_is_told_why_there_is_nothing_to_score_and_can_stop_what_runs() {
    let scene = Scene::with_tasks(ENOUGH + 1).await;
    let ask = || async { scene.admin.post(&scene.path("/scorings"), &()).await };
    let few = ask().await.problem();
    assert!(few.detail.contains("10 comparisons"), "{few:?}");
    label(&scene, ENOUGH).await;
    let asked: Scoring = ask().await.json();
    let twice = ask().await.problem();
    assert!(twice.detail.contains("under way already"), "{twice:?}");
    let (job, holder) = scene.lease().await;
    let stop = format!("/scorings/{}/abort", asked.id);
    let _: Scoring = scene.admin.make(&stop, &()).await;
    let told: Directive = holder.make(&path(&job, "report"), &Report::default()).await;
    assert!(told.abort);
    assert_eq!(
        holder.post(&path(&job, "finish"), &Outcome::Aborted).await.status,
        204
    );
    assert_eq!(scorings(&scene).await[0].status, JobStatus::Aborted);
    assert_eq!(
        scene.admin.post(&stop, &()).await.status,
        200,
        "it is aborted, as asked"
    );
    label(&scene, 1).await;
    let none = ask().await.problem();
    assert!(none.detail.contains("no open task"), "{none:?}");
}

#[tokio::test]
async fn a_scoring_stands_in_the_audit_log_and_in_the_stream_of_the_project() {
    let scene = scene(ENOUGH + 2, 0).await;
    label(&scene, ENOUGH).await;
    score(&scene, |_| Some(0.1)).await;
    let log: AuditPage = scene.admin.get("/audit?limit=200").await.json();
    let mut verbs = BTreeMap::new();
    for entry in log
        .entries
        .iter()
        .filter(|entry| entry.kind == AuditSubject::Scoring)
    {
        verbs.insert(entry.verb.name(), (entry.via, entry.subject));
    }
    assert_eq!(verbs["scoring_ordered"], (Via::Server, Some(1)));
    assert_eq!(verbs["scoring_started"], (Via::Trainer, Some(1)));
    assert_eq!(verbs["scoring_finished"], (Via::Trainer, Some(1)));
    scene.app.stop();
    let events = scene.admin.get(&scene.path("/events")).await;
    assert!(events.text().contains("\"type\":\"scoring\""), "{events:?}");
}
