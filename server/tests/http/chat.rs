//! Chats: a turn goes before other work, is told while it is written, and leaves nothing behind.

use crate::scene::{Scene, done, order, round};
use laurel_protocol::*;

fn turn(sides: &[Option<AdapterId>]) -> NewChatTurn {
    let side = |adapter: &Option<AdapterId>| ChatSide {
        adapter: *adapter,
        messages: vec![Message::user("a secret question")],
    };
    NewChatTurn {
        sides: sides.iter().map(side).collect(),
        sampling: Sampling::default(),
    }
}

async fn start(scene: &Scene, sides: &[Option<AdapterId>]) -> ChatTurn {
    scene.admin.make(&scene.path("/chat"), &turn(sides)).await
}

fn answers(texts: &[&str]) -> ChatReport {
    let answer = |text: &&str| ChatAnswer {
        text: (*text).to_owned(),
        n_tokens: 1,
        finish_reason: None,
    };
    ChatReport {
        answers: texts.iter().map(answer).collect(),
        template_hash: None,
    }
}

async fn n_jobs(scene: &Scene) -> i64 {
    scene
        .app
        .count("select count(*) from job where kind = 'chat'")
        .await
}

#[tokio::test]
async fn a_turn_goes_before_older_work_is_told_as_it_is_written_and_leaves_nothing() {
    let scene = Scene::with_tasks(1).await;
    let _: CompletionJob = scene.admin.make(&scene.path("/completion-jobs"), &order(2)).await;
    let begun = start(&scene, &[None, None]).await;
    assert_eq!((begun.status, begun.n_ahead), (JobStatus::Queued, 0));
    let events = scene.path(&format!("/chat/{}/events", begun.id));
    let mut stream = scene.admin.watch(&events).await;
    stream.until(r#""status":"queued""#).await;
    let (job, holder) = scene.lease().await;
    assert_eq!(job.job_id, begun.id);
    let Work::Chat { sides, .. } = &job.work else {
        panic!("a turn was leased, not {job:?}");
    };
    assert_eq!(sides.len(), 2);
    let path = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
    let told: Directive = holder.make(&path("chat"), &answers(&["Well", "No"])).await;
    assert!(!told.abort);
    stream.until(r#""text":"Well""#).await;
    let odd = holder.post(&path("chat"), &answers(&["one alone"])).await;
    assert_eq!(odd.code(), ErrorCode::Invalid);
    let _: Directive = holder.make(&path("chat"), &answers(&["Well, yes", "No."])).await;
    assert_eq!(holder.post(&path("finish"), &done()).await.status, 204);
    let said = stream.end().await;
    assert!(
        said.contains("Well, yes") && said.contains(r#""status":"done""#),
        "{said}"
    );
    assert_eq!(n_jobs(&scene).await, 0);
    // The completions that waited are next.
    assert!(matches!(scene.lease().await.0.work, Work::Completions { .. }));
}

#[tokio::test]
async fn a_turn_that_waits_tells_what_is_before_it() {
    let scene = Scene::with_tasks(1).await;
    scene
        .answer(&scene.admin, |shown| crate::scene::pick(Choice::First, shown))
        .await;
    scene.lease_round().await;
    start(&scene, &[None]).await;
    let second = start(&scene, &[None]).await;
    assert_eq!(second.n_ahead, 1);
    assert_eq!(second.busy_with, ["DPO 1"]);
}

#[tokio::test]
async fn a_stopped_turn_that_waits_goes_at_once_and_a_running_one_by_its_trainer() {
    let scene = Scene::with_tasks(1).await;
    let waiting = start(&scene, &[None]).await;
    let path = scene.path(&format!("/chat/{}", waiting.id));
    let eve = scene.app.person("eve", Role::Admin).await;
    assert_eq!(eve.send("DELETE", &path, "").await.code(), ErrorCode::NotFound);
    assert_eq!(scene.admin.send("DELETE", &path, "").await.status, 204);
    assert_eq!(n_jobs(&scene).await, 0);

    let running = start(&scene, &[None]).await;
    let (job, holder) = scene.lease().await;
    let path = scene.path(&format!("/chat/{}", running.id));
    assert_eq!(scene.admin.send("DELETE", &path, "").await.status, 204);
    let worker = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
    let told: Directive = holder.make(&worker("chat"), &answers(&["Well"])).await;
    assert!(told.abort);
    assert_eq!(
        holder.post(&worker("finish"), &Outcome::Aborted).await.status,
        204
    );
    let events = scene.path(&format!("/chat/{}/events", running.id));
    let said = scene.admin.watch(&events).await.end().await;
    assert!(
        said.contains(r#""status":"aborted""#) && said.contains("Well"),
        "{said}"
    );
}

#[tokio::test]
async fn one_talks_to_policies_of_the_project_alone() {
    let scene = Scene::with_tasks(1).await;
    scene
        .answer(&scene.admin, |shown| crate::scene::pick(Choice::First, shown))
        .await;
    let policy = scene.train().await;
    let model = scene.train_on(&round(RoundKind::Reward)).await;
    let begun = start(&scene, &[None, Some(policy.id)]).await;
    let (job, _) = scene.lease().await;
    assert_eq!(job.job_id, begun.id);
    let Work::Chat { sides, .. } = job.work else {
        panic!("a turn was leased");
    };
    assert!(sides[0].adapter.is_none());
    assert_eq!(sides[1].adapter.as_ref().map(|it| it.id), Some(policy.id));
    for id in [model.id, AdapterId(99)] {
        let refused = scene.admin.post(&scene.path("/chat"), &turn(&[Some(id)])).await;
        assert_eq!(refused.problem().fields[0].field, "adapter");
    }
}
