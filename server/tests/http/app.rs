//! The server's router over an empty data folder, and callers with a cookie, a token, or nothing.

use axum::{
    Router,
    body::{Body, BodyDataStream, Bytes, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
    response::Response,
};
use futures_util::StreamExt;
use laurel_protocol::{ApiError, ErrorCode, NewToken, Role, TokenScope, UserId};
use laurel_server::{
    chats::Chats,
    clock,
    events::Events,
    router,
    state::{AppState, Settings},
    store::{Db, accounts, chat_jobs, tokens},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{path::Path, sync::Arc};
use tokio::sync::watch;
use tower::ServiceExt;

pub struct App {
    pub db: Db,
    router: Router,
    stop: watch::Sender<bool>,
    state: AppState,
    folder: tempfile::TempDir,
}

impl App {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::over(tempfile::tempdir().unwrap(), change).await
    }

    /// Another run of the server over the same data.
    pub async fn restart(self) -> Self {
        self.db.close().await;
        Self::over(self.folder, |_| {}).await
    }

    async fn over(folder: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let db = Db::open(folder.path()).await.unwrap();
        chat_jobs::clear(&db).await.unwrap();
        let mut settings = Settings {
            data: folder.path().to_owned(),
            sample: None,
            dist: None,
            public_url: None,
            lease_seconds: 60,
            assignment_seconds: 900,
            keep_merged_days: None,
            trusted_proxies: Vec::new(),
            reach: laurel_server::webhooks::Reach::Public,
        };
        change(&mut settings);
        let (stop, stopping) = watch::channel(false);
        let state = AppState {
            db: db.clone(),
            settings: Arc::new(settings),
            events: Events::default(),
            chats: Chats::default(),
            sign_ins: Arc::default(),
            reports: Default::default(),
            plans: Default::default(),
            stopping,
        };
        Self {
            db,
            router: router::router(state.clone()),
            state,
            stop,
            folder,
        }
    }

    /// What the handlers have, with other settings.
    pub fn state(&self, change: impl FnOnce(&mut Settings)) -> AppState {
        let mut settings = Settings::clone(&self.state.settings);
        change(&mut settings);
        AppState {
            settings: Arc::new(settings),
            ..self.state.clone()
        }
    }

    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    /// Ends every stream once it has said what there is.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// The same person before this run of the server.
    pub fn again(&self, caller: &Caller) -> Caller {
        Caller {
            router: self.router.clone(),
            ..caller.clone()
        }
    }

    pub fn stranger(&self) -> Caller {
        Caller {
            router: self.router.clone(),
            headers: Vec::new(),
            user: UserId(0),
        }
    }

    /// A person with a session; no password is hashed for it.
    pub async fn person(&self, name: &str, role: Role) -> Caller {
        let now = clock::now();
        let user = accounts::create(&self.db, name, "none", role, now).await.unwrap();
        let secret = accounts::start_session(&self.db, user.id, now).await.unwrap();
        let mut caller = self.stranger().with("cookie", &format!("laurel={secret}"));
        caller.user = user.id;
        caller
    }

    pub async fn admin(&self) -> Caller {
        self.person("admin", Role::Admin).await
    }

    /// Someone with a token of this person's.
    pub async fn token(&self, owner: &Caller, scope: TokenScope) -> Caller {
        let new = NewToken {
            name: "t".into(),
            scope,
        };
        let (_, secret) = tokens::create(&self.db, &new, owner.user, owner.user, clock::now())
            .await
            .unwrap();
        self.stranger().bearer(&secret)
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.db.read()).await.unwrap()
    }
}

#[derive(Clone)]
pub struct Caller {
    router: Router,
    headers: Vec<(String, String)>,
    pub user: UserId,
}

impl Caller {
    /// The same caller with one more header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut caller = self.clone();
        caller.headers.push((name.to_owned(), value.to_owned()));
        caller
    }

    pub fn bearer(&self, secret: &str) -> Self {
        self.with("authorization", &format!("Bearer {secret}"))
    }

    /// The caller with the session cookie that an answer set.
    pub fn with_cookie_of(&self, answered: &Answered) -> Self {
        let pair = answered.header("set-cookie").split(';').next().unwrap();
        self.with("cookie", pair)
    }

    /// A stream of events, which stays open.
    pub async fn watch(&self, path: &str) -> Watched {
        let response = self.ask("GET", &format!("/api/v1{path}"), Body::empty()).await;
        assert_eq!(response.status(), 200);
        Watched {
            pieces: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    /// Any address of the server.
    pub async fn page(&self, method: &str, path: &str, body: impl Into<Body>) -> Answered {
        let response = self.ask(method, path, body.into()).await;
        let (parts, body) = response.into_parts();
        Answered {
            status: parts.status,
            headers: parts.headers,
            body: to_bytes(body, usize::MAX).await.unwrap(),
        }
    }

    async fn ask(&self, method: &str, path: &str, body: Body) -> Response {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(body).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// An address of the API.
    pub async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Answered {
        self.page(method, &format!("/api/v1{path}"), body).await
    }

    pub async fn get(&self, path: &str) -> Answered {
        self.send("GET", path, Body::empty()).await
    }

    pub async fn post(&self, path: &str, body: &impl Serialize) -> Answered {
        let json = self.with("content-type", "application/json");
        json.send("POST", path, serde_json::to_vec(body).unwrap()).await
    }

    /// Posts what must succeed.
    pub async fn make<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> T {
        self.post(path, body).await.json()
    }
}

pub struct Watched {
    pieces: BodyDataStream,
    text: String,
}

impl Watched {
    /// All that came, once this is part of it.
    pub async fn until(&mut self, wanted: &str) -> &str {
        while !self.text.contains(wanted) {
            let piece = self.pieces.next().await;
            let piece = piece.unwrap_or_else(|| panic!("ended without {wanted}: {}", self.text));
            self.text += std::str::from_utf8(&piece.unwrap()).unwrap();
        }
        &self.text
    }

    /// All that comes until the stream ends by itself.
    pub async fn end(mut self) -> String {
        while let Some(piece) = self.pieces.next().await {
            self.text += std::str::from_utf8(&piece.unwrap()).unwrap();
        }
        self.text
    }
}

#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answered {
    /// The header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// JSON Lines.
    pub fn lines<T: DeserializeOwned>(&self) -> Vec<T> {
        assert_eq!(self.status, 200, "{self:?}");
        let lines = self.text().lines();
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The problem details that every error has, checked.
    pub fn problem(&self) -> ApiError {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let error: ApiError = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(error.status, self.status.as_u16());
        assert_eq!(error.request_id.len(), 16, "{self:?}");
        assert_eq!(error.request_id, self.header("x-request-id"));
        assert!(!error.detail.is_empty() && !error.title.is_empty());
        error
    }

    pub fn code(&self) -> ErrorCode {
        self.problem().code
    }
}
