//! The front end's files, what may be kept of them, and the headers that every answer carries.

use crate::app::App;
use std::{fs, path::Path};

const SCRIPT: &str = "/app-0123456789abcdef.js";

/// The server with a small build of the pages.
async fn with_pages() -> (App, tempfile::TempDir) {
    let dist = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dist.path().join(name), text).unwrap();
    write("index.html", "<!doctype html><title>Laurel</title>");
    write("theme.js", "theme");
    write(SCRIPT.trim_start_matches('/'), "script");
    write(&format!("{}.br", SCRIPT.trim_start_matches('/')), "brotli");
    let path: &Path = dist.path();
    let app = App::with(|settings| settings.dist = Some(path.to_owned())).await;
    (app, dist)
}

#[tokio::test]
async fn every_address_of_the_app_gives_its_page_anew() {
    let (app, _dist) = with_pages().await;
    for path in [
        "/",
        "/projects/7/label",
        "/invite/0123-89abcdef01",
        "/rounds/1?tab=log",
    ] {
        let page = app.stranger().page("GET", path, "").await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.text().contains("<title>Laurel"), "{path}");
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        assert_eq!(page.header("cache-control"), "no-cache", "{path}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_not_the_page() {
    let (app, _dist) = with_pages().await;
    for path in ["/app-fedcba9876543210.js", "/assets/logo.png", "/favicon.ico"] {
        let answered = app.stranger().page("GET", path, "").await;
        assert_eq!(answered.status, 404, "{path}");
        assert!(!answered.text().contains("<title>"), "{path}");
        assert!(!answered.header("cache-control").contains("immutable"), "{path}");
    }
}

#[tokio::test]
async fn files_named_by_their_content_are_kept_and_the_others_asked_for() {
    let (app, _dist) = with_pages().await;
    let stranger = app.stranger();
    let script = stranger.page("GET", SCRIPT, "").await;
    assert_eq!((script.status.as_u16(), script.text()), (200, "script"));
    assert_eq!(
        script.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    let theme = stranger.page("GET", "/theme.js", "").await;
    assert_eq!(theme.header("cache-control"), "no-cache");

    let seen = stranger.with("if-modified-since", theme.header("last-modified"));
    let unchanged = seen.page("GET", "/theme.js", "").await;
    assert_eq!(unchanged.status, 304);
    assert_eq!(unchanged.header("cache-control"), "no-cache");
}

#[tokio::test]
async fn a_browser_that_reads_brotli_gets_the_packed_file() {
    let (app, _dist) = with_pages().await;
    let packed = app
        .stranger()
        .with("accept-encoding", "gzip, br")
        .page("GET", SCRIPT, "")
        .await;
    assert_eq!(
        (packed.header("content-encoding"), packed.text()),
        ("br", "brotli")
    );
    assert!(packed.header("content-type").contains("javascript"));
    assert!(
        packed.header("vary").to_lowercase().contains("accept-encoding"),
        "a cache between must not give it to one that does not: {packed:?}"
    );
}

#[tokio::test]
async fn nothing_outside_the_folder_of_pages_is_served() {
    let (app, dist) = with_pages().await;
    let secret = dist.path().parent().unwrap().join("laurel-test-secret");
    fs::write(&secret, "secret").unwrap();
    for path in [
        "/../laurel-test-secret",
        "/%2e%2e/laurel-test-secret",
        "/..%2flaurel-test-secret",
    ] {
        let answered = app.stranger().page("GET", path, "").await;
        assert!(!answered.text().contains("secret"), "{path}");
    }
    fs::remove_file(secret).unwrap();
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_keep_a_browser_safe() {
    let (app, _dist) = with_pages().await;
    let admin = app.admin().await;
    for path in [
        "/",
        SCRIPT,
        "/nothing.js",
        "/api/docs",
        "/healthz",
        "/api/v1/users",
        "/api/v1/nothing",
    ] {
        let answered = admin.page("GET", path, "").await;
        let policy = answered.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.split("; ").any(|own| own == part), "{path}: {part}");
        }
        assert!(!policy.contains("unsafe-inline"), "{path}");
        assert_eq!(answered.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answered.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answered.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(
            answered.header("cross-origin-opener-policy"),
            "same-origin",
            "{path}"
        );
        assert_eq!(answered.header("x-request-id").len(), 16, "{path}");
    }
    let refused = admin
        .with("origin", "https://evil.example")
        .send("POST", "/projects", "")
        .await;
    assert_eq!(refused.header("x-frame-options"), "DENY");
}

#[tokio::test]
async fn what_the_api_says_is_kept_nowhere() {
    let app = App::start().await;
    let admin = app.admin().await;
    for path in ["/users", "/session", "/nothing"] {
        assert_eq!(
            admin.get(path).await.header("cache-control"),
            "no-store",
            "{path}"
        );
    }
}

#[tokio::test]
async fn without_pages_the_api_still_works() {
    let app = App::start().await;
    let page = app.stranger().page("GET", "/", "").await;
    assert_eq!(page.status, 404);
    assert!(page.text().contains("cargo xtask wasm"));
    assert_eq!(app.stranger().page("GET", "/readyz", "").await.status, 200);
    let docs = app.stranger().page("GET", "/api/docs", "").await;
    assert!(docs.text().contains("<td>Prolongs"));
}

#[tokio::test]
async fn only_behind_tls_a_browser_is_told_to_insist_on_it() {
    for (url, expected) in [
        ("https://laurel.example", "max-age=31536000"),
        ("http://laurel.example", ""),
    ] {
        let app = App::with(|settings| settings.public_url = Some(url.into())).await;
        let answered = app.stranger().get("/setup").await;
        assert_eq!(answered.header("strict-transport-security"), expected, "{url}");
    }
}
