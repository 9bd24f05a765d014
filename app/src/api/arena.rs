//! Calls about the arena; the answers of a battle come by [`super::events::follow_battle`].

use super::{Result, get, post, post_again, post_empty};
use laurel_protocol::{
    ArenaResults, ArenaState, Battle, BattleId, BattleVote, CloseBattle, NewBattle, ProjectId,
};

pub async fn state(project: ProjectId) -> Result<ArenaState> {
    get(&format!("/projects/{project}/arena")).await
}

pub async fn begin(project: ProjectId, new: &NewBattle) -> Result<Battle> {
    post(&format!("/projects/{project}/arena"), new).await
}

/// Asks a trainer again where none is asked.
pub async fn ask_again(battle: BattleId) -> Result<Battle> {
    post_empty(&format!("/battles/{battle}/ask")).await
}

/// Counts once however often it is sent: the vote has a key.
pub async fn vote(battle: BattleId, vote: &BattleVote) -> Result<Battle> {
    post_again(&format!("/battles/{battle}/vote"), vote).await
}

pub async fn close(battle: BattleId, close: &CloseBattle) -> Result<Battle> {
    post_again(&format!("/battles/{battle}/close"), close).await
}

pub async fn results(project: ProjectId) -> Result<ArenaResults> {
    get(&format!("/projects/{project}/arena/results")).await
}
