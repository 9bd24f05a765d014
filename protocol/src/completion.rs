//! Completions: how they are sampled, the job that makes them, and their provenance.

use crate::{
    error::{Check, Validation},
    ids::{AdapterId, CompletionJobId, ProjectId, Timestamp},
    project::LabelType,
};
use serde::{Deserialize, Serialize};

/// How tokens are drawn. Penalties change the scores first; then come temperature, `top_k`, `top_p` and `min_p`, each on
/// what the one before it left, as in transformers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus: the smallest set of tokens with at least this probability mass. 1 keeps all.
    pub top_p: f64,
    /// Only the so many likeliest tokens. 0 keeps all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub top_k: u32,
    /// Only tokens with at least this share of the likeliest one's probability. 0 keeps all.
    #[serde(default, skip_serializing_if = "is_none")]
    pub min_p: f64,
    /// Scores of tokens that the prompt or the completion has already are divided by it, negative ones multiplied
    /// (Keskar et al. 2019, as in transformers). 1 changes nothing.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub repetition_penalty: f64,
    /// Taken off the score of every token that the completion has already, as in OpenAI's API.
    #[serde(default, skip_serializing_if = "is_none")]
    pub presence_penalty: f64,
    /// The same, once for each time that the completion has the token.
    #[serde(default, skip_serializing_if = "is_none")]
    pub frequency_penalty: f64,
    /// Texts that end a completion; they are no part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// New tokens at most.
    pub max_tokens: u32,
    /// Completion `i` of prompt `p` is drawn from the stream (seed, p, i), whatever else is in the batch.
    pub seed: u64,
}

fn one() -> f64 {
    1.0
}

fn is_one(number: &f64) -> bool {
    *number == 1.0
}

fn is_none(number: &f64) -> bool {
    *number == 0.0
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.9,
            top_p: 0.95,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            stop: Vec::new(),
            max_tokens: 200,
            seed: 0,
        }
    }
}

impl Sampling {
    /// New tokens of a completion at most.
    pub const MOST_TOKENS: u32 = 2048;
    /// Stop texts at most, and bytes of one.
    pub const MOST_STOPS: usize = 4;
    pub const MOST_STOP_BYTES: usize = 256;
    /// Seeds stay whole numbers in a browser.
    pub const LAST_SEED: u64 = 1 << 53;

    pub fn validate(&self) -> Validation {
        let mut errors = self.validate_drawing().err().unwrap_or_default();
        let own = Check::default()
            .ensure(
                (1..=Self::MOST_TOKENS).contains(&self.max_tokens),
                "max_tokens",
                "must be 1 to 2048",
            )
            .finish();
        errors.extend(own.err().unwrap_or_default());
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// All but `max_tokens`, for completions that the model's context alone bounds.
    pub fn validate_drawing(&self) -> Validation {
        Check::default()
            .ensure(
                (0.0..=2.0).contains(&self.temperature),
                "temperature",
                "must be 0 to 2",
            )
            .ensure(
                self.top_p > 0.0 && self.top_p <= 1.0,
                "top_p",
                "must be above 0 and at most 1",
            )
            .ensure(self.top_k <= 1_000_000, "top_k", "must be 0 (all) to 1000000")
            .ensure((0.0..=1.0).contains(&self.min_p), "min_p", "must be 0 to 1")
            .ensure(
                (0.1..=10.0).contains(&self.repetition_penalty),
                "repetition_penalty",
                "must be 0.1 to 10",
            )
            .ensure(
                (-2.0..=2.0).contains(&self.presence_penalty),
                "presence_penalty",
                "must be -2 to 2",
            )
            .ensure(
                (-2.0..=2.0).contains(&self.frequency_penalty),
                "frequency_penalty",
                "must be -2 to 2",
            )
            .ensure(
                self.stop.len() <= Self::MOST_STOPS,
                "stop",
                "must be at most 4 texts",
            )
            .ensure(
                self.stop
                    .iter()
                    .all(|stop| (1..=Self::MOST_STOP_BYTES).contains(&stop.len())),
                "stop",
                "must be texts of 1 to 256 bytes",
            )
            .ensure(self.seed <= Self::LAST_SEED, "seed", "must be at most 2^53")
            .finish()
    }
}

/// Which completions stand beside one another in the tasks that a job makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TaskPlan {
    /// Only completions of this job.
    #[default]
    Together,
    /// At least one of this job and at least one that the prompt already had from another generator (base
    /// model or other adapter), newest first. A prompt without earlier ones falls back to `Together`.
    AgainstEarlier,
}

/// `POST /projects/{id}/completion-jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewCompletionJob {
    /// None samples from the project's current adapter, and from the base model where none was promoted. What is stored of a
    /// job names what it samples from: there none is the base model.
    #[serde(default)]
    pub adapter: Option<AdapterId>,
    /// With no adapter: from the base model, whatever is current.
    #[serde(default, skip_serializing_if = "is_false")]
    pub base_model: bool,
    /// Completions a prompt, 1 to 16.
    pub completions_per_prompt: u8,
    #[serde(default)]
    pub sampling: Sampling,
    #[serde(default)]
    pub task_plan: TaskPlan,
    /// Only the first so many prompts of the project; all when absent.
    #[serde(default)]
    pub n_prompts: Option<u32>,
}

impl NewCompletionJob {
    pub fn validate(&self) -> Validation {
        let mut errors = self.sampling.validate().err().unwrap_or_default();
        let own = Check::default()
            .ensure(
                (1..=16).contains(&self.completions_per_prompt),
                "completions_per_prompt",
                "must be 1 to 16",
            )
            .ensure(
                self.sampling.temperature != 0.0 || self.completions_per_prompt <= 1,
                "completions_per_prompt",
                "must be 1 at temperature 0: all completions of a prompt would be the same",
            )
            .ensure(self.n_prompts != Some(0), "n_prompts", "must be at least 1")
            .ensure(
                !self.base_model || self.adapter.is_none(),
                "base_model",
                "goes only without an adapter",
            )
            .finish();
        errors.extend(own.err().unwrap_or_default());
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// What [`Self::validate`] cannot know: whether the job can make a task in a project of this label type.
    pub fn validate_for(&self, label_type: LabelType) -> Validation {
        let reason = match label_type {
            LabelType::Pick => "must be at least 2: a task compares two completions of this job",
            LabelType::Rate => "must be at least 1",
            LabelType::Rank | LabelType::BestWorst => {
                "must be at least 3: a task orders at least three completions of this job"
            }
        };
        Check::default()
            .ensure(
                self.task_plan == TaskPlan::AgainstEarlier
                    || self.completions_per_prompt >= label_type.min_completions(),
                "completions_per_prompt",
                reason,
            )
            .finish()
    }
}

/// The state of a piece of work that a trainer does: a completion job or a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Waits for a trainer, at first or again after a lease ran out.
    Queued,
    Running,
    /// A round that an admin stopped for a while: no trainer takes it until it is resumed.
    Paused,
    Done,
    Failed,
    Aborted,
}

impl JobStatus {
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Aborted)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompletionJob {
    pub id: CompletionJobId,
    pub project_id: ProjectId,
    pub request: NewCompletionJob,
    /// "base model" or the adapter's name.
    pub generator: String,
    pub status: JobStatus,
    pub n_done: u64,
    pub n_total: u64,
    /// Tasks made so far, each when the last completion of its prompt had come.
    #[serde(default)]
    pub n_tasks: u64,
    /// Prompts that gave no task: their completions were the same as one another, cut off, or too few.
    #[serde(default)]
    pub n_prompts_without_task: u64,
    pub seconds_left: Option<f64>,
    /// Name of the trainer that works or worked on it.
    pub worker: Option<String>,
    pub error: Option<String>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its answer.
    Stop,
    /// The token limit cut it off.
    Length,
}

/// Where a completion came from, enough to make it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompletionOrigin {
    /// Base model's name.
    pub model: String,
    pub adapter: Option<AdapterId>,
    /// SHA-256 of the adapter's weights file, hex.
    pub adapter_hash: Option<String>,
    pub sampling: Sampling,
    /// Which of the job's completions of this prompt, from 0.
    pub index: u32,
    pub finish_reason: FinishReason,
    /// SHA-256 of the chat template, hex.
    pub template_hash: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(completions_per_prompt: u8, temperature: f64, task_plan: TaskPlan) -> NewCompletionJob {
        NewCompletionJob {
            adapter: None,
            base_model: false,
            completions_per_prompt,
            sampling: Sampling {
                temperature,
                ..Sampling::default()
            },
            task_plan,
            n_prompts: None,
        }
    }

    #[test]
    fn a_job_that_can_make_no_task_is_refused() {
        use TaskPlan::{AgainstEarlier, Together};
        for (n, plan, label_type, ok) in [
            (1, Together, LabelType::Pick, false),
            (2, Together, LabelType::Pick, true),
            (2, Together, LabelType::Rank, false),
            (3, Together, LabelType::Rank, true),
            (1, AgainstEarlier, LabelType::Pick, true),
            (1, AgainstEarlier, LabelType::Rank, true),
        ] {
            let order = order(n, 1.0, plan);
            assert_eq!(
                order.validate_for(label_type).is_ok(),
                ok,
                "{order:?} {label_type:?}"
            );
        }
    }

    #[test]
    fn settings_outside_their_bounds_are_refused_by_name() {
        let with = |change: &dyn Fn(&mut Sampling)| {
            let mut sampling = Sampling::default();
            change(&mut sampling);
            let errors = sampling.validate().unwrap_err();
            errors[0].field.clone()
        };
        assert_eq!(with(&|it| it.min_p = 1.5), "min_p");
        assert_eq!(with(&|it| it.min_p = f64::NAN), "min_p");
        assert_eq!(with(&|it| it.top_k = u32::MAX), "top_k");
        assert_eq!(with(&|it| it.repetition_penalty = 0.0), "repetition_penalty");
        assert_eq!(with(&|it| it.presence_penalty = -3.0), "presence_penalty");
        assert_eq!(
            with(&|it| it.frequency_penalty = f64::INFINITY),
            "frequency_penalty"
        );
        assert_eq!(with(&|it| it.stop = vec![String::new()]), "stop");
        assert_eq!(with(&|it| it.stop = vec!["a".into(); 5]), "stop");
    }

    #[test]
    fn settings_that_change_nothing_are_not_written_and_old_records_are_read() {
        let old = r#"{"temperature":0.9,"top_p":0.95,"max_tokens":200,"seed":0}"#;
        assert_eq!(serde_json::to_string(&Sampling::default()).unwrap(), old);
        assert_eq!(
            serde_json::from_str::<Sampling>(old).unwrap(),
            Sampling::default()
        );
    }

    #[test]
    fn several_greedy_completions_of_a_prompt_are_refused() {
        let refused = order(2, 0.0, TaskPlan::AgainstEarlier).validate().unwrap_err();
        assert_eq!(refused[0].field, "completions_per_prompt");
        assert!(order(1, 0.0, TaskPlan::AgainstEarlier).validate().is_ok());
    }
}
