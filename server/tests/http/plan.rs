//! A plan of a round against the round that is started then, what it rests on, and what it warns of.

use crate::scene::{Scene, done, order, pick, plain, round, settings};
use laurel_protocol::*;
use laurel_server::store::rounds;

async fn plan(scene: &Scene, new: &NewRound) -> RoundPlan {
    scene.admin.make(&scene.path("/rounds/plan"), new).await
}

/// A project whose tasks are all answered by the admin.
async fn answered(n_tasks: usize, choice: impl Fn(usize, &Assignment) -> Choice) -> Scene {
    let scene = Scene::with_tasks(n_tasks).await;
    for n in 0..n_tasks {
        scene
            .answer(&scene.admin, |shown| pick(choice(n, shown), shown))
            .await;
    }
    scene
}

/// Where the completion is shown whose text ends like this.
fn shown_at(shown: &Assignment, end: &str) -> Choice {
    match shown.completions[0].text.ends_with(end) {
        true => Choice::First,
        false => Choice::Second,
    }
}

#[tokio::test]
async fn a_plan_has_the_rows_of_the_round_that_is_started_then_and_starts_nothing() {
    let scene = answered(6, |n, _| match n {
        0 => Choice::Tie,
        1 => Choice::BothBad,
        _ => Choice::First,
    })
    .await;
    for kind in RoundKind::ALL {
        let mut new = round(kind);
        if kind == RoundKind::Ppo {
            new.spec.reward = Some(RewardSource::Length { target: 8 });
        }
        (new.spec.hyper.held_out, new.spec.hyper.batch_size) = (0.5, 2);
        let planned = plan(&scene, &new).await;
        let rounds_before = rounds::list(&scene.app.db, scene.project).await.unwrap().len();
        let started: Round = scene.admin.make(&scene.path("/rounds"), &new).await;
        assert_eq!(planned.n_rows, started.snapshot.n_rows, "{kind:?}");
        assert_eq!(
            planned.n_ties_left_out, started.snapshot.n_ties_left_out,
            "{kind:?}"
        );
        assert_eq!(started.id.0 as usize, rounds_before + 1, "{kind:?}");
        let (n_prompts, n_steps) = match kind {
            RoundKind::Ppo => (6, 2),
            _ => (4, 1),
        };
        assert_eq!(
            (planned.n_prompts, planned.n_held_out, planned.n_steps),
            (n_prompts, n_prompts / 2, n_steps),
            "{kind:?}"
        );
        assert_eq!(planned.n_jobs_ahead as usize, rounds_before, "{kind:?}");
        let first = &planned.first_rows[0];
        assert_eq!(first.chosen.is_some(), kind != RoundKind::Ppo, "{kind:?}");
        assert_eq!(
            first.rejected.is_some(),
            matches!(kind, RoundKind::Dpo | RoundKind::Reward),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn tokens_are_counted_where_they_were_and_time_and_memory_are_unknown_before_the_first_round() {
    let scene = answered(2, |_, _| Choice::First).await;
    let planned = plan(&scene, &round(RoundKind::Dpo)).await;
    // "question 1, answer 0" is said to have 2 tokens, so that a token has 10 characters and the prompt 1.
    let Basis::Completions { characters_per_token } = planned.tokens.basis else {
        panic!("{:?}", planned.tokens);
    };
    assert_eq!((characters_per_token, planned.tokens.value), (10.0, Some(10.0)));
    assert_eq!(
        (planned.seconds, planned.memory_bytes),
        (Guess::UNKNOWN, Guess::UNKNOWN)
    );
    assert_eq!(planned.worker.unwrap().name, "w (cpu)");
}

#[tokio::test]
async fn an_earlier_round_tells_tokens_time_and_memory_of_the_next() {
    let scene = answered(4, |_, _| Choice::First).await;
    let mut new = round(RoundKind::Dpo);
    new.spec.hyper.held_out = 0.0;
    let first: Round = scene.admin.make(&scene.path("/rounds"), &new).await;
    let (job, holder) = scene.lease().await;
    let path = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
    let report = Report {
        step: Some(1),
        n_steps: Some(1),
        preview: Some(Preview {
            size: Some(RoundSize {
                n_rows: 4,
                n_tokens: 400,
                memory_bytes: 1_000_000,
            }),
            ..Preview::default()
        }),
        ..Report::default()
    };
    let _: Directive = holder.make(&path("report"), &report).await;
    scene.upload(&job, &holder).await;
    assert_eq!(holder.post(&path("finish"), &done()).await.status, 204);
    set_times(&scene, job.job_id).await;

    new.spec.hyper.epochs = 3;
    let planned = plan(&scene, &new).await;
    let basis = Basis::Round {
        id: first.id,
        name: first.name,
    };
    let guess = |value| Guess {
        value: Some(value),
        basis: basis.clone(),
    };
    assert_eq!(planned.tokens, guess(400.0));
    assert_eq!(planned.seconds, guess(24.0), "three times through the rows");
    assert_eq!(planned.memory_bytes, guess(1e6));
    // It keeps more at once than that round did.
    new.spec.hyper.batch_size = 64;
    assert_eq!(plan(&scene, &new).await.memory_bytes, Guess::UNKNOWN);
    // Nobody has run one of these.
    assert_eq!(plan(&scene, &round(RoundKind::Sft)).await.seconds, Guess::UNKNOWN);
}

/// A round that took eight seconds.
async fn set_times(scene: &Scene, job: JobId) {
    let mut tx = scene.app.db.write().await.unwrap();
    sqlx::query("update job set started_at = 1000, finished_at = 9000 where id = ?1")
        .bind(job.0)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_choice_that_follows_length_or_place_is_told_and_one_that_does_not_is_not() {
    let concerns = async |choice: fn(&Assignment) -> Choice| {
        let scene = Scene::new(&settings(LabelType::Pick, 2), 40).await;
        scene
            .complete(&order(2), |prompt, index| {
                let longer = if index == 1 { ", and some more words" } else { "" };
                format!("{}{longer}, answer {index}", prompt.messages[0].content)
            })
            .await;
        for _ in 0..40 {
            scene
                .answer(&scene.admin, |shown| pick(choice(shown), shown))
                .await;
        }
        plan(&scene, &round(RoundKind::Dpo)).await.concerns
    };
    let long = concerns(|shown| shown_at(shown, "answer 1")).await;
    assert!(
        long.iter()
            .any(|one| matches!(one, Concern::LengthBias { longer } if (longer.n, longer.of) == (40, 40))),
        "{long:?}"
    );
    let first = concerns(|_| Choice::First).await;
    assert!(
        first
            .iter()
            .any(|one| matches!(one, Concern::PositionBias { first, .. } if first.n == 40)),
        "{first:?}"
    );
    // By turns, so that neither length nor (but by a rare chance) place decides.
    let fair = concerns(|shown| {
        let mut digits = shown.prompt[0].html.chars().filter_map(|char| char.to_digit(10));
        let even = digits.next_back().unwrap() % 2 == 0;
        shown_at(shown, if even { "answer 1" } else { "answer 0" })
    })
    .await;
    assert!(
        !fair.iter().any(|one| matches!(one, Concern::LengthBias { .. })),
        "{fair:?}"
    );
    // 40 of the 100 that are advised, four of them held out.
    assert!(
        matches!(fair[0], Concern::FewRows { n: 40, advised: 100, n_held_out: 4, off_by: Some(off) } if (0.4..0.5).contains(&off)),
        "{fair:?}"
    );
}

#[tokio::test]
async fn near_duplicates_among_the_prompts_and_what_the_starting_adapter_saw_are_told() {
    let scene = Scene::new(&settings(LabelType::Pick, 2), 0).await;
    let long = "Write a short letter to a landlord who has not repaired the heating for three weeks";
    let prompts = [
        long.to_owned(),
        format!("{}!", long.to_uppercase()),
        "What is the capital of France?".to_owned(),
        "Name four rivers.".to_owned(),
    ];
    let lines: String = prompts
        .iter()
        .map(|prompt| serde_json::json!({"prompt": prompt}).to_string() + "\n")
        .collect();
    let report = scene.admin.send("POST", &scene.path("/prompts"), lines).await;
    assert_eq!(report.json::<ImportReport>().n_imported, 4);
    scene.complete(&order(2), plain).await;
    for _ in 0..4 {
        scene
            .answer(&scene.admin, |shown| pick(Choice::First, shown))
            .await;
    }
    let mut new = round(RoundKind::Dpo);
    new.spec.hyper.held_out = 0.5;
    let near = |plan: &RoundPlan| {
        plan.concerns.iter().find_map(|one| match one {
            Concern::NearDuplicates { n, of, n_leaking } => Some((*n, *of, *n_leaking)),
            _ => None,
        })
    };
    let seen = |plan: &RoundPlan| {
        plan.concerns.iter().find_map(|one| match one {
            Concern::SeenBefore { n, of, .. } => Some((*n, *of)),
            _ => None,
        })
    };
    let first = plan(&scene, &new).await;
    // One of the two is held out without the other half of the time.
    assert_eq!((near(&first), seen(&first)), (Some((2, 4, 1)), None));
    let adapter = scene.train_on(&new).await;
    new.starting_adapter = Some(adapter.id);
    assert_eq!(seen(&plan(&scene, &new).await), None, "the same are held out");
    new.spec.seed = 1;
    assert_eq!(seen(&plan(&scene, &new).await), Some((4, 4)));
}

#[tokio::test]
async fn a_plan_is_refused_as_its_round_would_be_and_nothing_to_train_is_told() {
    let scene = Scene::with_tasks(1).await;
    let empty = plan(&scene, &round(RoundKind::Dpo)).await;
    assert_eq!(empty.concerns, [Concern::NothingToTrain]);
    assert_eq!((empty.n_rows, empty.n_steps), (0, 0));
    let mut new = round(RoundKind::Dpo);
    new.starting_adapter = Some(AdapterId(7));
    let refused = scene.admin.post(&scene.path("/rounds/plan"), &new).await;
    assert_eq!(refused.problem().fields[0].field, "starting_adapter");
    new = round(RoundKind::Dpo);
    new.spec.hyper.epochs = 0;
    let refused = scene.admin.post(&scene.path("/rounds/plan"), &new).await;
    assert_eq!(refused.problem().fields[0].field, "hyper.epochs");
}
