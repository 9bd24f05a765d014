//! The worker part of the API: how a trainer leases a job, fetches its input and hands in its output.
//!
//! Order of calls, all with a worker token: `POST /worker/lease` → (`GET …/rows` | `GET …/prompts` | `GET …/tasks`, the
//! starting adapter's files) → many `POST …/report`, `…/completions`,
//! `…/uncertainties` or `…/chat` (each renews the lease) →
//! `PUT …/adapter/{file}` or `PUT …/merged/{file}` → `POST …/finish`. Every call after the lease carries the lease in the header
//! `Laurel-Lease`; a lost lease answers 409 `lease_lost` and the trainer drops the job.

use crate::{
    completion::{FinishReason, Sampling},
    error::{Check, Validation},
    ids::{AdapterId, CompletionJobId, JobId, MergeId, PromptId, RoundId, ScoringId},
    merge::MergeFormat,
    message::Message,
    preview::Preview,
    round::{LogLine, MetricPoint, RoundSpec, Sample},
    template::Template,
};
use serde::{Deserialize, Serialize};

/// The header that names the lease.
pub const LEASE_HEADER: &str = "laurel-lease";

/// `POST /worker/lease`: 200 with a [`LeasedJob`], or 204 when nothing came within `wait_seconds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseRequest {
    /// Shown in the dashboard, for example the host's name.
    pub worker: String,
    /// For example `cpu` or `cuda:0`.
    pub device: String,
    /// Base models that this trainer has.
    pub models: Vec<String>,
    /// Wait for work up to so long, at most 30.
    pub wait_seconds: u32,
    /// Only a turn of a chat is wanted: for trainers that answer one between two steps of other work.
    #[serde(default)]
    pub chat_only: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeasedJob {
    pub job_id: JobId,
    /// Secret of this lease.
    pub lease: String,
    /// A report is due within this time.
    pub lease_seconds: u32,
    /// 1 at first, more after a lost lease or a pause: look for a checkpoint.
    pub attempt: u32,
    pub base_model: String,
    /// The chat template that the project had when the job was made.
    #[serde(default)]
    pub template: Template,
    /// Start from, or sample with, this adapter. Files: `GET /worker/adapters/{id}/files/{name}`.
    pub adapter: Option<AdapterRef>,
    /// The reward model of a PPO round, from the same address.
    #[serde(default)]
    pub reward_adapter: Option<AdapterRef>,
    pub work: Work,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdapterRef {
    pub id: AdapterId,
    /// SHA-256 of `adapter_model.safetensors`, hex.
    pub hash: String,
    pub files: Vec<String>,
}

#[allow(
    clippy::large_enum_variant,
    reason = "a worker holds one at a time; wasm32 has smaller ones"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Work {
    /// `GET /worker/jobs/{job}/rows` streams the snapshot: one `PreferenceRow` a line. A PPO round takes each prompt
    /// once and reads lines of prompts alone as well.
    Round {
        round_id: RoundId,
        spec: RoundSpec,
        n_rows: u64,
        /// SHA-256 of the rows as streamed: check it.
        snapshot_hash: String,
        /// Fixed prompts for the samples before and after.
        sample_prompts: Vec<WorkPrompt>,
    },
    /// `GET /worker/jobs/{job}/prompts` streams what is still to be done: one [`WorkPrompt`] a line.
    Completions {
        completion_job_id: CompletionJobId,
        sampling: Sampling,
    },
    /// `GET /worker/jobs/{job}/rows` streams what was compared so far, ties among it, and `GET /worker/jobs/{job}/tasks` the
    /// open tasks, one [`WorkTask`](crate::WorkTask) a line; their uncertainties come back by
    /// `POST /worker/jobs/{job}/uncertainties`. The features are those of the job's adapter, a reward model.
    Scoring { scoring_id: ScoringId },
    /// The job's adapter is merged into the base model. Its files are handed in by `PUT /worker/jobs/{job}/merged/{file}`, piece
    /// by piece, then named by `POST /worker/jobs/{job}/merged`. Of a report the last log line counts, as what is
    /// going on now, and the steps, as bytes handed in.
    Merge {
        merge_id: MergeId,
        format: MergeFormat,
        /// The adapter's.
        name: String,
    },
    /// A turn of a chat: the answers are told by `POST /worker/jobs/{job}/chat` while they are written.
    Chat {
        sides: Vec<ChatWork>,
        sampling: Sampling,
    },
}

/// A conversation whose next answer is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChatWork {
    /// None answers with the base model.
    pub adapter: Option<AdapterRef>,
    pub messages: Vec<Message>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkPrompt {
    pub prompt_id: PromptId,
    pub messages: Vec<Message>,
    /// The completions that are missing, by index: 0 … n-1 at first, fewer after a restart.
    pub indexes: Vec<u32>,
}

/// `POST /worker/jobs/{job}/completions`: finished completions, at least every few seconds.
/// A (prompt, index) that is already stored is left as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FinishedCompletions {
    /// SHA-256 of the chat template, hex.
    pub template_hash: String,
    pub completions: Vec<FinishedCompletion>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FinishedCompletion {
    pub prompt_id: PromptId,
    pub index: u32,
    pub text: String,
    pub n_tokens: u32,
    pub finish_reason: FinishReason,
}

/// `POST /worker/jobs/{job}/report`: progress, and a heartbeat even when all of it is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Report {
    #[serde(default)]
    pub step: Option<u64>,
    #[serde(default)]
    pub n_steps: Option<u64>,
    #[serde(default)]
    pub seconds_left: Option<f64>,
    #[serde(default)]
    pub metrics: Vec<MetricPoint>,
    #[serde(default)]
    pub log: Vec<LogLine>,
    /// Replaces the samples stored so far when not empty.
    #[serde(default)]
    pub samples: Vec<Sample>,
    /// What the round trains on, once before its first step.
    #[serde(default)]
    pub preview: Option<Preview>,
}

/// The server's answer to a report or to completions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Directive {
    /// The admin has aborted the job: stop, then finish with [`Outcome::Aborted`].
    pub abort: bool,
    /// The admin has paused the round: stop at the end of the step with a checkpoint, then finish with
    /// [`Outcome::Paused`]. The checkpoint stays: whoever leases the round next goes on from it.
    #[serde(default)]
    pub pause: bool,
    /// A turn of a chat waits for a trainer of this job's base model. It may be leased (`chat_only`) and answered before
    /// the job goes on.
    #[serde(default)]
    pub chat: bool,
}

/// What an adapter was made with and the server does not know of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MadeWith {
    /// SHA-256 of the chat template, hex.
    pub template_hash: String,
    /// SHA-256 over the base model's shape and the first 1024 numbers of each of its tensors, hex: the file of
    /// another model, training or quantisation has another one.
    pub base_weights_hash: String,
    /// The trainer's [`code_version`](crate::code_version).
    #[serde(default)]
    pub code: Option<String>,
}

impl MadeWith {
    pub fn validate(&self) -> Validation {
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let reason = "must be a SHA-256 in hex";
        Check::default()
            .ensure(is_hash(&self.template_hash), "template_hash", reason)
            .ensure(is_hash(&self.base_weights_hash), "base_weights_hash", reason)
            .ensure(
                self.code.as_ref().is_none_or(|code| code.len() <= 100),
                "code",
                "must have at most 100 characters",
            )
            .finish()
    }
}

/// `POST /worker/jobs/{job}/finish`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// For a round, all files of the adapter were uploaded before, and `made_with` is there.
    Done {
        #[serde(default)]
        made_with: Option<MadeWith>,
    },
    /// One sentence an admin can act on.
    Failed {
        error: String,
    },
    Aborted,
    /// Stopped as a [`Directive`] asked, with a checkpoint. Where the admin has changed his mind meanwhile, the round
    /// waits for a trainer instead.
    Paused,
}
