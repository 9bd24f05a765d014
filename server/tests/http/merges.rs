//! Merged models: ordered by an admin, handed in piece by piece by a trainer, kept until they are deleted.

use crate::app::Caller;
use crate::scene::{Scene, done, pick, round};
use laurel_protocol::*;
use laurel_server::{routes::merges, store::text::sha256_hex};

async fn trained(kind: RoundKind) -> (Scene, Adapter) {
    let scene = Scene::with_tasks(1).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    let adapter = scene.train_on(&round(kind)).await;
    (scene, adapter)
}

async fn order(scene: &Scene, adapter: &Adapter, format: MergeFormat) -> Merge {
    let path = format!("/adapters/{}/merges", adapter.id);
    scene.admin.make(&path, &NewMerge { format }).await
}

fn whole(bytes: &[u8]) -> Merged {
    let file = MergedFile {
        name: "m.gguf".into(),
        size_bytes: bytes.len() as u64,
        sha256: sha256_hex(bytes),
    };
    Merged {
        files: vec![file],
        dtype: "q8_0".into(),
        check: "It is near.".into(),
        notes: vec!["<i>mind</i>".into()],
    }
}

/// Sends `bytes` in two pieces, the second one twice.
async fn hand_in(job: &LeasedJob, holder: &Caller, bytes: &[u8]) {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let put = async |offset: usize, piece: &[u8]| {
        let path = format!("/worker/jobs/{}/merged/m.gguf?offset={offset}", job.job_id);
        holder.send("PUT", &path, piece.to_vec()).await
    };
    assert_eq!(
        put(5, second).await.code(),
        ErrorCode::Conflict,
        "a hole is refused"
    );
    assert_eq!(put(0, first).await.status, 204);
    for _ in 0..2 {
        assert_eq!(put(first.len(), second).await.status, 204);
    }
}

async fn merged(scene: &Scene, adapter: &Adapter) -> MergeId {
    let merge = order(scene, adapter, MergeFormat::Gguf).await;
    let (job, holder) = scene.lease().await;
    assert!(
        matches!(&job.work, Work::Merge { merge_id, format: MergeFormat::Gguf, .. } if *merge_id == merge.id)
    );
    assert_eq!(job.adapter.as_ref().unwrap().id, adapter.id);
    hand_in(&job, &holder, b"GGUF, whole").await;
    let path = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
    assert_eq!(
        holder.post(&path("merged"), &whole(b"GGUF, whole")).await.status,
        204
    );
    assert_eq!(holder.post(&path("finish"), &done()).await.status, 204);
    merge.id
}

#[tokio::test]
async fn what_a_trainer_hands_in_piece_by_piece_is_downloaded_as_it_was() {
    let (scene, adapter) = trained(RoundKind::Dpo).await;
    let id = merged(&scene, &adapter).await;
    let file = scene.admin.get(&format!("/merges/{id}/files/m.gguf")).await;
    assert_eq!(file.bytes(), b"GGUF, whole");
    let archive = scene.admin.get(&format!("/merges/{id}/archive")).await;
    assert_eq!((archive.status.as_u16(), archive.bytes().len()), (200, 2048));
    let all: Vec<Merge> = scene
        .admin
        .get(&format!("/adapters/{}/merges", adapter.id))
        .await
        .json();
    assert!(all[0].is_there() && all[0].result == Some(whole(b"GGUF, whole")));
    let outside = scene
        .admin
        .get(&format!("/merges/{id}/files/..%2F..%2Flaurel.sqlite"))
        .await;
    assert_eq!(outside.code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn a_merge_is_not_done_before_its_files_are_whole() {
    let (scene, adapter) = trained(RoundKind::Dpo).await;
    order(&scene, &adapter, MergeFormat::Gguf).await;
    let (job, holder) = scene.lease().await;
    let path = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
    assert_eq!(
        holder.post(&path("finish"), &done()).await.problem().fields[0].field,
        "files"
    );
    hand_in(&job, &holder, b"GGUF, half").await;
    let refused = holder
        .post(&path("merged"), &whole(b"GGUF, whole"))
        .await
        .problem();
    assert_eq!(refused.fields[0].field, "m.gguf");
    let strange = holder.send("PUT", &path("merged/.hidden"), "x").await;
    assert_eq!(strange.code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn its_trainer_says_how_far_a_merge_is() {
    let (scene, adapter) = trained(RoundKind::Dpo).await;
    order(&scene, &adapter, MergeFormat::Safetensors).await;
    let (job, holder) = scene.lease().await;
    let line = LogLine {
        at: Timestamp(1),
        level: LogLevel::Info,
        text: "Hand the files in".into(),
    };
    let report = Report {
        step: Some(3),
        n_steps: Some(9),
        log: vec![line],
        ..Report::default()
    };
    let _: Directive = holder
        .make(&format!("/worker/jobs/{}/report", job.job_id), &report)
        .await;
    let all: Vec<Merge> = scene
        .admin
        .get(&format!("/adapters/{}/merges", adapter.id))
        .await
        .json();
    assert_eq!(
        (all[0].stage.as_str(), all[0].n_done, all[0].n_total),
        ("Hand the files in", 3, 9)
    );
}

#[tokio::test]
async fn an_adapter_has_one_merge_of_a_format_and_a_reward_model_none_as_gguf() {
    let (scene, adapter) = trained(RoundKind::Reward).await;
    let path = format!("/adapters/{}/merges", adapter.id);
    let gguf = NewMerge {
        format: MergeFormat::Gguf,
    };
    assert_eq!(
        scene.admin.post(&path, &gguf).await.problem().fields[0].field,
        "format"
    );
    let first = order(&scene, &adapter, MergeFormat::Safetensors).await;
    let again = NewMerge {
        format: MergeFormat::Safetensors,
    };
    assert_eq!(scene.admin.post(&path, &again).await.code(), ErrorCode::Conflict);
    let stopped: Merge = scene
        .admin
        .make(&format!("/merges/{}/abort", first.id), &())
        .await;
    assert_eq!(stopped.status, JobStatus::Aborted);
    order(&scene, &adapter, MergeFormat::Safetensors).await;
}

#[tokio::test]
async fn deleted_files_are_gone_and_can_be_made_again() {
    let (scene, adapter) = trained(RoundKind::Dpo).await;
    let id = merged(&scene, &adapter).await;
    let path = format!("/merges/{id}");
    assert_eq!(scene.admin.send("DELETE", &path, "").await.status, 204);
    assert!(!scene.app.data().join("merged").join(id.to_string()).exists());
    assert_eq!(
        scene.admin.send("DELETE", &path, "").await.code(),
        ErrorCode::Conflict
    );
    assert_eq!(
        scene.admin.get(&format!("{path}/archive")).await.code(),
        ErrorCode::NotFound
    );
    merged(&scene, &adapter).await;
    let page: AuditPage = scene.admin.get("/audit?limit=200").await.json();
    let n = |verb| page.entries.iter().filter(|entry| entry.verb == verb).count();
    let verbs = [
        Verb::MergeOrdered,
        Verb::MergeStarted,
        Verb::MergeFinished,
        Verb::MergedDeleted,
    ];
    assert_eq!(verbs.map(n), [2, 2, 2, 1]);
}

#[tokio::test]
async fn merged_files_whose_time_is_up_go_by_themselves_where_a_time_is_set() {
    let (scene, adapter) = trained(RoundKind::Dpo).await;
    let id = merged(&scene, &adapter).await;
    let state = scene.app.state(|settings| settings.keep_merged_days = Some(2));
    merges::expire(&state).await.unwrap();
    assert_eq!(
        scene.admin.get(&format!("/merges/{id}/archive")).await.status,
        200
    );
    let mut tx = scene.app.db.write().await.unwrap();
    sqlx::query("update job set finished_at = finished_at - 200000000 where kind = 'merge'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    merges::expire(&scene.app.state(|_| {})).await.unwrap();
    assert_eq!(
        scene.admin.get(&format!("/merges/{id}/archive")).await.status,
        200
    );
    merges::expire(&state).await.unwrap();
    assert_eq!(
        scene.admin.get(&format!("/merges/{id}/archive")).await.status,
        404
    );
}

/// All that is noted of merges, and of files that go.
pub async fn noted() -> Vec<AuditEntry> {
    let (scene, adapter) = trained(RoundKind::Dpo).await;
    let gone = format!("/merges/{}", merged(&scene, &adapter).await);
    assert_eq!(scene.admin.send("DELETE", &gone, "").await.status, 204);
    let failed = Outcome::Failed { error: "no".into() };
    order(&scene, &adapter, MergeFormat::Gguf).await;
    end(&scene, &failed).await;
    let merge = order(&scene, &adapter, MergeFormat::Gguf).await;
    end(&scene, &Outcome::Paused).await; // nobody wished it: it waits again
    let (job, holder) = scene.lease().await;
    let abort = format!("/merges/{}/abort", merge.id);
    assert_eq!(scene.admin.send("POST", &abort, "").await.status, 200);
    let finish = format!("/worker/jobs/{}/finish", job.job_id);
    assert_eq!(holder.post(&finish, &Outcome::Aborted).await.status, 204);
    let files = format!("/adapters/{}?confirmed=true", adapter.id);
    assert!(scene.admin.send("DELETE", &files, "").await.status.is_success());
    let page: AuditPage = scene.admin.get("/audit?order=newest&limit=200").await.json();
    page.entries
}

async fn end(scene: &Scene, outcome: &Outcome) {
    let (job, holder) = scene.lease().await;
    let finish = format!("/worker/jobs/{}/finish", job.job_id);
    assert_eq!(holder.post(&finish, outcome).await.status, 204);
}
