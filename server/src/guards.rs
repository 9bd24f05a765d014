//! Extractors that prove who asks: a handler that takes one cannot run without it.

use crate::{
    clock,
    error::Failure,
    state::{AppState, Settings},
    store::{accounts, audit::Person, leases, tokens},
};
use axum::{
    extract::{ConnectInfo, FromRequestParts, RawPathParams},
    http::{HeaderMap, Method, header, request::Parts},
};
use laurel_protocol::{ErrorCode, JobId, LEASE_HEADER, Role, TokenScope, User, UserId};
use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

/// Anyone signed in.
pub struct CurrentUser(pub Caller);
/// An admin.
pub struct Admin(pub Caller);
/// A reviewer or an admin.
pub struct Reviewer(pub Caller);
/// An admin who stays to watch, see [`Self::may_still_watch`].
pub struct Watcher {
    app: AppState,
    credential: Credential,
}
/// Anyone signed in who stays to watch what is their own, see [`Self::may_still_watch`].
pub struct OwnWatcher {
    app: AppState,
    credential: Credential,
}
/// A trainer's token, by its name.
pub struct Worker(pub String);
/// A trainer's token with the lease of the job in the path.
pub struct Leased(pub leases::Lease);
/// The secret of the browser's session, if it sent one.
pub struct SessionSecret(pub Option<String>);
/// Where the request came from, for the limit on sign-ins.
pub struct Address(pub Option<IpAddr>);

/// Who asks, and by which token if it is none of a browser's sessions.
pub struct Caller {
    pub user: User,
    token: Option<String>,
}

impl Caller {
    /// For the audit log.
    pub fn person(&self) -> Person {
        Person {
            user: self.user.id,
            token: self.token.clone(),
        }
    }
}

/// What a request shows to say who asks.
#[derive(Clone)]
enum Credential {
    Token(String),
    Session(String),
}

fn not_signed_in() -> Failure {
    Failure::new(
        ErrorCode::NotSignedIn,
        "Sign in, or send a token that is still good.",
    )
}

impl Credential {
    /// A token counts before a cookie.
    fn of(headers: &HeaderMap, settings: &Settings) -> Option<Self> {
        let token = bearer(headers).map(|secret| Self::Token(secret.to_owned()));
        token.or_else(|| session_cookie(headers, settings).map(Self::Session))
    }

    async fn caller(&self, app: &AppState) -> Result<Caller, Failure> {
        match self {
            Self::Token(secret) => {
                let holder = tokens::holder(&app.db, secret, clock::now()).await?;
                let holder = holder.ok_or_else(not_signed_in)?;
                match holder.scope {
                    TokenScope::Script => Ok(Caller {
                        user: holder.user,
                        token: Some(holder.name),
                    }),
                    TokenScope::Worker => Err(Failure::forbidden()),
                }
            }
            Self::Session(secret) => {
                let user = accounts::session_user(&app.db, secret, clock::now()).await?;
                Ok(Caller {
                    user: user.ok_or_else(not_signed_in)?,
                    token: None,
                })
            }
        }
    }

    async fn admin(&self, app: &AppState) -> Result<Caller, Failure> {
        let caller = self.caller(app).await?;
        match caller.user.role {
            Role::Admin => Ok(caller),
            Role::Reviewer | Role::Annotator => Err(Failure::forbidden()),
        }
    }
}

impl FromRequestParts<AppState> for CurrentUser {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let credential = Credential::of(&parts.headers, &state.settings).ok_or_else(not_signed_in)?;
        credential.caller(state).await.map(Self)
    }
}

impl FromRequestParts<AppState> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let credential = Credential::of(&parts.headers, &state.settings).ok_or_else(not_signed_in)?;
        credential.admin(state).await.map(Self)
    }
}

impl FromRequestParts<AppState> for Reviewer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let credential = Credential::of(&parts.headers, &state.settings).ok_or_else(not_signed_in)?;
        let caller = credential.caller(state).await?;
        match caller.user.role.may_review() {
            true => Ok(Self(caller)),
            false => Err(Failure::forbidden()),
        }
    }
}

impl FromRequestParts<AppState> for Watcher {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let credential = Credential::of(&parts.headers, &state.settings).ok_or_else(not_signed_in)?;
        credential.admin(state).await?;
        Ok(Self {
            app: state.clone(),
            credential,
        })
    }
}

impl Watcher {
    /// Whether the session or token is still good and its owner still an admin. A stream asks this again and again,
    /// for nobody else does once it has begun.
    pub async fn may_still_watch(&self) -> bool {
        self.credential.admin(&self.app).await.is_ok()
    }
}

impl FromRequestParts<AppState> for OwnWatcher {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let credential = Credential::of(&parts.headers, &state.settings).ok_or_else(not_signed_in)?;
        credential.caller(state).await?;
        Ok(Self {
            app: state.clone(),
            credential,
        })
    }
}

impl OwnWatcher {
    /// Whether the session or token is still good, and still this person's.
    pub async fn may_still_watch(&self, user: UserId) -> bool {
        let caller = self.credential.caller(&self.app).await;
        caller.is_ok_and(|caller| caller.user.id == user)
    }
}

impl FromRequestParts<AppState> for Worker {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let secret = bearer(&parts.headers).ok_or_else(not_signed_in)?;
        let holder = tokens::holder(&state.db, secret, clock::now()).await?;
        let holder = holder.ok_or_else(not_signed_in)?;
        match holder.scope {
            TokenScope::Worker => Ok(Self(holder.name)),
            TokenScope::Script => Err(Failure::forbidden()),
        }
    }
}

impl FromRequestParts<AppState> for Leased {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let Worker(trainer) = Worker::from_request_parts(parts, state).await?;
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Failure::not_found())?;
        let job = params
            .iter()
            .find(|(name, _)| *name == "job")
            .and_then(|(_, id)| id.parse::<JobId>().ok());
        let secret = parts
            .headers
            .get(LEASE_HEADER)
            .and_then(|value| value.to_str().ok());
        let secret = secret.ok_or_else(|| {
            Failure::new(
                ErrorCode::BadRequest,
                "Send the secret of the lease in the header Laurel-Lease.",
            )
        })?;
        Ok(Self(leases::Lease {
            job: job.ok_or_else(|| {
                Failure::new(
                    ErrorCode::BadRequest,
                    "The number of the job in the path cannot be read.",
                )
            })?,
            secret: secret.to_owned(),
            seconds: state.settings.lease_seconds,
            trainer,
        }))
    }
}

impl FromRequestParts<AppState> for SessionSecret {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        Ok(Self(session_cookie(&parts.headers, &state.settings)))
    }
}

impl FromRequestParts<AppState> for Address {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|peer| peer.0.ip().to_canonical());
        let trusted = &state.settings.trusted_proxies;
        Ok(Self(peer.map(|peer| client(peer, &parts.headers, trusted))))
    }
}

/// Whom the nearest stranger in the chain of proxies calls from: each proxy adds its own peer at the end, and what
/// stands before the last untrusted one may be made up.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let named: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let mut nearest = peer;
    for name in named.into_iter().rev() {
        if !trusted.contains(&nearest) {
            break;
        }
        let Ok(address) = name.trim().parse::<IpAddr>() else {
            break;
        };
        nearest = address.to_canonical();
    }
    nearest
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The cookie's name: over TLS the prefix makes the browser insist on Secure and Path=/.
pub fn cookie_name(settings: &Settings) -> &'static str {
    if settings.is_https() {
        "__Host-laurel"
    } else {
        "laurel"
    }
}

fn session_cookie(headers: &HeaderMap, settings: &Settings) -> Option<String> {
    let name = cookie_name(settings);
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// Whether a browser's writing request came from our own pages. Requests without a browser's headers are scripts',
/// which send no cookie of their own accord.
pub fn is_same_origin(method: &Method, headers: &HeaderMap, settings: &Settings) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) || bearer(headers).is_some() {
        return true;
    }
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = headers
        .get("sec-fetch-site")
        .and_then(|value| value.to_str().ok())
    {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = text(header::ORIGIN) else {
        return true;
    };
    let host = origin.split_once("://").map(|(_, host)| host);
    match &settings.public_url {
        Some(url) if url.trim_end_matches('/') == origin => true,
        _ => host.is_some() && host == text(header::HOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_address_counts_only_where_a_trusted_proxy_names_it() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (proxy, inner, someone) = (address("10.0.0.1"), address("10.0.0.2"), address("203.0.113.7"));
        for (peer, forwarded, trusted, expected) in [
            (someone, "198.51.100.1", vec![proxy], someone),
            (proxy, "203.0.113.7", vec![], proxy),
            (proxy, "203.0.113.7", vec![proxy], someone),
            (proxy, "198.51.100.1, 203.0.113.7", vec![proxy], someone),
            (proxy, "203.0.113.7, 10.0.0.2", vec![proxy, inner], someone),
            (proxy, "made up", vec![proxy], proxy),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            assert_eq!(client(peer, &headers, &trusted), expected, "{peer} {forwarded}");
        }
    }
}
