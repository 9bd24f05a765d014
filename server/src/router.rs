//! The one table of routes, and the layers that every request passes. Each route's guard is the extractor in its
//! handler's signature; docs/API.md lists them.

use crate::{
    document,
    error::{Failure, REQUEST_ID},
    guards,
    routes::{
        accounts, adapters, arena, audit, chat, completion_jobs, contests, events, figures, health,
        labelling, lineage, lines, members, merges, planned, plans, projects, quality, review, rounds,
        scorings, storage, webhooks, worker,
    },
    state::AppState,
    static_files,
    store::text,
};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{any, get},
};
use laurel_protocol::ErrorCode;
use std::time::Instant;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{DefaultPredicate, NotForContentType, Predicate},
    },
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The largest JSON body about an account, the largest other one, and the largest import.
const MAX_ACCOUNT_BYTES: usize = 64 << 10;
const MAX_BODY_BYTES: usize = 16 << 20;
const MAX_IMPORT_BYTES: usize = 64 << 20;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Laurel",
        description = "Compare answers of a language model, train on the comparisons, and export them. Errors are \
                       RFC 9457 problem details (`ApiError`)."
    ),
    servers((url = "/api/v1"))
)]
struct Description;

fn table() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Description::openapi())
        // Projects
        .routes(routes!(projects::list, projects::create))
        .routes(routes!(projects::create_sample))
        .routes(routes!(projects::get))
        .routes(routes!(projects::change))
        .routes(routes!(quality::annotators))
        .routes(routes!(quality::agreement))
        .routes(routes!(quality::progress))
        .routes(routes!(members::list, members::replace))
        .routes(routes!(members::put, members::remove))
        .routes(routes!(projects::set_priority))
        .routes(routes!(projects::prompt_completions))
        .routes(routes!(completion_jobs::list, completion_jobs::create))
        .routes(routes!(completion_jobs::abort))
        .routes(routes!(scorings::list, scorings::create))
        .routes(routes!(scorings::abort))
        .routes(routes!(events::project))
        .routes(routes!(lines::export))
        // Labelling
        .routes(routes!(labelling::hold))
        .routes(routes!(labelling::submit))
        .routes(routes!(labelling::skip))
        .routes(routes!(labelling::renew))
        .routes(routes!(labelling::undo))
        .routes(routes!(labelling::own_answers))
        .routes(routes!(labelling::reopen))
        .routes(routes!(labelling::make_gold))
        .routes(routes!(labelling::close_gold))
        .routes(routes!(review::page))
        .routes(routes!(review::decide, review::take_back))
        .routes(routes!(review::add_note))
        .routes(routes!(review::flagged))
        .routes(routes!(review::retire, review::put_back))
        // Rounds
        .routes(routes!(rounds::list, rounds::create))
        .routes(routes!(plans::plan_round))
        .routes(routes!(planned::list, planned::create))
        .routes(routes!(planned::recipe))
        .routes(routes!(planned::change))
        .routes(routes!(planned::cancel))
        .routes(routes!(planned::retry))
        .routes(routes!(planned::shift))
        .routes(routes!(planned::shift_round))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::change, webhooks::delete))
        .routes(routes!(webhooks::test))
        .routes(routes!(rounds::get))
        .routes(routes!(rounds::pause))
        .routes(routes!(rounds::resume))
        .routes(routes!(rounds::abort))
        .routes(routes!(figures::list_metrics))
        .routes(routes!(figures::file))
        .routes(routes!(rounds::log))
        .routes(routes!(rounds::samples))
        .routes(routes!(rounds::preview))
        .routes(routes!(rounds::agreement_of))
        .routes(routes!(rounds::list_adapters))
        .routes(routes!(rounds::adapter_file))
        .routes(routes!(adapters::get, adapters::delete))
        .routes(routes!(adapters::get_card))
        .routes(routes!(adapters::spec))
        .routes(routes!(adapters::archive))
        .routes(routes!(adapters::kit))
        .routes(routes!(adapters::list_merges, adapters::merge))
        .routes(routes!(merges::abort))
        .routes(routes!(merges::delete))
        .routes(routes!(merges::file))
        .routes(routes!(merges::archive))
        .routes(routes!(lines::round_rows))
        .routes(routes!(events::round))
        // Lineage and storage
        .routes(routes!(lineage::graph))
        .routes(routes!(lineage::of_annotation))
        .routes(routes!(storage::get))
        // Chat
        .routes(routes!(chat::start))
        .routes(routes!(chat::events))
        .routes(routes!(chat::stop))
        // Arena
        .routes(routes!(arena::state, arena::begin))
        .routes(routes!(arena::results))
        .routes(routes!(arena::ask_again))
        .routes(routes!(arena::events))
        .routes(routes!(arena::vote))
        .routes(routes!(arena::close))
        // Contests, gates, what is current
        .routes(routes!(contests::list, contests::create))
        .routes(routes!(contests::get))
        .routes(routes!(contests::close))
        .routes(routes!(contests::gate))
        .routes(routes!(contests::current))
        .routes(routes!(contests::promote))
        .routes(routes!(contests::roll_back))
        .routes(routes!(contests::ladder))
        // Worker
        .routes(routes!(worker::lease))
        .routes(routes!(worker::report))
        .routes(routes!(worker::completions))
        .routes(routes!(scorings::uncertainties))
        .routes(routes!(merges::handed_in))
        .routes(routes!(chat::report))
        .routes(routes!(worker::finish))
        .routes(routes!(lines::worker_rows))
        .routes(routes!(lines::worker_prompts))
        .routes(routes!(lines::worker_tasks))
        .routes(routes!(rounds::worker_adapter_file))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        // Accounts: small bodies, for some of them come from strangers
        .merge(
            OpenApiRouter::new()
                .routes(routes!(accounts::setup_state))
                .routes(routes!(accounts::setup))
                .routes(routes!(accounts::session, accounts::sign_in, accounts::sign_out))
                .routes(routes!(accounts::users))
                .routes(routes!(accounts::change_user, accounts::delete_user))
                .routes(routes!(accounts::person_data))
                .routes(routes!(accounts::invites, accounts::invite))
                .routes(routes!(accounts::delete_invite))
                .routes(routes!(accounts::invite_offer, accounts::accept_invite))
                .routes(routes!(accounts::list_tokens, accounts::create_token))
                .routes(routes!(accounts::delete_token))
                .routes(routes!(audit::list))
                .layer(DefaultBodyLimit::max(MAX_ACCOUNT_BYTES)),
        )
        // Large bodies
        .merge(
            OpenApiRouter::new()
                .routes(routes!(projects::list_prompts, projects::import_prompts))
                .routes(routes!(labelling::gold_items, labelling::import_gold))
                .layer(DefaultBodyLimit::max(MAX_IMPORT_BYTES)),
        )
        .merge(
            OpenApiRouter::new()
                .routes(routes!(worker::upload))
                .routes(routes!(merges::upload))
                .layer(DefaultBodyLimit::disable()),
        )
}

/// The whole server as one service.
pub fn router(state: AppState) -> Router {
    let (api, mut document) = table().split_for_parts();
    document::name_guards(&mut document);
    let page = document::page(&document);
    let pages = static_files::routes(&state.settings);
    let api = api
        .route("/openapi.json", get(move || async move { Json(document) }))
        .fallback(nothing_here);
    Router::new()
        .nest("/api/v1", api)
        .route("/api/docs", get(move || async move { Html(page) }))
        .route("/api", any(nothing_here))
        .route("/api/{*rest}", any(nothing_here))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .method_not_allowed_fallback(wrong_method)
        .with_state(state.clone())
        .layer(CompressionLayer::new().compress_when(worth_compressing()))
        .fallback_service(pages)
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            Failure::internal("a handler panicked").into_response()
        }))
        .layer(middleware::from_fn_with_state(state.clone(), same_origin))
        .layer(middleware::from_fn_with_state(state, secure))
        .layer(middleware::from_fn(name_and_log))
}

/// Weights of an adapter are as small as they get, and their length is to be known before they have come.
fn worth_compressing() -> impl Predicate {
    DefaultPredicate::new()
        .and(NotForContentType::const_new("application/octet-stream"))
        .and(NotForContentType::const_new("application/x-tar"))
}

async fn nothing_here() -> Failure {
    Failure::not_found()
}

/// The header `Allow` is axum's.
async fn wrong_method() -> Failure {
    let detail = "This address does not take this method: see the header Allow.";
    Failure::new(ErrorCode::MethodNotAllowed, detail)
}

/// Refuses a browser's writing request that another site made it send.
async fn same_origin(State(app): State<AppState>, request: Request, next: Next) -> Response {
    if guards::is_same_origin(request.method(), request.headers(), &app.settings) {
        return next.run(request).await;
    }
    let detail = "This request came from another site: use Laurel's own pages, or a token.";
    Failure::new(ErrorCode::CrossOrigin, detail).into_response()
}

const HEADERS: [(&str, &str); 8] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), microphone=(), geolocation=(), payment=()",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-permitted-cross-domain-policies", "none"),
];

/// Browsers that came over TLS once come over TLS only, for a year.
const TLS_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000");

async fn secure(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if app.settings.is_https() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, TLS_ONLY);
    }
    if is_api {
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
    }
    response
}

/// Gives the request its id and writes one log line about it; never a body, a query or a secret in a path.
async fn name_and_log(request: Request, next: Next) -> Response {
    let id: String = text::random_secret()
        .unwrap_or_default()
        .chars()
        .take(16)
        .collect();
    let method = request.method().clone();
    let begun = Instant::now();
    let inner = async {
        let route = request
            .extensions()
            .get::<MatchedPath>()
            .map(|path| path.as_str().to_owned());
        let is_api = request.uri().path().starts_with("/api/");
        (next.run(request).await, route, is_api)
    };
    let (mut response, route, is_api) = REQUEST_ID.scope(id.clone(), inner).await;
    let status = response.status();
    let ms = begun.elapsed().as_secs_f64() * 1000.0;
    let route = route.unwrap_or_else(|| {
        if is_api {
            "/api".to_owned()
        } else {
            "page".to_owned()
        }
    });
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(request.id = %id, %method, route, status = status.as_u16(), ms, "Request failed");
    } else if is_api {
        tracing::info!(request.id = %id, %method, route, status = status.as_u16(), ms, "Request answered");
    } else {
        // Files of the pages and the questions of whoever watches the server come by the dozen.
        tracing::debug!(request.id = %id, %method, route, status = status.as_u16(), ms, "Request answered");
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}
