//! What all rounds share: the split, the order of batches, the optimiser's step, metrics, checkpoints and
//! resuming. A round's loop asks for a batch, computes gradients, and hands them back.

use super::{
    Input, RoundOutcome,
    accept::{fingerprint, is_finished, take_folder, usable},
    sampler::{Sampler, hold_out},
};
use crate::{
    adapters::{Adapter, TaskType},
    checkpoint::{self, State},
    data::PreferencePair,
    model::Model,
    ops::Gradients,
    optim::{AdamW, learning_rate},
    report::{Directive, Progress, Reporter},
    rng::Rng,
};
use anyhow::{Context, Result, bail, ensure};
use laurel_protocol::round::{LogLevel, MetricPoint, RoundKind, RoundSpec, Split};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Instant,
};

pub struct Session<'a> {
    pub spec: &'a RoundSpec,
    pub model: &'a Model,
    /// The policy or reward model in training.
    pub adapter: Adapter,
    pub starting_adapter: Option<&'a Adapter>,
    base_model: &'a str,
    train: Vec<PreferencePair>,
    eval: Vec<PreferencePair>,
    n_left_out: usize,
    sampler: Sampler,
    optimiser: AdamW,
    out: &'a Path,
    fingerprint: String,
    metrics: File,
    reporter: &'a mut dyn Reporter,
    stopped: bool,
    checkpoint_due: bool,
    last: BTreeMap<String, f64>,
    started: Instant,
    step_started: Instant,
    first_step: u64,
}

/// The rows of one optimiser step.
pub struct Batch(Vec<usize>);

impl Batch {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn pairs<'s>(&self, session: &'s Session<'_>) -> Vec<&'s PreferencePair> {
        self.0.iter().map(|&row| &session.train[row]).collect()
    }
}

/// Weighted means of a step's figures.
#[derive(Default)]
pub struct Tally {
    sums: BTreeMap<&'static str, (f64, f64)>,
    pub n_tokens: usize,
}

impl Tally {
    pub fn add(&mut self, name: &'static str, value: f64, weight: usize) {
        let (sum, total) = self.sums.entry(name).or_default();
        *sum += value * weight as f64;
        *total += weight as f64;
    }

    /// A pair's rewards, and from them margin and accuracy.
    pub fn add_rewards(&mut self, chosen: f64, rejected: f64) {
        self.add("chosen_reward", chosen, 1);
        self.add("rejected_reward", rejected, 1);
        self.add("margin", chosen - rejected, 1);
        self.add("accuracy", if chosen > rejected { 1.0 } else { 0.0 }, 1);
    }

    fn means(&self) -> BTreeMap<String, f64> {
        self.sums
            .iter()
            .map(|(&name, (sum, total))| (name.to_owned(), sum / total))
            .collect()
    }
}

/// What to do about a round whose numbers have run away. The learning rate is part of a round's fingerprint, so
/// that this one cannot go on with a lower one.
const ADVICE: &str = "this round cannot go on, start another one with a lower learning rate";

impl<'a> Session<'a> {
    /// Opens a round; `None` when `out` holds its finished result already.
    pub fn start(input: Input<'a>, reporter: &'a mut dyn Reporter) -> Result<Option<Self>> {
        let Input {
            spec,
            model,
            base_model,
            starting_adapter,
            rows,
            out,
        } = input;
        if let Err(errors) = spec.validate() {
            let reasons: Vec<String> = errors
                .iter()
                .map(|e| format!("{} {}", e.field, e.reason))
                .collect();
            bail!("the round's settings are not valid: {}", reasons.join("; "));
        }
        let fingerprint = fingerprint(spec, base_model, model, starting_adapter, &rows)?;
        if is_finished(out, &fingerprint)? {
            return Ok(None);
        }
        let n_rows = rows.len();
        let rows = usable(rows, spec, model, reporter)?;
        let n_left_out = n_rows - rows.len();
        let rng = Rng::new(spec.seed);
        let (train, eval) = hold_out(rows, spec.hyper.held_out, rng);

        let mut adapter = match starting_adapter {
            Some(adapter) => adapter.trainable_copy()?,
            None => Adapter::init(&spec.adapter, model, &rng)?,
        };
        match spec.kind {
            RoundKind::Reward if adapter.score.is_none() => adapter.add_score(model, &rng)?,
            RoundKind::Reward => {}
            // A policy has no score head, whatever it started from.
            RoundKind::Sft | RoundKind::Dpo => adapter.score = None,
        }
        let optimiser = AdamW::new(adapter.variables(), &spec.hyper)?;
        take_folder(out, &fingerprint)?;
        let metrics = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(out.join("metrics.jsonl"))
            .with_context(|| format!("open metrics.jsonl in {out:?}"))?;
        let sampler = Sampler::new(rng, train.len(), &spec.hyper);
        let mut session = Self {
            spec,
            model,
            adapter,
            starting_adapter,
            base_model,
            train,
            eval,
            n_left_out,
            sampler,
            optimiser,
            out,
            fingerprint,
            metrics,
            reporter,
            stopped: false,
            checkpoint_due: false,
            last: BTreeMap::new(),
            started: Instant::now(),
            step_started: Instant::now(),
            first_step: 0,
        };
        session.resume()?;
        let text = format!(
            "{} rows to train on, {} held out, {} steps",
            session.train.len(),
            session.eval.len(),
            session.sampler.n_steps
        );
        session.info(&text);
        Ok(Some(session))
    }

    fn resume(&mut self) -> Result<()> {
        let saved = checkpoint::newest(&self.checkpoints(), &self.model.device)?;
        let Some(saved) = saved else {
            return Ok(self.metrics.set_len(0)?);
        };
        ensure!(
            saved.state.fingerprint == self.fingerprint,
            "{:?} holds a round with another spec, data or model: choose another folder",
            self.out
        );
        for (name, var) in self.adapter.variables() {
            let weight = saved
                .weights
                .get(&name)
                .with_context(|| format!("the checkpoint has no {name:?}"))?;
            var.set(weight)?;
        }
        self.optimiser.restore(saved.moments, saved.state.step)?;
        // Figures written after the checkpoint will be written again.
        self.metrics.set_len(saved.state.metrics_bytes)?;
        self.metrics.seek(SeekFrom::Start(0))?;
        // Those before it may not have reached the server when the earlier attempt was killed.
        for line in BufReader::new(&self.metrics).lines() {
            let point: MetricPoint = serde_json::from_str(&line?).context("read metrics.jsonl")?;
            remember(&mut self.last, &point);
            self.reporter.metrics(&point);
        }
        self.metrics.seek(SeekFrom::End(0))?;
        self.first_step = saved.state.step;
        self.info(&format!(
            "Going on from the checkpoint at step {}",
            saved.state.step
        ));
        Ok(())
    }

    /// The next step's rows; `None` when the round is over or asked to stop.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        // Written here, after a step's evaluation, so that its figures are not lost to a resumed round.
        self.save_due_checkpoint()?;
        if self.stopped || self.step() >= self.sampler.n_steps {
            return Ok(None);
        }
        self.step_started = Instant::now();
        Ok(Some(Batch(self.sampler.batch(self.step()))))
    }

    /// Applies a step's complete gradients and reports it; answers whether an evaluation is due.
    pub fn take_step(&mut self, gradients: &Gradients, tally: &Tally) -> Result<bool> {
        let step = self.step() + 1;
        let n_steps = self.sampler.n_steps;
        let mut values = tally.means();
        check_finite(&values, &format!("step {step}: "))?;
        let rate = learning_rate(&self.spec.hyper, step - 1, n_steps);
        let norm = self
            .optimiser
            .step(gradients, rate)
            .with_context(|| format!("step {step}: the gradient is unusable; {ADVICE}"))?;
        let seconds = self.step_started.elapsed().as_secs_f64();
        values.insert("learning_rate".into(), rate);
        values.insert("grad_norm".into(), norm);
        values.insert("n_tokens".into(), tally.n_tokens as f64);
        values.insert(
            "tokens_per_second".into(),
            tally.n_tokens as f64 / seconds.max(1e-9),
        );
        self.write_metrics(Split::Train, values)?;
        self.heartbeat();
        let hyper = &self.spec.hyper;
        self.checkpoint_due = self.stopped || step.is_multiple_of(u64::from(hyper.checkpoint_every));
        let rhythm = hyper.eval_every > 0 && step.is_multiple_of(u64::from(hyper.eval_every));
        Ok(!self.eval.is_empty() && (rhythm || step == n_steps))
    }

    fn save_due_checkpoint(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.checkpoint_due) {
            return Ok(());
        }
        let state = State {
            fingerprint: self.fingerprint.clone(),
            step: self.step(),
            metrics_bytes: self.metrics.stream_position()?,
        };
        self.metrics.sync_data()?;
        let weights = self
            .adapter
            .weights()
            .into_iter()
            .map(|(name, w)| (name, w.tensor().detach()))
            .collect();
        checkpoint::save(&self.checkpoints(), &state, &weights, &self.optimiser.state())
    }

    /// Reports where the round stands; false when it was asked to stop.
    pub fn heartbeat(&mut self) -> bool {
        let (step, n_steps) = (self.step(), self.sampler.n_steps);
        let done = step - self.first_step;
        let seconds_left =
            (done > 0).then(|| self.started.elapsed().as_secs_f64() / done as f64 * (n_steps - step) as f64);
        if self.reporter.progress(Progress {
            step,
            n_steps,
            seconds_left,
        }) == Directive::Stop
        {
            self.stopped = true;
        }
        !self.stopped
    }

    pub fn report(&mut self, split: Split, tally: &Tally) -> Result<()> {
        let values = tally.means();
        let what = match split {
            Split::Train => "",
            Split::Eval => "held-out ",
        };
        check_finite(&values, &format!("after step {}: {what}", self.step()))?;
        self.write_metrics(split, values)
    }

    fn write_metrics(&mut self, split: Split, values: BTreeMap<String, f64>) -> Result<()> {
        let point = MetricPoint {
            step: self.step(),
            split,
            values,
        };
        remember(&mut self.last, &point);
        let line = serde_json::to_string(&point)? + "\n";
        self.metrics
            .write_all(line.as_bytes())
            .context("write metrics.jsonl")?;
        self.reporter.metrics(&point);
        Ok(())
    }

    pub fn info(&mut self, text: &str) {
        self.reporter.log(LogLevel::Info, text);
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.optimiser.n_steps
    }

    pub fn held_out(&self) -> Vec<&PreferencePair> {
        self.eval.iter().collect()
    }

    /// The rows that the steps to come and the evaluations use, each once.
    pub fn rows_in_use(&self) -> Vec<&PreferencePair> {
        let used: BTreeSet<usize> = (0..self.sampler.n_steps)
            .flat_map(|step| self.sampler.batch(step))
            .collect();
        used.into_iter()
            .map(|row| &self.train[row])
            .chain(&self.eval)
            .collect()
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.out.join("checkpoints")
    }

    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Writes the adapter and the report, unless the round was stopped.
    pub fn finish(mut self, task_type: TaskType) -> Result<RoundOutcome> {
        if self.stopped {
            return Ok(RoundOutcome::Stopped);
        }
        let (draft, target) = (self.out.join("adapter.draft"), self.out.join("adapter"));
        for old in [&draft, &target] {
            if old.exists() {
                fs::remove_dir_all(old).with_context(|| format!("remove {old:?}"))?;
            }
        }
        fs::create_dir_all(&draft).with_context(|| format!("create {draft:?}"))?;
        self.adapter.save_peft(&draft, self.base_model, task_type)?;
        for entry in fs::read_dir(&draft).with_context(|| format!("list {draft:?}"))? {
            File::open(entry?.path())?.sync_all()?;
        }
        fs::rename(&draft, &target).with_context(|| format!("write {target:?}"))?;
        File::open(self.out)?.sync_all()?;
        let report = serde_json::json!({
            "fingerprint": self.fingerprint,
            "kind": self.spec.kind,
            "spec": self.spec,
            "steps": self.step(),
            "n_train_rows": self.train.len(),
            "n_held_out_rows": self.eval.len(),
            "n_left_out_rows": self.n_left_out,
            "seconds": self.started.elapsed().as_secs_f64(),
            "last_metrics": self.last,
        });
        checkpoint::write_file(
            &self.out.join("report.json"),
            &serde_json::to_vec_pretty(&report)?,
        )?;
        self.info("The round is done");
        Ok(RoundOutcome::Done)
    }
}

/// Keeps the last of each figure for the report.
fn remember(last: &mut BTreeMap<String, f64>, point: &MetricPoint) {
    let prefix = match point.split {
        Split::Train => "",
        Split::Eval => "eval_",
    };
    let values = point.values.iter();
    last.extend(values.map(|(name, value)| (format!("{prefix}{name}"), *value)));
}

/// A figure that is no number is an error that names it: the round has gone astray, and JSON has no word for it.
fn check_finite(values: &BTreeMap<String, f64>, place: &str) -> Result<()> {
    match values.iter().find(|(_, value)| !value.is_finite()) {
        Some((name, _)) => bail!("{place}{name} is not a finite number; {ADVICE}"),
        None => Ok(()),
    }
}
