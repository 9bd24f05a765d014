//! The arena: contenders stay hidden until the vote, a vote counts once and is an annotation like any other, and what both
//! have answered outlasts the server.

mod kept;
mod refused;

use crate::{
    app::{Answered, Caller},
    scene::{Scene, done, order, pick, plain},
};
use laurel_protocol::*;
use serde_json::Value;

/// A scene with one adapter, the arena open for it and the base model.
async fn open() -> (Scene, Adapter) {
    let scene = Scene::with_tasks(1).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    let adapter = scene.train().await;
    set(&scene, |settings| {
        settings.arena.on = true;
        settings.arena.adapters = vec![adapter.id];
    })
    .await
    .json::<Project>();
    (scene, adapter)
}

async fn set(scene: &Scene, change: impl FnOnce(&mut ProjectSettings)) -> Answered {
    let project: Project = scene.admin.get(&scene.path("")).await.json();
    let mut settings = project.settings;
    change(&mut settings);
    let json = scene.admin.with("content-type", "application/json");
    json.send(
        "PUT",
        &scene.path("/settings"),
        serde_json::to_vec(&settings).unwrap(),
    )
    .await
}

fn say(text: &str, after: Option<BattleId>) -> NewBattle {
    NewBattle {
        text: text.into(),
        after,
    }
}

async fn begin(scene: &Scene, who: &Caller, new: &NewBattle) -> Battle {
    who.make(&scene.path("/arena"), new).await
}

fn written(texts: [&str; 2], finish: Option<FinishReason>) -> ChatReport {
    let answer = |text: &str| ChatAnswer {
        text: text.into(),
        n_tokens: 2,
        finish_reason: finish,
    };
    ChatReport {
        answers: texts.map(answer).into(),
        template_hash: Some("7e".repeat(32)),
    }
}

/// Answers the battle that waits as a trainer would. Gives whom it was asked as, in the order of the sides.
async fn reply(scene: &Scene, text: impl Fn(&ChatWork) -> String) -> Vec<ChatWork> {
    let (job, holder) = scene.lease().await;
    let Work::Chat { sides, .. } = job.work else {
        panic!("a turn was leased");
    };
    let texts: Vec<String> = sides.iter().map(text).collect();
    let report = written([&texts[0], &texts[1]], Some(FinishReason::Stop));
    let path = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
    let _: Directive = holder.make(&path("chat"), &report).await;
    assert_eq!(holder.post(&path("finish"), &done()).await.status, 204);
    sides
}

/// What each contender says.
fn told_apart(side: &ChatWork) -> String {
    match &side.adapter {
        None => "The **base** speaks.".into(),
        Some(_) => "The *adapted* one speaks.".into(),
    }
}

fn vote(choice: Choice) -> BattleVote {
    BattleVote {
        choice,
        strength: None,
        comment: String::new(),
        seconds: 4.5,
        key: "a key of it".into(),
    }
}

fn path(battle: &Battle, rest: &str) -> String {
    format!("/battles/{}/{rest}", battle.id)
}

async fn state(scene: &Scene, who: &Caller) -> ArenaState {
    who.get(&scene.path("/arena")).await.json()
}

/// A battle that was answered, ready for the vote.
async fn answered(scene: &Scene, who: &Caller, new: &NewBattle) -> (Battle, Vec<ChatWork>) {
    let battle = begin(scene, who, new).await;
    let sides = reply(scene, told_apart).await;
    (battle, sides)
}

#[tokio::test]
async fn contenders_are_hidden_until_the_vote_and_told_after_it() {
    let (scene, adapter) = open().await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let mut orders = [0, 0];
    for n in 0..30 {
        let text = format!("Who are you? {n}");
        let asked = ada.post(&scene.path("/arena"), &say(&text, None)).await;
        let battle: Battle = asked.json();
        let mut stream = ada.watch(&path(&battle, "events")).await;
        stream.until(r#""status":"asked""#).await;
        let sides = reply(&scene, told_apart).await;
        let streamed = stream.end().await;
        let standing = ada.get(&scene.path("/arena")).await;
        let project = ada.get(&scene.path("")).await;
        let all = ada.get("/projects").await;
        let seen = [
            asked.text(),
            &streamed,
            standing.text(),
            project.text(),
            all.text(),
        ];
        for text in seen {
            assert!(
                !text.contains(&adapter.name) && !text.contains(&adapter.hash),
                "{text}"
            );
            assert!(
                !text.contains("\"reveal\":{") && !text.contains("contenders\""),
                "{text}"
            );
        }
        let project: Value = project.json();
        assert_eq!(project["settings"]["arena"]["adapters"], Value::Array(vec![]));
        let state: ArenaState = standing.json();
        let battle = state.battle.unwrap();
        assert_eq!(battle.status, BattleStatus::Answered);
        assert!(battle.answers[0].html.contains("</strong>") || battle.answers[1].html.contains("</strong>"));
        let decided: Battle = ada.make(&path(&battle, "vote"), &vote(Choice::First)).await;
        let reveal = decided.reveal.unwrap();
        let is_adapter_first = sides[0].adapter.is_some();
        orders[usize::from(is_adapter_first)] += 1;
        let names: Vec<&str> = reveal.contenders.iter().map(|one| one.name.as_str()).collect();
        let expected = match is_adapter_first {
            true => [adapter.name.as_str(), "base model"],
            false => ["base model", adapter.name.as_str()],
        };
        assert_eq!(names, expected);
    }
    assert!(
        orders[0] > 0 && orders[1] > 0,
        "the order is not drawn: {orders:?}"
    );
}

#[tokio::test]
async fn a_vote_counts_once_however_often_it_is_sent_and_not_before_both_answers() {
    let (scene, _) = open().await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let before = scene.app.count("select count(*) from annotation").await;
    let battle = begin(&scene, &ada, &say("Hello?", None)).await;
    let early = ada.post(&path(&battle, "vote"), &vote(Choice::First)).await;
    assert_eq!(early.code(), ErrorCode::Conflict);
    let (job, holder) = scene.lease().await;
    let worker = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
    let _: Directive = holder
        .make(&worker("chat"), &written(["half", "an answer"], None))
        .await;
    let early = ada.post(&path(&battle, "vote"), &vote(Choice::First)).await;
    assert_eq!(early.code(), ErrorCode::Conflict);
    let whole = written(["whole", "answers"], Some(FinishReason::Stop));
    let _: Directive = holder.make(&worker("chat"), &whole).await;
    assert_eq!(holder.post(&worker("finish"), &done()).await.status, 204);

    let strong = BattleVote {
        strength: Some(2),
        ..vote(Choice::First)
    };
    let refused = ada.post(&path(&battle, "vote"), &strong).await;
    assert_eq!(refused.problem().fields[0].field, "strength");
    let first: Battle = ada.make(&path(&battle, "vote"), &vote(Choice::First)).await;
    let again: Battle = ada.make(&path(&battle, "vote"), &vote(Choice::First)).await;
    assert_eq!(again, first);
    let other = BattleVote {
        key: "another key".into(),
        ..vote(Choice::Second)
    };
    assert_eq!(
        ada.post(&path(&battle, "vote"), &other).await.code(),
        ErrorCode::Conflict
    );
    assert_eq!(
        scene.app.count("select count(*) from annotation").await,
        before + 1
    );
    assert_eq!(
        scene
            .app
            .count("select count(*) from task where live = 1 and status = 'done' and overlap = 1")
            .await,
        1
    );
    let audit = scene.admin.get("/audit?verb=answer_given&order=newest").await;
    let page: AuditPage = audit.json();
    assert_eq!(page.entries[0].user, Some(ada.user));
}

#[tokio::test]
async fn a_vote_is_exported_with_the_conversation_that_led_to_it() {
    let (scene, adapter) = open().await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let (first, sides) = answered(&scene, &ada, &say("What is a bee?", None)).await;
    let decided: Battle = ada.make(&path(&first, "vote"), &vote(Choice::Second)).await;
    let reveal = decided.reveal.unwrap();
    assert_eq!((reveal.goes_on_from, reveal.may_go_on), (Some(1), true));
    let chosen = told_apart(&sides[1]);
    let (second, sides) = answered(&scene, &ada, &say(" And a wasp? ", Some(first.id))).await;
    assert_eq!(second.turn, 2);
    let conversation = [
        Message::user("What is a bee?"),
        Message::assistant(&chosen),
        Message::user("And a wasp?"),
    ];
    assert_eq!(sides[0].messages, conversation);
    assert_eq!(sides[1].messages, conversation);
    let _: Battle = ada.make(&path(&second, "vote"), &vote(Choice::First)).await;

    let rows: Vec<PreferenceRow> = scene.export("preference").await.lines();
    let live: Vec<&PreferenceRow> = rows
        .iter()
        .filter(|row| row.prompt[0].content == "What is a bee?")
        .collect();
    assert_eq!(live.len(), 2);
    assert_eq!(live[0].chosen[0].content, chosen);
    assert_eq!(live[1].prompt, conversation);
    assert_eq!(live[1].chosen[0].content, told_apart(&sides[0]));
    let provenance = live[1].provenance.as_ref().unwrap();
    let names = [&provenance.chosen_generator, &provenance.rejected_generator];
    assert!(names.contains(&&adapter.name) && names.contains(&&"base model".to_owned()));
    let rankings: Vec<RankingRow> = scene.export("ranking").await.lines();
    assert_eq!(rankings.len(), 3);
    assert_eq!(rankings[2].seconds, 4.5);

    // A round learns from it; the queue, the prompts and completion jobs know nothing of it.
    let frozen: Round = scene
        .admin
        .make(&scene.path("/rounds"), &crate::scene::round(RoundKind::Dpo))
        .await;
    assert_eq!(frozen.snapshot.n_rows, 3);
    let prompts: PromptPage = scene.admin.get(&scene.path("/prompts")).await.json();
    assert_eq!(prompts.prompts.len(), 1);
    let held = scene.hold(&ada, 1).await;
    assert!(
        held.assignments.is_empty() && held.progress.n_tasks == 1,
        "{held:?}"
    );
    let own: OwnAnswers = ada.get(&scene.path("/answers")).await.json();
    assert_eq!(own.answers.len(), 2);
    assert!(own.answers.iter().all(|answer| answer.live));
    let project: Project = scene.admin.get(&scene.path("")).await.json();
    assert_eq!((project.counts.n_annotations, project.counts.n_tasks), (3, 1));
}

#[tokio::test]
async fn a_vote_orders_a_scoring_where_it_is_the_answer_that_was_lacking() {
    let (scene, _) = open().await;
    set(&scene, |settings| settings.selection.active = true)
        .await
        .json::<Project>();
    scene.import(2..=Scoring::MIN_COMPARISONS as usize + 5).await;
    scene.complete(&order(2), plain).await;
    let n_comparisons = scene.app.count("select count(*) from comparison").await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    for _ in n_comparisons + 1..Scoring::MIN_COMPARISONS.cast_signed() {
        scene.answer(&ada, |shown| pick(Choice::First, shown)).await;
    }
    let scorings = async || -> Vec<Scoring> { scene.admin.get(&scene.path("/scorings")).await.json() };
    assert!(scorings().await.is_empty());
    let (battle, _) = answered(&scene, &ada, &say("What is a bee?", None)).await;
    let _: Battle = ada.make(&path(&battle, "vote"), &vote(Choice::Second)).await;
    let ordered: Vec<_> = scorings().await.iter().map(|scoring| scoring.reason).collect();
    assert_eq!(ordered, [ScoringReason::Labels]);
}

#[tokio::test]
async fn after_both_bad_the_turn_is_said_in_other_words_and_the_last_turn_ends_it() {
    let (scene, _) = open().await;
    set(&scene, |settings| settings.arena.max_turns = 2)
        .await
        .json::<Project>();
    let ada = scene.app.person("ada", Role::Annotator).await;
    let (bad, _) = answered(&scene, &ada, &say("Bad words", None)).await;
    let decided: Battle = ada.make(&path(&bad, "vote"), &vote(Choice::BothBad)).await;
    let reveal = decided.reveal.unwrap();
    assert_eq!((reveal.goes_on_from, reveal.may_go_on), (None, true));
    let (first, sides) = answered(&scene, &ada, &say("Better words", Some(bad.id))).await;
    assert_eq!((first.turn, sides[0].messages.len()), (1, 1));
    let _: Battle = ada.make(&path(&first, "vote"), &vote(Choice::First)).await;
    let (second, _) = answered(&scene, &ada, &say("More", Some(first.id))).await;
    let decided: Battle = ada.make(&path(&second, "vote"), &vote(Choice::First)).await;
    assert!(!decided.reveal.unwrap().may_go_on);
    let third = ada
        .post(&scene.path("/arena"), &say("More", Some(second.id)))
        .await;
    assert_eq!(third.code(), ErrorCode::Conflict);
}
