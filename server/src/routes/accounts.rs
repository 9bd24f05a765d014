//! Set-up, sign-in, people, invites and tokens.

use crate::{
    clock,
    error::Failure,
    extract::{Body, Path, Query},
    guards::{Address, Admin, CurrentUser, SessionSecret, cookie_name},
    passwords,
    state::{AppState, Settings},
    store::{accounts, invites, people, tokens},
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use laurel_protocol::*;
use serde::Deserialize;
use std::time::Instant;

type Answer<T> = Result<Json<T>, Failure>;
type SignedIn = Result<(HeaderMap, Json<Session>), Failure>;

fn cookie(settings: &Settings, secret: &str, seconds: i64) -> HeaderMap {
    let secure = if settings.is_https() { "; Secure" } else { "" };
    let name = cookie_name(settings);
    let value = format!("{name}={secret}; HttpOnly; SameSite=Lax; Path=/; Max-Age={seconds}{secure}");
    let value = HeaderValue::from_str(&value).ok();
    value
        .into_iter()
        .map(|value| (header::SET_COOKIE, value))
        .collect()
}

/// Whether the first admin account is still to be made.
#[utoipa::path(get, path = "/setup", tag = "accounts", responses((status = 200, body = SetupState)))]
pub async fn setup_state(State(app): State<AppState>) -> Answer<SetupState> {
    Ok(Json(SetupState {
        needed: accounts::needs_setup(&app.db).await?,
    }))
}

/// Makes the first admin account from the link that the server printed.
#[utoipa::path(post, path = "/setup/{token}", tag = "accounts", params(("token" = String, Path)),
    request_body = Credentials, responses((status = 200, body = Session), (status = 410, body = ApiError)))]
pub async fn setup(
    State(app): State<AppState>,
    Path(token): Path<String>,
    Body(credentials): Body<Credentials>,
) -> SignedIn {
    accept(&app, &token, true, credentials).await
}

/// What an invite link offers.
#[utoipa::path(get, path = "/invites/by-token/{token}", tag = "accounts", params(("token" = String, Path)),
    responses((status = 200, body = InviteOffer), (status = 410, body = ApiError)))]
pub async fn invite_offer(State(app): State<AppState>, Path(token): Path<String>) -> Answer<InviteOffer> {
    let offer = invites::offer(&app.db, &token, false, clock::now()).await?;
    Ok(Json(offer.ok_or_else(link_expired)?))
}

/// Makes an account through an invite link and signs it in.
#[utoipa::path(post, path = "/invites/by-token/{token}", tag = "accounts", params(("token" = String, Path)),
    request_body = Credentials, responses((status = 200, body = Session), (status = 410, body = ApiError)))]
pub async fn accept_invite(
    State(app): State<AppState>,
    Path(token): Path<String>,
    Body(credentials): Body<Credentials>,
) -> SignedIn {
    accept(&app, &token, false, credentials).await
}

async fn accept(app: &AppState, token: &str, setup: bool, credentials: Credentials) -> SignedIn {
    credentials.validate()?;
    let now = clock::now();
    invites::offer(&app.db, token, setup, now)
        .await?
        .ok_or_else(link_expired)?;
    let hash = passwords::hash(credentials.password).await?;
    let made = invites::accept(&app.db, token, setup, &credentials.name, &hash, now).await?;
    let (user, secret) = made.ok_or_else(link_expired)?;
    let headers = cookie(&app.settings, &secret, accounts::SESSION_SECONDS);
    Ok((headers, Json(Session { user })))
}

fn link_expired() -> Failure {
    Failure::new(
        ErrorCode::LinkExpired,
        "This link was used or has run out: ask for a new one.",
    )
}

/// Who is signed in.
#[utoipa::path(get, path = "/session", tag = "accounts",
    responses((status = 200, body = Session), (status = 401, body = ApiError)))]
pub async fn session(CurrentUser(caller): CurrentUser) -> Answer<Session> {
    Ok(Json(Session { user: caller.user }))
}

/// Signs in with name and password.
#[utoipa::path(post, path = "/session", tag = "accounts", request_body = Credentials,
    responses((status = 200, body = Session), (status = 401, body = ApiError), (status = 429, body = ApiError)))]
pub async fn sign_in(
    State(app): State<AppState>,
    Address(address): Address,
    Body(credentials): Body<Credentials>,
) -> SignedIn {
    let name = credentials.name.clone();
    if !app.sign_ins.may_try(&name, address, Instant::now()) {
        tracing::warn!(?address, "A sign-in was refused: too many failed before it");
        let detail =
            "Too many tries with this name or from this address failed: wait a minute, then try again.";
        return Err(Failure::new(ErrorCode::RateLimited, detail));
    }
    let (user, hash) = accounts::by_name(&app.db, &name).await?.unzip();
    let known = user.as_ref().map(|user| user.id.0);
    let fits = credentials.password.len() <= MAX_PASSWORD_BYTES
        && passwords::verify(credentials.password, hash).await?;
    let Some(user) = user.filter(|user| fits && !user.disabled) else {
        // Not the name: people type passwords into the wrong field.
        tracing::warn!(?address, user.id = known, "A sign-in failed");
        let detail = "Name and password do not match an account: check both.";
        return Err(Failure::new(ErrorCode::WrongCredentials, detail));
    };
    app.sign_ins.forget(&name, address, Instant::now());
    let secret = accounts::start_session(&app.db, user.id, clock::now()).await?;
    Ok((
        cookie(&app.settings, &secret, accounts::SESSION_SECONDS),
        Json(Session { user }),
    ))
}

/// Signs out.
#[utoipa::path(delete, path = "/session", tag = "accounts", responses((status = 204)))]
pub async fn sign_out(
    State(app): State<AppState>,
    SessionSecret(secret): SessionSecret,
) -> Result<(StatusCode, HeaderMap), Failure> {
    if let Some(secret) = secret {
        accounts::end_session(&app.db, &secret, clock::now()).await?;
    }
    Ok((StatusCode::NO_CONTENT, cookie(&app.settings, "", 0)))
}

/// All people.
#[utoipa::path(get, path = "/users", tag = "accounts", responses((status = 200, body = [User])))]
pub async fn users(State(app): State<AppState>, _: Admin) -> Answer<Vec<User>> {
    Ok(Json(accounts::list(&app.db).await?))
}

/// Changes a person's role or access.
#[utoipa::path(patch, path = "/users/{id}", tag = "accounts", params(("id" = i64, Path)),
    request_body = UserChange, responses((status = 200, body = User), (status = 409, body = ApiError)))]
pub async fn change_user(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<UserId>,
    Body(change): Body<UserChange>,
) -> Answer<User> {
    let user = accounts::change(&app.db, id, &change, admin.person(), clock::now()).await?;
    Ok(Json(user))
}

/// What there is of a person, and which adapters have learnt from it.
#[utoipa::path(get, path = "/users/{id}/data", tag = "accounts", params(("id" = i64, Path)),
    responses((status = 200, body = PersonData)))]
pub async fn person_data(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<UserId>,
) -> Answer<PersonData> {
    Ok(Json(people::data(&app.db, id).await?))
}

#[derive(Deserialize)]
pub struct Answers {
    answers: Leaving,
}

/// Takes a person out; what was found of them is named.
#[utoipa::path(delete, path = "/users/{id}", tag = "accounts",
    params(("id" = i64, Path), ("answers" = Leaving, Query)),
    responses((status = 200, body = PersonData), (status = 409, body = ApiError)))]
pub async fn delete_user(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Path(id): Path<UserId>,
    Query(wanted): Query<Answers>,
) -> Answer<PersonData> {
    Ok(Json(
        people::delete(&app.db, id, wanted.answers, &caller.person(), clock::now()).await?,
    ))
}

/// Invites, used and open.
#[utoipa::path(get, path = "/invites", tag = "accounts", responses((status = 200, body = [Invite])))]
pub async fn invites(State(app): State<AppState>, _: Admin) -> Answer<Vec<Invite>> {
    Ok(Json(invites::invites(&app.db).await?))
}

/// Makes a one-time link, good for a week.
#[utoipa::path(post, path = "/invites", tag = "accounts", request_body = NewInvite,
    responses((status = 200, body = CreatedInvite)))]
pub async fn invite(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Body(new): Body<NewInvite>,
) -> Answer<CreatedInvite> {
    let (invite, secret) = invites::invite(&app.db, new.role, Some(admin.person()), clock::now()).await?;
    let path = format!("/invite/{secret}");
    Ok(Json(CreatedInvite { invite, path }))
}

/// Takes an open invite back.
#[utoipa::path(delete, path = "/invites/{id}", tag = "accounts", params(("id" = i64, Path)),
    responses((status = 204)))]
pub async fn delete_invite(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<InviteId>,
) -> Result<StatusCode, Failure> {
    invites::delete_invite(&app.db, id, admin.person(), clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// API tokens, without their secrets.
#[utoipa::path(get, path = "/tokens", tag = "accounts", responses((status = 200, body = [ApiToken])))]
pub async fn list_tokens(State(app): State<AppState>, _: Admin) -> Answer<Vec<ApiToken>> {
    Ok(Json(tokens::list(&app.db).await?))
}

/// Makes a token; its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/tokens", tag = "accounts", request_body = NewToken,
    responses((status = 200, body = CreatedToken)))]
pub async fn create_token(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Body(new): Body<NewToken>,
) -> Answer<CreatedToken> {
    new.validate()?;
    let owner = admin.user.id;
    let (token, secret) = tokens::create(&app.db, &new, owner, admin.person(), clock::now()).await?;
    Ok(Json(CreatedToken { token, secret }))
}

/// Revokes a token.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "accounts", params(("id" = i64, Path)),
    responses((status = 204)))]
pub async fn delete_token(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<TokenId>,
) -> Result<StatusCode, Failure> {
    tokens::delete(&app.db, id, admin.person(), clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
