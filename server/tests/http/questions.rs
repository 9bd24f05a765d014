//! What a project asks beside the judgement: what is stored of it, what follows from it, and what is refused.

use crate::scene::{Scene, order, pick, plain, round, settings};
use laurel_protocol::*;
use laurel_server::store::Db;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Everything that can be asked.
fn all(label_type: LabelType, n: u8) -> ProjectSettings {
    ProjectSettings {
        questions: Questions {
            dimensions: vec!["helpful".into(), "harmless".into()],
            rating_steps: 7,
            span_labels: vec!["wrong".into()],
            edit: true,
            demonstration: true,
            acceptable_line: label_type == LabelType::Rank,
        },
        ..settings(label_type, n)
    }
}

/// Ratings of so many completions: helpful 7, 6 …, harmless all 1.
fn ratings(n: u8) -> BTreeMap<String, Vec<u8>> {
    let helpful = (0..n).map(|at| 7 - at).collect();
    BTreeMap::from([
        ("helpful".to_owned(), helpful),
        ("harmless".to_owned(), vec![1; usize::from(n)]),
    ])
}

fn rated(answer: Answer, n: u8) -> Answer {
    Answer {
        extras: Extras {
            ratings: ratings(n),
            ..answer.extras
        },
        ..answer
    }
}

async fn scene(settings: &ProjectSettings, n_prompts: usize) -> Scene {
    let scene = Scene::new(settings, n_prompts).await;
    scene.complete(&order(settings.completions_per_task), plain).await;
    scene
}

fn of(messages: &Value) -> &str {
    messages[0]["content"].as_str().unwrap()
}

/// (chosen, rejected) of each exported preference.
async fn pairs(scene: &Scene) -> Vec<(String, String)> {
    let rows: Vec<Value> = scene.export("preference").await.lines();
    let pair = |row: &Value| (of(&row["chosen"]).to_owned(), of(&row["rejected"]).to_owned());
    rows.iter().map(pair).collect()
}

/// (completion, generator) of what an SFT round would imitate.
async fn examples(scene: &Scene) -> Vec<(String, String)> {
    let rows: Vec<Value> = scene.export("sft").await.lines();
    let example = |row: &Value| {
        let generator = row["generator"].as_str().unwrap().to_owned();
        (of(&row["completion"]).to_owned(), generator)
    };
    rows.iter().map(example).collect()
}

fn pair(chosen: &str, rejected: &str) -> (String, String) {
    (chosen.to_owned(), rejected.to_owned())
}

/// A is better; B, marked, was edited, and an answer of one's own written.
fn written(assignment: &Assignment) -> Answer {
    let mut answer = rated(pick(Choice::First, assignment), 2);
    answer.extras.spans = vec![Span {
        position: 1,
        start: 2,
        end: 5,
        label: "wrong".into(),
    }];
    answer.extras.edits = vec![Edit {
        position: 1,
        text: "B, edited\n".into(),
    }];
    answer.extras.demonstration = Some("my own".into());
    answer
}

#[tokio::test]
async fn an_edit_beats_its_original_and_edits_and_demonstrations_are_imitated() {
    let scene = scene(&all(LabelType::Pick, 2), 1).await;
    let shown = scene.answer(&scene.admin, written).await;
    let (a, b) = (
        shown.completions[0].text.as_str(),
        shown.completions[1].text.as_str(),
    );
    assert_eq!(pairs(&scene).await, [pair(a, b), pair("B, edited", b)]);
    let imitated = [
        pair(a, "base model"),
        pair("B, edited", "annotator"),
        pair("my own", "annotator"),
    ];
    assert_eq!(examples(&scene).await, imitated);

    let made: Round = scene
        .admin
        .make(&scene.path("/rounds"), &round(RoundKind::Sft))
        .await;
    let (job, holder) = scene.lease().await;
    let rows = holder.get(&format!("/worker/jobs/{}/rows", job.job_id)).await;
    let rows: Vec<Value> = rows.lines();
    assert_eq!(made.snapshot.n_rows, 3);
    assert_eq!(of(&rows[1]["chosen"]), "B, edited");
    assert_eq!(
        (of(&rows[2]["prompt"]), of(&rows[2]["completion"])),
        ("question 1", "my own")
    );
}

#[tokio::test]
async fn ratings_spans_and_texts_are_exported_in_the_order_of_the_completions() {
    let scene = scene(&all(LabelType::Pick, 2), 1).await;
    scene.answer(&scene.admin, written).await;
    let row: Value = scene.export("ranking").await.lines().remove(0);
    let order: Vec<usize> = serde_json::from_value(row["display_order"].clone()).unwrap();
    let (a, b) = (order[0], order[1]);
    assert_eq!(row["ratings"]["helpful"][a], 7);
    assert_eq!(row["ratings"]["helpful"][b], 6);
    let span = json!([{"position": b, "start": 2, "end": 5, "label": "wrong"}]);
    assert_eq!(row["spans"], span);
    assert_eq!(
        (&row["edits"][a], &row["edits"][b]),
        (&json!(null), &json!("B, edited\n"))
    );
    assert_eq!(row["demonstration"], "my own");
}

#[tokio::test]
async fn what_was_written_goes_with_the_answer_that_is_taken_back() {
    let scene = scene(&all(LabelType::Pick, 2), 1).await;
    scene.answer(&scene.admin, written).await;
    let back: Held = scene.undo(&scene.admin).await.json();
    let reopened = &back.assignments[0];
    assert_eq!(
        reopened.previous.as_ref().map(|answer| &answer.extras),
        Some(&written(reopened).extras)
    );
    let path = format!("/assignments/{}/annotation", reopened.id);
    let plain = rated(pick(Choice::Tie, reopened), 2);
    let _: Held = scene.admin.make(&path, &plain).await;
    assert_eq!(pairs(&scene).await, []);
    assert_eq!(examples(&scene).await, []);
    let written = "select count(*) from completion where annotation_id is not null";
    assert_eq!(scene.app.count(written).await, 0);
}

#[tokio::test]
async fn people_see_what_models_wrote_and_not_what_annotators_did() {
    let scene = scene(&all(LabelType::Pick, 2), 1).await;
    scene.answer(&scene.admin, written).await;
    let page: PromptPage = scene.admin.get(&scene.path("/prompts")).await.json();
    assert_eq!(page.prompts[0].n_completions, 2);
    let path = format!("/prompts/{}/completions", page.prompts[0].id);
    let completions: Vec<Completion> = scene.admin.get(&path).await.json();
    let written: Vec<&str> = completions
        .iter()
        .filter(|completion| completion.origin.is_none())
        .map(|completion| completion.text.as_str())
        .collect();
    assert_eq!(written, ["B, edited", "my own"]);
    // An order of more completions meets only those of the model.
    scene
        .complete(&order(2), |prompt, index| plain(prompt, index + 2))
        .await;
    let held = scene.hold(&scene.admin, 1).await;
    let texts = held.assignments[0].texts();
    assert!(
        texts.iter().all(|text| text.starts_with("question 1")),
        "{texts:?}"
    );
}

#[tokio::test]
async fn below_the_line_nothing_is_imitated() {
    let scene = scene(&all(LabelType::Rank, 3), 2).await;
    let ranked = |line: u8| {
        move |assignment: &Assignment| {
            let ranks = Judgement::Rank { ranks: vec![1, 2, 3] };
            let mut answer = rated(pick(Choice::Tie, assignment), 3);
            (answer.judgement, answer.extras.acceptable) = (ranks, Some(line));
            answer
        }
    };
    let first = scene.answer(&scene.admin, ranked(1)).await;
    scene.answer(&scene.admin, ranked(0)).await;
    assert_eq!(pairs(&scene).await.len(), 6);
    let best = first.completions[0].text.as_str();
    assert_eq!(examples(&scene).await, [pair(best, "base model")]);
    let rows: Vec<Value> = scene.export("ranking").await.lines();
    assert_eq!(
        (&rows[0]["acceptable"], &rows[1]["acceptable"]),
        (&json!(1), &json!(0))
    );
}

#[tokio::test]
async fn best_and_worst_beat_and_lose_to_all_between() {
    let scene = scene(&settings(LabelType::BestWorst, 4), 1).await;
    let best_worst = |assignment: &Assignment| Answer {
        judgement: Judgement::BestWorst { best: 2, worst: 0 },
        ..pick(Choice::Tie, assignment)
    };
    let shown = scene.answer(&scene.admin, best_worst).await;
    let text = |at: usize| shown.completions[at].text.as_str();
    let expected = [
        pair(text(2), text(0)),
        pair(text(2), text(1)),
        pair(text(1), text(0)),
        pair(text(2), text(3)),
        pair(text(3), text(0)),
    ];
    assert_eq!(pairs(&scene).await, expected);
    assert_eq!(examples(&scene).await, [pair(text(2), "base model")]);
}

#[tokio::test]
async fn a_single_answer_is_rated_by_itself() {
    let rate = ProjectSettings {
        label_type: LabelType::Rate,
        completions_per_task: 1,
        ..all(LabelType::Rate, 1)
    };
    let scene = scene(&rate, 2).await;
    let rate = |assignment: &Assignment| {
        let mut answer = rated(pick(Choice::Tie, assignment), 1);
        answer.judgement = Judgement::Rate;
        answer
    };
    scene.answer(&scene.admin, rate).await;
    let row: Value = scene.export("ranking").await.lines().remove(0);
    assert_eq!(
        (&row["ratings"]["helpful"], &row["ranks"]),
        (&json!([7]), &json!([null]))
    );
    assert_eq!(pairs(&scene).await, []);
}

#[tokio::test]
async fn an_answer_that_misses_or_exceeds_what_is_asked_is_refused_and_the_task_stays() {
    let scene = scene(&all(LabelType::Pick, 2), 1).await;
    let held = scene.hold(&scene.admin, 1).await.assignments.remove(0);
    let path = format!("/assignments/{}/annotation", held.id);
    type Break = fn(&mut Extras);
    let broken: [(Break, &str); 7] = [
        (|extras| extras.ratings.clear(), "extras.ratings"),
        (
            |extras| extras.ratings.get_mut("helpful").unwrap()[0] = 8,
            "extras.ratings",
        ),
        (|extras| extras.spans[0].end = 500, "extras.spans"),
        (|extras| extras.spans[0].label = "right".into(), "extras.spans"),
        (|extras| extras.edits[0].text = " ".into(), "extras.edits"),
        (|extras| extras.acceptable = Some(1), "extras.acceptable"),
        (
            |extras| extras.demonstration = Some("x".repeat(200_000)),
            "extras.demonstration",
        ),
    ];
    for (damage, field) in broken {
        let mut answer = written(&held);
        damage(&mut answer.extras);
        let answered = scene.admin.post(&path, &answer).await;
        assert_eq!(answered.status, 422, "{answered:?}");
        assert_eq!(answered.problem().fields[0].field, field);
    }
    let mut same = written(&held);
    same.extras.edits[0].text = held.completions[1].text.clone();
    assert_eq!(
        scene.admin.post(&path, &same).await.problem().fields[0].field,
        "extras.edits"
    );
    let _: Held = scene.admin.make(&path, &written(&held)).await;
}

#[tokio::test]
async fn questions_changed_under_an_open_task_hold_for_its_answer() {
    let before = all(LabelType::Pick, 2);
    let scene = scene(&before, 1).await;
    let held = scene.hold(&scene.admin, 1).await.assignments.remove(0);
    let after = ProjectSettings {
        questions: Questions {
            dimensions: vec!["honest".into()],
            ..before.questions.clone()
        },
        ..before
    };
    let path = scene.path("/settings");
    let json = scene.admin.with("content-type", "application/json");
    let changed = json.send("PUT", &path, serde_json::to_vec(&after).unwrap()).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let path = format!("/assignments/{}/annotation", held.id);
    let refused = scene.admin.post(&path, &written(&held)).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    // The task is still held and now says what is asked.
    let again = scene.hold(&scene.admin, 1).await.assignments.remove(0);
    assert_eq!(
        (again.id, &again.questions.dimensions),
        (held.id, &after.questions.dimensions)
    );
    let mut answer = written(&again);
    answer.extras.ratings = BTreeMap::from([("honest".to_owned(), vec![3, 4])]);
    let _: Held = scene.admin.make(&path, &answer).await;
}

#[tokio::test]
async fn settings_that_cannot_be_asked_are_refused_by_name() {
    let scene = Scene::new(&settings(LabelType::Pick, 2), 1).await;
    let twice = Questions {
        dimensions: vec!["a".into(), "a".into()],
        ..Questions::default()
    };
    let steps = Questions {
        rating_steps: 11,
        ..Questions::default()
    };
    for (questions, field) in [(twice, "questions.dimensions"), (steps, "questions.rating_steps")] {
        let new = ProjectSettings {
            questions,
            ..settings(LabelType::Pick, 2)
        };
        let refused = scene.admin.post("/projects", &new).await;
        assert_eq!(refused.problem().fields[0].field, field);
    }
    // Rating by itself needs something to rate.
    let refused = scene.admin.post("/projects", &settings(LabelType::Rate, 1)).await;
    assert_eq!(refused.status, 422, "{refused:?}");
}

#[tokio::test]
async fn a_database_from_before_keeps_its_completions_answers_and_comparisons() {
    let folder = crate::old::database(
        "0007",
        r#"insert into user (id, name, password_hash, role, created_at) values (1, 'ada', '', 'annotator', 1);
           insert into project (id, name, guidelines, label_type, completions_per_task, overlap, ask_strength,
                                leave_out_truncated, base_model, pseudonym_key, created_at)
           values (3, 'p', '', 'pick', 2, 1, 1, 0, 'm', 'k', 1);
           insert into prompt (id, project_id, messages, content_hash, created_at) values (4, 3, '[]', 'h', 1);
           insert into job (id, kind, project_id, status, base_model, created_at) values (5, 'completions', 3, 'done', 'm', 1);
           insert into completion_job (id, job_id, request, n_done, n_total) values (6, 5, '{}', 2, 2);
           insert into completion (id, prompt_id, completion_job_id, position, text, text_hash, n_tokens, finish_reason,
                                   model, template_hash, created_at)
           values (7, 4, 6, 0, 'a', 'a', 1, 'stop', 'm', 't', 1), (8, 4, 6, 1, 'b', 'b', 1, 'stop', 'm', 't', 1);
           insert into task (id, project_id, prompt_id, overlap, n_annotations, status, created_at)
           values (9, 3, 4, 1, 1, 'done', 1);
           insert into task_completion (task_id, completion_id, position) values (9, 7, 0), (9, 8, 1);
           insert into assignment (id, project_id, task_id, user_id, status, display_order, lease_until, created_at, changed_at)
           values (10, 3, 9, 1, 'answered', '[8,7]', 1, 1, 1);
           insert into annotation (id, assignment_id, revision, judgement, comment, seconds, created_at)
           values (11, 10, 0, '{"type":"pick","choice":"first","strength":2}', 'why', 1.5, 1);
           insert into comparison (project_id, annotation_id, prompt_id, chosen_id, rejected_id, tie, strength)
           values (3, 11, 4, 8, 7, 0, 2);"#,
    )
    .await;
    let db = Db::open(folder.path()).await.unwrap();
    let kept: (i64, i64, i64, i64, String) = sqlx::query_as(
        "select (select count(*) from project), (select count(*) from completion), (select count(*) from annotation),
                (select count(*) from comparison where chosen_acceptable = 1), (select extras from annotation)",
    )
    .fetch_one(db.read())
    .await
    .unwrap();
    assert_eq!(kept, (1, 2, 1, 1, "{}".to_owned()));
}
