//! Import of prompts: all or nothing, unless bad lines are to be skipped.

use crate::scene::{self, Scene};
use laurel_protocol::{ErrorCode, ImportReport, LabelType, Project, PromptPage};

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
