//! PPO rounds: what they are frozen on, what scores them, and what a trainer is told.

use crate::scene::{Scene, pick, round};
use laurel_protocol::*;
use laurel_server::store::text::sha256_hex;

/// Three prompts, the first one judged.
async fn labelled() -> Scene {
    let scene = Scene::with_tasks(3).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    scene
}

fn scored_by(reward: RewardSource) -> NewRound {
    let mut new = round(RoundKind::Ppo);
    new.spec.reward = Some(reward);
    new
}

fn scored_by_model(adapter: AdapterId) -> NewRound {
    NewRound {
        reward_adapter: Some(adapter),
        ..round(RoundKind::Ppo)
    }
}

async fn refused(scene: &Scene, new: &NewRound) -> FieldError {
    let answered = scene.admin.post(&scene.path("/rounds"), new).await;
    assert_eq!(answered.status, 422, "{answered:?}");
    answered.problem().fields.remove(0)
}

#[tokio::test]
async fn a_ppo_round_is_frozen_on_the_prompts_and_handed_its_reward_model() {
    let scene = labelled().await;
    let model = scene.train_on(&round(RoundKind::Reward)).await;
    let made: Round = scene
        .admin
        .make(&scene.path("/rounds"), &scored_by_model(model.id))
        .await;
    assert_eq!(
        (made.reward_adapter, made.name.as_str()),
        (Some(model.id), "PPO 1")
    );
    let (job, holder) = scene.lease().await;
    let handed = job.reward_adapter.as_ref().unwrap();
    assert_eq!((handed.id, &handed.hash), (model.id, &model.hash));
    let Work::Round {
        n_rows,
        snapshot_hash,
        ..
    } = &job.work
    else {
        panic!("a round was leased, not {job:?}");
    };
    let rows = holder.get(&format!("/worker/jobs/{}/rows", job.job_id)).await;
    assert_eq!((*n_rows, &sha256_hex(rows.text())), (3, snapshot_hash));
    let prompts: Vec<PromptRow> = rows.lines();
    let asked: Vec<&str> = prompts.iter().map(|row| row.prompt[0].content.as_str()).collect();
    assert_eq!(asked, ["question 1", "question 2", "question 3"]);

    let path = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
    scene.upload(&job, &holder).await;
    assert_eq!(
        holder.post(&path("finish"), &crate::scene::done()).await.status,
        204
    );
    let adapters: Vec<Adapter> = scene.admin.get(&scene.path("/adapters")).await.json();
    assert_eq!(adapters[0].kind, RoundKind::Ppo);
}

#[tokio::test]
async fn the_same_prompts_are_the_same_snapshot_whatever_was_labelled_meanwhile() {
    let scene = labelled().await;
    let new = scored_by(RewardSource::Length { target: 20 });
    let first: Round = scene.admin.make(&scene.path("/rounds"), &new).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    let second: Round = scene.admin.make(&scene.path("/rounds"), &new).await;
    assert_eq!(first.snapshot, second.snapshot);
    scene.import(4..=4).await;
    let third: Round = scene.admin.make(&scene.path("/rounds"), &new).await;
    assert_eq!(third.snapshot.n_rows, 4);
}

#[tokio::test]
async fn a_round_that_imitates_chosen_answers_has_those_first_and_every_prompt_once() {
    let scene = labelled().await;
    let mut new = scored_by(RewardSource::Length { target: 20 });
    if let Some(ppo) = &mut new.spec.hyper.ppo {
        ppo.sft_weight = 0.1;
    }
    let _: Round = scene.admin.make(&scene.path("/rounds"), &new).await;
    let (job, holder) = scene.lease().await;
    assert!(job.reward_adapter.is_none());
    let rows = holder.get(&format!("/worker/jobs/{}/rows", job.job_id)).await;
    let lines: Vec<serde_json::Value> = rows.lines();
    let chosen: Vec<bool> = lines.iter().map(|line| line.get("chosen").is_some()).collect();
    assert_eq!(chosen, [true, false, false]);
    let mut prompts: Vec<i64> = lines
        .iter()
        .filter_map(|line| line["prompt_id"].as_i64())
        .collect();
    prompts.sort_unstable();
    prompts.dedup();
    assert_eq!(prompts.len(), 3);
}

#[tokio::test]
async fn what_is_no_reward_model_of_the_project_is_refused_by_its_field() {
    let scene = labelled().await;
    let policy = scene.train().await;
    assert_eq!(
        refused(&scene, &round(RoundKind::Ppo)).await.field,
        "reward_adapter"
    );
    for id in [policy.id, AdapterId(99)] {
        let error = refused(&scene, &scored_by_model(id)).await;
        assert_eq!(error.field, "reward_adapter", "{error:?}");
    }
    let model = scene.train_on(&round(RoundKind::Reward)).await;
    let start = NewRound {
        starting_adapter: Some(model.id),
        ..scored_by_model(model.id)
    };
    assert_eq!(refused(&scene, &start).await.field, "starting_adapter");
    let mut elsewhere = scored_by_model(model.id);
    elsewhere.spec.reward = Some(RewardSource::Length { target: 20 });
    assert_eq!(refused(&scene, &elsewhere).await.field, "reward_adapter");
}

#[tokio::test]
async fn a_project_without_prompts_has_nothing_to_answer() {
    let scene = Scene::new(&crate::scene::settings(LabelType::Pick, 2), 0).await;
    let error = refused(&scene, &scored_by(RewardSource::Length { target: 20 })).await;
    assert_eq!(error.field, "snapshot");
    assert!(error.reason.contains("no prompts"), "{error:?}");
}
