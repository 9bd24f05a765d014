//! Calls about rounds: start, watch, pause, resume, abort, preview, samples.

use super::{Result, get, post, post_empty, url};
use laurel_protocol::{
    Agreement, LogLine, MetricPoint, NewRound, Preview, ProjectId, Round, RoundId, Sample,
};

pub async fn list(project: ProjectId) -> Result<Vec<Round>> {
    get(&format!("/projects/{project}/rounds")).await
}

pub async fn start(project: ProjectId, round: &NewRound) -> Result<Round> {
    post(&format!("/projects/{project}/rounds"), round).await
}

pub async fn load(id: RoundId) -> Result<Round> {
    get(&format!("/rounds/{id}")).await
}

pub async fn pause(id: RoundId) -> Result<Round> {
    post_empty(&format!("/rounds/{id}/pause")).await
}

pub async fn resume(id: RoundId) -> Result<Round> {
    post_empty(&format!("/rounds/{id}/resume")).await
}

pub async fn abort(id: RoundId) -> Result<Round> {
    post_empty(&format!("/rounds/{id}/abort")).await
}

pub async fn metrics(id: RoundId) -> Result<Vec<MetricPoint>> {
    get(&format!("/rounds/{id}/metrics")).await
}

pub async fn log(id: RoundId) -> Result<Vec<LogLine>> {
    get(&format!("/rounds/{id}/log")).await
}

pub async fn samples(id: RoundId) -> Result<Vec<Sample>> {
    get(&format!("/rounds/{id}/samples")).await
}

/// Nothing until a trainer has taken the round.
pub async fn preview(id: RoundId) -> Result<Option<Preview>> {
    get(&format!("/rounds/{id}/preview")).await
}

pub async fn agreement(id: RoundId) -> Result<Agreement> {
    get(&format!("/rounds/{id}/agreement")).await
}

/// Where the browser downloads the frozen rows.
pub fn rows_url(id: RoundId) -> String {
    url(&format!("/rounds/{id}/rows"))
}
