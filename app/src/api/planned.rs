//! Calls about what is to come: plans of rounds, planned rounds, and the order of those that wait.

use super::{Result, get, post, post_again, post_empty, put};
use laurel_protocol::{
    Direction, Move, NewPlanned, NewRecipe, NewRound, PlannedId, PlannedRound, ProjectId, Round, RoundId,
    RoundPlan, RoundQueue,
};

/// What the round would take; starts nothing.
pub async fn estimate(project: ProjectId, round: &NewRound) -> Result<RoundPlan> {
    post_again(&format!("/projects/{project}/rounds/plan"), round).await
}

pub async fn queue(project: ProjectId) -> Result<RoundQueue> {
    get(&format!("/projects/{project}/planned-rounds")).await
}

pub async fn create(project: ProjectId, round: &NewPlanned) -> Result<PlannedRound> {
    post(&format!("/projects/{project}/planned-rounds"), round).await
}

pub async fn recipe(project: ProjectId, recipe: &NewRecipe) -> Result<Vec<PlannedRound>> {
    post(&format!("/projects/{project}/planned-rounds/recipe"), recipe).await
}

pub async fn change(id: PlannedId, round: &NewPlanned) -> Result<PlannedRound> {
    put(&format!("/planned-rounds/{id}"), round).await
}

pub async fn cancel(id: PlannedId) -> Result<PlannedRound> {
    post_empty(&format!("/planned-rounds/{id}/cancel")).await
}

pub async fn retry(id: PlannedId) -> Result<PlannedRound> {
    post_empty(&format!("/planned-rounds/{id}/retry")).await
}

pub async fn shift(id: PlannedId, to: Direction) -> Result<PlannedRound> {
    post(&format!("/planned-rounds/{id}/move"), &Move { to }).await
}

pub async fn shift_round(id: RoundId, to: Direction) -> Result<Round> {
    post(&format!("/rounds/{id}/move"), &Move { to }).await
}
