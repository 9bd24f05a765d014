//! A server whose trainer is the test itself: completions and figures are there at once, as the test wants them.

use crate::{Answered, Api, TestServer};
use anyhow::{Context, Result, ensure};
use laurel_protocol::{
    Answer, Choice, CompletionJob, DEFAULT_MODEL, FinishReason, FinishedCompletion, FinishedCompletions,
    Held, Hold, Hyper, ImportReport, Judgement, LEASE_HEADER, LabelType, LeaseRequest, LeasedJob, LogLevel,
    LogLine, MetricPoint, NewRound, Outcome, Project, ProjectCounts, ProjectId, ProjectSettings, RankingRow,
    Report, Round, RoundId, RoundKind, RoundSpec, Sample, Split, Timestamp, WorkPrompt,
};
use serde::Serialize;
use serde_json::json;

pub struct Scripted {
    pub server: TestServer,
    pub admin: Api,
    worker: Api,
}

impl Scripted {
    pub fn start() -> Result<Self> {
        let server = TestServer::start()?;
        let admin = server.admin()?;
        let secret = std::fs::read_to_string(server.worker_token()?)?;
        let worker = Api::new(&server.url(), Some(secret.trim()));
        Ok(Self {
            server,
            admin,
            worker,
        })
    }

    /// A project with one task for each of `n` prompts: "question 1" with "answer 0 to question 1" and so on.
    pub fn project(&self, settings: &ProjectSettings, n: usize) -> Result<ProjectId> {
        let project: Project = self.admin.post("/projects", settings)?;
        let id = project.id;
        let lines: String = (1..=n)
            .map(|n| json!({"prompt": format!("question {n}")}).to_string() + "\n")
            .collect();
        let report: ImportReport = self.admin.post_text(&format!("/projects/{id}/prompts"), &lines)?;
        ensure!(report.n_imported == n as u64, "{report:?}");
        let order = crate::scene::completions(settings.completions_per_task, 24, 0, None);
        let _: CompletionJob = self
            .admin
            .post(&format!("/projects/{id}/completion-jobs"), &order)?;
        self.complete()?;
        Ok(id)
    }

    /// Does the completion job that waits. The second answer to each prompt was cut off.
    pub fn complete(&self) -> Result<()> {
        let job = self.lease()?;
        let prompts = self.call("GET", &job, "prompts", "")?.body;
        let mut completions = Vec::new();
        for line in prompts.lines() {
            let prompt: WorkPrompt = serde_json::from_str(line)?;
            let question = &prompt.messages.last().context("a prompt has a message")?.content;
            completions.extend(prompt.indexes.iter().map(|&index| FinishedCompletion {
                prompt_id: prompt.prompt_id,
                index,
                text: format!("answer {index} to *{question}*, with `code`"),
                n_tokens: 8,
                finish_reason: if index == 1 {
                    FinishReason::Length
                } else {
                    FinishReason::Stop
                },
            }));
        }
        let finished = FinishedCompletions {
            template_hash: "t".into(),
            completions,
        };
        self.send(&job, "completions", &finished)?;
        self.send(&job, "finish", &Outcome::Done { made_with: None })
    }

    /// An admin's script answers so many tasks, one after the other: A is better.
    pub fn answer(&self, project: ProjectId, n: usize) -> Result<()> {
        for _ in 0..n {
            let path = format!("/projects/{project}/assignments");
            let held: Held = self.admin.post(&path, &Hold { n: 1 })?;
            let task = held.assignments.first().context("there is a task")?;
            let answer = Answer {
                judgement: Judgement::Pick {
                    choice: Choice::First,
                    strength: None,
                },
                comment: String::new(),
                seconds: 1.0,
                revision: task.revision,
            };
            let path = format!("/assignments/{}/annotation", task.id);
            let _: Held = self.admin.post(&path, &answer)?;
        }
        Ok(())
    }

    /// A DPO round in the middle of its work, with figures, a log and samples.
    pub fn round_under_way(&self, project: ProjectId) -> Result<RoundId> {
        let round = NewRound {
            name: String::new(),
            spec: RoundSpec {
                kind: RoundKind::Dpo,
                adapter: Default::default(),
                hyper: Hyper::for_kind(RoundKind::Dpo),
                reward: None,
                seed: 0,
            },
            starting_adapter: None,
            reward_adapter: None,
        };
        let round: Round = self.admin.post(&format!("/projects/{project}/rounds"), &round)?;
        let job = self.lease()?;
        let figures = ["loss", "accuracy", "margin", "learning_rate", "tokens_per_second"];
        let point = |step: u64, split| MetricPoint {
            step,
            split,
            values: figures
                .iter()
                .map(|name| ((*name).to_owned(), 1.0 / step as f64))
                .collect(),
        };
        let report = Report {
            preview: None,
            step: Some(3),
            n_steps: Some(10),
            seconds_left: Some(60.0),
            metrics: (1..=3)
                .flat_map(|step| [point(step, Split::Train), point(step, Split::Eval)])
                .collect(),
            log: [LogLevel::Info, LogLevel::Warning, LogLevel::Error]
                .map(|level| LogLine {
                    at: Timestamp(1_700_000_000_000),
                    level,
                    text: format!("a line of {level:?}"),
                })
                .to_vec(),
            samples: vec![Sample {
                prompt_id: laurel_protocol::PromptId(1),
                prompt: Vec::new(),
                before: "before".into(),
                after: String::new(),
                rollouts: Vec::new(),
            }],
        };
        self.send(&job, "report", &report)?;
        Ok(round.id)
    }

    pub fn counts(&self, project: ProjectId) -> Result<ProjectCounts> {
        let project: Project = self.admin.get(&format!("/projects/{project}"))?;
        Ok(project.counts)
    }

    /// Every annotation that stands.
    pub fn rankings(&self, project: ProjectId) -> Result<Vec<RankingRow>> {
        let path = format!("/projects/{project}/export?format=ranking");
        let lines = self.admin.get_text(&path)?;
        lines
            .lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }

    fn lease(&self) -> Result<LeasedJob> {
        let request = LeaseRequest {
            worker: "the test".into(),
            device: "cpu".into(),
            models: vec![DEFAULT_MODEL.into()],
            wait_seconds: 0,
        };
        self.worker.post("/worker/lease", &request)
    }

    fn send(&self, job: &LeasedJob, rest: &str, body: &impl Serialize) -> Result<()> {
        self.call("POST", job, rest, &serde_json::to_string(body)?)
            .map(drop)
    }

    fn call(&self, method: &str, job: &LeasedJob, rest: &str, body: &str) -> Result<Answered> {
        let path = format!("/worker/jobs/{}/{rest}", job.job_id);
        let answered = self
            .worker
            .send(method, &path, &[(LEASE_HEADER, &job.lease)], body)?;
        ensure!(answered.status < 300, "{method} {path}: {answered:?}");
        Ok(answered)
    }
}

/// Rank settings for so many completions a task.
pub fn rank(completions_per_task: u8) -> ProjectSettings {
    ProjectSettings {
        label_type: LabelType::Rank,
        completions_per_task,
        ..crate::scene::pick(1)
    }
}

/// Pick settings that ask how much better the winner is.
pub fn pick_with_strength() -> ProjectSettings {
    ProjectSettings {
        ask_strength: true,
        ..crate::scene::pick(1)
    }
}
