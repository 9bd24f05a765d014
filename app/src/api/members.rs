//! Calls about who works on a project.

use super::{Result, delete_for, get, put};
use laurel_protocol::{MemberLimit, Members, NewMembers, ProjectId, UserId};

pub async fn list(project: ProjectId) -> Result<Members> {
    get(&format!("/projects/{project}/members")).await
}

/// Whether only members are given tasks; the list stays as it is.
pub async fn set_assigned(project: ProjectId, assigned: bool) -> Result<Members> {
    let new = NewMembers {
        assigned,
        members: None,
    };
    put(&format!("/projects/{project}/members"), &new).await
}

/// Adds a person, or changes their limit.
pub async fn add(project: ProjectId, user: UserId, limit: MemberLimit) -> Result<Members> {
    put(&format!("/projects/{project}/members/{user}"), &limit).await
}

pub async fn remove(project: ProjectId, user: UserId) -> Result<Members> {
    delete_for(&format!("/projects/{project}/members/{user}")).await
}
