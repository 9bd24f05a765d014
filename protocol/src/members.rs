//! Who works on a project: everybody who can sign in, or the people who are assigned to it.

use crate::{
    account::Role,
    error::{Check, Validation},
    ids::{Timestamp, UserId},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// `GET /projects/{id}/members`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Members {
    /// The members alone are given tasks, and annotators who are none do not find the project in their list. Else
    /// everybody who can sign in is given tasks, listed or not.
    pub assigned: bool,
    /// By name.
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Member {
    pub user: UserId,
    pub name: String,
    pub role: Role,
    pub disabled: bool,
    /// Tasks that this person may answer at most, in place of the project's limit; null: that one holds.
    pub max_tasks: Option<u32>,
    /// Tasks that they answered or hold, checks not counted: what a limit counts.
    pub n_tasks: u64,
    pub added_at: Timestamp,
}

/// `PUT /projects/{id}/members`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewMembers {
    pub assigned: bool,
    /// In place of the whole list; left out, the list stays as it is.
    #[serde(default)]
    pub members: Option<Vec<NewMember>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewMember {
    pub user: UserId,
    #[serde(default)]
    pub max_tasks: Option<u32>,
}

/// `PUT /projects/{id}/members/{user}`: adds a person, or changes their limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MemberLimit {
    #[serde(default)]
    pub max_tasks: Option<u32>,
}

const NO_LIMIT: &str = "must be 1 or more, or nothing for the project's limit";

impl NewMembers {
    pub fn validate(&self) -> Validation {
        let members = self.members.as_deref().unwrap_or_default();
        let people: BTreeSet<UserId> = members.iter().map(|member| member.user).collect();
        Check::default()
            .ensure(members.len() <= 10_000, "members", "are more than 10000")
            .ensure(
                people.len() == members.len(),
                "members",
                "must name each person once",
            )
            .ensure(
                members.iter().all(|member| member.max_tasks != Some(0)),
                "members.max_tasks",
                NO_LIMIT,
            )
            .finish()
    }
}

impl MemberLimit {
    pub fn validate(&self) -> Validation {
        Check::default()
            .ensure(self.max_tasks != Some(0), "max_tasks", NO_LIMIT)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_named_once_and_a_limit_lets_at_least_one_task_through() {
        let member = |user, max_tasks| NewMember {
            user: UserId(user),
            max_tasks,
        };
        let new = |members: &[NewMember]| NewMembers {
            assigned: true,
            members: Some(members.to_vec()),
        };
        assert_eq!(new(&[member(1, None), member(2, Some(1))]).validate(), Ok(()));
        let twice = new(&[member(1, None), member(1, Some(1))]).validate();
        assert_eq!(twice.unwrap_err()[0].field, "members");
        let none = new(&[member(1, Some(0))]).validate();
        assert_eq!(none.unwrap_err()[0].field, "members.max_tasks");
    }
}
