//! Webhooks: addresses that hear of a project's rounds.

use crate::{
    clock,
    error::Failure,
    extract::{Body, Path},
    guards::Admin,
    state::AppState,
    store::webhooks,
    webhooks as sender,
};
use axum::{Json, extract::State, http::StatusCode};
use laurel_protocol::{ApiError, CreatedWebhook, NewWebhook, ProjectId, Webhook, WebhookId};

type Answer<T> = Result<Json<T>, Failure>;

/// The project's webhooks with their last deliveries.
#[utoipa::path(get, path = "/projects/{id}/webhooks", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = [Webhook])))]
pub async fn list(State(app): State<AppState>, _: Admin, Path(id): Path<ProjectId>) -> Answer<Vec<Webhook>> {
    Ok(Json(webhooks::list(&app.db, id).await?))
}

/// Adds a webhook; the answer holds the key of its signatures, this once.
#[utoipa::path(post, path = "/projects/{id}/webhooks", tag = "rounds", params(("id" = i64, Path)),
    request_body = NewWebhook, responses((status = 200, body = CreatedWebhook), (status = 422, body = ApiError)))]
pub async fn create(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<ProjectId>,
    Body(new): Body<NewWebhook>,
) -> Answer<CreatedWebhook> {
    new.validate()?;
    let made = webhooks::create(&app.db, id, &new, admin.person(), clock::now()).await?;
    Ok(Json(made))
}

/// Changes a webhook's address and events; its key stays.
#[utoipa::path(put, path = "/webhooks/{id}", tag = "rounds", params(("id" = i64, Path)),
    request_body = NewWebhook, responses((status = 200, body = Webhook), (status = 422, body = ApiError)))]
pub async fn change(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<WebhookId>,
    Body(new): Body<NewWebhook>,
) -> Answer<Webhook> {
    new.validate()?;
    let hook = webhooks::change(&app.db, id, &new, admin.person(), clock::now()).await?;
    Ok(Json(hook))
}

/// Removes a webhook and what it was to hear.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 204), (status = 404, body = ApiError)))]
pub async fn delete(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<WebhookId>,
) -> Result<StatusCode, Failure> {
    webhooks::delete(&app.db, id, admin.person(), clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test within seconds.
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = Webhook), (status = 404, body = ApiError)))]
pub async fn test(State(app): State<AppState>, _: Admin, Path(id): Path<WebhookId>) -> Answer<Webhook> {
    Ok(Json(webhooks::test(&app.db, id, clock::now()).await?))
}

/// Sends what is due, again and again: a receiver that is slow holds nothing else up.
pub async fn keep_sending(app: AppState) {
    let mut every = tokio::time::interval(std::time::Duration::from_secs(2));
    loop {
        every.tick().await;
        if let Err(error) = sender::send_due(&app.db, app.settings.reach).await {
            tracing::warn!(%error, "Webhooks could not be sent");
        }
    }
}
