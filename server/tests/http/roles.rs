//! docs/API.md against the router: every operation stands in both, and its guard is the one that is written there.

use crate::{
    app::App,
    scene::{self, Scene},
};
use laurel_protocol::{Choice, ErrorCode, Role, Skip, SkipReason, TokenScope};
use serde_json::Value;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../docs/API.md");

#[derive(Debug)]
struct Row {
    method: String,
    path: String,
    guard: String,
}

impl Row {
    /// The path with something in place of each variable part.
    fn filled(&self) -> String {
        let parts = self.path.split('/').map(|part| match part {
            "{token}" => "x",
            "{name}" | "{file}" => "README.md",
            _ if part.starts_with('{') => "99999", // nobody's: what is let through changes nothing
            _ => part,
        });
        parts.collect::<Vec<_>>().join("/")
    }
}

/// The rows of the tables of operations.
fn documented() -> Vec<Row> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let (method, path) = cells.next()?.trim_end_matches('`').split_once(' ')?;
        let guard = cells.next()?.split(',').next()?.to_owned();
        let path = path.split('?').next()?.to_owned();
        let guard = if path.starts_with("/worker/") {
            "worker".to_owned()
        } else {
            guard
        };
        Some(Row {
            method: method.to_owned(),
            path,
            guard,
        })
    };
    DOCUMENT.lines().filter_map(row).collect()
}

#[tokio::test]
async fn the_document_names_exactly_the_operations_that_there_are() {
    let app = App::start().await;
    let described: Value = app.stranger().get("/openapi.json").await.json();
    let mut there = BTreeSet::new();
    for (path, operations) in described["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            there.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let written: BTreeSet<_> = documented()
        .iter()
        .map(|row| format!("{} {}", row.method, row.path))
        .collect();
    assert_eq!(written, there);
}

#[tokio::test]
async fn every_operation_has_the_guard_that_the_document_says() {
    let app = App::start().await;
    let admin = app.admin().await;
    let annotator = app.person("ada", Role::Annotator).await;
    let reviewer = app.person("rita", Role::Reviewer).await;
    let worker = app.token(&admin, TokenScope::Worker).await;
    let script = app.token(&admin, TokenScope::Script).await;
    let weak_script = app.token(&annotator, TokenScope::Script).await;
    let unknown = app.stranger().bearer("laurel_0");
    for row in documented() {
        let path = row.filled();
        let get = async |caller: &crate::app::Caller| {
            let answered = caller.send(&row.method, &path, "").await;
            match answered.status.as_u16() {
                401 | 403 => Some(answered.code()),
                _ => None,
            }
        };
        let (out, forbidden) = (Some(ErrorCode::NotSignedIn), Some(ErrorCode::Forbidden));
        let expected = match row.guard.as_str() {
            "open" => [None; 7],
            "user" => [out, out, None, None, forbidden, None, None],
            "reviewer" => [out, out, forbidden, forbidden, forbidden, None, None],
            "admin" => [out, out, forbidden, forbidden, forbidden, forbidden, None],
            "worker" => [out, out, out, forbidden, None, out, forbidden],
            other => panic!("{other} is no guard"),
        };
        let callers = [
            &app.stranger(),
            &unknown,
            &annotator,
            &weak_script,
            &worker,
            &reviewer,
            &script,
        ];
        for (at, (caller, expected)) in callers.iter().zip(expected).enumerate() {
            if row.method == "DELETE" && row.path == "/session" && [2, 5].contains(&at) {
                continue; // it would end a session that the other rows need
            }
            assert_eq!(get(caller).await, expected, "caller {at} at {row:?}");
        }
    }
}

#[tokio::test]
async fn an_annotator_never_sees_who_wrote_what() {
    let scene = Scene::with_tasks(1).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let held = ada
        .post(&scene.path("/assignments"), &laurel_protocol::Hold { n: 1 })
        .await;
    let value: Value = held.json();
    // Sorted here: whether serde_json's map is sorted depends on what else is built along.
    let keys = |value: &Value| {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let assignment = &value["assignments"][0];
    assert_eq!(
        keys(assignment),
        [
            "ask_strength",
            "completions",
            "id",
            "label_type",
            "lease_until",
            "previous",
            "project_id",
            "prompt",
            "questions",
            "revision",
            "task_id"
        ]
    );
    assert_eq!(keys(&assignment["completions"][0]), ["html", "text", "truncated"]);
    let completions = ada.get("/prompts/1/completions").await;
    assert_eq!(completions.code(), ErrorCode::Forbidden);
}

#[tokio::test]
async fn an_assignment_is_its_holders_alone() {
    let scene = Scene::with_tasks(1).await;
    let ada = scene.app.person("ada", Role::Annotator).await;
    let mine = scene.hold(&ada, 1).await.assignments.remove(0);
    let path = |rest: &str| format!("/assignments/{}/{rest}", mine.id);
    let skip = Skip {
        reason: SkipReason::Other,
        comment: String::new(),
        revision: 0,
    };
    for other in [&scene.app.person("bob", Role::Annotator).await, &scene.admin] {
        let answer = scene::pick(Choice::First, &mine);
        let answered = other.post(&path("annotation"), &answer).await;
        assert_eq!(answered.code(), ErrorCode::NotFound);
        assert_eq!(other.post(&path("skip"), &skip).await.code(), ErrorCode::NotFound);
        assert_eq!(
            other.send("POST", &path("renew"), "").await.code(),
            ErrorCode::NotFound
        );
    }
    assert_eq!(scene.app.count("select count(*) from annotation").await, 0);
}
