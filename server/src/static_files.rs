//! The front end's files from the folder that `cargo xtask wasm` makes. Names with a hash never change and are kept
//! for a year; the page itself is asked for anew each time. Any other path without an ending is a page of the app;
//! a file that is not there is not found, so that a page of yesterday's build is never fed HTML as its script.

use crate::{error::Failure, state::Settings};
use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tower_http::services::{ServeDir, ServeFile};

const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ANEW: HeaderValue = HeaderValue::from_static("no-cache");

/// Serves the front end, or a text that says how to build it.
pub fn routes(settings: &Settings) -> Router {
    match settings
        .dist
        .as_ref()
        .filter(|dist| dist.join("index.html").is_file())
    {
        Some(dist) => {
            let index = ServeFile::new(dist.join("index.html"))
                .precompressed_br()
                .precompressed_gzip();
            let files = ServeDir::new(dist)
                .precompressed_br()
                .precompressed_gzip()
                .append_index_html_on_directories(true)
                .fallback(
                    Router::new()
                        .fallback_service(index)
                        .layer(middleware::from_fn(pages_only)),
                );
            Router::new()
                .fallback_service(files)
                .layer(middleware::from_fn(cache))
        }
        None => Router::new().fallback(get(missing)),
    }
}

async fn missing() -> impl IntoResponse {
    let text = "The pages are not built: run `cargo xtask wasm` and start with --dist. The API works.\n";
    (StatusCode::NOT_FOUND, text)
}

async fn pages_only(request: Request, next: Next) -> Response {
    if file_name(request.uri().path()).contains('.') {
        return Failure::not_found().into_response();
    }
    next.run(request).await
}

async fn cache(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = next.run(request).await;
    let status = response.status();
    if reads && (status.is_success() || status == StatusCode::NOT_MODIFIED) {
        let value = if has_hash(&path) { FOREVER } else { ANEW };
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    response
}

/// Whether the file's name carries a hash of its content: `app-0123456789abcdef.js`.
fn has_hash(path: &str) -> bool {
    let Some((stem, _)) = file_name(path).split_once('.') else {
        return false;
    };
    stem.rsplit_once('-')
        .is_some_and(|(_, hash)| hash.len() >= 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::has_hash;

    #[test]
    fn only_hashed_names_are_kept_forever() {
        assert!(has_hash("/app-0123456789abcdef.js"));
        assert!(!has_hash("/index.html"));
        assert!(!has_hash("/round-new"));
        assert!(!has_hash("/invite/a-0123456789abcdef"));
    }
}
