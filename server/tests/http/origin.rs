//! What another site may make a browser do: nothing that writes.

use crate::{app::App, scene};
use laurel_protocol::{Credentials, ErrorCode, LabelType, TokenScope};

const HOST: (&str, &str) = ("host", "laurel.test");

#[tokio::test]
async fn a_writing_request_of_another_site_is_refused_and_changes_nothing() {
    let app = App::start().await;
    let admin = app.admin().await.with(HOST.0, HOST.1);
    let settings = scene::settings(LabelType::Pick, 2);
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://laurel.test:8080"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let refused = admin.with(name, value).post("/projects", &settings).await;
        assert_eq!(refused.code(), ErrorCode::CrossOrigin, "{name}: {value}");
    }
    assert_eq!(app.count("select count(*) from project").await, 0);
}

#[tokio::test]
async fn our_own_pages_and_programs_without_an_origin_may_write() {
    let app = App::start().await;
    let admin = app.admin().await.with(HOST.0, HOST.1);
    let settings = scene::settings(LabelType::Pick, 2);
    for (name, value) in [
        ("origin", "http://laurel.test"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
        ("x-none", ""),
    ] {
        let made = admin.with(name, value).post("/projects", &settings).await;
        assert_eq!(made.status, 200, "{name}: {value}");
    }
}

#[tokio::test]
async fn reading_and_tokens_need_no_origin() {
    let app = App::start().await;
    let admin = app.admin().await;
    let foreign = admin.with("origin", "https://evil.example");
    assert_eq!(foreign.get("/projects").await.status, 200);
    let script = app.token(&admin, TokenScope::Script).await;
    let made = script
        .with("origin", "https://notebook.example")
        .with("sec-fetch-site", "cross-site")
        .post("/projects", &scene::settings(LabelType::Pick, 2))
        .await;
    assert_eq!(made.status, 200, "{made:?}");
}

#[tokio::test]
async fn nobody_is_signed_in_by_another_site() {
    let app = App::start().await;
    let credentials = Credentials {
        name: "eve".into(),
        password: "a password of hers".into(),
    };
    let foreign = app.stranger().with("origin", "https://evil.example");
    let refused = foreign.post("/session", &credentials).await;
    assert_eq!(refused.code(), ErrorCode::CrossOrigin);
}

#[tokio::test]
async fn behind_a_proxy_the_public_address_is_our_own() {
    let app = App::with(|settings| settings.public_url = Some("http://laurel.example/".into())).await;
    let admin = app.admin().await.with("host", "127.0.0.1:8080");
    let settings = scene::settings(LabelType::Pick, 2);
    let own = admin.with("origin", "http://laurel.example");
    assert_eq!(own.post("/projects", &settings).await.status, 200);
    let other = admin.with("origin", "http://other.example");
    assert_eq!(
        other.post("/projects", &settings).await.code(),
        ErrorCode::CrossOrigin
    );
}
