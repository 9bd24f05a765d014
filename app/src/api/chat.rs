//! Calls about chats; the answers come by [`super::events::follow_chat`].

use super::{Result, delete, post};
use laurel_protocol::{ChatTurn, JobId, NewChatTurn, ProjectId};

pub async fn start(project: ProjectId, turn: &NewChatTurn) -> Result<ChatTurn> {
    post(&format!("/projects/{project}/chat"), turn).await
}

pub async fn stop(project: ProjectId, turn: JobId) -> Result<()> {
    delete(&format!("/projects/{project}/chat/{turn}")).await
}
