//! What a trainer hands in, and what an admin then finds.

use crate::app::Answered;
use crate::scene::{Scene, done, order, pick, plain, settings, weights};
use laurel_protocol::*;
use laurel_server::store::text::sha256_hex;

async fn labelled() -> Scene {
    let scene = Scene::with_tasks(2).await;
    for _ in 0..2 {
        scene
            .answer(&scene.admin, |shown| pick(Choice::Second, shown))
            .await;
    }
    scene
}

#[tokio::test]
async fn an_adapters_file_comes_back_as_it_was_uploaded() {
    let scene = labelled().await;
    let adapter = scene.train().await;
    assert_eq!(adapter.hash, sha256_hex(weights()));
    let file = format!("adapters/{}/files/adapter_model.safetensors", adapter.id);
    for (caller, path) in [
        (&scene.admin, format!("/{file}")),
        (&scene.worker, format!("/worker/{file}")),
    ] {
        let got = caller.with("accept-encoding", "br, gzip").get(&path).await;
        assert_eq!(got.status, 200, "{got:?}");
        assert_eq!(got.bytes(), weights());
        assert_eq!(got.header("content-length"), weights().len().to_string());
        assert_eq!(
            got.header("content-disposition"),
            "attachment; filename=\"adapter_model.safetensors\""
        );
    }
    let outside = format!("/adapters/{}/files/..%2F..%2Flaurel.sqlite", adapter.id);
    assert_eq!(scene.admin.get(&outside).await.code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn a_round_streams_the_rows_that_it_names_by_hash() {
    let scene = labelled().await;
    let (job, holder) = scene.lease_round().await;
    let Work::Round {
        round_id,
        n_rows,
        snapshot_hash,
        ..
    } = &job.work
    else {
        panic!("a round was leased, not {job:?}");
    };
    let rows = holder.get(&format!("/worker/jobs/{}/rows", job.job_id)).await;
    assert_eq!((*n_rows, sha256_hex(rows.text())), (2, snapshot_hash.clone()));
    let same = scene.admin.get(&format!("/rounds/{round_id}/rows")).await;
    assert_eq!(same.text(), rows.text());
}

#[tokio::test]
async fn a_round_is_not_done_before_its_files_are_there() {
    let scene = labelled().await;
    let (job, holder) = scene.lease_round().await;
    let path = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
    let early = holder.post(&path("finish"), &done()).await.problem();
    assert_eq!(early.fields[0].field, "adapter_config.json");
    let strange = holder.send("PUT", &path("adapter/run.sh"), "rm").await;
    assert_eq!(strange.code(), ErrorCode::NotFound);
    let rounds: Vec<Round> = scene.admin.get(&scene.path("/rounds")).await.json();
    assert_eq!(rounds[0].status, JobStatus::Running);
}

#[tokio::test]
async fn a_finish_that_is_sent_twice_is_answered_alike() {
    let scene = labelled().await;
    let (job, holder) = scene.lease_round().await;
    let path = format!("/worker/jobs/{}/finish", job.job_id);
    let failed = Outcome::Failed {
        error: "The model is not here: fetch it.".into(),
    };
    for _ in 0..2 {
        assert_eq!(holder.post(&path, &failed).await.status, 204);
    }
    let rounds: Vec<Round> = scene.admin.get(&scene.path("/rounds")).await.json();
    assert_eq!(rounds[0].status, JobStatus::Failed);
    assert_eq!(
        rounds[0].error.as_deref(),
        Some("The model is not here: fetch it.")
    );
}

#[tokio::test]
async fn streams_of_events_say_what_there_is_and_end_when_the_server_stops() {
    let scene = labelled().await;
    scene.lease_round().await;
    scene.app.stop();
    let project = scene.admin.get(&scene.path("/events")).await;
    assert_eq!(project.header("content-type"), "text/event-stream");
    assert!(
        project.text().starts_with("event: update\ndata: {"),
        "{project:?}"
    );
    assert!(project.text().contains("\"n_annotations\":2"), "{project:?}");
    let round = scene.admin.get("/rounds/1/events").await;
    assert!(round.text().contains("\"status\":\"running\""), "{round:?}");
}

#[tokio::test]
async fn an_adapter_says_what_it_was_made_with_and_is_not_taken_without() {
    let scene = labelled().await;
    let (job, holder) = scene.lease_round().await;
    let finish = format!("/worker/jobs/{}/finish", job.job_id);
    scene.upload(&job, &holder).await;
    let without = Outcome::Done { made_with: None };
    let refused = holder.post(&finish, &without).await.problem();
    assert_eq!(refused.fields[0].field, "made_with");
    assert_eq!(holder.post(&finish, &done()).await.status, 204);
    let adapters: Vec<Adapter> = scene.admin.get(&scene.path("/adapters")).await.json();
    assert_eq!(adapters[0].template_hash, Some("7e".repeat(32)));
    assert_eq!(adapters[0].base_weights_hash, Some("ba".repeat(32)));
}

#[tokio::test]
async fn uploads_go_however_the_round_ends() {
    let scene = labelled().await;
    let failed = Outcome::Failed {
        error: "no".to_owned(),
    };
    for end in [done(), failed, Outcome::Aborted] {
        let (job, holder) = scene.lease_round().await;
        scene.upload(&job, &holder).await;
        let folder = scene.app.data().join("uploads").join(job.job_id.to_string());
        assert!(folder.is_dir());
        let path = format!("/worker/jobs/{}/finish", job.job_id);
        assert_eq!(holder.post(&path, &end).await.status, 204);
        assert!(!folder.exists(), "{end:?}");
    }
}

#[tokio::test]
async fn a_long_error_is_cut_before_it_reaches_a_browser() {
    let scene = labelled().await;
    let (job, holder) = scene.lease_round().await;
    let failed = Outcome::Failed {
        error: format!("It failed. {}", "ü".repeat(5000)),
    };
    let path = format!("/worker/jobs/{}/finish", job.job_id);
    assert_eq!(holder.post(&path, &failed).await.status, 204);
    let rounds: Vec<Round> = scene.admin.get(&scene.path("/rounds")).await.json();
    let error = rounds[0].error.as_deref().unwrap();
    assert!(
        error.starts_with("It failed. ü") && error.ends_with('…'),
        "{error}"
    );
    assert!(error.len() <= 1024);
}

#[tokio::test]
async fn a_round_on_the_same_comparisons_has_the_same_snapshot_and_a_later_one_its_own() {
    let scene = Scene::with_tasks(2).await;
    let first = |shown: &Assignment| pick(Choice::First, shown);
    scene.answer(&scene.admin, first).await;
    scene.lease_round().await;
    scene.lease_round().await;
    scene.answer(&scene.admin, first).await;
    scene.lease_round().await;
    let rounds: Vec<Round> = scene.admin.get(&scene.path("/rounds")).await.json();
    let snapshots: Vec<_> = rounds.iter().map(|round| round.snapshot.id).collect();
    assert_eq!(snapshots[1], snapshots[2]);
    assert_ne!(snapshots[0], snapshots[1]);
    assert_eq!(rounds[0].snapshot.n_rows, 2);
}

#[tokio::test]
async fn a_snapshot_of_many_pages_is_stored_as_it_was_hashed() {
    let scene = Scene::new(&settings(LabelType::Rank, 8), 20).await;
    scene.complete(&order(8), plain).await;
    for _ in 0..20 {
        let rank = |shown: &Assignment| Answer {
            judgement: Judgement::Rank {
                ranks: (1..=8).collect(),
            },
            ..pick(Choice::Tie, shown)
        };
        scene.answer(&scene.admin, rank).await;
    }
    let (job, holder) = scene.lease_round().await;
    let Work::Round {
        n_rows,
        snapshot_hash,
        ..
    } = &job.work
    else {
        panic!("a round was leased, not {job:?}");
    };
    let rows = holder.get(&format!("/worker/jobs/{}/rows", job.job_id)).await;
    assert_eq!((*n_rows, rows.lines::<PreferenceRow>().len()), (560, 560));
    assert_eq!(&sha256_hex(rows.text()), snapshot_hash);
    assert_eq!(rows.text(), scene.export("preference").await.text());
}

async fn change(scene: &Scene, settings: &ProjectSettings) -> Answered {
    let body = serde_json::to_string(settings).unwrap();
    let json = scene.admin.with("content-type", "application/json");
    json.send("PUT", &scene.path("/settings"), body).await
}

#[tokio::test]
async fn a_job_has_the_template_that_its_project_had_when_it_was_made() {
    let with = |template: Template| ProjectSettings {
        template,
        ..settings(LabelType::Pick, 2)
    };
    let scene = Scene::new(&with(Template::Chatml), 1).await;
    let own = Template::Jinja("{{ messages[0].content }}".into());
    let _: CompletionJob = scene.admin.make(&scene.path("/completion-jobs"), &order(2)).await;
    let changed = change(&scene, &with(own.clone())).await;
    assert_eq!(changed.json::<Project>().settings.template, own);
    let _: CompletionJob = scene.admin.make(&scene.path("/completion-jobs"), &order(2)).await;
    assert_eq!(scene.lease().await.0.template, Template::Chatml);
    assert_eq!(scene.lease().await.0.template, own);
}

#[tokio::test]
async fn the_template_of_a_project_with_tasks_stays() {
    let scene = labelled().await;
    let other = ProjectSettings {
        template: Template::Plain,
        ..settings(LabelType::Pick, 2)
    };
    let refused = change(&scene, &other).await.problem();
    assert_eq!(refused.fields[0].field, "template");
}

#[tokio::test]
async fn what_a_round_trains_on_is_there_once_its_trainer_has_told() {
    let scene = labelled().await;
    let (job, holder) = scene.lease_round().await;
    let none: Option<Preview> = scene.admin.get("/rounds/1/preview").await.json();
    assert_eq!(none, None);
    let preview = Preview {
        template_hash: "7e".repeat(32),
        findings: vec![Finding {
            fatal: false,
            text: "<b>odd</b>".into(),
        }],
        rows: Vec::new(),
        size: Some(RoundSize::default()),
    };
    let report = Report {
        preview: Some(preview.clone()),
        ..Report::default()
    };
    let path = format!("/worker/jobs/{}/report", job.job_id);
    let _: Directive = holder.make(&path, &report).await;
    // A later report without one leaves it.
    let _: Directive = holder.make(&path, &Report::default()).await;
    let told: Option<Preview> = scene.admin.get("/rounds/1/preview").await.json();
    assert_eq!(told, Some(preview));
    scene.app.stop();
    let events = scene.admin.get("/rounds/1/events").await;
    assert!(events.text().contains("\"type\":\"preview\""), "{events:?}");
}
