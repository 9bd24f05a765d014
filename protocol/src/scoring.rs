//! What a scoring's trainer reads and says, for active selection.

use crate::{
    error::{Check, Validation},
    ids::{CompletionId, PromptId, TaskId},
    message::Message,
};
use serde::{Deserialize, Serialize};

/// An open task, as a scoring's trainer reads it. `GET /worker/jobs/{job}/tasks`, one a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkTask {
    pub task_id: TaskId,
    pub prompt_id: PromptId,
    pub messages: Vec<Message>,
    /// In the stored order.
    pub completions: Vec<WorkTaskCompletion>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkTaskCompletion {
    pub id: CompletionId,
    pub text: String,
}

/// `POST /worker/jobs/{job}/uncertainties`: what a scoring comes to, in as many parts as the trainer likes. A task that
/// comes again takes the newer number, one that is closed meanwhile is passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Uncertainties {
    /// Comparisons that the head learnt from.
    pub n_comparisons: u64,
    pub tasks: Vec<TaskUncertainty>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskUncertainty {
    pub task_id: TaskId,
    /// The share of what is uncertain about all open pairs that this task's answer would settle, behind the answers to
    /// the tasks that have more: 0 to 1.
    pub uncertainty: f64,
}

impl Uncertainties {
    /// Tasks in one part at most.
    pub const MOST_TASKS: usize = 5000;

    pub fn validate(&self) -> Validation {
        let is_sound = |task: &TaskUncertainty| (0.0..=1.0).contains(&task.uncertainty);
        Check::default()
            .ensure(
                self.tasks.len() <= Self::MOST_TASKS,
                "tasks",
                "must be 5000 at most: send the others in a part of their own",
            )
            .ensure(
                self.tasks.iter().all(is_sound),
                "tasks",
                "must each have an uncertainty from 0 to 1",
            )
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Uncertainties {
        let task = |uncertainty: &f64| TaskUncertainty {
            task_id: TaskId(1),
            uncertainty: *uncertainty,
        };
        Uncertainties {
            n_comparisons: 10,
            tasks: values.iter().map(task).collect(),
        }
    }

    #[test]
    fn an_uncertainty_is_a_share() {
        assert!(of(&[0.0, 0.3, 1.0]).validate().is_ok());
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(of(&[0.1, wrong]).validate().unwrap_err()[0].field, "tasks");
        }
        assert!(of(&[0.1; Uncertainties::MOST_TASKS + 1]).validate().is_err());
    }
}
