//! Import of prompts: all or nothing, unless bad lines are to be skipped.

use crate::scene::{self, Scene, pick};
use laurel_protocol::{
    Assignment, AuditPage, Choice, ErrorCode, ImportReport, LabelType, PriorityReport, Project, PromptId,
    PromptPage, PromptPriority, Role, Verb,
};

const MIXED: &str = r#"{"prompt": "one"}
{"prompt": 7}

{"prompt": [{"role": "user", "content": "two"}]}
{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
not json
{"prompt": "one", "source": "a column that is not ours"}
"#;

async fn n_prompts(scene: &Scene) -> u64 {
    let project: Project = scene.admin.get(&scene.path("")).await.json();
    project.counts.n_prompts
}

#[tokio::test]
async fn bad_lines_are_named_with_their_reason_and_nothing_is_imported() {
    let scene = Scene::new(&scene::settings(LabelType::Pick, 2), 0).await;
    let refused = scene
        .admin
        .send("POST", &scene.path("/prompts"), MIXED)
        .await
        .problem();
    assert_eq!(refused.code, ErrorCode::Invalid);
    assert!(
        refused.detail.starts_with("3 lines are bad"),
        "{}",
        refused.detail
    );
    let lines: Vec<_> = refused
        .fields
        .iter()
        .map(|bad| (bad.field.as_str(), bad.reason.as_str()))
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0].0, "line 2");
    assert!(lines[0].1.contains("\"prompt\""), "{lines:?}");
    assert_eq!(lines[1], ("line 5", "prompt must end with a user message"));
    assert_eq!(lines[2].0, "line 6");
    assert!(lines[2].1.starts_with("is not JSON"), "{lines:?}");
    assert_eq!(n_prompts(&scene).await, 0);
}

#[tokio::test]
async fn bad_lines_are_skipped_when_asked_and_a_prompt_is_stored_once() {
    let scene = Scene::new(&scene::settings(LabelType::Pick, 2), 0).await;
    let path = scene.path("/prompts?skip_bad_lines=true");
    let report: ImportReport = scene.admin.send("POST", &path, MIXED).await.json();
    assert_eq!((report.n_imported, report.n_duplicates, report.n_bad), (2, 1, 3));
    let lines: Vec<_> = report.bad_lines.iter().map(|bad| bad.line).collect();
    assert_eq!(lines, [2, 5, 6]);
    let again: ImportReport = scene.admin.send("POST", &path, MIXED).await.json();
    assert_eq!((again.n_imported, again.n_duplicates), (0, 3));
    assert_eq!(n_prompts(&scene).await, 2);
}

#[tokio::test]
async fn prompts_are_listed_page_by_page_in_the_order_of_import() {
    let scene = Scene::new(&scene::settings(LabelType::Pick, 2), 5).await;
    let mut texts = Vec::new();
    let mut path = scene.path("/prompts?limit=2");
    for _ in 0..4 {
        let page: PromptPage = scene.admin.get(&path).await.json();
        texts.extend(page.prompts.into_iter().map(|p| p.messages[0].content.clone()));
        let Some(next) = page.next else { break };
        path = scene.path(&format!("/prompts?limit=2&after={next}"));
    }
    let expected: Vec<_> = (1..=5).map(|n| format!("question {n}")).collect();
    assert_eq!(texts, expected);
}

#[tokio::test]
async fn more_bad_lines_than_are_named_are_counted_and_good_ones_keep_their_order() {
    let scene = Scene::new(&scene::settings(LabelType::Pick, 2), 0).await;
    let bad = "x\n".repeat(150);
    let refused = scene
        .admin
        .send("POST", &scene.path("/prompts"), bad.clone())
        .await
        .problem();
    assert!(
        refused.detail.starts_with("150 lines are bad"),
        "{}",
        refused.detail
    );
    assert_eq!(refused.fields.len(), 100);

    let good: String = (0..250)
        .map(|n| format!("{{\"prompt\": \"\\u0000 \\u00fc \\\" {n}\"}}\n"))
        .collect();
    let path = scene.path("/prompts?skip_bad_lines=true");
    let report: ImportReport = scene.admin.send("POST", &path, bad + &good).await.json();
    assert_eq!(
        (report.n_imported, report.n_duplicates, report.n_bad),
        (250, 0, 150)
    );
    let page: PromptPage = scene.admin.get(&scene.path("/prompts?limit=200")).await.json();
    for (n, prompt) in page.prompts.iter().enumerate() {
        assert_eq!(prompt.messages[0].content, format!("\0 ü \" {n}"));
    }
}

#[tokio::test]
async fn a_sample_with_a_bad_line_leaves_no_project_behind() {
    let folder = tempfile::tempdir().unwrap();
    let settings = serde_json::to_vec(&scene::settings(LabelType::Pick, 2)).unwrap();
    std::fs::write(folder.path().join("project.json"), settings).unwrap();
    std::fs::write(folder.path().join("prompts.jsonl"), MIXED).unwrap();
    let app = crate::app::App::with(|settings| settings.sample = Some(folder.path().to_owned())).await;
    let admin = app.admin().await;
    let refused = admin.send("POST", "/projects/sample", "").await;
    assert_eq!(refused.code(), ErrorCode::Internal);
    assert_eq!(app.count("select count(*) from project").await, 0);
}

/// The prompts of the project with their priorities.
async fn priorities(scene: &Scene, search: &str) -> Vec<(String, i32)> {
    let path = scene.path(&format!("/prompts?search={search}"));
    let page: PromptPage = scene.admin.get(&path).await.json();
    let prompts = page.prompts.into_iter();
    prompts
        .map(|mut prompt| (prompt.messages.remove(0).content, prompt.priority))
        .collect()
}

async fn set(scene: &Scene, prompts: &[i64], priority: i32) -> crate::app::Answered {
    let wanted = PromptPriority {
        prompts: prompts.iter().copied().map(PromptId).collect(),
        priority,
    };
    let admin = scene.admin.with("content-type", "application/json");
    let body = serde_json::to_string(&wanted).unwrap();
    admin.send("PUT", &scene.path("/prompts/priority"), body).await
}

fn question(shown: &Assignment) -> String {
    shown.prompt[0]
        .html
        .trim_start_matches("<p>")
        .trim_end_matches("</p>\n")
        .to_owned()
}

#[tokio::test]
async fn tasks_of_urgent_prompts_come_first_and_those_of_prompts_that_can_wait_last() {
    let scene = Scene::with_tasks(4).await;
    let report: PriorityReport = set(&scene, &[3], 50).await.json();
    assert_eq!((report.n_prompts, report.n_open_tasks), (1, 1));
    let report: PriorityReport = set(&scene, &[1, 4], -50).await.json();
    assert_eq!((report.n_prompts, report.n_open_tasks), (2, 2));
    // To come: the tasks of a second job have it as well.
    scene
        .complete(&scene::order(2), |prompt, index| {
            format!("{} again {index}", scene::plain(prompt, index))
        })
        .await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let mut seen = Vec::new();
    for _ in 0..8 {
        let shown = scene.answer(&ada, |shown| pick(Choice::First, shown)).await;
        seen.push(question(&shown).chars().rev().find(char::is_ascii_digit).unwrap());
    }
    assert_eq!(seen, ['3', '3', '2', '2', '1', '4', '1', '4']);
    let log: AuditPage = scene.admin.get("/audit?verb=priority_set").await.json();
    assert_eq!(log.entries.len(), 2);
    assert_eq!(log.entries[1].verb, Verb::PrioritySet);
    assert_eq!(
        log.entries[1].detail,
        serde_json::json!({"priority": -50, "n_prompts": 2, "prompts": [1, 4]})
    );
}

#[tokio::test]
async fn a_priority_may_come_with_the_import_and_what_is_there_stays_as_it_is() {
    let scene = Scene::new(&scene::settings(LabelType::Pick, 2), 0).await;
    let lines = "{\"prompt\": \"one\", \"priority\": 7}\n{\"prompt\": \"two\"}\n";
    let path = scene.path("/prompts");
    let report: ImportReport = scene.admin.send("POST", &path, lines).await.json();
    assert_eq!(report.n_imported, 2);
    let again = "{\"prompt\": \"one\", \"priority\": -3}\n";
    let report: ImportReport = scene.admin.send("POST", &path, again).await.json();
    assert_eq!(report.n_duplicates, 1);
    let both = [("one".to_owned(), 7), ("two".to_owned(), 0)];
    assert_eq!(priorities(&scene, "").await, both);
    assert_eq!(priorities(&scene, "TW").await, both[1..]);
    assert_eq!(priorities(&scene, "three").await, []);
    let bad = scene
        .admin
        .send("POST", &path, "{\"prompt\": \"x\", \"priority\": 101}")
        .await
        .problem();
    assert!(bad.fields[0].reason.contains("-100 to 100"), "{bad:?}");
}

#[tokio::test]
async fn a_priority_for_what_is_not_there_or_out_of_its_range_changes_nothing() {
    let scene = Scene::with_tasks(2).await;
    let many: Vec<i64> = vec![1; 10_001];
    for (prompts, priority, field) in [
        (&[1, 99][..], 5, "prompts"),
        (&[], 5, "prompts"),
        (&many, 5, "prompts"),
        (&[1], 101, "priority"),
    ] {
        let problem = set(&scene, prompts, priority).await.problem();
        assert_eq!(
            (problem.code, problem.fields[0].field.as_str()),
            (ErrorCode::Invalid, field)
        );
    }
    assert!(
        priorities(&scene, "")
            .await
            .iter()
            .all(|(_, priority)| *priority == 0)
    );
}
