//! A round for a server: rows in, checked against their hash; figures, log lines and samples out while it runs; the
//! adapter's files at the end.

use super::{client::JobClient, heart::Wishes};
use crate::{
    adapters::Adapter,
    data::{PreferencePair, Tokenizer, read_rows, template::hex},
    generate::{Engine, Request},
    model::{Facts, Model},
    report::{Directive, Progress, Reporter, ShownAnswers},
    rounds::{
        self, Environment, Input, Probes, RoundOutcome, Scorer, ShownPrompt,
        preview::{self, preview},
    },
    version,
};
use anyhow::{Context, Result, anyhow, ensure};
use laurel_protocol::{
    Directive as ServerDirective, LogLevel, LogLine, MadeWith, MetricPoint, Outcome, Report, Rollout,
    RoundKind, RoundSpec, Sample, Sampling, Timestamp, WorkPrompt,
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::atomic::Ordering,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How the samples before and after are drawn: the same for both, so that they differ by the weights alone.
const SAMPLE_TOKENS: u32 = 160;
/// Tokens of each text that the preview shows.
const PREVIEW_TOKENS: usize = 400;
/// Reports wait this long at most for others to be sent with.
const GATHER: Duration = Duration::from_millis(500);

pub struct Task<'a> {
    pub client: &'a JobClient,
    /// In the round's precision: it trains and draws the samples, so that one copy is in memory.
    pub model: &'a Model,
    pub facts: &'a Facts,
    pub tokenizer: &'a Tokenizer,
    pub base_model: &'a str,
    pub adapter: Option<&'a Adapter>,
    /// Of a PPO round whose reward is an adapter.
    pub reward_adapter: Option<&'a Adapter>,
    pub spec: &'a RoundSpec,
    pub snapshot_hash: &'a str,
    pub sample_prompts: &'a [WorkPrompt],
    /// Keeps the checkpoints of this job.
    pub folder: &'a Path,
    /// Keeps the reference's log-probabilities for later rounds of the same rows.
    pub references: &'a Path,
    /// Above 1 some trainer had the round before: this one, or one with another work folder.
    pub attempt: u32,
    pub wishes: &'a Wishes,
    /// Answers turns of chats that wait, between two steps.
    pub talk: &'a dyn Fn(),
}

/// Runs the round. `None` when it was stopped without an end of its own.
pub fn run(task: &Task<'_>) -> Result<Option<Outcome>> {
    let lines = task.client.get("rows")?;
    let hash = hex(&Sha256::digest(&lines));
    ensure!(
        hash == task.snapshot_hash,
        "the rows that arrived are not those of the snapshot: their hash is {hash}"
    );
    let (pairs, ending) = rows(task, &lines)?;
    let mut reporter = ToServer::new(task);
    if task.attempt > 1 && !has_begun(task.folder) {
        let text =
            "This trainer has no checkpoint of the round: it starts over, and comes to the same weights";
        reporter.log(LogLevel::Warning, text);
    }
    // An admin sees what is trained, and what is wrong with it, before the first sample is drawn.
    let config = task.adapter.map_or(&task.spec.adapter, |adapter| &adapter.config);
    let samples_drawn = task.spec.kind != RoundKind::Reward;
    let mut preview = preview(
        task.tokenizer,
        &task.model.config,
        task.spec,
        &pairs,
        preview::ROWS,
        PREVIEW_TOKENS,
    )?;
    preview.size = Some(rounds::size(task.facts, task.spec, config, &pairs, samples_drawn));
    reporter.pending.preview = Some(preview);
    reporter.send();
    rounds::check(
        task.tokenizer,
        &task.model.config,
        task.spec,
        &pairs,
        &mut reporter,
    )?;
    let place = (&task.model.device, true, samples_drawn);
    rounds::announce(task.facts, task.spec, config, &pairs, place, &mut reporter);
    // A PPO round shows answers at each of its evaluations, the first before its first step.
    let is_ppo = task.spec.kind == RoundKind::Ppo;
    let before = match samples_drawn && !is_ppo {
        true => complete(task, task.adapter)?,
        false => HashMap::new(),
    };
    let stop = || task.wishes.stop();
    let environment = environment(task, ending, &stop)?;
    reporter.pending.samples = samples(task, &before, &HashMap::new());
    reporter.send();
    let probes = match task.spec.kind {
        RoundKind::Reward => Probes::new(task.tokenizer, &pairs)?,
        _ => None,
    };
    let input = Input {
        spec: task.spec,
        model: task.model,
        base_model: task.base_model,
        starting_adapter: task.adapter,
        rows: pairs,
        out: task.folder,
        environment: environment.as_ref(),
        probes,
        references: Some(task.references),
    };
    let outcome = rounds::run(input, &mut reporter)?;
    reporter.send();
    if outcome == RoundOutcome::Stopped || task.wishes.stop() {
        return Ok(super::ends::stopped(task.wishes));
    }
    let made = task.folder.join("adapter");
    if samples_drawn && !is_ppo {
        let adapter = Adapter::load_peft(&made, task.model)?;
        reporter.pending.samples = samples(task, &before, &complete(task, Some(&adapter))?);
        reporter.send();
    }
    for entry in fs::read_dir(&made).context("read the adapter's folder")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let bytes = fs::read(made.join(&name)).with_context(|| format!("read {name}"))?;
        task.client.put(&format!("adapter/{name}"), &bytes)?;
    }
    let made_with = MadeWith {
        template_hash: task.tokenizer.template_hash(),
        base_weights_hash: rounds::base_weights_hash(task.model)?,
        code: Some(version::own()),
    };
    let done = Outcome::Done {
        made_with: Some(made_with),
    };
    Ok(super::ends::outcome(task.wishes, done))
}

/// Whether the folder holds a checkpoint or the result of this round.
fn has_begun(folder: &Path) -> bool {
    let entries = fs::read_dir(folder.join("checkpoints"))
        .into_iter()
        .flatten()
        .flatten();
    let mut steps = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("step-"));
    steps.next().is_some() || folder.join("report.json").exists()
}

/// The snapshot's rows, and for a PPO round what closes an answer. An admin sees the outermost sentence of an error, so it
/// has its cause in it; a row's text has no secrets of this machine.
fn rows(task: &Task<'_>, lines: &[u8]) -> Result<(Vec<PreferencePair>, Vec<u32>)> {
    let rows = read_rows(lines)?;
    if task.spec.kind == RoundKind::Ppo {
        return rounds::prompts(&rows, task.tokenizer, "the snapshot").map_err(|error| anyhow!("{error:#}"));
    }
    let mut pairs = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let pair = rounds::pair(row, task.tokenizer, task.spec.hyper.loss);
        pairs.push(pair.map_err(|error| anyhow!("row {} of the snapshot: {error:#}", at + 1))?);
    }
    Ok((pairs, Vec::new()))
}

/// What a PPO round acts in; other kinds have none.
fn environment<'a>(
    task: &Task<'a>,
    ending: Vec<u32>,
    stop: &'a dyn Fn() -> bool,
) -> Result<Option<Environment<'a>>> {
    let Some(reward) = &task.spec.reward else {
        return Ok(None);
    };
    let mut samples = Vec::new();
    for prompt in task.sample_prompts {
        let ids = task.tokenizer.prompt_ids(&prompt.messages)?;
        if rounds::has_room(&ids, task.spec, &task.model.config) {
            samples.push(ShownPrompt {
                id: prompt.prompt_id.0 as u64,
                ids,
            });
        }
    }
    Ok(Some(Environment {
        tokenizer: task.tokenizer,
        scorer: Scorer::new(reward, task.reward_adapter)?,
        ending,
        samples,
        stop,
    }))
}

/// The answer to each fixed prompt, by its number.
fn complete(task: &Task<'_>, adapter: Option<&Adapter>) -> Result<HashMap<u64, String>> {
    let sampling = Sampling {
        temperature: 0.7,
        top_p: 1.0,
        max_tokens: SAMPLE_TOKENS,
        seed: task.spec.seed,
        ..Sampling::default()
    };
    let mut requests = Vec::new();
    for prompt in task.sample_prompts {
        let ids = task.tokenizer.prompt_ids(&prompt.messages)?;
        // A prompt that the model cannot read has no answer to show; its rows are left out of the round as well.
        if ids.len() < task.model.config.max_positions {
            requests.push(Request {
                key: prompt.prompt_id.0 as u64,
                prompt: ids,
                indexes: vec![0],
            });
        }
    }
    let mut answers = HashMap::new();
    let engine = Engine::new(task.model, adapter, &sampling, task.tokenizer.stop_ids())?;
    engine.run_until(&|| task.wishes.stop(), requests, &mut |done| {
        answers.insert(done.key, task.tokenizer.decode(&done.ids)?);
        Ok(true)
    })?;
    Ok(answers)
}

fn samples(task: &Task<'_>, before: &HashMap<u64, String>, after: &HashMap<u64, String>) -> Vec<Sample> {
    if before.is_empty() {
        return Vec::new();
    }
    let text = |answers: &HashMap<u64, String>, prompt: &WorkPrompt| {
        answers
            .get(&(prompt.prompt_id.0 as u64))
            .cloned()
            .unwrap_or_default()
    };
    let sample = |prompt: &WorkPrompt| Sample {
        prompt_id: prompt.prompt_id,
        prompt: prompt.messages.clone(),
        before: text(before, prompt),
        after: text(after, prompt),
        rollouts: Vec::new(),
    };
    task.sample_prompts.iter().map(sample).collect()
}

/// Sends what a round reports, gathered over half a second.
struct ToServer<'a> {
    client: &'a JobClient,
    wishes: &'a Wishes,
    talk: &'a dyn Fn(),
    sample_prompts: &'a [WorkPrompt],
    pending: Report,
    /// The pending report could not be sent once already.
    kept: bool,
    last_sent: Instant,
}

impl<'a> ToServer<'a> {
    fn new(task: &Task<'a>) -> Self {
        Self {
            client: task.client,
            wishes: task.wishes,
            talk: task.talk,
            sample_prompts: task.sample_prompts,
            pending: Report::default(),
            kept: false,
            last_sent: Instant::now(),
        }
    }

    fn send(&mut self) {
        let client = self.client;
        self.send_by(|report| client.post("report", report));
        self.last_sent = Instant::now();
    }

    /// A report that cannot be sent goes with the next one; what the server does not take then either is given up,
    /// so that it does not stand in the way of all that follow.
    fn send_by(&mut self, post: impl FnOnce(&Report) -> Result<ServerDirective>) {
        let report = std::mem::take(&mut self.pending);
        let kept = std::mem::take(&mut self.kept);
        match post(&report) {
            Ok(directive) => self.wishes.heed(directive),
            Err(error) if error.is::<super::client::LeaseLost>() => {
                self.wishes.lost.store(true, Ordering::SeqCst);
            }
            Err(error) if kept => tracing::warn!("A report could not be sent, twice, and is lost: {error:#}"),
            Err(error) => {
                tracing::warn!("A report could not be sent and goes with the next one: {error:#}");
                (self.pending, self.kept) = (report, true);
            }
        }
    }
}

impl Reporter for ToServer<'_> {
    fn log(&mut self, level: LogLevel, text: &str) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.pending.log.push(LogLine {
            at: Timestamp(since.as_millis() as i64),
            level,
            text: text.to_owned(),
        });
    }

    fn metrics(&mut self, point: &MetricPoint) {
        self.pending.metrics.push(point.clone());
    }

    fn samples(&mut self, samples: &[ShownAnswers]) {
        let of_prompt = |prompt: &WorkPrompt| {
            let same = |answers: &&ShownAnswers| answers.prompt_id == prompt.prompt_id.0 as u64;
            let rollouts = samples.iter().find(same)?.rollouts.clone();
            let text = |rollout: Option<&Rollout>| rollout.map(|it| it.text.clone()).unwrap_or_default();
            Some(Sample {
                prompt_id: prompt.prompt_id,
                prompt: prompt.messages.clone(),
                before: text(rollouts.first()),
                after: text(rollouts.last().filter(|it| it.step > 0)),
                rollouts,
            })
        };
        self.pending.samples = self.sample_prompts.iter().filter_map(of_prompt).collect();
        self.send();
    }

    fn progress(&mut self, progress: Progress) -> Directive {
        self.pending.step = Some(progress.step);
        self.pending.n_steps = Some(progress.n_steps);
        self.pending.seconds_left = progress.seconds_left;
        if self.last_sent.elapsed() > GATHER {
            self.send();
        }
        if !self.wishes.stop() && self.wishes.chat.swap(false, Ordering::SeqCst) {
            (self.talk)();
        }
        if self.wishes.stop() {
            Directive::Stop
        } else {
            Directive::GoOn
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::client::Client;
    use laurel_protocol::LeasedJob;

    #[test]
    fn a_report_that_fails_goes_with_the_next_one_once() {
        let wishes = Wishes::default();
        let job: LeasedJob = serde_json::from_value(serde_json::json!({
            "job_id": 1, "lease": "l", "lease_seconds": 60, "attempt": 1, "project_id": 1, "base_model": "tiny",
            "adapter": null, "work": {"type": "completions", "completion_job_id": 1, "sampling": Sampling::default()},
        }))
        .unwrap();
        let client = Client::new("http://nowhere.invalid", "t", wishes.quit.clone()).with_lease(&job);
        let mut reporter = ToServer {
            client: &client,
            wishes: &wishes,
            talk: &|| {},
            sample_prompts: &[],
            pending: Report::default(),
            kept: false,
            last_sent: Instant::now(),
        };
        let n_lines = |reporter: &mut ToServer<'_>, goes: bool| {
            let mut n = 0;
            reporter.log(LogLevel::Info, "a line");
            reporter.send_by(|report| {
                n = report.log.len();
                ensure!(goes, "refused");
                Ok(ServerDirective::default())
            });
            n
        };
        let sent = [false, true, false, false, true].map(|goes| n_lines(&mut reporter, goes));
        // The second carries the first; the third and fourth are both lost with the fourth's failure.
        assert_eq!(sent, [1, 2, 1, 2, 1]);
    }
}
