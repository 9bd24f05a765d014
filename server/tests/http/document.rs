//! The OpenAPI document as a generator of clients reads it.

use crate::app::App;
use serde_json::{Value, json};

#[tokio::test]
async fn every_operation_says_who_may_call_it() {
    let app = App::start().await;
    let document: Value = app.stranger().get("/openapi.json").await.json();
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    assert_eq!(
        schemes.keys().collect::<Vec<_>>(),
        ["script", "session", "worker"]
    );
    for (method, path, expected) in [
        ("post", "/session", json!([])),
        ("get", "/session", json!([{"session": []}, {"script": []}])),
        ("patch", "/users/{id}", json!([{"session": []}, {"script": []}])),
        ("post", "/worker/lease", json!([{"worker": []}])),
    ] {
        assert_eq!(
            document["paths"][path][method]["security"], expected,
            "{method} {path}"
        );
    }
    let open = |operation: &&Value| operation["security"] == json!([]);
    let operations = document["paths"].as_object().unwrap().values();
    let operations: Vec<&Value> = operations
        .flat_map(|item| item.as_object().unwrap().values())
        .collect();
    assert!(
        operations
            .iter()
            .all(|operation| operation["security"].is_array())
    );
    assert_eq!(operations.iter().filter(|operation| open(operation)).count(), 6);
}
