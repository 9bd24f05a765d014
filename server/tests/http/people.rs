//! A person who leaves: what is found of them, what goes, and what stays.

use crate::app::Caller;
use crate::scene::{Scene, pick, round};
use laurel_protocol::*;

/// Ada has answered two tasks, with a comment; an adapter was trained on them.
async fn taught() -> (Scene, Caller, UserId, Adapter) {
    let scene = Scene::with_tasks(3).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    for _ in 0..2 {
        let said = |shown: &Assignment| Answer {
            comment: "my mother says so".into(),
            ..pick(Choice::First, shown)
        };
        scene.answer(&ada, said).await;
    }
    let adapter = scene.train_on(&round(RoundKind::Dpo)).await;
    let users: Vec<User> = scene.admin.get("/users").await.json();
    let id = users.iter().find(|user| user.name == "ada").unwrap().id;
    (scene, ada, id, adapter)
}

async fn n_pairs(scene: &Scene) -> usize {
    scene.export("preference").await.lines::<PreferenceRow>().len()
}

#[tokio::test]
async fn what_a_person_judged_is_found_in_the_adapters_that_learnt_from_it_and_in_those_that_began_there() {
    let (scene, _, id, adapter) = taught().await;
    let later = NewRound {
        starting_adapter: Some(adapter.id),
        ..round(RoundKind::Sft)
    };
    let second = scene.train_on(&later).await;
    let data: PersonData = scene.admin.get(&format!("/users/{id}/data")).await.json();
    assert_eq!((data.n_answers, data.n_skips, data.n_notes), (2, 0, 0));
    let found: Vec<_> = data.adapters.iter().map(|taught| taught.id).collect();
    assert_eq!(found, [adapter.id, second.id]);
    // The admin has taught nothing.
    let users: Vec<User> = scene.admin.get("/users").await.json();
    let admin = users.iter().find(|user| user.role == Role::Admin).unwrap().id;
    let data: PersonData = scene.admin.get(&format!("/users/{admin}/data")).await.json();
    assert_eq!(data.adapters, []);
}

#[tokio::test]
async fn answers_that_stay_are_a_pseudonyms_and_the_words_are_gone() {
    let (scene, ada, id, adapter) = taught().await;
    let before = scene.export("preference").await.text().to_owned();
    let path = format!("/users/{id}?answers=keep");
    let gone: PersonData = scene.admin.send("DELETE", &path, "").await.json();
    assert_eq!(gone.user.name, "ada");
    assert_eq!(gone.adapters[0].id, adapter.id);
    assert_eq!(scene.export("preference").await.text(), before);
    let everything = scene.export("ranking").await;
    assert!(!everything.text().contains("mother"), "{}", everything.text());
    assert_eq!(ada.get("/session").await.status, 401);
    let users: Vec<User> = scene.admin.get("/users").await.json();
    let left = users.iter().find(|user| user.id == id).unwrap();
    assert_eq!(
        (left.name.as_str(), left.disabled),
        (&*format!("former person {id}"), true)
    );
    // The name is free again.
    scene.app.person("ada", Role::Annotator).await;
}

#[tokio::test]
async fn withdrawn_answers_count_no_more_and_others_are_asked_instead() {
    let (scene, _, id, adapter) = taught().await;
    assert_eq!(n_pairs(&scene).await, 2);
    let path = format!("/users/{id}?answers=withdraw");
    assert_eq!(scene.admin.send("DELETE", &path, "").await.status, 200);
    assert_eq!(n_pairs(&scene).await, 0);
    let grace = scene.app.person("grace", Role::Annotator).await;
    assert_eq!(scene.hold(&grace, 5).await.assignments.len(), 3);
    // What was trained can still be followed to where it came from.
    let data: PersonData = scene.admin.get(&format!("/users/{id}/data")).await.json();
    assert_eq!((data.n_answers, data.adapters[0].id), (0, adapter.id));
}

#[tokio::test]
async fn the_last_admin_stays_and_the_choice_must_be_made() {
    let scene = Scene::with_tasks(1).await;
    let users: Vec<User> = scene.admin.get("/users").await.json();
    let admin = users.iter().find(|user| user.role == Role::Admin).unwrap().id;
    let path = format!("/users/{admin}?answers=keep");
    assert_eq!(
        scene.admin.send("DELETE", &path, "").await.code(),
        ErrorCode::Conflict
    );
    let unsaid = scene.admin.send("DELETE", &format!("/users/{admin}"), "").await;
    assert!(unsaid.status.is_client_error(), "{unsaid:?}");
    assert_eq!(
        scene
            .admin
            .send("DELETE", "/users/99?answers=keep", "")
            .await
            .status,
        404
    );
}
