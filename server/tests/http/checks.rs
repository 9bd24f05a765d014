//! Checks of annotators: gold items, qualification, repeats and limits, as annotators meet them.

use crate::app::Caller;
use crate::scene::{Scene, order, pick, plain, settings};
use laurel_protocol::*;

async fn scene(checks: Checks, n_prompts: usize) -> Scene {
    let settings = ProjectSettings {
        checks,
        overlap: 3,
        ..settings(LabelType::Pick, 2)
    };
    let scene = Scene::new(&settings, n_prompts).await;
    scene.complete(&order(2), plain).await;
    scene
}

/// "answer 0" is better, whatever its place.
fn right(shown: &Assignment) -> Answer {
    let is_first = shown.completions[0].text.ends_with("answer 0");
    pick(if is_first { Choice::First } else { Choice::Second }, shown)
}

fn wrong(shown: &Assignment) -> Answer {
    let is_first = shown.completions[0].text.ends_with("answer 0");
    pick(if is_first { Choice::Second } else { Choice::First }, shown)
}

/// The admin answers so many tasks and makes gold items of them.
async fn gold(scene: &Scene, n: usize) -> Vec<GoldItem> {
    let mut items = Vec::new();
    for _ in 0..n {
        let answered = scene.answer(&scene.admin, right).await;
        let new = NewGold {
            explanation: "the lower number".into(),
        };
        let path = format!("/assignments/{}/gold", answered.id);
        items.push(scene.admin.make(&path, &new).await);
    }
    items
}

async fn submit(who: &Caller, shown: &Assignment, answer: &Answer) -> Held {
    who.make(&format!("/assignments/{}/annotation", shown.id), answer)
        .await
}

async fn figures(scene: &Scene, name: &str) -> AnnotatorFigures {
    let all: Vec<AnnotatorFigures> = scene.admin.get(&scene.path("/annotators")).await.json();
    all.into_iter().find(|figures| figures.name == name).unwrap()
}

async fn counts(scene: &Scene) -> ProjectCounts {
    let project: Project = scene.admin.get(&scene.path("")).await.json();
    project.counts
}

#[tokio::test]
async fn gold_items_come_at_their_share_and_count_for_nothing_but_the_persons_figures() {
    let checks = Checks {
        gold_percent: 50,
        ..Checks::default()
    };
    let scene = scene(checks, 6).await;
    gold(&scene, 2).await;
    let before = counts(&scene).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    for _ in 0..4 {
        scene.answer(&ada, right).await; // two of the four are gold
    }
    let after = counts(&scene).await;
    assert_eq!(after.n_tasks, 6);
    assert_eq!(after.n_annotations - before.n_annotations, 2);
    assert_eq!(after.n_comparisons - before.n_comparisons, 2);
    let ada_figures = figures(&scene, "ada").await;
    assert_eq!(
        (
            ada_figures.n_annotations,
            ada_figures.n_gold,
            ada_figures.n_gold_right
        ),
        (2, 2, 2)
    );
    let rows: Vec<PreferenceRow> = scene.export("preference").await.lines();
    assert_eq!(rows.len() as u64, after.n_comparisons);
    // The author meets none of them, and ada no task again that she saw as gold.
    let held = scene.hold(&ada, 5).await;
    let mut prompts: Vec<_> = held
        .assignments
        .iter()
        .map(|shown| &shown.prompt[0].html)
        .collect();
    prompts.dedup();
    assert_eq!(prompts.len(), held.assignments.len());
}

#[tokio::test]
async fn feedback_says_what_is_right_in_the_persons_own_order_and_the_first_answer_counts() {
    let checks = Checks {
        qualification: 1,
        qualification_percent: 1,
        gold_feedback: true,
        ..Checks::default()
    };
    let scene = scene(checks, 3).await;
    let items = gold(&scene, 1).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let shown = scene.hold(&ada, 1).await.assignments.remove(0);
    let held = submit(&ada, &shown, &wrong(&shown)).await;
    let feedback = held.feedback.unwrap();
    assert_eq!((feedback.right, feedback.assignment_id), (false, shown.id));
    assert_eq!(feedback.expected, right(&shown).judgement);
    assert_eq!(feedback.explanation, "the lower number");
    // Taking it back does not make it right.
    let path = format!("/assignments/{}/reopen", shown.id);
    let back: Held = ada.make(&path, &()).await;
    submit(&ada, &back.assignments[0], &right(&back.assignments[0])).await;
    let listed: Vec<GoldItem> = scene.admin.get(&scene.path("/gold")).await.json();
    assert_eq!(
        (listed[0].id, listed[0].n_answers, listed[0].n_right),
        (items[0].id, 1, 0)
    );
}

#[tokio::test]
async fn a_newcomer_begins_with_gold_items_and_goes_on_only_when_enough_are_right() {
    let checks = Checks {
        qualification: 2,
        qualification_percent: 60,
        ..Checks::default()
    };
    let scene = scene(checks, 4).await;
    gold(&scene, 2).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let grace = scene.app.person("grace", Role::Annotator).await;
    // However many are asked for, only the two come before they are answered.
    assert_eq!(scene.hold(&ada, 5).await.assignments.len(), 2);
    scene.answer(&ada, right).await;
    scene.answer(&ada, right).await;
    let held = scene.hold(&ada, 1).await;
    assert_eq!((held.assignments.len(), held.stopped), (1, None));
    scene.answer(&grace, right).await;
    scene.answer(&grace, wrong).await;
    let held = scene.hold(&grace, 1).await;
    assert_eq!(
        (held.assignments.len(), held.stopped),
        (0, Some(Stopped::NotQualified))
    );
}

#[tokio::test]
async fn an_earlier_task_comes_again_swapped_and_tells_who_follows_the_position() {
    let checks = Checks {
        repeat_percent: 30,
        ..Checks::default()
    };
    let scene = scene(checks, 20).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let grace = scene.app.person("grace", Role::Annotator).await;
    let mut orders = std::collections::HashMap::<String, Vec<String>>::new();
    for _ in 0..20 {
        let shown = scene.answer(&ada, right).await;
        let texts = shown.texts().into_iter().map(str::to_owned).collect();
        if let Some(before) = orders.insert(shown.prompt[0].html.clone(), texts) {
            let mut swapped = orders[&shown.prompt[0].html].clone();
            swapped.reverse();
            assert_eq!(before, swapped);
        }
        scene.answer(&grace, |shown| pick(Choice::First, shown)).await;
    }
    let (ada, grace) = (figures(&scene, "ada").await, figures(&scene, "grace").await);
    assert!(ada.n_repeats > 0, "{ada:?}");
    assert_eq!(ada.n_repeats_same, ada.n_repeats);
    assert_eq!(ada.n_annotations + ada.n_repeats, 20);
    assert_eq!(
        (grace.n_repeats_same, grace.n_repeats_same_position),
        (0, grace.n_repeats)
    );
    let counts = counts(&scene).await;
    assert_eq!(counts.n_annotations, ada.n_annotations + grace.n_annotations);
}

#[tokio::test]
async fn nobody_answers_more_than_the_limit() {
    let checks = Checks {
        max_per_annotator: Some(2),
        ..Checks::default()
    };
    let scene = scene(checks, 4).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    assert_eq!(scene.hold(&ada, 5).await.assignments.len(), 2);
    scene.answer(&ada, right).await;
    scene.answer(&ada, right).await;
    let held = scene.hold(&ada, 1).await;
    assert_eq!((held.assignments.len(), held.stopped), (0, Some(Stopped::Limit)));
}

#[tokio::test]
async fn gold_items_are_made_and_closed_by_admins_alone_and_of_their_own_answers() {
    let scene = scene(Checks::default(), 2).await;
    let item = gold(&scene, 1).await.remove(0);
    assert_eq!((item.prompt.as_str(), item.open), ("question 1", true));
    let ada = scene.app.person("ada", Role::Annotator).await;
    let own = scene.answer(&ada, right).await;
    let path = format!("/assignments/{}/gold", own.id);
    assert_eq!(ada.post(&path, &NewGold::default()).await.status, 403);
    assert_eq!(scene.admin.post(&path, &NewGold::default()).await.status, 404);
    let held = scene.hold(&scene.admin, 1).await.assignments.remove(0);
    let path = format!("/assignments/{}/gold", held.id);
    assert_eq!(scene.admin.post(&path, &NewGold::default()).await.status, 409);
    let close = format!("/gold/{}", item.id);
    assert_eq!(ada.send("DELETE", &close, "").await.status, 403);
    assert_eq!(scene.admin.send("DELETE", &close, "").await.status, 204);
    let left: Vec<GoldItem> = scene.admin.get(&scene.path("/gold")).await.json();
    assert_eq!(left, []);
}
