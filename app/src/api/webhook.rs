//! Calls about webhooks.

use super::{Result, delete as remove, get, post, post_empty};
use laurel_protocol::{CreatedWebhook, NewWebhook, ProjectId, Webhook, WebhookId};

pub async fn list(project: ProjectId) -> Result<Vec<Webhook>> {
    get(&format!("/projects/{project}/webhooks")).await
}

pub async fn create(project: ProjectId, new: &NewWebhook) -> Result<CreatedWebhook> {
    post(&format!("/projects/{project}/webhooks"), new).await
}

pub async fn delete(id: WebhookId) -> Result<()> {
    remove(&format!("/webhooks/{id}")).await
}

pub async fn test(id: WebhookId) -> Result<Webhook> {
    post_empty(&format!("/webhooks/{id}/test")).await
}
