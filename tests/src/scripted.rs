//! A server whose trainer is the test itself: completions and figures are there at once, as the test wants them.

use crate::{Answered, Api, TestServer};
use anyhow::{Context, Result, ensure};
use laurel_protocol::{
    Adapter, AdapterId, Answer, Choice, CompletionJob, DEFAULT_MODEL, Finding, FinishReason,
    FinishedCompletion, FinishedCompletions, Held, Hold, Hyper, ImportReport, Judgement, LEASE_HEADER,
    LabelType, LeaseRequest, LeasedJob, LogLevel, LogLine, MadeWith, Merged, MergedFile, Message,
    MetricPoint, NewRound, Outcome, Preview, PreviewRow, PreviewSide, PreviewToken, Project, ProjectCounts,
    ProjectId, ProjectSettings, PromptId, RankingRow, Report, RewardSource, Rollout, Round, RoundId,
    RoundKind, RoundSpec, Sample, Speaker, Split, Timestamp, WorkPrompt,
};
use serde::Serialize;
use serde_json::json;

/// Completions that a trainer hands in at once.
const MAX_AT_ONCE: usize = 2000;

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
        self.project_with(settings, n, &plain)
    }

    /// The same with completions of one's own.
    pub fn project_with(
        &self,
        settings: &ProjectSettings,
        n: usize,
        text: &dyn Fn(&WorkPrompt, u32) -> String,
    ) -> Result<ProjectId> {
        let project: Project = self.admin.post("/projects", settings)?;
        self.order(project.id, settings.completions_per_task, n)?;
        self.complete_with(text)?;
        Ok(project.id)
    }

    /// Gives a project without prompts `n` of them, each with a task.
    pub fn fill(&self, id: ProjectId, completions_per_task: u8, n: usize) -> Result<()> {
        self.order(id, completions_per_task, n)?;
        self.complete()
    }

    fn order(&self, id: ProjectId, completions_per_task: u8, n: usize) -> Result<()> {
        let lines: String = (1..=n)
            .map(|n| json!({"prompt": format!("question {n}")}).to_string() + "\n")
            .collect();
        let report: ImportReport = self.admin.post_text(&format!("/projects/{id}/prompts"), &lines)?;
        ensure!(report.n_imported == n as u64, "{report:?}");
        let order = crate::scene::completions(completions_per_task, 24, 0, None);
        let _: CompletionJob = self
            .admin
            .post(&format!("/projects/{id}/completion-jobs"), &order)?;
        Ok(())
    }

    /// Does the completion job that waits. The second answer to each prompt was cut off.
    pub fn complete(&self) -> Result<()> {
        self.complete_with(&plain)
    }

    fn complete_with(&self, text: &dyn Fn(&WorkPrompt, u32) -> String) -> Result<()> {
        let job = self.lease()?;
        let prompts = self.call("GET", &job, "prompts", "")?.body;
        let mut completions = Vec::new();
        for line in prompts.lines() {
            let prompt: WorkPrompt = serde_json::from_str(line)?;
            completions.extend(prompt.indexes.iter().map(|&index| FinishedCompletion {
                prompt_id: prompt.prompt_id,
                index,
                text: text(&prompt, index),
                n_tokens: 8,
                finish_reason: if index == 1 {
                    FinishReason::Length
                } else {
                    FinishReason::Stop
                },
            }));
        }
        for some in completions.chunks(MAX_AT_ONCE) {
            let finished = FinishedCompletions {
                template_hash: "t".into(),
                completions: some.to_vec(),
            };
            self.send(&job, "completions", &finished)?;
        }
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
                extras: Default::default(),
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
        let round = self.queue(project, &round(RoundKind::Dpo))?;
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
            preview: Some(preview()),
            step: Some(3),
            n_steps: Some(10),
            seconds_left: Some(60.0),
            metrics: (1..=3)
                .flat_map(|step| [point(step, Split::Train), point(step, Split::Eval)])
                .collect(),
            log: [LogLevel::Info, LogLevel::Warning, LogLevel::Error]
                .map(|level| line(level, &format!("a line of {level:?}")))
                .to_vec(),
            samples: vec![Sample {
                prompt_id: PromptId(1),
                prompt: Vec::new(),
                before: "before".into(),
                after: String::new(),
                rollouts: Vec::new(),
            }],
        };
        self.send(&job, "report", &report)?;
        Ok(round.id)
    }

    /// A PPO round in the middle of its work, scored by this reward model, and the job of its trainer.
    pub fn ppo_under_way(&self, project: ProjectId, model: AdapterId) -> Result<(RoundId, LeasedJob)> {
        let new = NewRound {
            reward_adapter: Some(model),
            ..round(RoundKind::Ppo)
        };
        let round = self.queue(project, &new)?;
        let job = self.lease()?;
        self.send(&job, "report", &ppo_report(0..=20))?;
        Ok((round.id, job))
    }

    /// Queues a round and ends it well: the adapter that comes out.
    pub fn train(&self, project: ProjectId, kind: RoundKind) -> Result<Adapter> {
        let made = self.queue(project, &round(kind))?;
        self.end_round(project, made.id)
    }

    /// Ends the round that waits well: the adapter that comes out.
    pub fn end_round(&self, project: ProjectId, round: RoundId) -> Result<Adapter> {
        let job = self.lease()?;
        let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let weights = format!("{}\0\0\0\0\0\0\0{header}\0\0\0\0", header.len() as u8 as char);
        for (name, text) in [
            ("adapter_config.json", "{}"),
            ("adapter_model.safetensors", weights.as_str()),
        ] {
            self.call("PUT", &job, &format!("adapter/{name}"), text)?;
        }
        let made_with = MadeWith {
            template_hash: "7e".repeat(32),
            base_weights_hash: "ba".repeat(32),
            code: None,
        };
        let done = Outcome::Done {
            made_with: Some(made_with),
        };
        self.send(&job, "finish", &done)?;
        let adapters: Vec<Adapter> = self.admin.get(&format!("/projects/{project}/adapters"))?;
        let found = adapters.into_iter().find(|adapter| adapter.round_id == round);
        found.context("a finished round has an adapter")
    }

    /// Hands in a merged model of four bytes and ends the merge well.
    pub fn hand_in_merge(&self, job: &LeasedJob) -> Result<()> {
        let file = MergedFile {
            name: "small.gguf".into(),
            size_bytes: 4,
            sha256: "b83633aa785344791618f2fddf131b010ea04912a60430760b070bad293f65bd".into(),
        };
        let merged = Merged {
            files: vec![file],
            dtype: "q8_0".into(),
            check: "Read back, it says the same.".into(),
            notes: Vec::new(),
        };
        self.call("PUT", job, "merged/small.gguf?offset=0", "GGUF")?;
        self.send(job, "merged", &merged)?;
        self.send(job, "finish", &Outcome::Done { made_with: None })
    }

    fn queue(&self, project: ProjectId, new: &NewRound) -> Result<Round> {
        self.admin.post(&format!("/projects/{project}/rounds"), new)
    }

    pub fn counts(&self, project: ProjectId) -> Result<ProjectCounts> {
        let project: Project = self.admin.get(&format!("/projects/{project}"))?;
        Ok(project.counts)
    }

    /// Every annotation that stands.
    pub fn rankings(&self, project: ProjectId) -> Result<Vec<RankingRow>> {
        let lines = self.export(project, "ranking")?;
        lines
            .lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }

    /// JSON Lines of a format.
    pub fn export(&self, project: ProjectId, format: &str) -> Result<String> {
        self.admin
            .get_text(&format!("/projects/{project}/export?format={format}"))
    }

    /// The job that waits.
    pub fn lease(&self) -> Result<LeasedJob> {
        let request = LeaseRequest {
            worker: "the test".into(),
            device: "cpu".into(),
            models: vec![DEFAULT_MODEL.into()],
            wait_seconds: 0,
            chat_only: false,
        };
        self.worker.post("/worker/lease", &request)
    }

    /// Posts what a trainer says about its job.
    pub fn send(&self, job: &LeasedJob, rest: &str, body: &impl Serialize) -> Result<()> {
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

fn plain(prompt: &WorkPrompt, index: u32) -> String {
    let question = prompt.messages.last().map_or("", |message| &message.content);
    format!("answer {index} to *{question}*, with `code`")
}

/// A row that is trained, one that is not, and something odd of either weight.
fn preview() -> Preview {
    let token = |id, text: &str, trained| PreviewToken {
        id,
        text: text.to_owned(),
        trained,
    };
    let row = |side, tokens: Vec<PreviewToken>, left_out: Option<&str>| PreviewRow {
        row: 1,
        side,
        n_prompt: tokens.iter().filter(|token| !token.trained).count() as u64,
        n_completion: tokens.iter().filter(|token| token.trained).count() as u64,
        tokens,
        n_before: 3,
        n_behind: 0,
        left_out: left_out.map(str::to_owned),
    };
    let finding = |fatal, text: &str| Finding {
        fatal,
        text: text.to_owned(),
    };
    Preview {
        template_hash: "t".into(),
        findings: vec![finding(true, "a fatal finding"), finding(false, "a warning")],
        size: None,
        rows: vec![
            row(
                PreviewSide::Chosen,
                vec![
                    token(1, "question", false),
                    token(2, "\n", false),
                    token(3, "<b>answer</b>", true),
                    token(4, "<|im_end|>", true),
                ],
                None,
            ),
            row(
                PreviewSide::Rejected,
                vec![token(1, "question", false)],
                Some("it is longer than 16 tokens"),
            ),
        ],
    }
}

/// A round of a kind with its defaults.
pub fn round(kind: RoundKind) -> NewRound {
    NewRound {
        name: String::new(),
        spec: RoundSpec {
            kind,
            adapter: Default::default(),
            hyper: Hyper::for_kind(kind),
            reward: (kind == RoundKind::Ppo).then(RewardSource::default),
            seed: 0,
        },
        starting_adapter: None,
        reward_adapter: None,
    }
}

fn line(level: LogLevel, text: &str) -> LogLine {
    LogLine {
        at: Timestamp(1_700_000_000_000),
        level,
        text: text.to_owned(),
    }
}

/// What a PPO trainer has to say of these steps: a score that rises while the answers grow and the KL runs away.
pub fn ppo_report(steps: std::ops::RangeInclusive<u64>) -> Report {
    let is_evaluation = |step: &u64| step.is_multiple_of(5);
    let train = steps.clone().filter(|step| *step > 0);
    let train = train.map(|step| point_of(step, Split::Train, 0.1 * (step as f64 * 2.3).sin()));
    let eval = steps.clone().filter(is_evaluation);
    let eval = eval.map(|step| point_of(step, Split::Eval, 0.0));
    let sample = |n: i64| Sample {
        prompt_id: PromptId(n),
        prompt: vec![Message {
            role: Speaker::User,
            content: format!("question {n}"),
        }],
        before: String::new(),
        after: String::new(),
        rollouts: (0..=*steps.end()).filter(is_evaluation).map(rollout).collect(),
    };
    Report {
        step: Some(*steps.end()),
        n_steps: Some(40),
        seconds_left: Some(180.0),
        metrics: train.chain(eval).collect(),
        log: vec![
            line(LogLevel::Info, "3 prompts to answer"),
            line(
                LogLevel::Warning,
                "The score rises while the answers grow: it may pay for length alone; compare rollouts, or score length down",
            ),
            line(
                LogLevel::Warning,
                "The KL to the reference is above 10 nats and grows: raise kl_coefficient, or set a kl_target",
            ),
        ],
        samples: (1..=3).map(sample).collect(),
        preview: None,
    }
}

fn point_of(step: u64, split: Split, noise: f64) -> MetricPoint {
    let t = step as f64;
    let mut values = vec![
        ("reward", 1.6 - 2.0 * (-t / 9.0).exp() + noise),
        ("kl", 0.01 * t * t + 0.3 * t + noise.abs()),
        ("rlhf_reward", 1.4 - 2.0 * (-t / 9.0).exp() + noise),
        ("length", 24.0 + 1.4 * t + 5.0 * noise),
        ("eos_rate", 0.95 - 0.01 * t),
        ("entropy", 2.2 * (-t / 60.0).exp()),
    ];
    if split == Split::Train {
        values.extend([
            ("ratio", 1.0 + 0.05 * noise),
            ("clip_fraction", 0.08 + 0.2 * noise.abs()),
            ("value_clip_fraction", 0.05),
            ("value_loss", 0.8 * (-t / 8.0).exp() + 0.05),
            ("policy_loss", -0.03 + 0.1 * noise),
            ("explained_variance", 0.7 - 1.4 * (-t / 6.0).exp()),
            ("kl_coefficient", 0.05),
            ("learning_rate", 5e-5 * (1.0 - t / 40.0)),
            ("grad_norm", 0.6 + noise.abs()),
            ("seconds_sampling", 2.1),
            ("seconds_scoring", 0.3),
            ("seconds_training", 1.7),
        ]);
    }
    MetricPoint {
        step,
        split,
        values: values
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

fn rollout(step: u64) -> Rollout {
    Rollout {
        step,
        text: format!(
            "A friendly answer after {step} steps. {}",
            "It goes on. ".repeat(step as usize / 5)
        ),
        score: -0.4 + 0.1 * step as f64,
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
