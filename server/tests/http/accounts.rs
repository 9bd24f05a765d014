//! Set-up, signing in and out, invites, tokens.

use crate::app::App;
use laurel_protocol::*;
use laurel_server::{
    clock, passwords,
    store::{accounts, invites, tokens},
};
use serde_json::json;

const PASSWORD: &str = "correct horse battery";

fn credentials(name: &str, password: &str) -> Credentials {
    Credentials {
        name: name.into(),
        password: password.into(),
    }
}

async fn link(app: &App, role: Role, by: Option<UserId>) -> String {
    let (_, secret) = invites::invite(&app.db, role, by, clock::now()).await.unwrap();
    secret
}

#[tokio::test]
async fn the_setup_link_makes_one_admin_and_works_once() {
    let app = App::start().await;
    let stranger = app.stranger();
    let path = format!("/setup/{}", link(&app, Role::Admin, None).await);
    assert!(stranger.get("/setup").await.json::<SetupState>().needed);

    let short = stranger.post(&path, &credentials("ada", "short")).await.problem();
    assert_eq!(
        (short.code, short.fields[0].field.as_str()),
        (ErrorCode::Invalid, "password")
    );

    let made = stranger.post(&path, &credentials("ada", PASSWORD)).await;
    assert_eq!(made.json::<Session>().user.role, Role::Admin);
    let me: Session = stranger.with_cookie_of(&made).get("/session").await.json();
    assert_eq!(me.user.name, "ada");
    assert!(!stranger.get("/setup").await.json::<SetupState>().needed);

    let again = stranger.post(&path, &credentials("bob", PASSWORD)).await;
    assert_eq!(again.code(), ErrorCode::LinkExpired);
}

#[tokio::test]
async fn the_setup_link_is_void_once_an_admin_was_made_elsewhere() {
    let app = App::start().await;
    let path = format!("/setup/{}", link(&app, Role::Admin, None).await);
    app.admin().await;
    let late = app.stranger().post(&path, &credentials("eve", PASSWORD)).await;
    assert_eq!(late.code(), ErrorCode::LinkExpired);
    assert_eq!(app.count("select count(*) from user").await, 1);
}

#[tokio::test]
async fn a_setup_link_is_no_invite_and_an_invite_no_setup_link() {
    let app = App::start().await;
    let setup = link(&app, Role::Admin, None).await;
    let offer = app.stranger().get(&format!("/invites/by-token/{setup}")).await;
    assert_eq!(offer.code(), ErrorCode::LinkExpired);
    let owner = app.person("ada", Role::Annotator).await;
    let invite = link(&app, Role::Admin, Some(owner.user)).await;
    let setup = app
        .stranger()
        .post(&format!("/setup/{invite}"), &credentials("eve", PASSWORD))
        .await;
    assert_eq!(setup.code(), ErrorCode::LinkExpired);
}

#[tokio::test]
async fn signing_in_needs_the_right_password_and_signing_out_ends_the_session() {
    let app = App::start().await;
    let hash = passwords::hash_blocking(PASSWORD).unwrap();
    accounts::create(&app.db, "Ada", &hash, Role::Annotator, clock::now())
        .await
        .unwrap();
    let stranger = app.stranger();
    let wrong = stranger
        .post("/session", &credentials("ada", "wrong password"))
        .await;
    let nobody = stranger.post("/session", &credentials("nobody", PASSWORD)).await;
    assert_eq!(wrong.code(), ErrorCode::WrongCredentials);
    assert_eq!(wrong.header("set-cookie"), "");
    assert_eq!(wrong.problem().detail, nobody.problem().detail);

    let signed_in = stranger.post("/session", &credentials(" ada ", PASSWORD)).await;
    assert_eq!(signed_in.status, 200, "{signed_in:?}");
    let cookie = signed_in.header("set-cookie");
    let (_, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "HttpOnly; SameSite=Lax; Path=/; Max-Age=2592000");

    let ada = stranger.with_cookie_of(&signed_in);
    assert_eq!(ada.get("/session").await.status, 200);
    let out = ada.send("DELETE", "/session", "").await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").starts_with("laurel=;"), "{out:?}");
    assert!(out.header("set-cookie").contains("Max-Age=0"), "{out:?}");
    assert_eq!(ada.get("/session").await.code(), ErrorCode::NotSignedIn);
}

#[tokio::test]
async fn behind_tls_the_cookie_is_secure_and_bound_to_the_host() {
    let app = App::with(|settings| settings.public_url = Some("https://laurel.example".into())).await;
    let stranger = app.stranger();
    let path = format!("/setup/{}", link(&app, Role::Admin, None).await);
    let made = stranger.post(&path, &credentials("ada", PASSWORD)).await;
    let cookie = made.header("set-cookie").to_owned();
    assert!(cookie.starts_with("__Host-laurel="), "{cookie}");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    assert_eq!(stranger.with_cookie_of(&made).get("/session").await.status, 200);
    // The name without the prefix can be set by a neighbouring host: it counts for nothing.
    let plain = cookie.split(';').next().unwrap().replace("__Host-", "");
    let tossed = stranger.with("cookie", &plain).get("/session").await;
    assert_eq!(tossed.code(), ErrorCode::NotSignedIn);
}

#[tokio::test]
async fn guesses_are_limited_even_when_they_come_at_once() {
    let app = App::start().await;
    let stranger = app.stranger();
    // Too long to be any password: refused without hashing, which keeps the test quick.
    let guess = credentials("ada", &"x".repeat(MAX_PASSWORD_BYTES + 1));
    let tries = (0..12).map(|_| stranger.post("/session", &guess));
    let codes: Vec<_> = futures_util::future::join_all(tries)
        .await
        .iter()
        .map(crate::app::Answered::code)
        .collect();
    let n_limited = codes
        .iter()
        .filter(|code| **code == ErrorCode::RateLimited)
        .count();
    assert_eq!(n_limited, 4, "{codes:?}");

    let limited = stranger.post("/session", &credentials("ADA ", PASSWORD)).await;
    assert_eq!(limited.code(), ErrorCode::RateLimited);
    assert_eq!(limited.header("retry-after"), "60");
    let other = credentials("bob", &guess.password);
    let other = stranger.post("/session", &other).await;
    assert_eq!(other.code(), ErrorCode::WrongCredentials);
}

#[tokio::test]
async fn a_person_who_is_shut_out_is_out_at_once() {
    let app = App::start().await;
    let admin = app.admin().await;
    let ada = app.person("ada", Role::Annotator).await;
    let script = app.token(&ada, TokenScope::Script).await;
    assert_eq!(script.get("/session").await.status, 200);
    let change = |body: serde_json::Value, user: UserId| {
        let admin = admin.with("content-type", "application/json");
        async move {
            admin
                .send("PATCH", &format!("/users/{user}"), body.to_string())
                .await
        }
    };
    let shut: User = change(json!({"disabled": true}), ada.user).await.json();
    assert!(shut.disabled);
    assert_eq!(ada.get("/session").await.code(), ErrorCode::NotSignedIn);
    assert_eq!(script.get("/session").await.code(), ErrorCode::NotSignedIn);

    let last = change(json!({"role": "annotator"}), admin.user).await;
    assert_eq!(last.code(), ErrorCode::Conflict);
    assert_eq!(admin.get("/users").await.status, 200);
}

#[tokio::test]
async fn an_invite_is_used_once_and_survives_a_refused_name() {
    let app = App::start().await;
    let admin = app.admin().await;
    let stranger = app.stranger();
    let new = NewInvite {
        role: Role::Annotator,
    };
    let made: CreatedInvite = admin.make("/invites", &new).await;
    let secret = made.path.strip_prefix("/invite/").unwrap();
    let path = format!("/invites/by-token/{secret}");
    assert_eq!(
        stranger.get(&path).await.json::<InviteOffer>().role,
        Role::Annotator
    );

    let taken = stranger
        .post(&path, &credentials("ADMIN", PASSWORD))
        .await
        .problem();
    assert_eq!(
        (taken.code, taken.fields[0].field.as_str()),
        (ErrorCode::Invalid, "name")
    );
    let joined = stranger.post(&path, &credentials("ada", PASSWORD)).await;
    let ada = joined.json::<Session>().user;
    assert_eq!(ada.role, Role::Annotator);

    assert_eq!(stranger.get(&path).await.code(), ErrorCode::LinkExpired);
    let again = stranger.post(&path, &credentials("eve", PASSWORD)).await;
    assert_eq!(again.code(), ErrorCode::LinkExpired);
    let listed: Vec<Invite> = admin.get("/invites").await.json();
    assert_eq!(listed[0].used_by, Some(ada.id));
    let gone = admin
        .send("DELETE", &format!("/invites/{}", made.invite.id), "")
        .await;
    assert_eq!(
        gone.code(),
        ErrorCode::NotFound,
        "a used invite stays as a record"
    );
}

#[tokio::test]
async fn an_invite_that_ran_out_or_was_taken_back_is_refused() {
    let app = App::start().await;
    let admin = app.admin().await;
    let long_ago = Timestamp(clock::now().0 - invites::INVITE_SECONDS * 1000);
    let (_, old) = invites::invite(&app.db, Role::Admin, Some(admin.user), long_ago)
        .await
        .unwrap();
    let made: CreatedInvite = admin.make("/invites", &NewInvite { role: Role::Admin }).await;
    let deleted = admin
        .send("DELETE", &format!("/invites/{}", made.invite.id), "")
        .await;
    assert_eq!(deleted.status, 204);
    let taken_back = made.path.replace("/invite/", "");
    for secret in [old, taken_back, "nonsense".to_owned()] {
        let path = format!("/invites/by-token/{secret}");
        assert_eq!(app.stranger().get(&path).await.code(), ErrorCode::LinkExpired);
        let used = app.stranger().post(&path, &credentials("eve", PASSWORD)).await;
        assert_eq!(used.code(), ErrorCode::LinkExpired);
    }
}

#[tokio::test]
async fn an_invite_is_good_only_while_its_maker_is_an_admin() {
    let app = App::start().await;
    let admin = app.admin().await;
    let eve = app.person("eve", Role::Admin).await;
    let made: CreatedInvite = eve.make("/invites", &NewInvite { role: Role::Admin }).await;
    let path = made.path.replace("/invite/", "/invites/by-token/");
    let json = admin.with("content-type", "application/json");
    for (change, code) in [
        (json!({"disabled": true}), 410),
        (json!({"disabled": false}), 200),
        (json!({"role": "annotator"}), 410),
    ] {
        let user = format!("/users/{}", eve.user);
        let changed = json.send("PATCH", &user, change.to_string()).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(app.stranger().get(&path).await.status, code, "{change}");
    }
    let used = app
        .stranger()
        .post(&path, &credentials("mallory", PASSWORD))
        .await;
    assert_eq!(used.code(), ErrorCode::LinkExpired);
}

#[tokio::test]
async fn a_revoked_token_opens_nothing() {
    let app = App::start().await;
    let admin = app.admin().await;
    let new = NewToken {
        name: "nightly".into(),
        scope: TokenScope::Script,
    };
    let made: CreatedToken = admin.make("/tokens", &new).await;
    let script = app.stranger().bearer(&made.secret);
    assert_eq!(script.get("/users").await.status, 200);
    let lower = app
        .stranger()
        .with("authorization", &format!("bearer {}", made.secret));
    assert_eq!(
        lower.get("/users").await.status,
        200,
        "the scheme's case does not matter"
    );

    let listed = admin.get("/tokens").await;
    assert!(!listed.text().contains(&made.secret), "shown once only");
    assert!(listed.json::<Vec<ApiToken>>()[0].last_used_at.is_some());
    let path = format!("/tokens/{}", made.token.id);
    assert_eq!(admin.send("DELETE", &path, "").await.status, 204);
    assert_eq!(script.get("/users").await.code(), ErrorCode::NotSignedIn);
    assert!(tokens::list(&app.db).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_session_that_ran_out_is_no_session() {
    let app = App::start().await;
    let ada = app.person("ada", Role::Annotator).await;
    let long_ago = Timestamp(clock::now().0 - accounts::SESSION_SECONDS * 1000);
    let secret = accounts::start_session(&app.db, ada.user, long_ago)
        .await
        .unwrap();
    let old = app.stranger().with("cookie", &format!("laurel={secret}"));
    assert_eq!(old.get("/session").await.code(), ErrorCode::NotSignedIn);
}
