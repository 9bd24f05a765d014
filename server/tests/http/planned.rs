//! Planned rounds: what they wait for, that each starts once, and what is refused.

use crate::{
    app::Answered,
    scene::{Scene, done, pick, round},
};
use laurel_protocol::*;
use laurel_server::{
    clock,
    store::planned::{Started, start_due},
};
use serde_json::json;

/// A round that waits for comparisons that never come.
pub fn later(kind: RoundKind) -> NewPlanned {
    let NewRound { name, spec, .. } = round(kind);
    NewPlanned {
        name,
        spec,
        start: Origin::Base,
        reward: Origin::Base,
        when: When {
            new_comparisons: 1_000,
            ..When::default()
        },
    }
}

fn ready(kind: RoundKind) -> NewPlanned {
    NewPlanned {
        when: When::default(),
        ..later(kind)
    }
}

async fn labelled() -> Scene {
    let scene = Scene::with_tasks(4).await;
    answer(&scene).await;
    scene
}

async fn answer(scene: &Scene) {
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
}

async fn plan(scene: &Scene, new: &NewPlanned) -> PlannedRound {
    scene.admin.make(&scene.path("/planned-rounds"), new).await
}

async fn refused(scene: &Scene, new: &NewPlanned) -> (String, String) {
    let answered = scene.admin.post(&scene.path("/planned-rounds"), new).await;
    let mut fields = answered.problem().fields;
    let first = fields.remove(0);
    (first.field, first.reason)
}

async fn change(scene: &Scene, id: PlannedId, new: &NewPlanned) -> Answered {
    let json = scene.admin.with("content-type", "application/json");
    let body = serde_json::to_vec(new).unwrap();
    json.send("PUT", &format!("/planned-rounds/{id}"), body).await
}

async fn give(scene: &Scene, id: PlannedId, what: &str) -> Answered {
    scene
        .admin
        .send("POST", &format!("/planned-rounds/{id}/{what}"), "")
        .await
}

async fn queue(scene: &Scene) -> RoundQueue {
    scene.admin.get(&scene.path("/planned-rounds")).await.json()
}

async fn get(scene: &Scene, id: PlannedId) -> PlannedRound {
    let planned = queue(scene).await.planned;
    planned.into_iter().find(|one| one.id == id).unwrap()
}

async fn due(scene: &Scene) -> Vec<Started> {
    start_due(&scene.app.db, clock::now()).await.unwrap()
}

/// Runs the round that waits as its trainer would.
async fn finish(scene: &Scene) -> LeasedJob {
    let (job, holder) = scene.lease().await;
    scene.upload(&job, &holder).await;
    let path = format!("/worker/jobs/{}/finish", job.job_id);
    assert_eq!(holder.post(&path, &done()).await.status, 204);
    job
}

#[tokio::test]
async fn a_recipe_runs_from_sft_to_ppo_each_round_on_what_the_one_before_made() {
    let scene = labelled().await;
    let recipe = json!({"recipe": "sft_reward_ppo", "preset": "quick"});
    let made: Vec<PlannedRound> = scene
        .admin
        .make(&scene.path("/planned-rounds/recipe"), &recipe)
        .await;
    let kinds: Vec<_> = made.iter().map(|one| one.round.spec.kind).collect();
    assert_eq!(kinds, [RoundKind::Sft, RoundKind::Reward, RoundKind::Ppo]);
    assert_eq!(made[2].waits_for.len(), 2, "the policy and its reward model");
    assert_eq!(made[0].round.spec.hyper, Preset::Quick.hyper(Loss::CrossEntropy));

    let mut adapters = Vec::new();
    for kind in kinds {
        let started = due(&scene).await;
        assert_eq!(started.len(), 1, "{kind:?}");
        assert_eq!(due(&scene).await, [], "{kind:?} runs");
        let started: Round = scene
            .admin
            .get(&format!("/rounds/{}", started[0].round.unwrap()))
            .await
            .json();
        assert_eq!(started.spec.kind, kind);
        let (start, reward) = match adapters[..] {
            [] => (None, None),
            [sft] => (Some(sft), None),
            [sft, reward, ..] => (Some(sft), Some(reward)),
        };
        assert_eq!(
            (started.starting_adapter, started.reward_adapter),
            (start, reward)
        );
        finish(&scene).await;
        let ended: Round = scene.admin.get(&format!("/rounds/{}", started.id)).await.json();
        adapters.push(ended.adapter.unwrap());
    }
    assert_eq!(due(&scene).await, []);
    let over = queue(&scene).await.planned;
    assert!(
        over.iter()
            .all(|one| one.status == PlannedStatus::Launched && one.launched.is_some())
    );
}

#[tokio::test]
async fn a_round_waits_for_comparisons_and_for_its_time() {
    let scene = labelled().await;
    let mut new = later(RoundKind::Dpo);
    let at = clock::now().plus_seconds(3600);
    (new.when.new_comparisons, new.when.not_before) = (2, Some(at));
    let planned = plan(&scene, &new).await;
    let comparisons = |n| Awaited::Comparisons { n, of: 2 };
    assert_eq!(planned.waits_for, [comparisons(0), Awaited::Time { at }]);
    answer(&scene).await;
    assert_eq!(get(&scene, planned.id).await.waits_for[0], comparisons(1));
    answer(&scene).await;
    assert_eq!(get(&scene, planned.id).await.waits_for, [Awaited::Time { at }]);
    assert_eq!(due(&scene).await, []);
    let started = start_due(&scene.app.db, at).await.unwrap();
    let round: Round = scene
        .admin
        .get(&format!("/rounds/{}", started[0].round.unwrap()))
        .await
        .json();
    assert_eq!(round.snapshot.n_rows, 3, "frozen when it started");
}

#[tokio::test]
async fn a_round_is_launched_once_whoever_looks_and_through_a_restart() {
    let scene = labelled().await;
    for _ in 0..3 {
        plan(&scene, &ready(RoundKind::Sft)).await;
    }
    let now = clock::now();
    let db = &scene.app.db;
    let (one, two, three) = tokio::join!(start_due(db, now), start_due(db, now), start_due(db, now));
    let mut rounds: Vec<_> = [one, two, three]
        .into_iter()
        .flat_map(|started| started.unwrap())
        .map(|one| one.round.unwrap())
        .collect();
    rounds.sort();
    assert_eq!(rounds, [RoundId(1), RoundId(2), RoundId(3)]);
    let scene = scene.restart().await;
    assert_eq!(due(&scene).await, []);
    assert_eq!(scene.app.count("select count(*) from round").await, 3);
}

#[tokio::test]
async fn what_waits_for_a_round_that_fails_fails_too_and_can_be_tried_again() {
    let scene = labelled().await;
    let (job, holder) = scene.lease_round().await;
    let mut new = ready(RoundKind::Dpo);
    new.start = Origin::Round { id: RoundId(1) };
    let first = plan(&scene, &new).await;
    assert_eq!(
        first.waits_for,
        [Awaited::Round {
            name: "DPO 1".into(),
            id: Some(RoundId(1))
        }]
    );
    let mut behind = ready(RoundKind::Dpo);
    behind.when.after = vec![WaitFor::Planned { id: first.id }];
    let second = plan(&scene, &behind).await;
    let failed = Outcome::Failed {
        error: "out of memory".into(),
    };
    let path = format!("/worker/jobs/{}/finish", job.job_id);
    assert_eq!(holder.post(&path, &failed).await.status, 204);
    due(&scene).await;
    due(&scene).await;
    let first = get(&scene, first.id).await;
    let name = "DPO 1".into();
    assert_eq!(
        (first.status, first.why),
        (PlannedStatus::Failed, Some(WhyFailed::Dependency { name }))
    );
    assert_eq!(get(&scene, second.id).await.status, PlannedStatus::Failed);
    // As it is, it would fail again.
    assert_eq!(give(&scene, first.id, "retry").await.code(), ErrorCode::Invalid);
    new.start = Origin::Base;
    assert_eq!(change(&scene, first.id, &new).await.status, 200);
    assert_eq!(give(&scene, second.id, "retry").await.status, 200);
    assert_eq!(due(&scene).await.len(), 1);
    finish(&scene).await;
    assert_eq!(due(&scene).await.len(), 1);
    assert_eq!(
        give(&scene, second.id, "cancel").await.code(),
        ErrorCode::Conflict
    );
}

#[tokio::test]
async fn a_round_that_is_refused_when_its_time_has_come_says_why() {
    let scene = Scene::with_tasks(1).await;
    let planned = plan(&scene, &ready(RoundKind::Dpo)).await;
    assert_eq!(
        due(&scene).await,
        [Started {
            project: scene.project,
            round: None
        }]
    );
    let why = get(&scene, planned.id).await.why.unwrap();
    assert!(
        matches!(&why, WhyFailed::Refused { fields } if fields[0].field == "snapshot"),
        "{why:?}"
    );
    answer(&scene).await;
    assert_eq!(give(&scene, planned.id, "retry").await.status, 200);
    assert!(due(&scene).await[0].round.is_some());
}

#[tokio::test]
async fn circles_and_what_cannot_come_any_more_are_refused_at_once() {
    let scene = labelled().await;
    let first = plan(&scene, &later(RoundKind::Sft)).await;
    let on = |id| NewPlanned {
        start: Origin::Planned { id },
        ..later(RoundKind::Sft)
    };
    let second = plan(&scene, &on(first.id)).await;
    let third = plan(&scene, &on(second.id)).await;
    for (id, on_id) in [(first.id, third.id), (first.id, first.id), (second.id, third.id)] {
        let answered = change(&scene, id, &on(on_id)).await;
        let problem = answered.problem();
        assert_eq!(problem.fields[0].field, "starting_adapter", "{problem:?}");
        assert!(
            problem.fields[0].reason.contains("waits for this one"),
            "{problem:?}"
        );
    }
    assert_eq!(change(&scene, third.id, &on(first.id)).await.status, 200);

    give(&scene, first.id, "cancel").await;
    assert!(
        refused(&scene, &on(first.id))
            .await
            .1
            .starts_with("is a round that has failed")
    );
    assert_eq!(refused(&scene, &on(PlannedId(99))).await.0, "starting_adapter");
    let mut new = later(RoundKind::Sft);
    new.when.after = vec![WaitFor::Round { id: RoundId(99) }];
    assert_eq!(refused(&scene, &new).await.0, "when.after");
    // No policy goes on from a reward model, and nothing else scores.
    let reward = plan(&scene, &later(RoundKind::Reward)).await;
    assert_eq!(refused(&scene, &on(reward.id)).await.0, "starting_adapter");
    let mut ppo = later(RoundKind::Ppo);
    (ppo.spec.reward, ppo.reward) = (Some(RewardSource::Adapter), Origin::Planned { id: second.id });
    assert_eq!(refused(&scene, &ppo).await.0, "reward_adapter");
    let mut named = later(RoundKind::Sft);
    named.name = "tonight".into();
    plan(&scene, &named).await;
    assert_eq!(refused(&scene, &named).await.0, "name");
}

#[tokio::test]
async fn admins_move_what_waits_and_trainers_follow() {
    let scene = labelled().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let started: Round = scene
            .admin
            .make(&scene.path("/rounds"), &round(RoundKind::Dpo))
            .await;
        ids.push(started.id);
    }
    let shift = async |path: String, to: &str| scene.admin.post(&path, &json!({"to": to})).await.status;
    let path = |id: RoundId| format!("/rounds/{id}/move");
    assert_eq!(shift(path(ids[2]), "earlier").await, 200);
    assert_eq!(shift(path(ids[2]), "earlier").await, 200);
    assert_eq!(shift(path(ids[2]), "earlier").await, 200, "it is the first");
    assert_eq!(queue(&scene).await.queued, [ids[2], ids[0], ids[1]]);
    let (job, _) = scene.lease().await;
    assert_eq!(
        job.job_id,
        JobId(4),
        "the third round's, behind the completion job"
    );
    assert_eq!(shift(path(ids[2]), "later").await, 409);

    let first = plan(&scene, &later(RoundKind::Sft)).await.id;
    let second = plan(&scene, &later(RoundKind::Sft)).await.id;
    let path = format!("/planned-rounds/{first}/move");
    assert_eq!(shift(path.clone(), "later").await, 200);
    assert_eq!(shift(path, "later").await, 200, "it is the last");
    let order: Vec<_> = queue(&scene).await.planned.iter().map(|one| one.id).collect();
    assert_eq!(order, [second, first]);
}
