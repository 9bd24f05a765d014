//! What the arena keeps and what it does not: over a restart, after the vote, when a person leaves.

use super::*;

#[tokio::test]
async fn both_answers_outlast_a_restart_and_half_ones_are_asked_again() {
    let (scene, _) = open().await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let battle = begin(&scene, &ada, &say("Hello?", None)).await;
    let (job, holder) = scene.lease().await;
    let worker = format!("/worker/jobs/{}/chat", job.job_id);
    let _: Directive = holder.make(&worker, &written(["half", "an answer"], None)).await;
    let scene = scene.restart().await;
    let ada = scene.app.again(&ada);
    let standing = state(&scene, &ada).await.battle.unwrap();
    assert_eq!(
        (standing.status, standing.is_at_work),
        (BattleStatus::Asked, false)
    );
    let asked: Battle = ada.make(&path(&battle, "ask"), &()).await;
    assert!(asked.is_at_work && !asked.waiting.unwrap().has_trainer);
    let sides = reply(&scene, told_apart).await;

    let scene = scene.restart().await;
    let ada = scene.app.again(&ada);
    let standing = state(&scene, &ada).await.battle.unwrap();
    assert_eq!(standing.status, BattleStatus::Answered);
    let texts: Vec<String> = standing
        .answers
        .iter()
        .map(|answer| answer.text.clone())
        .collect();
    assert_eq!(texts, sides.iter().map(told_apart).collect::<Vec<_>>());
    let decided: Battle = ada.make(&path(&battle, "vote"), &vote(Choice::Tie)).await;
    assert!(matches!(decided.reveal.unwrap().goes_on_from, Some(0 | 1)));

    let scene = scene.restart().await;
    let ada = scene.app.again(&ada);
    let standing = state(&scene, &ada).await.battle.unwrap();
    assert_eq!(standing.reveal.unwrap().choice, Choice::Tie);
}

#[tokio::test]
async fn a_vote_stays_as_it_is_and_undo_passes_it_by() {
    let (scene, _) = open().await;
    let (battle, _) = answered(&scene, &scene.admin, &say("Hi", None)).await;
    let _: Battle = scene
        .admin
        .make(&path(&battle, "vote"), &vote(Choice::First))
        .await;
    let own: OwnAnswers = scene.admin.get(&scene.path("/answers")).await.json();
    let mine = own
        .answers
        .iter()
        .find(|answer| answer.live)
        .unwrap()
        .assignment_id;
    let changed = Answer {
        judgement: Judgement::Pick {
            choice: Choice::Second,
            strength: None,
        },
        comment: String::new(),
        extras: Extras::default(),
        seconds: 1.0,
        revision: 1,
    };
    let at = |rest: &str| format!("/assignments/{mine}/{rest}");
    let answers = [
        scene.admin.post(&at("annotation"), &changed).await,
        scene.admin.send("POST", &at("reopen"), "").await,
        scene.admin.post(&at("gold"), &NewGold::default()).await,
        scene
            .admin
            .post(
                &at("skip"),
                &Skip {
                    reason: SkipReason::Other,
                    comment: String::new(),
                    revision: 1,
                },
            )
            .await,
    ];
    for answer in answers {
        assert_eq!(answer.code(), ErrorCode::Conflict);
    }
    let undone: Held = scene.undo(&scene.admin).await.json();
    assert_ne!(undone.assignments[0].id, mine);
}

#[tokio::test]
async fn whoever_leaves_takes_what_they_typed_along() {
    let (scene, _) = open().await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let (battle, _) = answered(&scene, &ada, &say("My name is Ada", None)).await;
    let _: Battle = ada.make(&path(&battle, "vote"), &vote(Choice::First)).await;
    let open = begin(&scene, &ada, &say("Ada again", None)).await;
    let leave = format!("/users/{}?answers=withdraw", ada.user);
    let gone = scene.admin.send("DELETE", &leave, "").await;
    assert_eq!(gone.status, 200, "{gone:?}");
    for sql in [
        "select count(*) from prompt where messages like '%Ada%'",
        "select count(*) from battle where messages like '%Ada%'",
        "select count(*) from completion where text like '%speaks%'",
        "select count(*) from comparison c join completion w on w.id = c.chosen_id where w.battle_id is not null",
        "select count(*) from task where live = 1 and status = 'open'",
    ] {
        assert_eq!(scene.app.count(sql).await, 0, "{sql}");
    }
    // Its trainer hands in what nobody waits for any more.
    reply(&scene, told_apart).await;
    let left = format!("select count(*) from battle where id = {}", open.id);
    assert_eq!(scene.app.count(Box::leak(left.into_boxed_str())).await, 0);
    let bob = scene.app.person("bob", Role::Annotator).await;
    let held = scene.hold(&bob, 1).await;
    assert!(
        held.assignments.is_empty(),
        "a withdrawn vote is nobody's task: {held:?}"
    );
}

#[tokio::test]
async fn results_tell_battles_and_tasks_apart() {
    let (scene, adapter) = open().await;
    for n in 0..6 {
        let (battle, sides) = answered(&scene, &scene.admin, &say(&format!("Question {n}"), None)).await;
        let adapted = if sides[0].adapter.is_some() {
            Choice::First
        } else {
            Choice::Second
        };
        let choice = match n {
            0 => Choice::Tie,
            1 => Choice::BothBad,
            _ => adapted,
        };
        let _: Battle = scene.admin.make(&path(&battle, "vote"), &vote(choice)).await;
    }
    let results: ArenaResults = scene.admin.get(&scene.path("/arena/results")).await.json();
    let live = &results.live;
    assert_eq!((live.n_comparisons, live.n_both_bad), (5, 1));
    let best = &live.contenders[0];
    assert_eq!(best.contender.adapter, Some(adapter.id));
    assert_eq!(
        (best.record.wins, best.record.ties, best.record.losses),
        (4, 1, 0)
    );
    assert!((best.record.win_rate - 0.9).abs() < 1e-9 && best.score.value > 1000.0);
    assert!(best.score.interval.is_some());
    // The one task compared two answers of the base model.
    assert_eq!(results.offline, Standings::default());
    let against = NewCompletionJob {
        adapter: Some(adapter.id),
        task_plan: TaskPlan::AgainstEarlier,
        completions_per_prompt: 1,
        ..crate::scene::order(1)
    };
    scene.complete(&against, |_, _| "adapted".into()).await;
    scene
        .answer(&scene.admin, |shown| {
            let is_first = shown.completions[0].text == "adapted";
            crate::scene::pick(if is_first { Choice::First } else { Choice::Second }, shown)
        })
        .await;
    let results: ArenaResults = scene.admin.get(&scene.path("/arena/results")).await.json();
    assert_eq!(
        (results.live.n_comparisons, results.offline.n_comparisons),
        (5, 1)
    );
    assert_eq!(results.offline.contenders[0].contender.name, adapter.name);
}

#[tokio::test]
async fn completions_of_an_earlier_version_stay_and_no_number_is_given_twice() {
    let folder = crate::old::database(
        "0014",
        r#"insert into user (id, name, password_hash, role, created_at) values (1, 'ada', '', 'annotator', 1);
           insert into project (id, name, guidelines, label_type, completions_per_task, overlap, ask_strength,
                                leave_out_truncated, base_model, pseudonym_key, created_at)
           values (3, 'p', '', 'pick', 2, 1, 1, 0, 'm', 'k', 1);
           insert into prompt (id, project_id, messages, content_hash, created_at) values (4, 3, '[]', 'h', 1);
           insert into job (id, kind, project_id, status, base_model, created_at) values (5, 'completions', 3, 'done', 'm', 1);
           insert into completion_job (id, job_id, request, n_done, n_total) values (6, 5, '{}', 2, 2);
           insert into completion (id, prompt_id, completion_job_id, position, text, text_hash, n_tokens, finish_reason,
                                   model, template_hash, created_at)
           values (7, 4, 6, 0, 'a', 'a', 1, 'stop', 'm', 't', 1), (9, 4, 6, 1, 'b', 'b', 1, 'stop', 'm', 't', 1);
           delete from completion where id = 9;"#,
    )
    .await;
    let db = laurel_server::store::Db::open(folder.path()).await.unwrap();
    let kept: (i64, i64, String) = sqlx::query_as(
        "select (select count(*) from completion), (select seq from sqlite_sequence where name = 'completion'),
                (select arena from project)",
    )
    .fetch_one(db.read())
    .await
    .unwrap();
    assert_eq!(kept, (1, 9, "{}".to_owned()));
}
