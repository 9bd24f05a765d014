//! What the OpenAPI document says beyond the handlers' own words: who may call each operation, and a page to read it.

use utoipa::openapi::{
    OpenApi, PathItem,
    path::Operation,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

/// Operations that are open to anyone: method and path.
const OPEN: [(&str, &str); 6] = [
    ("get", "/setup"),
    ("post", "/setup/{token}"),
    ("post", "/session"),
    ("delete", "/session"),
    ("get", "/invites/by-token/{token}"),
    ("post", "/invites/by-token/{token}"),
];

/// Enters the three ways to say who asks, and with each operation those that it takes.
pub fn name_guards(document: &mut OpenApi) {
    let bearer = |says: &str| {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(says));
        SecurityScheme::Http(scheme.build())
    };
    let cookie = ApiKeyValue::with_description(
        "laurel",
        "A browser's session, from POST /session; __Host-laurel where the server is reached over https.",
    );
    let components = document.components.get_or_insert_default();
    for (name, scheme) in [
        ("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie))),
        (
            "script",
            bearer("A script token: acts as the person who made it."),
        ),
        (
            "worker",
            bearer("A worker token: the worker part and nothing else."),
        ),
    ] {
        components.add_security_scheme(name, scheme);
    }
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let names: &[&str] = if OPEN.contains(&(method, path.as_str())) {
                &[]
            } else if path.starts_with("/worker/") {
                &["worker"]
            } else {
                &["session", "script"]
            };
            let requirement = |name: &&str| SecurityRequirement::new::<&str, [&str; 0], &str>(name, []);
            operation.security = Some(names.iter().map(requirement).collect());
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// A page that lists every operation of the OpenAPI document; no script, no style of its own.
pub fn page(document: &OpenApi) -> String {
    use std::fmt::Write as _;
    let json = serde_json::to_value(document).unwrap_or_default();
    let mut rows = String::new();
    let paths = json["paths"].as_object();
    for (path, operations) in paths.into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let summary = operation["summary"].as_str().unwrap_or_default();
            let body = schema_name(&operation["requestBody"]["content"]);
            let answer = schema_name(&operation["responses"]["200"]["content"]);
            let _ = write!(
                rows,
                "<tr><td><code>{} {}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>",
                method.to_uppercase(),
                ammonia::clean_text(path),
                ammonia::clean_text(summary),
                ammonia::clean_text(&body),
                ammonia::clean_text(&answer)
            );
        }
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Laurel: the API</title>\
         <h1>Laurel: the API</h1><p>All paths are under <code>/api/v1</code>. The whole description, schemas \
         included: <a href=\"/api/v1/openapi.json\">openapi.json</a>.</p>\
         <table><thead><tr><th>operation</th><th>what it does</th><th>body</th><th>answer</th></tr></thead>\
         <tbody>{rows}</tbody></table></html>"
    )
}

fn schema_name(content: &serde_json::Value) -> String {
    let schema = content
        .as_object()
        .and_then(|kinds| kinds.values().next())
        .map(|kind| &kind["schema"]);
    let Some(schema) = schema else {
        return String::new();
    };
    let name = |value: &serde_json::Value| {
        value["$ref"]
            .as_str()
            .and_then(|path| path.rsplit('/').next())
            .map(str::to_owned)
    };
    name(schema)
        .or_else(|| name(&schema["items"]).map(|item| format!("[{item}]")))
        .unwrap_or_default()
}
