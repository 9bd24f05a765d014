//! Calls about contests, gates, what is current, and the ladder.

use super::{Result, get, post, post_empty};
use laurel_protocol::{
    CloseContest, Contest, ContestId, Current, Ladder, LadderSource, NewContest, NewPromotion, ProjectId,
    PromotionId, RoundGate, RoundId,
};

pub async fn list(project: ProjectId) -> Result<Vec<Contest>> {
    get(&format!("/projects/{project}/contests")).await
}

pub async fn begin(project: ProjectId, new: &NewContest) -> Result<Contest> {
    post(&format!("/projects/{project}/contests"), new).await
}

pub async fn load(id: ContestId) -> Result<Contest> {
    get(&format!("/contests/{id}")).await
}

pub async fn close(id: ContestId, close: &CloseContest) -> Result<Contest> {
    post(&format!("/contests/{id}/close"), close).await
}

pub async fn gate(round: RoundId) -> Result<RoundGate> {
    get(&format!("/rounds/{round}/gate")).await
}

pub async fn current(project: ProjectId) -> Result<Current> {
    get(&format!("/projects/{project}/current")).await
}

pub async fn promote(project: ProjectId, new: &NewPromotion) -> Result<Current> {
    post(&format!("/projects/{project}/promotions"), new).await
}

pub async fn roll_back(id: PromotionId) -> Result<Current> {
    post_empty(&format!("/promotions/{id}/roll-back")).await
}

pub async fn ladder(project: ProjectId, source: LadderSource) -> Result<Ladder> {
    let source = match source {
        LadderSource::All => "all",
        LadderSource::Contest => "contest",
        LadderSource::Arena => "arena",
        LadderSource::Tasks => "tasks",
    };
    get(&format!("/projects/{project}/ladder?source={source}")).await
}
