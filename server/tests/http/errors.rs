//! Every error is problem details with a stable code and the request's id.

use crate::{app::App, scene};
use axum::body::{Body, Bytes};
use futures_util::stream;
use laurel_protocol::{ErrorCode, LEASE_HEADER, LabelType, Skip, SkipReason};
use std::convert::Infallible;

/// A body of so many MiB that is never in memory as a whole.
fn mebibytes(n: usize) -> Body {
    let piece = Bytes::from(vec![b'\n'; 1 << 20]);
    Body::from_stream(stream::iter(
        (0..n).map(move |_| Ok::<_, Infallible>(piece.clone())),
    ))
}

#[tokio::test]
async fn an_unknown_address_of_the_api_is_not_found() {
    let app = App::start().await;
    for path in [
        "/api/v1/nothing",
        "/api/v1",
        "/api/v1/",
        "/api",
        "/api/v2/projects",
    ] {
        for method in ["GET", "POST"] {
            let answered = app.stranger().page(method, path, "").await;
            assert_eq!(answered.code(), ErrorCode::NotFound, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_wrong_method_is_answered_with_those_allowed() {
    let app = App::start().await;
    for (method, path, allowed) in [
        ("PUT", "/api/v1/session", "DELETE,GET,HEAD,POST"),
        ("GET", "/api/v1/worker/lease", "POST"),
        ("POST", "/healthz", "GET,HEAD"),
    ] {
        let answered = app.stranger().page(method, path, "").await;
        assert_eq!(answered.status, 405, "{method} {path}");
        assert_eq!(answered.code(), ErrorCode::MethodNotAllowed);
        let mut allow: Vec<_> = answered.header("allow").split(',').collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed);
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_of_the_right_kind_is_a_bad_request() {
    let app = App::start().await;
    let admin = app.admin().await;
    let json = admin.with("content-type", "application/json");
    for body in ["", "{", "[]", r#"{"name": 7}"#, r#"{"name": "p"}"#] {
        let answered = json.send("POST", "/projects", body).await;
        assert_eq!(answered.code(), ErrorCode::BadRequest, "{body}");
    }
    let settings = serde_json::to_string(&scene::settings(LabelType::Pick, 2)).unwrap();
    let untyped = admin.send("POST", "/projects", settings).await;
    assert_eq!(untyped.code(), ErrorCode::BadRequest);
}

#[tokio::test]
async fn input_that_breaks_a_rule_names_the_field() {
    let app = App::start().await;
    let admin = app.admin().await;
    let refused = admin
        .post("/projects", &scene::settings(LabelType::Pick, 3))
        .await
        .problem();
    assert_eq!(refused.code, ErrorCode::Invalid);
    assert_eq!(refused.fields[0].field, "completions_per_task");
    assert_eq!(refused.kind, "about:blank#invalid");
}

#[tokio::test]
async fn a_path_or_query_that_cannot_be_read_is_a_bad_request() {
    let app = App::start().await;
    let admin = app.admin().await;
    for path in [
        "/projects/one",
        "/projects/99999999999999999999",
        "/projects/%ff",
        "/projects/1/prompts?limit=many",
        "/projects/1/prompts?after=-",
        "/projects/1/export",
        "/projects/1/export?format=csv",
        "/adapters/x/files/README.md",
    ] {
        assert_eq!(admin.get(path).await.code(), ErrorCode::BadRequest, "{path}");
    }
    let import = admin
        .send("POST", "/projects/1/prompts?skip_bad_lines=maybe", "")
        .await;
    assert_eq!(import.code(), ErrorCode::BadRequest);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let app = App::start().await;
    let admin = app.admin().await;
    for path in [
        "/projects/1",
        "/projects/1/annotators",
        "/projects/1/progress",
        "/projects/1/members",
        "/projects/1/prompts",
        "/projects/1/completion-jobs",
        "/projects/1/rounds",
        "/projects/1/adapters",
        "/projects/1/events",
        "/projects/1/export?format=ranking",
        "/prompts/1/completions",
        "/rounds/1",
        "/rounds/1/metrics",
        "/rounds/1/log",
        "/rounds/1/samples",
        "/rounds/1/preview",
        "/rounds/1/agreement",
        "/rounds/1/rows",
        "/rounds/1/events",
        "/adapters/1/files/README.md",
    ] {
        assert_eq!(admin.get(path).await.code(), ErrorCode::NotFound, "{path}");
    }
    for path in ["/projects/1/undo", "/projects/1/prompts", "/rounds/1/abort"] {
        let answered = admin.send("POST", path, "").await;
        assert_eq!(answered.code(), ErrorCode::NotFound, "{path}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_as_such() {
    let scene = scene::Scene::with_tasks(1).await;
    let json = scene.admin.with("content-type", "application/json");
    let answered = json.send("POST", "/projects", mebibytes(17)).await;
    assert_eq!(
        (answered.status.as_u16(), answered.code()),
        (413, ErrorCode::TooLarge)
    );
    let stranger = scene.app.stranger().with("content-type", "application/json");
    let from_outside = stranger.send("POST", "/session", mebibytes(1)).await;
    assert_eq!(from_outside.code(), ErrorCode::TooLarge);
    let import = scene
        .admin
        .send("POST", &scene.path("/prompts"), mebibytes(65))
        .await;
    assert_eq!(
        (import.status.as_u16(), import.code()),
        (413, ErrorCode::TooLarge)
    );

    let held = scene.hold(&scene.admin, 1).await;
    let skip = Skip {
        reason: SkipReason::Other,
        comment: "x".repeat(8 * 1024 + 1),
        revision: 0,
    };
    let path = format!("/assignments/{}/skip", held.assignments[0].id);
    let refused = scene.admin.post(&path, &skip).await.problem();
    assert_eq!(refused.fields[0].field, "comment");
}

#[tokio::test]
async fn a_trainer_without_its_lease_is_told_so() {
    let scene = scene::Scene::with_tasks(1).await;
    let without = scene.worker.get("/worker/jobs/1/prompts").await;
    assert_eq!(without.code(), ErrorCode::BadRequest);
    let lost = scene.worker.with(LEASE_HEADER, "nonsense");
    for (job, code) in [
        ("1", ErrorCode::LeaseLost),
        ("2", ErrorCode::NotFound),
        ("one", ErrorCode::BadRequest),
    ] {
        let path = format!("/worker/jobs/{job}/prompts");
        assert_eq!(lost.get(&path).await.code(), code, "{path}");
    }
}
