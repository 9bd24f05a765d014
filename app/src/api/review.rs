//! Calls of the review pages.

use super::{Result, delete, delete_for, get, post, post_empty_for_nothing};
use laurel_protocol::{
    AssignmentId, FlaggedPage, NewDecision, NewNote, Note, ProjectId, ReviewFilter, ReviewPage, ReviewTask,
    TaskId,
};

pub async fn page(project: ProjectId, filter: ReviewFilter, after: Option<TaskId>) -> Result<ReviewPage> {
    let filter = match filter {
        ReviewFilter::Disagreements => "disagreements",
        ReviewFilter::Decided => "decided",
        ReviewFilter::All => "all",
    };
    let after = after.map_or(0, |id| id.0);
    get(&format!(
        "/projects/{project}/review?filter={filter}&after={after}"
    ))
    .await
}

pub async fn decide(task: TaskId, new: &NewDecision) -> Result<ReviewTask> {
    post(&format!("/tasks/{task}/decision"), new).await
}

pub async fn take_back(task: TaskId) -> Result<ReviewTask> {
    delete_for(&format!("/tasks/{task}/decision")).await
}

pub async fn add_note(task: TaskId, text: String) -> Result<Vec<Note>> {
    post(&format!("/tasks/{task}/notes"), &NewNote { text }).await
}

pub async fn flagged(project: ProjectId, before: Option<AssignmentId>) -> Result<FlaggedPage> {
    let before = before.map(|id| format!("?before={id}")).unwrap_or_default();
    get(&format!("/projects/{project}/flagged{before}")).await
}

/// Takes a task out of the queue, or puts it back.
pub async fn retire(task: TaskId, retired: bool) -> Result<()> {
    let path = format!("/tasks/{task}/retired");
    match retired {
        true => post_empty_for_nothing(&path).await,
        false => delete(&path).await,
    }
}
