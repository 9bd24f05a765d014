//! Health: whether the process runs, and whether its database answers.

use crate::{error::Failure, state::AppState};
use axum::extract::State;
use laurel_protocol::ErrorCode;

pub async fn healthz() -> &'static str {
    "ok\n"
}

pub async fn readyz(State(app): State<AppState>) -> Result<&'static str, Failure> {
    if app.db.is_ready().await {
        return Ok("ready\n");
    }
    Err(Failure::new(
        ErrorCode::Unavailable,
        "The database does not answer.",
    ))
}
