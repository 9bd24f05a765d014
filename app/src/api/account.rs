//! Calls about people: set-up, sign-in, users, invites, API tokens.

use super::{Result, delete, delete_for, get, patch, post};
use laurel_protocol::{
    ApiToken, CreatedInvite, CreatedToken, Credentials, Invite, InviteId, InviteOffer, Leaving, NewInvite,
    NewToken, PersonData, Session, SetupState, TokenId, User, UserChange, UserId,
};

pub async fn setup_state() -> Result<SetupState> {
    get("/setup").await
}

pub async fn set_up(token: &str, credentials: &Credentials) -> Result<Session> {
    post(&format!("/setup/{token}"), credentials).await
}

pub async fn session() -> Result<Session> {
    get("/session").await
}

pub async fn sign_in(credentials: &Credentials) -> Result<Session> {
    post("/session", credentials).await
}

pub async fn sign_out() -> Result<()> {
    delete("/session").await
}

pub async fn users() -> Result<Vec<User>> {
    get("/users").await
}

pub async fn change_user(id: UserId, change: &UserChange) -> Result<User> {
    patch(&format!("/users/{id}"), change).await
}

pub async fn person_data(id: UserId) -> Result<PersonData> {
    get(&format!("/users/{id}/data")).await
}

pub async fn delete_person(id: UserId, answers: Leaving) -> Result<PersonData> {
    let answers = match answers {
        Leaving::Keep => "keep",
        Leaving::Withdraw => "withdraw",
    };
    delete_for(&format!("/users/{id}?answers={answers}")).await
}

pub async fn invites() -> Result<Vec<Invite>> {
    get("/invites").await
}

pub async fn invite(invite: &NewInvite) -> Result<CreatedInvite> {
    post("/invites", invite).await
}

pub async fn withdraw_invite(id: InviteId) -> Result<()> {
    delete(&format!("/invites/{id}")).await
}

pub async fn invite_offer(token: &str) -> Result<InviteOffer> {
    get(&format!("/invites/by-token/{token}")).await
}

pub async fn accept_invite(token: &str, credentials: &Credentials) -> Result<Session> {
    post(&format!("/invites/by-token/{token}"), credentials).await
}

pub async fn tokens() -> Result<Vec<ApiToken>> {
    get("/tokens").await
}

pub async fn create_token(token: &NewToken) -> Result<CreatedToken> {
    post("/tokens", token).await
}

pub async fn revoke_token(id: TokenId) -> Result<()> {
    delete(&format!("/tokens/{id}")).await
}
