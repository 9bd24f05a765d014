//! Pausing a round: who may take it, what its trainer is told, and that a database of an earlier version learns it.

use crate::app::Answered;
use crate::scene::{Scene, pick};
use laurel_protocol::*;
use laurel_server::{
    clock,
    store::{Db, leases},
};

async fn labelled() -> Scene {
    let scene = Scene::with_tasks(1).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    scene
}

async fn order(scene: &Scene, what: &str) -> Answered {
    scene.admin.send("POST", &format!("/rounds/1/{what}"), "").await
}

async fn standing(scene: &Scene) -> (JobStatus, Option<Asked>) {
    let round: Round = scene.admin.get("/rounds/1").await.json();
    (round.status, round.asked)
}

async fn nobody_gets_work(scene: &Scene) -> bool {
    let request = LeaseRequest {
        worker: "w".into(),
        device: "cpu".into(),
        models: vec![DEFAULT_MODEL.into()],
        wait_seconds: 0,
        chat_only: false,
    };
    scene.worker.post("/worker/lease", &request).await.status == 204
}

#[tokio::test]
async fn a_paused_round_waits_for_an_admin_and_for_no_trainer() {
    let scene = labelled().await;
    let (job, holder) = scene.lease_round().await;
    let path = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
    let told: Directive = holder.make(&path("report"), &Report::default()).await;
    assert!(!told.pause && !told.abort);
    assert_eq!(order(&scene, "pause").await.status, 200);
    assert_eq!(standing(&scene).await, (JobStatus::Running, Some(Asked::Pause)));
    let told: Directive = holder.make(&path("report"), &Report::default()).await;
    assert!(told.pause && !told.abort);
    for _ in 0..2 {
        assert_eq!(holder.post(&path("finish"), &Outcome::Paused).await.status, 204);
    }
    assert_eq!(standing(&scene).await, (JobStatus::Paused, None));
    assert!(nobody_gets_work(&scene).await);
    // The trainer that put it down has no more to say about it.
    let late = holder.post(&path("report"), &Report::default()).await;
    assert_eq!(late.code(), ErrorCode::LeaseLost);

    assert_eq!(order(&scene, "resume").await.status, 200);
    assert_eq!(standing(&scene).await, (JobStatus::Queued, None));
    let late = holder.post(&path("finish"), &Outcome::Paused).await;
    assert_eq!(late.code(), ErrorCode::LeaseLost);
    let (again, _) = scene.lease().await;
    assert_eq!((again.job_id, again.attempt), (job.job_id, 2));
}

#[tokio::test]
async fn a_pause_called_off_before_it_came_lets_the_round_wait_for_a_trainer() {
    let scene = labelled().await;
    let (job, holder) = scene.lease_round().await;
    order(&scene, "pause").await;
    order(&scene, "resume").await;
    assert_eq!(standing(&scene).await, (JobStatus::Running, None));
    let path = format!("/worker/jobs/{}/finish", job.job_id);
    assert_eq!(holder.post(&path, &Outcome::Paused).await.status, 204);
    assert_eq!(standing(&scene).await, (JobStatus::Queued, None));
}

#[tokio::test]
async fn a_round_that_waits_is_paused_at_once_and_a_paused_one_can_be_aborted() {
    let scene = labelled().await;
    let (job, holder) = scene.lease_round().await;
    let path = format!("/worker/jobs/{}/finish", job.job_id);
    order(&scene, "pause").await;
    holder.post(&path, &Outcome::Paused).await;
    order(&scene, "resume").await;
    order(&scene, "pause").await;
    assert_eq!(standing(&scene).await.0, JobStatus::Paused);
    order(&scene, "abort").await;
    assert_eq!(standing(&scene).await.0, JobStatus::Aborted);
    for what in ["pause", "resume"] {
        assert_eq!(order(&scene, what).await.code(), ErrorCode::Conflict);
    }
}

#[tokio::test]
async fn an_abort_comes_before_a_pause() {
    let scene = labelled().await;
    let (job, holder) = scene.lease_round().await;
    order(&scene, "pause").await;
    order(&scene, "abort").await;
    assert_eq!(standing(&scene).await.1, Some(Asked::Abort));
    assert_eq!(order(&scene, "pause").await.code(), ErrorCode::Conflict);
    let path = format!("/worker/jobs/{}/finish", job.job_id);
    assert_eq!(holder.post(&path, &Outcome::Paused).await.status, 204);
    assert_eq!(standing(&scene).await.0, JobStatus::Aborted);
}

#[tokio::test]
async fn a_trainer_that_dies_before_it_heard_of_the_pause_leaves_a_paused_round() {
    let scene = labelled().await;
    scene.lease_round().await;
    order(&scene, "pause").await;
    let late = clock::now().plus_seconds(3600);
    let released = leases::sweep(&scene.app.db, late).await.unwrap();
    assert_eq!(released[0].status, JobStatus::Paused);
    assert!(nobody_gets_work(&scene).await);
}

#[tokio::test]
async fn a_database_from_before_keeps_its_jobs_and_rounds_and_learns_to_pause() {
    let folder = crate::old::database(
        "0005",
        r#"insert into project (id, name, guidelines, label_type, completions_per_task, overlap, ask_strength,
                                leave_out_truncated, base_model, pseudonym_key, created_at)
           values (1, 'p', '', 'pick', 2, 1, 0, 0, 'm', 'k', 1);
           insert into snapshot (id, project_id, hash, n_rows, n_ties_left_out, created_at) values (1, 1, 'h', 1, 0, 1);
           insert into job (id, kind, project_id, status, base_model, created_at) values (7, 'round', 1, 'done', 'm', 1),
                                                                                         (8, 'round', 1, 'queued', 'm', 2);
           insert into round (id, job_id, snapshot_id, name, spec, sample_prompts)
           values (1, 7, 1, 'DPO 1', '{"kind": "dpo", "hyper": {}}', '[]'),
                  (2, 8, 1, 'DPO 2', '{"kind": "dpo", "hyper": {}}', '[]');
           insert into adapter (id, project_id, round_id, name, kind, hash, size_bytes, files, created_at)
           values (1, 1, 1, 'DPO 1', 'dpo', 'a', 1, '[]', 1);"#,
    )
    .await;
    let db = Db::open(folder.path()).await.unwrap();
    use laurel_server::store::rounds::{self, Order};
    let rounds = rounds::list(&db, ProjectId(1)).await.unwrap();
    assert_eq!((rounds.len(), rounds[1].adapter), (2, Some(AdapterId(1))));
    let paused = rounds::order(&db, RoundId(2), Order::Pause, UserId(1), clock::now())
        .await
        .unwrap();
    assert_eq!(paused.status, JobStatus::Paused);
}
