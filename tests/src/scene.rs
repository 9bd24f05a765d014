//! A server with a trainer and an admin, and the steps of the loop as an admin's script takes them.

use crate::{Api, TestServer, TestTrainer, wait::within};
use anyhow::{Result, bail};
use laurel_protocol::{
    Adapter, AdapterId, Completion, CompletionJob, CompletionJobId, ImportReport, JobStatus, LabelType,
    NewCompletionJob, NewRound, Project, ProjectId, ProjectSettings, PromptPage, Round, RoundId, Sampling,
    TaskPlan,
};
use std::{fs, path::Path};

/// Longest wait for one job of the trainer, on a slow machine.
const JOB_SECONDS: u64 = 480;

pub struct Scene {
    // Dropped in this order: the trainer before the server it calls.
    pub trainer: TestTrainer,
    pub server: TestServer,
    pub admin: Api,
    pub project: ProjectId,
}

impl Scene {
    /// A project with these prompts, one JSON object a line.
    pub fn start(server: TestServer, settings: &ProjectSettings, prompts: &str) -> Result<Self> {
        let admin = server.admin()?;
        let project: Project = admin.post("/projects", settings)?;
        let report: ImportReport = admin.post_text(&format!("/projects/{}/prompts", project.id), prompts)?;
        if report.n_imported != prompts.lines().count() as u64 {
            bail!("not every prompt was imported: {report:?}");
        }
        Ok(Self {
            trainer: TestTrainer::start(&server)?,
            server,
            admin,
            project: project.id,
        })
    }

    pub fn counts(&self) -> Result<laurel_protocol::ProjectCounts> {
        let project: Project = self.admin.get(&format!("/projects/{}", self.project))?;
        Ok(project.counts)
    }

    pub fn queue_completions(&self, request: &NewCompletionJob) -> Result<CompletionJobId> {
        let path = format!("/projects/{}/completion-jobs", self.project);
        let job: CompletionJob = self.admin.post(&path, request)?;
        Ok(job.id)
    }

    /// Makes completions and waits until they are all there.
    pub fn complete(&mut self, request: &NewCompletionJob) -> Result<CompletionJob> {
        let id = self.queue_completions(request)?;
        self.finish_completions(id)
    }

    pub fn finish_completions(&mut self, id: CompletionJobId) -> Result<CompletionJob> {
        let path = format!("/projects/{}/completion-jobs", self.project);
        within(JOB_SECONDS, "the completion job", || {
            self.trainer.must_run()?;
            let jobs: Vec<CompletionJob> = self.admin.get(&path)?;
            let job = jobs.into_iter().find(|job| job.id == id);
            job.map_or(Ok(None), |job| over(job.status, job.error.clone(), job))
        })
    }

    pub fn queue_round(&self, request: &NewRound) -> Result<RoundId> {
        let round: Round = self
            .admin
            .post(&format!("/projects/{}/rounds", self.project), request)?;
        Ok(round.id)
    }

    /// Waits until the round is done.
    pub fn finish_round(&self, id: RoundId) -> Result<Round> {
        within(JOB_SECONDS, "the round", || {
            let round: Round = self.admin.get(&format!("/rounds/{id}"))?;
            over(round.status, round.error.clone(), round)
        })
    }

    pub fn adapter(&self, id: AdapterId) -> Result<Option<Adapter>> {
        let all: Vec<Adapter> = self.admin.get(&format!("/projects/{}/adapters", self.project))?;
        Ok(all.into_iter().find(|adapter| adapter.id == id))
    }

    /// Every completion of the project.
    pub fn completions(&self) -> Result<Vec<Completion>> {
        let page: PromptPage = self
            .admin
            .get(&format!("/projects/{}/prompts?limit=200", self.project))?;
        let mut all = Vec::new();
        for prompt in page.prompts {
            let some: Vec<Completion> = self.admin.get(&format!("/prompts/{}/completions", prompt.id))?;
            all.extend(some);
        }
        Ok(all)
    }
}

/// Pick settings with everything else at its default.
pub fn pick(overlap: u8) -> ProjectSettings {
    ProjectSettings {
        name: "A test project".into(),
        guidelines: "The shorter answer wins.".into(),
        label_type: LabelType::Pick,
        completions_per_task: 2,
        overlap,
        ask_strength: false,
        questions: Default::default(),
        checks: Default::default(),
        arena: Default::default(),
        selection: Default::default(),
        leave_out_truncated: false,
        base_model: laurel_protocol::DEFAULT_MODEL.into(),
        template: Default::default(),
    }
}

pub fn completions(n_each: u8, max_tokens: u32, seed: u64, adapter: Option<AdapterId>) -> NewCompletionJob {
    NewCompletionJob {
        adapter,
        base_model: adapter.is_none(),
        completions_per_prompt: n_each,
        sampling: Sampling {
            max_tokens,
            seed,
            ..Sampling::default()
        },
        task_plan: TaskPlan::Together,
        n_prompts: None,
    }
}

/// The first lines of the sample project's prompts.
pub fn sample_prompts(n: usize) -> Result<String> {
    let folder = crate::process::given("LAUREL_SAMPLE")?;
    let text = fs::read_to_string(Path::new(&folder).join("prompts.jsonl"))?;
    Ok(text.lines().take(n).map(|line| format!("{line}\n")).collect())
}

/// Some when the job is done, an error when it ended otherwise.
fn over<T>(status: JobStatus, error: Option<String>, job: T) -> Result<Option<T>> {
    match status {
        JobStatus::Done => Ok(Some(job)),
        JobStatus::Failed | JobStatus::Aborted => bail!("the job ended as {status:?}: {error:?}"),
        JobStatus::Queued | JobStatus::Running | JobStatus::Paused => Ok(None),
    }
}
