//! A small labelled project in each form of export: every row, and nothing but.

use crate::scene::{self, Scene, order, pick, plain, settings};
use laurel_protocol::*;
use serde_json::{Value, json};

fn text(assignment: &Assignment, position: usize) -> &str {
    &assignment.completions[position].text
}

/// The completion's number: they are stored prompt by prompt, two each.
fn id(text: &str) -> i64 {
    let (question, answer) = text.split_once(", answer ").unwrap();
    let question: i64 = question.strip_prefix("question ").unwrap().parse().unwrap();
    2 * (question - 1) + answer.parse::<i64>().unwrap() + 1
}

fn strict(choice: Choice, strength: u8) -> impl Fn(&Assignment) -> Answer {
    move |assignment| Answer {
        judgement: Judgement::Pick {
            choice,
            strength: Some(strength),
        },
        ..pick(choice, assignment)
    }
}

/// Four tasks of one person: A with strength 3, a tie, both bad, B (after A was taken back).
async fn labelled() -> (Scene, Vec<Assignment>) {
    let asks = ProjectSettings {
        ask_strength: true,
        ..settings(LabelType::Pick, 2)
    };
    let scene = Scene::new(&asks, 4).await;
    scene.complete(&order(2), plain).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let shown = vec![
        scene.answer(&ada, strict(Choice::First, 3)).await,
        scene.answer(&ada, |shown| pick(Choice::Tie, shown)).await,
        scene.answer(&ada, |shown| pick(Choice::BothBad, shown)).await,
        scene.answer(&ada, strict(Choice::First, 1)).await,
    ];
    let back: Held = scene.undo(&ada).await.json();
    let mut second = strict(Choice::Second, 2)(&back.assignments[0]);
    second.comment = "clearer".into();
    let path = format!("/assignments/{}/annotation", shown[3].id);
    let _: Held = ada.make(&path, &second).await;
    (scene, shown)
}

/// What stands in both forms of preference.
fn provenance(annotation: i64, chosen: &str, rejected: &str, strength: u8, annotator: &Value) -> Value {
    json!({
        "prompt_id": (id(chosen) + 1) / 2,
        "annotation_id": annotation,
        "chosen_id": id(chosen),
        "rejected_id": id(rejected),
        "strength": strength,
        "annotator": annotator,
        "chosen_generator": "base model",
        "rejected_generator": "base model",
    })
}

fn joined(mut row: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    row.as_object_mut().unwrap().extend(more);
    row
}

fn user(content: &str) -> Value {
    json!({"role": "user", "content": content})
}

fn assistant(content: &str) -> Value {
    json!({"role": "assistant", "content": content})
}

#[tokio::test]
async fn preferences_are_the_strict_choices_that_stand() {
    let (scene, shown) = labelled().await;
    let export = scene.export("preference").await;
    assert_eq!(export.header("content-type"), "application/jsonl; charset=utf-8");
    assert_eq!(
        export.header("content-disposition"),
        "attachment; filename=\"laurel-1-preference.jsonl\""
    );
    let rows: Vec<Value> = export.lines();
    let annotator = &rows[0]["annotator"];
    assert_eq!(annotator.as_str().unwrap().len(), 12, "a pseudonym, not a name");
    let (a, b) = (text(&shown[0], 0), text(&shown[0], 1));
    let (c, d) = (text(&shown[3], 1), text(&shown[3], 0));
    let row = |prompt: &str, chosen: &str, rejected: &str| json!({"prompt": [user(prompt)], "chosen": [assistant(chosen)], "rejected": [assistant(rejected)]});
    let expected = [
        joined(row("question 1", a, b), provenance(1, a, b, 3, annotator)),
        joined(row("question 4", c, d), provenance(5, c, d, 2, annotator)),
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn unpaired_preferences_are_both_sides_of_each_comparison_with_their_label() {
    let (scene, shown) = labelled().await;
    let rows: Vec<Value> = scene.export("unpaired_preference").await.lines();
    let annotator = &rows[0]["annotator"];
    let (a, b) = (text(&shown[0], 0), text(&shown[0], 1));
    let (c, d) = (text(&shown[3], 1), text(&shown[3], 0));
    let row = |prompt: &str, answer: &str, label: bool| json!({"prompt": [user(prompt)], "completion": [assistant(answer)], "label": label});
    let expected = [
        joined(row("question 1", a, true), provenance(1, a, b, 3, annotator)),
        joined(row("question 1", b, false), provenance(1, a, b, 3, annotator)),
        joined(row("question 4", c, true), provenance(5, c, d, 2, annotator)),
        joined(row("question 4", d, false), provenance(5, c, d, 2, annotator)),
    ];
    assert_eq!(rows, expected);
    let short: Vec<Value> = scene.export("kto").await.lines();
    assert_eq!(short, rows);
}

#[tokio::test]
async fn implicit_preferences_hold_the_prompt_in_both_conversations() {
    let (scene, shown) = labelled().await;
    let rows: Vec<Value> = scene.export("implicit_preference").await.lines();
    let annotator = &rows[0]["annotator"];
    let (a, b) = (text(&shown[0], 0), text(&shown[0], 1));
    let (c, d) = (text(&shown[3], 1), text(&shown[3], 0));
    let row = |prompt: &str, chosen: &str, rejected: &str| {
        json!({
            "chosen": [user(prompt), assistant(chosen)],
            "rejected": [user(prompt), assistant(rejected)],
        })
    };
    let expected = [
        joined(row("question 1", a, b), provenance(1, a, b, 3, annotator)),
        joined(row("question 4", c, d), provenance(5, c, d, 2, annotator)),
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn rankings_hold_every_annotation_that_stands_and_the_order_it_was_shown_in() {
    let (scene, shown) = labelled().await;
    let rows: Vec<Value> = scene.export("ranking").await.lines();
    let row = |question: usize, annotation: i64, ranks: [Option<u8>; 2], strength: Option<u8>| {
        let assignment = &shown[question - 1];
        let texts = [0, 1].map(|n| format!("question {question}, answer {n}"));
        let position = |at: usize| texts.iter().position(|own| own == text(assignment, at)).unwrap();
        let display_order = [position(0), position(1)];
        let completion = |text: &String| {
            json!({"id": id(text), "text": text, "generator": "base model", "adapter_hash": null,
                   "finish_reason": "stop"})
        };
        // `ranks` are as shown; the row has them as stored.
        let mut stored = [None; 2];
        for (at, rank) in ranks.into_iter().enumerate() {
            stored[display_order[at]] = rank;
        }
        json!({
            "prompt": [user(&format!("question {question}"))],
            "completions": texts.iter().map(completion).collect::<Vec<_>>(),
            "ranks": stored,
            "display_order": display_order,
            "strength": strength,
            "both_bad": question == 3,
            "comment": if question == 4 { "clearer" } else { "" },
            "ratings": {},
            "spans": [],
            "edits": [null, null],
            "demonstration": null,
            "acceptable": null,
            "seconds": 2.5,
            "annotator": rows[0]["annotator"],
            "decision": false,
            "prompt_id": question,
            "task_id": question,
            "annotation_id": annotation,
        })
    };
    let expected = [
        row(1, 1, [Some(1), Some(2)], Some(3)),
        row(2, 2, [Some(1), Some(1)], None),
        row(3, 3, [None, None], None),
        row(4, 5, [Some(2), Some(1)], Some(2)),
    ];
    let mut timeless = rows.clone();
    for row in &mut timeless {
        assert!(
            row.as_object_mut()
                .unwrap()
                .remove("created_at")
                .unwrap()
                .is_i64()
        );
    }
    assert_eq!(timeless, expected);
}

#[tokio::test]
async fn a_ranking_of_three_with_a_tie_gives_two_preferences() {
    let scene = Scene::new(&settings(LabelType::Rank, 3), 1).await;
    scene.complete(&order(3), plain).await;
    let rank = |assignment: &Assignment| Answer {
        judgement: Judgement::Rank { ranks: vec![2, 1, 2] },
        ..pick(Choice::Tie, assignment)
    };
    let shown = scene.answer(&scene.admin, rank).await;
    let rows: Vec<PreferenceRow> = scene.export("preference").await.lines();
    let pairs: Vec<_> = rows
        .iter()
        .map(|row| (row.chosen[0].content.as_str(), row.rejected[0].content.as_str()))
        .collect();
    let best = text(&shown, 1);
    assert_eq!(pairs, [(best, text(&shown, 0)), (best, text(&shown, 2))]);

    let rankings: Vec<RankingRow> = scene.export("ranking").await.lines();
    let ranking = &rankings[0];
    let in_order: Vec<_> = ranking
        .display_order
        .iter()
        .map(|at| {
            let at = *at as usize;
            (ranking.completions[at].text.as_str(), ranking.ranks[at])
        })
        .collect();
    let expected: Vec<_> = (0..3).map(|at| (text(&shown, at), Some([2, 1, 2][at]))).collect();
    assert_eq!(in_order, expected);

    let project: Project = scene.admin.get(&scene.path("")).await.json();
    assert_eq!((project.counts.n_comparisons, project.counts.n_ties), (2, 1));
}

#[tokio::test]
async fn a_round_whose_loss_trains_ties_gets_them_among_its_rows() {
    let scene = Scene::new(&settings(LabelType::Rank, 3), 1).await;
    scene.complete(&order(3), plain).await;
    let rank = |assignment: &Assignment| Answer {
        judgement: Judgement::Rank { ranks: vec![2, 1, 2] },
        ..pick(Choice::Tie, assignment)
    };
    scene.answer(&scene.admin, rank).await;
    for (loss, expected) in [("bradley_terry", (2, 0, 1)), ("davidson", (3, 1, 0))] {
        let spec = json!({"kind": "reward", "hyper": {"loss": loss}});
        let round: Round = scene
            .admin
            .make(&scene.path("/rounds"), &json!({ "spec": spec }))
            .await;
        let rows = scene.admin.get(&format!("/rounds/{}/rows", round.id)).await;
        let rows: Vec<PreferenceRow> = rows.lines();
        let n_ties = rows.iter().filter(|row| row.tie).count();
        assert_eq!(
            (rows.len(), n_ties, round.snapshot.n_ties_left_out),
            expected,
            "{loss}"
        );
    }
}

#[tokio::test]
async fn more_rows_than_a_page_are_all_exported_once() {
    let scene = Scene::with_tasks(210).await;
    for _ in 0..210 {
        scene
            .answer(&scene.admin, |shown| scene::pick(Choice::First, shown))
            .await;
    }
    for format in ["preference", "ranking"] {
        let rows: Vec<Value> = scene.export(format).await.lines();
        let mut prompts: Vec<_> = rows
            .iter()
            .map(|row| row["prompt_id"].as_i64().unwrap())
            .collect();
        prompts.dedup();
        assert_eq!(prompts, (1..=210).collect::<Vec<_>>(), "{format}");
    }
}
