//! Streams of events: what a listener is told at first, later, and when it may not listen any more.

use crate::scene::{Scene, order, pick};
use laurel_protocol::*;
use laurel_server::{chats::Chats, clock, store::leases};
use serde_json::json;

#[tokio::test]
async fn a_listener_that_comes_late_hears_of_jobs_and_rounds_that_ended_meanwhile() {
    let scene = Scene::with_tasks(1).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    scene.train().await;
    scene.app.stop();
    let said = scene.admin.get(&scene.path("/events")).await;
    let said: Vec<ProjectEvent> = said
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert!(matches!(&said[0], ProjectEvent::Counts { counts } if counts.n_annotations == 1));
    assert!(matches!(&said[1], ProjectEvent::CompletionJob { job } if job.status == JobStatus::Done));
    assert!(matches!(&said[2], ProjectEvent::Round { round } if round.status == JobStatus::Done));
    assert_eq!(said.len(), 3);
}

#[tokio::test]
async fn the_newest_few_come_oldest_first_and_what_is_under_way_always() {
    let scene = Scene::with_tasks(1).await;
    let waiting: CompletionJob = scene.admin.make(&scene.path("/completion-jobs"), &order(2)).await;
    for _ in 0..7 {
        let made: CompletionJob = scene.admin.make(&scene.path("/completion-jobs"), &order(2)).await;
        let path = format!("/completion-jobs/{}/abort", made.id);
        assert_eq!(scene.admin.send("POST", &path, "").await.status, 200);
    }
    scene.app.stop();
    let said = scene.admin.get(&scene.path("/events")).await;
    let jobs: Vec<i64> = said
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|data| match serde_json::from_str(data).unwrap() {
            ProjectEvent::CompletionJob { job } => Some(job.id.0),
            _ => None,
        })
        .collect();
    assert_eq!(jobs, [waiting.id.0, 5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn a_stream_ends_when_its_listener_is_no_admin_any_more() {
    let scene = Scene::with_tasks(1).await;
    let eve = scene.app.person("eve", Role::Admin).await;
    let script = scene.app.token(&eve, TokenScope::Script).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    scene.lease_round().await;
    let mut streams = Vec::new();
    for (who, path) in [
        (&eve, scene.path("/events")),
        (&script, scene.path("/events")),
        (&eve, "/rounds/1/events".to_owned()),
    ] {
        let mut stream = who.watch(&path).await;
        stream.until("running").await;
        streams.push(stream);
    }
    let json = scene.admin.with("content-type", "application/json");
    let demoted = json!({"role": "annotator"}).to_string();
    let changed = json.send("PATCH", &format!("/users/{}", eve.user), demoted).await;
    assert_eq!(changed.status, 200);
    let aborted = scene.admin.send("POST", "/rounds/1/abort", "").await;
    assert_eq!(aborted.status, 200);
    for stream in streams {
        stream.end().await; // or the test runner's patience does
    }
}

#[tokio::test]
async fn watchers_hear_of_a_job_that_another_trainers_lease_took_back() {
    let scene = Scene::with_tasks(1).await;
    let _: CompletionJob = scene.admin.make(&scene.path("/completion-jobs"), &order(2)).await;
    let request = LeaseRequest {
        worker: "w".into(),
        device: "cpu".into(),
        models: vec![DEFAULT_MODEL.into()],
        wait_seconds: 0,
        chat_only: false,
    };
    // Five leases without progress: the next trainer that asks ends the job, and gets nothing.
    for n in 0..5 {
        let long_ago = Timestamp(clock::now().0 - 3_600_000 + n * 120_000);
        let leased = leases::lease(&scene.app.db, &Chats::default(), "t", &request, 60, long_ago)
            .await
            .unwrap();
        assert!(leased.job.is_some());
    }
    let mut stream = scene.admin.watch(&scene.path("/events")).await;
    stream.until(r#""status":"running""#).await;
    let nothing = scene.worker.post("/worker/lease", &request).await;
    assert_eq!(nothing.status, 204);
    stream.until(r#""status":"failed""#).await;
}

/// Train points of the steps, with a spike at 700.
fn figures(steps: std::ops::RangeInclusive<u64>) -> Report {
    let point = |step: u64| MetricPoint {
        step,
        split: Split::Train,
        values: [("loss".to_owned(), if step == 700 { 9.0 } else { 0.5 })].into(),
    };
    Report {
        step: Some(*steps.end()),
        metrics: steps.map(point).collect(),
        ..Report::default()
    }
}

#[tokio::test]
async fn a_long_rounds_listener_gets_its_figures_thinned_and_files_have_them_all() {
    let scene = Scene::with_tasks(1).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    let (job, holder) = scene.lease_round().await;
    let round = match &job.work {
        Work::Round { round_id, .. } => *round_id,
        other => panic!("{other:?}"),
    };
    let report = format!("/worker/jobs/{}/report", job.job_id);
    for from in (1..3000).step_by(500) {
        assert_eq!(
            holder.post(&report, &figures(from..=from + 499)).await.status,
            200
        );
    }
    let mut listener = scene.admin.watch(&format!("/rounds/{round}/events")).await;
    listener.until("\"type\":\"round\"").await;
    // What comes now comes as it is.
    assert_eq!(holder.post(&report, &figures(3001..=3002)).await.status, 200);
    listener.until("\"step\":3002").await;
    scene.app.stop();
    let said = listener.end().await;
    let sent: Vec<MetricPoint> = said
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|data| match serde_json::from_str(data) {
            Ok(RoundEvent::Metrics { points }) => Some(points),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(sent.len() < 1000, "{}", sent.len());
    assert!(
        sent.iter()
            .any(|point| point.step == 700 && point.values["loss"] == 9.0)
    );
    let late: Vec<u64> = sent
        .iter()
        .map(|point| point.step)
        .filter(|step| *step > 3000)
        .collect();
    assert_eq!(late, [3001, 3002]);
}

#[tokio::test]
async fn figures_come_as_a_table_as_lines_as_an_event_file_and_thinned() {
    let scene = Scene::with_tasks(1).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    let (job, holder) = scene.lease_round().await;
    let round = match &job.work {
        Work::Round { round_id, .. } => *round_id,
        other => panic!("{other:?}"),
    };
    let report = format!("/worker/jobs/{}/report", job.job_id);
    assert_eq!(holder.post(&report, &figures(1..=900)).await.status, 200);
    let file = |format: &str| format!("/rounds/{round}/metrics/file?format={format}");
    let table = scene.admin.get(&file("csv")).await;
    assert_eq!(table.text().lines().count(), 901);
    assert_eq!(table.text().lines().nth(700), Some("700,train,9"));
    assert!(
        table
            .header("content-disposition")
            .contains(&format!("round-{round}.csv"))
    );
    let lines: Vec<MetricPoint> = scene.admin.get(&file("json_lines")).await.lines();
    let all: Vec<MetricPoint> = scene.admin.get(&format!("/rounds/{round}/metrics")).await.json();
    assert_eq!((lines.len(), &lines), (900, &all));
    let events = scene.admin.get(&file("tensorboard")).await;
    assert!(
        events
            .header("content-disposition")
            .contains("events.out.tfevents.")
    );
    assert!(events.bytes().len() > 900 * 16);
    let path = format!("/rounds/{round}/metrics?stretches=10");
    let thinned: Vec<MetricPoint> = scene.admin.get(&path).await.json();
    assert!(thinned.len() <= 30 && thinned.iter().any(|point| point.step == 700));
    for wrong in ["?stretches=0", "/file?format=xlsx", "/file"] {
        let refused = scene.admin.get(&format!("/rounds/{round}/metrics{wrong}")).await;
        assert!(refused.status.is_client_error(), "{wrong}: {}", refused.status);
    }
}
