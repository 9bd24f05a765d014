//! Undo walks back through what a person answered and skipped.

use crate::{
    app::Caller,
    scene::{Scene, pick},
};
use laurel_protocol::{Assignment, AssignmentId, Choice, ErrorCode, Held, Role, Skip, SkipReason};

async fn skip(who: &Caller, id: AssignmentId) -> Held {
    let skip = Skip {
        reason: SkipReason::CannotJudge,
        comment: String::new(),
        revision: 0,
    };
    who.make(&format!("/assignments/{id}/skip"), &skip).await
}

fn tie(assignment: &Assignment) -> laurel_protocol::Answer {
    pick(Choice::Tie, assignment)
}

#[tokio::test]
async fn repeated_undo_walks_back_to_the_first_answer() {
    let scene = Scene::with_tasks(4).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let first = scene.answer(&ada, tie).await.id;
    let second = scene.hold(&ada, 1).await.assignments.remove(0).id;
    skip(&ada, second).await;
    let third = scene.answer(&ada, tie).await.id;

    let mut walked = Vec::new();
    for _ in 0..3 {
        let back: Held = scene.undo(&ada).await.json();
        let shown = &back.assignments[0];
        walked.push((shown.id, shown.previous.is_some(), back.can_undo));
    }
    assert_eq!(
        walked,
        [(third, true, true), (second, false, true), (first, true, false)]
    );
    assert_eq!(scene.undo(&ada).await.code(), ErrorCode::Conflict);
    let annotations = "select count(*) from annotation where replaced_by is null and withdrawn = 0";
    assert_eq!(
        scene.app.count(annotations).await,
        2,
        "answers stand until they are replaced"
    );
}

#[tokio::test]
async fn a_new_answer_or_a_new_visit_begins_the_walk_anew() {
    let scene = Scene::with_tasks(3).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let first = scene.answer(&ada, tie).await.id;
    let second = scene.answer(&ada, tie).await.id;
    let undone = async || {
        let back: Held = scene.undo(&ada).await.json();
        back.assignments.into_iter().next().unwrap()
    };
    assert_eq!(undone().await.id, second);
    let back = undone().await;
    assert_eq!((back.id, back.revision), (first, 1));
    let path = format!("/assignments/{first}/annotation");
    let held: Held = ada.make(&path, &pick(Choice::First, &back)).await;
    assert_eq!((held.progress.n_mine, held.can_undo), (2, true));
    assert_eq!(undone().await.id, first, "the last answer is now that one");
    assert_eq!(undone().await.id, second);
    scene.hold(&ada, 1).await;
    assert_eq!(
        undone().await.id,
        first,
        "a page that is loaded anew begins at the last answer"
    );
}

#[tokio::test]
async fn a_skip_whose_slot_is_taken_cannot_be_undone_until_it_is_free() {
    let scene = Scene::with_tasks(1).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let bob = scene.app.person("bob", Role::Annotator).await;
    let mine = scene.hold(&ada, 1).await.assignments.remove(0).id;
    assert!(skip(&ada, mine).await.can_undo);

    let theirs = scene.hold(&bob, 1).await.assignments.remove(0).id;
    assert!(!scene.hold(&ada, 1).await.can_undo);
    assert_eq!(scene.undo(&ada).await.code(), ErrorCode::Conflict);

    skip(&bob, theirs).await;
    assert!(scene.hold(&ada, 1).await.can_undo);
    let back: Held = scene.undo(&ada).await.json();
    assert_eq!(back.assignments[0].id, mine);
    let answered: Held = ada
        .make(
            &format!("/assignments/{mine}/annotation"),
            &tie(&back.assignments[0]),
        )
        .await;
    assert_eq!(answered.progress.n_tasks_done, 1);
}

#[tokio::test]
async fn undo_passes_over_a_skip_that_someone_else_took() {
    let scene = Scene::with_tasks(2).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let bob = scene.app.person("bob", Role::Annotator).await;
    let answered = scene.answer(&ada, tie).await.id;
    let skipped = scene.hold(&ada, 1).await.assignments.remove(0).id;
    skip(&ada, skipped).await;
    scene.answer(&bob, tie).await;
    let back: Held = scene.undo(&ada).await.json();
    assert_eq!(back.assignments[0].id, answered);
}

#[tokio::test]
async fn progress_counts_what_is_left_for_this_person() {
    let scene = Scene::with_tasks(4).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let bob = scene.app.person("bob", Role::Annotator).await;
    scene.answer(&ada, tie).await;
    let second = scene.hold(&ada, 1).await.assignments.remove(0).id;
    let skipped = skip(&ada, second).await.progress;
    assert_eq!(
        (
            skipped.n_tasks,
            skipped.n_tasks_done,
            skipped.n_mine,
            skipped.n_left_for_me
        ),
        (4, 1, 1, 2)
    );
    let other = scene.hold(&bob, 1).await.progress;
    assert_eq!((other.n_mine, other.n_left_for_me), (0, 3));
}
