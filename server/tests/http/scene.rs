//! The steps of the loop as an admin's script and a trainer take them, through the API.

use crate::app::{Answered, App, Caller};
use laurel_protocol::*;
use serde_json::json;

pub fn settings(label_type: LabelType, completions_per_task: u8) -> ProjectSettings {
    ProjectSettings {
        name: "p".into(),
        guidelines: String::new(),
        label_type,
        completions_per_task,
        overlap: 1,
        ask_strength: false,
        questions: Default::default(),
        checks: Default::default(),
        arena: Default::default(),
        selection: Default::default(),
        leave_out_truncated: false,
        base_model: DEFAULT_MODEL.into(),
        template: Default::default(),
    }
}

pub fn order(completions_per_prompt: u8) -> NewCompletionJob {
    NewCompletionJob {
        adapter: None,
        base_model: false,
        completions_per_prompt,
        sampling: Sampling::default(),
        task_plan: TaskPlan::Together,
        n_prompts: None,
    }
}

pub fn pick(choice: Choice, assignment: &Assignment) -> Answer {
    Answer {
        judgement: Judgement::Pick {
            choice,
            strength: None,
        },
        comment: String::new(),
        extras: Default::default(),
        seconds: 2.5,
        revision: assignment.revision,
    }
}

/// A project, its admin and a trainer.
pub struct Scene {
    pub app: App,
    pub admin: Caller,
    pub worker: Caller,
    pub project: ProjectId,
}

impl Scene {
    /// A project with the prompts "question 1" to "question n".
    pub async fn new(settings: &ProjectSettings, n_prompts: usize) -> Self {
        let app = App::start().await;
        let admin = app.admin().await;
        let worker = app.token(&admin, TokenScope::Worker).await;
        let project: Project = admin.make("/projects", settings).await;
        let scene = Self {
            app,
            admin,
            worker,
            project: project.id,
        };
        scene.import(1..=n_prompts).await;
        scene
    }

    /// A pick project with a task for each prompt.
    pub async fn with_tasks(n_tasks: usize) -> Self {
        let scene = Self::new(&settings(LabelType::Pick, 2), n_tasks).await;
        scene.complete(&order(2), plain).await;
        scene
    }

    /// The same scene before another run of the server.
    pub async fn restart(self) -> Self {
        let app = self.app.restart().await;
        Self {
            admin: app.again(&self.admin),
            worker: app.again(&self.worker),
            project: self.project,
            app,
        }
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/projects/{}{rest}", self.project)
    }

    pub async fn import(&self, numbers: std::ops::RangeInclusive<usize>) {
        let lines: String = numbers
            .map(|n| json!({"prompt": format!("question {n}")}).to_string() + "\n")
            .collect();
        let report = self.admin.send("POST", &self.path("/prompts"), lines).await;
        assert_eq!(report.json::<ImportReport>().n_bad, 0);
    }

    /// The job that waits, and the trainer that holds it now.
    pub async fn lease(&self) -> (LeasedJob, Caller) {
        let request = LeaseRequest {
            worker: "w".into(),
            device: "cpu".into(),
            models: vec![DEFAULT_MODEL.into()],
            wait_seconds: 0,
            chat_only: false,
        };
        let job: LeasedJob = self.worker.make("/worker/lease", &request).await;
        let holder = self.worker.with(LEASE_HEADER, &job.lease);
        (job, holder)
    }

    /// Orders completions and hands them in as a trainer would.
    pub async fn complete(
        &self,
        order: &NewCompletionJob,
        text: impl Fn(&WorkPrompt, u32) -> String,
    ) -> CompletionJobId {
        let made: CompletionJob = self.admin.make(&self.path("/completion-jobs"), order).await;
        self.hand_in(text).await;
        made.id
    }

    /// Hands in all that the job which waits asks for, as a trainer would.
    pub async fn hand_in(&self, text: impl Fn(&WorkPrompt, u32) -> String) {
        let (job, holder) = self.lease().await;
        let path = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
        let prompts: Vec<WorkPrompt> = holder.get(&path("prompts")).await.lines();
        let completions = prompts.iter().flat_map(|prompt| {
            let finished = |index: &u32| FinishedCompletion {
                prompt_id: prompt.prompt_id,
                index: *index,
                text: text(prompt, *index),
                n_tokens: 2,
                finish_reason: FinishReason::Stop,
            };
            prompt.indexes.iter().map(finished).collect::<Vec<_>>()
        });
        let finished = FinishedCompletions {
            template_hash: "t".into(),
            completions: completions.collect(),
        };
        let _: Directive = holder.make(&path("completions"), &finished).await;
        let done = holder.post(&path("finish"), &done()).await;
        assert_eq!(done.status, 204, "{done:?}");
    }

    /// Starts a DPO round and leases it.
    pub async fn lease_round(&self) -> (LeasedJob, Caller) {
        let _: Round = self
            .admin
            .make(&self.path("/rounds"), &round(RoundKind::Dpo))
            .await;
        self.lease().await
    }

    /// Runs a DPO round as a trainer would; gives the adapter that comes out.
    pub async fn train(&self) -> Adapter {
        self.train_on(&round(RoundKind::Dpo)).await
    }

    /// Runs a round as a trainer would; gives the adapter that comes out.
    pub async fn train_on(&self, new: &NewRound) -> Adapter {
        let _: Round = self.admin.make(&self.path("/rounds"), new).await;
        let (job, holder) = self.lease().await;
        let path = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
        self.upload(&job, &holder).await;
        let done = holder.post(&path("finish"), &done()).await;
        assert_eq!(done.status, 204, "{done:?}");
        let adapters: Vec<Adapter> = self.admin.get(&self.path("/adapters")).await.json();
        adapters.into_iter().next().unwrap()
    }

    /// Sends the files of an adapter.
    pub async fn upload(&self, job: &LeasedJob, holder: &Caller) {
        let path = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
        for (name, bytes) in [
            ("adapter_config.json", b"{}".to_vec()),
            ("adapter_model.safetensors", weights()),
        ] {
            let put = holder.send("PUT", &path(&format!("adapter/{name}")), bytes).await;
            assert_eq!(put.status, 204, "{put:?}");
        }
    }

    pub async fn hold(&self, who: &Caller, n: u8) -> Held {
        who.make(&self.path("/assignments"), &Hold { n }).await
    }

    /// Answers what is held first.
    pub async fn answer(&self, who: &Caller, answer: impl Fn(&Assignment) -> Answer) -> Assignment {
        let first = self.hold(who, 1).await.assignments.remove(0);
        let path = format!("/assignments/{}/annotation", first.id);
        let _: Held = who.make(&path, &answer(&first)).await;
        first
    }

    pub async fn undo(&self, who: &Caller) -> Answered {
        who.send("POST", &self.path("/undo"), "").await
    }

    pub async fn export(&self, format: &str) -> Answered {
        self.admin
            .get(&self.path(&format!("/export?format={format}")))
            .await
    }
}

/// A round of a kind with its defaults.
pub fn round(kind: RoundKind) -> NewRound {
    NewRound {
        name: String::new(),
        spec: RoundSpec {
            kind,
            adapter: AdapterConfig::default(),
            hyper: Hyper::for_kind(kind),
            reward: (kind == RoundKind::Ppo).then(RewardSource::default),
            seed: 0,
        },
        starting_adapter: None,
        reward_adapter: None,
    }
}

/// The good end of any job.
pub fn done() -> Outcome {
    Outcome::Done {
        made_with: Some(MadeWith {
            template_hash: "7e".repeat(32),
            base_weights_hash: "ba".repeat(32),
            code: Some("0.1.0+abc".into()),
        }),
    }
}

/// "question 1, answer 0".
pub fn plain(prompt: &WorkPrompt, index: u32) -> String {
    format!("{}, answer {index}", prompt.messages[0].content)
}

/// A safetensors file with one tensor, large enough to be worth compressing.
pub fn weights() -> Vec<u8> {
    let header = r#"{"a":{"dtype":"F32","shape":[100],"data_offsets":[0,400]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + 400, 0);
    file
}
