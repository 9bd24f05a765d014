//! A person's own answers: listed, and changed at any time.

use crate::scene::{Scene, pick};
use laurel_protocol::*;

async fn own(scene: &Scene, who: &crate::app::Caller, query: &str) -> OwnAnswers {
    who.get(&scene.path(&format!("/answers{query}"))).await.json()
}

#[tokio::test]
async fn answers_and_skips_are_listed_newest_first_and_page_by_page() {
    let scene = Scene::with_tasks(3).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    scene.answer(&ada, |shown| pick(Choice::Second, shown)).await;
    let second = scene.hold(&ada, 1).await.assignments.remove(0);
    let skip = Skip {
        reason: SkipReason::PromptUnclear,
        comment: String::new(),
        revision: 0,
    };
    let _: Held = ada.make(&format!("/assignments/{}/skip", second.id), &skip).await;
    scene.answer(&ada, |shown| pick(Choice::Tie, shown)).await;

    let first_page = own(&scene, &ada, "?limit=2").await;
    let said: Vec<_> = first_page
        .answers
        .iter()
        .map(|own| {
            let judgement = own.answer.as_ref().map(|answer| answer.judgement.clone());
            (own.prompt.as_str(), judgement, own.skipped)
        })
        .collect();
    let picked = |choice| {
        Some(Judgement::Pick {
            choice,
            strength: None,
        })
    };
    let expected = [
        ("question 3", picked(Choice::Tie), None),
        ("question 2", None, Some(SkipReason::PromptUnclear)),
    ];
    assert_eq!(said, expected);
    let before = first_page.next.unwrap();
    let last = own(&scene, &ada, &format!("?limit=2&before={before}")).await;
    assert_eq!((last.answers.len(), last.next), (1, None));
    assert_eq!(last.answers[0].prompt, "question 1");
    // Nobody else's.
    assert_eq!(own(&scene, &scene.admin, "").await.answers, []);
}

#[tokio::test]
async fn an_answer_of_long_ago_is_reopened_and_changed() {
    let scene = Scene::with_tasks(3).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let first = scene.answer(&ada, |shown| pick(Choice::First, shown)).await;
    scene.answer(&ada, |shown| pick(Choice::First, shown)).await;
    let reopen = format!("/assignments/{}/reopen", first.id);
    let back: Held = ada.make(&reopen, &()).await;
    let reopened = &back.assignments[0];
    assert_eq!((reopened.id, reopened.revision), (first.id, 1));
    assert!(reopened.previous.is_some());
    let path = format!("/assignments/{}/annotation", first.id);
    let _: Held = ada.make(&path, &pick(Choice::Second, reopened)).await;
    let rows: Vec<PreferenceRow> = scene.export("preference").await.lines();
    let of_first = rows
        .iter()
        .find(|row| row.prompt[0].content == "question 1")
        .unwrap();
    assert_eq!(of_first.chosen[0].content, first.completions[1].text);
    assert_eq!(rows.len(), 2);
}

#[tokio::test]
async fn a_skipped_task_comes_back_while_its_slot_is_free_and_no_one_reopens_what_is_not_theirs() {
    let scene = Scene::with_tasks(1).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let grace = scene.app.person("grace", Role::Annotator).await;
    let held = scene.hold(&ada, 1).await.assignments.remove(0);
    let reopen = format!("/assignments/{}/reopen", held.id);
    assert_eq!(
        ada.post(&reopen, &()).await.status,
        409,
        "it was not answered yet"
    );
    let skip = Skip {
        reason: SkipReason::Other,
        comment: String::new(),
        revision: 0,
    };
    let _: Held = ada.make(&format!("/assignments/{}/skip", held.id), &skip).await;
    assert_eq!(grace.post(&reopen, &()).await.status, 404);
    let back: Held = ada.make(&reopen, &()).await;
    assert_eq!(back.assignments[0].id, held.id);
    let _: Held = ada.make(&format!("/assignments/{}/skip", held.id), &skip).await;
    scene.answer(&grace, |shown| pick(Choice::First, shown)).await;
    let late = ada.post(&reopen, &()).await;
    assert_eq!(late.code(), ErrorCode::LeaseLost);
}
