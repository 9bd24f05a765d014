//! What the arena refuses, and how a battle ends without a vote.

use super::*;

#[tokio::test]
async fn an_arena_that_is_closed_refuses_battles_and_takes_the_vote_that_is_open() {
    let scene = Scene::with_tasks(1).await;
    let closed = scene.admin.post(&scene.path("/arena"), &say("Hi", None)).await;
    assert_eq!(closed.code(), ErrorCode::Conflict);
    assert!(!state(&scene, &scene.admin).await.on);
    let alone = set(&scene, |settings| settings.arena.on = true).await;
    assert_eq!(alone.problem().fields[0].field, "arena.adapters");
    let unknown = set(&scene, |settings| settings.arena.adapters = vec![AdapterId(99)]).await;
    assert_eq!(unknown.problem().fields[0].field, "arena.adapters");

    let (scene, _) = open().await;
    let (battle, _) = answered(&scene, &scene.admin, &say("Hi", None)).await;
    set(&scene, |settings| settings.arena.on = false)
        .await
        .json::<Project>();
    let decided: Battle = scene
        .admin
        .make(&path(&battle, "vote"), &vote(Choice::First))
        .await;
    assert_eq!(decided.status, BattleStatus::Judged);
    let on = scene
        .admin
        .post(&scene.path("/arena"), &say("And?", Some(battle.id)))
        .await;
    assert_eq!(on.code(), ErrorCode::Conflict);
}

#[tokio::test]
async fn a_battle_is_its_own_persons_and_of_its_project_alone() {
    let (scene, _) = open().await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let eve = scene.app.person("eve", Role::Reviewer).await;
    let (battle, _) = answered(&scene, &ada, &say("Hi", None)).await;
    for (rest, method) in [("events", "GET"), ("ask", "POST")] {
        let code = eve.send(method, &path(&battle, rest), "").await.code();
        assert_eq!(code, ErrorCode::NotFound, "{rest}");
    }
    let foreign = eve.post(&path(&battle, "vote"), &vote(Choice::First)).await;
    assert_eq!(foreign.code(), ErrorCode::NotFound);
    let foreign = eve.post(&path(&battle, "close"), &CloseBattle::default()).await;
    assert_eq!(foreign.code(), ErrorCode::NotFound);
    let stranger = scene.app.stranger();
    assert_eq!(
        stranger.get(&scene.path("/arena")).await.code(),
        ErrorCode::NotSignedIn
    );
    let trainer = scene.worker.post(&scene.path("/arena"), &say("Hi", None)).await;
    assert_eq!(trainer.code(), ErrorCode::Forbidden);
    assert_eq!(
        ada.get(&scene.path("/arena/results")).await.code(),
        ErrorCode::Forbidden
    );
    assert_eq!(ada.get("/projects/99/arena").await.code(), ErrorCode::NotFound);
    // Another project's conversation does not go on here.
    let _: Battle = ada.make(&path(&battle, "vote"), &vote(Choice::First)).await;
    let other: Project = scene
        .admin
        .make("/projects", &crate::scene::settings(LabelType::Pick, 2))
        .await;
    let there = format!("/projects/{}/arena", other.id);
    let refused = ada.post(&there, &say("And?", Some(battle.id))).await;
    assert_eq!(refused.code(), ErrorCode::Conflict, "that arena is closed");
}

#[tokio::test]
async fn a_person_has_one_open_battle_and_may_stop_or_skip_it() {
    let (scene, _) = open().await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let waiting = begin(&scene, &ada, &say("Hi", None)).await;
    let second = ada.post(&scene.path("/arena"), &say("Hi again", None)).await;
    assert_eq!(second.code(), ErrorCode::Conflict);
    let stopped: Battle = ada.make(&path(&waiting, "close"), &CloseBattle::default()).await;
    assert_eq!(stopped.status, BattleStatus::Closed);
    assert_eq!(
        scene
            .app
            .count("select count(*) from job where kind = 'chat'")
            .await,
        0
    );
    assert!(state(&scene, &ada).await.battle.is_none());

    let (battle, _) = answered(&scene, &ada, &say("A secret", None)).await;
    let wordless = ada.post(&path(&battle, "close"), &CloseBattle::default()).await;
    assert_eq!(wordless.problem().fields[0].field, "reason");
    let skip = CloseBattle {
        reason: Some(SkipReason::CannotJudge),
    };
    let skipped: Battle = ada.make(&path(&battle, "close"), &skip).await;
    assert!(skipped.prompt.is_empty() && skipped.answers.iter().all(|answer| answer.text.is_empty()));
    let late = ada.post(&path(&battle, "vote"), &vote(Choice::First)).await;
    assert_eq!(late.code(), ErrorCode::Conflict);
    assert_eq!(
        scene
            .app
            .count("select count(*) from battle where messages like '%secret%'")
            .await,
        0
    );
}

#[tokio::test]
async fn the_same_answers_are_a_tie_or_skipped() {
    let (scene, _) = open().await;
    let battle = begin(&scene, &scene.admin, &say("Hi", None)).await;
    reply(&scene, |side| {
        if side.adapter.is_some() {
            "Hi! ".into()
        } else {
            "Hi!".into()
        }
    })
    .await;
    assert!(state(&scene, &scene.admin).await.battle.unwrap().same);
    let refused = scene
        .admin
        .post(&path(&battle, "vote"), &vote(Choice::First))
        .await;
    assert_eq!(refused.problem().fields[0].field, "choice");
    let _: Battle = scene.admin.make(&path(&battle, "vote"), &vote(Choice::Tie)).await;
    assert_eq!(
        scene
            .app
            .count("select count(*) from comparison where tie = 1")
            .await,
        1
    );
}

#[tokio::test]
async fn failures_are_told_without_a_name_and_asked_again() {
    let (scene, adapter) = open().await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let battle = begin(&scene, &ada, &say("Hi", None)).await;
    assert!(battle.waiting.as_ref().unwrap().has_trainer);
    let (job, holder) = scene.lease().await;
    let failed = Outcome::Failed {
        error: format!("load the adapter {}", adapter.name),
    };
    let finish = format!("/worker/jobs/{}/finish", job.job_id);
    assert_eq!(holder.post(&finish, &failed).await.status, 204);
    let standing = state(&scene, &ada).await.battle.unwrap();
    assert_eq!(
        (standing.status, standing.is_at_work),
        (BattleStatus::Asked, false)
    );
    let error = standing.error.unwrap();
    assert!(
        !error.contains(&adapter.name) && error.contains("ask again"),
        "{error}"
    );
    let asked: Battle = ada.make(&path(&battle, "ask"), &()).await;
    assert!(asked.is_at_work && asked.error.is_none());
    reply(&scene, told_apart).await;
    assert_eq!(
        state(&scene, &ada).await.battle.unwrap().status,
        BattleStatus::Answered
    );
}
