//! Import of gold items: what a file says is right becomes tasks that people are checked by.

use crate::app::Caller;
use crate::scene::{Scene, pick, settings};
use laurel_protocol::*;
use serde_json::json;
use std::collections::BTreeMap;

const TWO: &str = r#"{"prompt": "What is 2 + 2?", "completions": ["It is 4.", "It is 5."], "best": 1, "explanation": "Two and two are four."}
{"prompt": [{"role": "user", "content": "Greet me."}], "completions": ["Hi", "Hello"], "best": "tie"}
"#;

fn checked(label_type: LabelType, n: u8) -> ProjectSettings {
    ProjectSettings {
        checks: Checks {
            qualification: 5,
            qualification_percent: 1,
            gold_feedback: true,
            ..Checks::default()
        },
        ..settings(label_type, n)
    }
}

async fn import(scene: &Scene, lines: &str) -> ImportReport {
    let path = scene.path("/gold");
    scene.admin.send("POST", &path, lines.to_owned()).await.json()
}

async fn refused(scene: &Scene, lines: &str) -> Vec<(String, String)> {
    let path = scene.path("/gold");
    let answered = scene.admin.send("POST", &path, lines.to_owned()).await;
    let fields = answered.problem().fields;
    fields.into_iter().map(|bad| (bad.field, bad.reason)).collect()
}

async fn items(scene: &Scene) -> Vec<GoldItem> {
    scene.admin.get(&scene.path("/gold")).await.json()
}

/// Holds the next task and answers it.
async fn answer(
    scene: &Scene,
    who: &Caller,
    answer: impl Fn(&Assignment) -> Answer,
) -> (Assignment, Feedback) {
    let shown = scene.hold(who, 1).await.assignments.remove(0);
    let path = format!("/assignments/{}/annotation", shown.id);
    let held: Held = who.make(&path, &answer(&shown)).await;
    (shown, held.feedback.expect("every task here is gold"))
}

fn pick_text(text: &str, shown: &Assignment) -> Answer {
    let is_first = shown.completions[0].text == text;
    pick(if is_first { Choice::First } else { Choice::Second }, shown)
}

#[tokio::test]
async fn an_imported_item_is_given_checked_and_explained_like_one_that_was_made() {
    let scene = Scene::new(&checked(LabelType::Pick, 2), 0).await;
    let report = import(&scene, TWO).await;
    assert_eq!((report.n_imported, report.n_duplicates, report.n_bad), (2, 0, 0));
    let ada = scene.app.person("ada", Role::Annotator).await;
    let (shown, feedback) = answer(&scene, &ada, |shown| pick_text("It is 5.", shown)).await;
    assert_eq!(shown.prompt[0].html.trim(), "<p>What is 2 + 2?</p>");
    let right = pick_text("It is 4.", &shown).judgement;
    assert_eq!(
        (feedback.right, feedback.expected, feedback.explanation.as_str()),
        (false, right, "Two and two are four.")
    );
    let (_, feedback) = answer(&scene, &ada, |shown| pick(Choice::Tie, shown)).await;
    assert!(feedback.right);
    let found = items(&scene).await;
    let counts: Vec<_> = found.iter().map(|item| (item.n_answers, item.n_right)).collect();
    assert_eq!(counts, [(1, 1), (1, 0)]);
    // Whoever imported them knows them.
    assert!(scene.hold(&scene.admin, 1).await.assignments.is_empty());
    // They give no comparisons and no export has them.
    assert_eq!(scene.app.count("select count(*) from comparison").await, 0);
    let completions: Vec<Completion> = scene.admin.get("/prompts/1/completions").await.json();
    assert_eq!(
        (completions[0].imported, completions[0].origin.is_none()),
        (true, true)
    );
    assert_eq!(completions[0].author.as_deref(), Some("admin"));
}

#[tokio::test]
async fn the_same_line_makes_one_item_however_often_it_comes() {
    let scene = Scene::new(&checked(LabelType::Pick, 2), 0).await;
    let twice = format!("{TWO}{TWO}");
    let report = import(&scene, &twice).await;
    assert_eq!((report.n_imported, report.n_duplicates), (2, 2));
    // The same said the other way round is the same.
    let turned = json!({"prompt": "What is 2 + 2?", "completions": ["It is 5.", "It is 4. "], "best": 2});
    let report = import(&scene, &turned.to_string()).await;
    assert_eq!((report.n_imported, report.n_duplicates), (0, 1));
    assert_eq!(items(&scene).await.len(), 2);
    assert_eq!(scene.app.count("select count(*) from completion").await, 4);
    let contradicts = json!({"prompt": "What is 2 + 2?", "completions": ["It is 4.", "It is 5."], "best": 2});
    let bad = refused(&scene, &contradicts.to_string()).await;
    assert!(bad[0].1.starts_with("names another right answer"), "{bad:?}");
}

#[tokio::test]
async fn damaged_lines_are_named_and_nothing_of_the_file_is_imported_unless_they_are_skipped() {
    let scene = Scene::new(&checked(LabelType::Pick, 2), 0).await;
    let lines = [
        r#"{"prompt": "good", "completions": ["a", "b"], "best": 2}"#,
        r#"{"prompt": "no answer", "completions": ["a", "b"]}"#,
        "",
        r#"{"prompt": "cut off", "completions": ["a""#,
        r#"{"prompt": "three", "completions": ["a", "b", "c"], "best": 1}"#,
        r#"{"prompt": "twice", "completions": ["a", " a"], "best": 1}"#,
        r#"{"prompt": "which?", "completions": ["a", "b"], "best": 3}"#,
        r#"{"prompt": "spelt wrongly", "completions": ["a", "b"], "best": 1, "explanaton": "x"}"#,
        r#"{"completions": ["a", "b"], "best": 1}"#,
        r#"{"prompt": "good", "completions": ["a", "b"], "best": 1}"#,
    ];
    let file = lines.join("\n");
    let bad = refused(&scene, &file).await;
    let named: Vec<&str> = bad.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(
        named,
        [
            "line 2", "line 4", "line 5", "line 6", "line 7", "line 8", "line 9"
        ]
    );
    for (at, part) in [
        (1, "is not JSON"),
        (2, "must have 2 completions"),
        (5, "explanaton"),
        (6, "\"prompt\""),
    ] {
        assert!(bad[at].1.contains(part), "{bad:?}");
    }
    let nothing = "select (select count(*) from task) + (select count(*) from completion) + (select count(*) from prompt)";
    assert_eq!(scene.app.count(nothing).await, 0);
    // The last contradicts the first, which only the database can tell.
    let two = [lines[0], lines[9]].join("\n");
    assert_eq!(refused(&scene, &two).await[0].0, "line 2");
    assert_eq!(scene.app.count(nothing).await, 0);
    let path = scene.path("/gold?skip_bad_lines=true");
    let report: ImportReport = scene.admin.send("POST", &path, file).await.json();
    assert_eq!((report.n_imported, report.n_bad), (1, 8));
    assert_eq!(report.bad_lines.last().map(|bad| bad.line), Some(10));
    assert_eq!(items(&scene).await.len(), 1);
}

#[tokio::test]
async fn a_table_has_items_of_every_label_type() {
    let questions = Questions {
        dimensions: vec!["helpful".into()],
        ..Questions::default()
    };
    for (label_type, n, table, expected) in [
        (
            LabelType::Pick,
            2,
            "prompt,completion_1,completion_2,best,explanation\n\"Say \"\"a, b\"\"\",\"a,\nb\",c,both_bad,\"why, oh\nwhy\"\n",
            Judgement::Pick {
                choice: Choice::BothBad,
                strength: None,
            },
        ),
        (
            LabelType::Rank,
            4,
            "\u{feff}ranks,prompt,completion_1,completion_2,completion_3,completion_4\r\n2 1 2,q,a,b,c,\r\n",
            Judgement::Rank { ranks: vec![2, 1, 2] },
        ),
        (
            LabelType::BestWorst,
            3,
            "prompt,completion_1,completion_2,completion_3,best,worst\nq,a,b,c,3,1\n",
            Judgement::BestWorst { best: 2, worst: 0 },
        ),
        (
            LabelType::Rate,
            2,
            "prompt,completion_1,completion_2,rating:helpful\nq,a,b,5 1\n",
            Judgement::Rate,
        ),
    ] {
        let settings = ProjectSettings {
            questions: questions.clone(),
            ..checked(label_type, n)
        };
        let scene = Scene::new(&settings, 0).await;
        let report = import(&scene, table).await;
        assert_eq!(report.n_imported, 1, "{label_type:?}: {report:?}");
        let item = items(&scene).await.remove(0);
        assert_eq!(item.gold.judgement, expected);
        let ratings = match label_type {
            LabelType::Rate => BTreeMap::from([("helpful".to_owned(), vec![5, 1])]),
            _ => BTreeMap::new(),
        };
        assert_eq!(item.gold.ratings, ratings);
        let ada = scene.app.person("ada", Role::Annotator).await;
        assert_eq!(scene.hold(&ada, 1).await.assignments.len(), 1);
    }
}

#[tokio::test]
async fn rows_of_a_table_that_cannot_be_read_are_named_by_the_line_on_which_they_begin() {
    let scene = Scene::new(&checked(LabelType::Pick, 2), 0).await;
    let head = "prompt,completion_1,completion_2,best\n";
    let bad = refused(
        &scene,
        &format!("{head}\"two\nlines\",a,b,1\nq,a,b,first\nq,a,b,1,2\n\"open,a,b,1\n"),
    )
    .await;
    let named: Vec<&str> = bad.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(named, ["line 4", "line 5", "line 6"]);
    let bad = refused(&scene, "question,answer\nq,a\n").await;
    assert_eq!(bad[0].0, "line 1");
    assert!(bad[0].1.contains("completion_1"), "{bad:?}");
    let bad = refused(&scene, "prompt,completion_2,completion_1,best\nq,a,b,1\n").await;
    assert!(bad[0].1.ends_with("in this order"), "{bad:?}");
    assert!(items(&scene).await.is_empty());
}

#[tokio::test]
async fn an_item_that_was_closed_may_come_again() {
    let scene = Scene::new(&checked(LabelType::Pick, 2), 0).await;
    import(&scene, TWO).await;
    let item = items(&scene).await.remove(1);
    let closed = scene
        .admin
        .send("DELETE", &format!("/gold/{}", item.id), "")
        .await;
    assert_eq!(closed.status, 204);
    let report = import(&scene, TWO).await;
    assert_eq!((report.n_imported, report.n_duplicates), (1, 1));
    // Its completions are those of the first time.
    assert_eq!(scene.app.count("select count(*) from completion").await, 4);
    let log: AuditPage = scene.admin.get("/audit?verb=gold_made").await.json();
    assert_eq!(log.entries.len(), 3);
}
