//! What all rounds share: the split, the order of batches, the optimiser's step, metrics, checkpoints and
//! resuming. A round's loop asks for a batch, computes gradients, and hands them back.

mod reporting;
mod saving;

use super::{
    Input,
    accept::{fingerprint, is_finished, settings, take_folder, usable, weigh},
    by_prompt::{elements_by_prompt, groups_by_prompt},
    ppo::Carried,
    rankings::{Ranking, elements},
    reward::Probes,
    sampler::{Sampler, hold_out},
    tally::{ADVICE, Tally, check_finite},
    watch::Watch,
};
use crate::{
    adapters::Adapter,
    data::PreferencePair,
    model::Model,
    ops::{Dropout, Gradients, Tape},
    optim::{AdamW, learning_rate},
    report::Reporter,
    rng::Rng,
};
use anyhow::{Context, Result};
use laurel_protocol::{
    Loss,
    round::{MetricPoint, RoundKind, RoundSpec, Split},
};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    path::Path,
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
    /// What a batch is made of, as places in `train`: rows, or the rows of rankings.
    elements: Vec<Vec<usize>>,
    n_left_out: usize,
    sampler: Sampler,
    optimiser: AdamW,
    /// Steps done. A PPO step is several of the optimiser's.
    step: u64,
    /// Of a reward round.
    pub probes: Option<Probes>,
    /// Shared by rounds, see [`Input::references`].
    pub references: Option<&'a Path>,
    /// What a PPO round hands on from step to step beside the weights.
    pub carried: Carried,
    /// All figures so far, those before a resumed round's checkpoint included.
    pub history: Vec<MetricPoint>,
    ended_by: Option<String>,
    saved_step: Option<u64>,
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
    watch: Watch,
    /// Passes of the step that have begun.
    passes: Cell<u64>,
}

/// The rows of one optimiser step, element by element.
pub struct Batch(Vec<Vec<usize>>);

impl Batch {
    pub fn pairs<'s>(&self, session: &'s Session<'_>) -> Vec<&'s PreferencePair> {
        self.0.iter().flatten().map(|&row| &session.train[row]).collect()
    }

    pub fn rankings<'s>(&self, session: &'s Session<'_>) -> Vec<Ranking<'s>> {
        rankings(&session.train, &self.0)
    }

    /// The prompts of a batch whose elements are all rows of a prompt, each with its place among the trained rows.
    pub fn prompts(&self, session: &Session<'_>) -> Vec<(u64, Vec<u32>)> {
        let first = self.0.iter().map(|rows| rows[0]);
        first
            .map(|row| (row as u64, session.train[row].prompt.clone()))
            .collect()
    }
}

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
            environment,
            probes,
            references,
        } = input;
        settings(spec)?;
        let fingerprint = fingerprint(spec, base_model, model, (starting_adapter, environment), &rows)?;
        if is_finished(out, &fingerprint)? {
            return Ok(None);
        }
        let n_rows = rows.len();
        let rows = usable(rows, spec, &model.config, reporter)?;
        let n_left_out = n_rows - rows.len();
        let rows = match spec.hyper.loss.is_unpaired() {
            true => rows.into_iter().flat_map(PreferencePair::unpaired).collect(),
            false => rows,
        };
        let rows = match spec.kind {
            RoundKind::Ppo => groups_by_prompt(rows),
            _ => rows,
        };
        let rng = Rng::new(spec.seed);
        let (mut train, mut eval) = hold_out(rows, spec.hyper.held_out, rng);
        weigh(&mut train, &mut eval, spec.hyper.row_weights)?;

        let mut adapter = match starting_adapter {
            Some(adapter) => {
                let mut copy = adapter.trainable_copy()?;
                copy.set_dropout(spec.adapter.dropout());
                copy
            }
            None => Adapter::init(&spec.adapter, model, &rng)?,
        };
        match spec.kind {
            RoundKind::Reward if adapter.score.is_none() => adapter.add_score(model, &rng)?,
            RoundKind::Reward => {}
            // A policy has no score head, whatever it started from.
            RoundKind::Sft | RoundKind::Dpo | RoundKind::Ppo => adapter.score = None,
        }
        match spec.hyper.loss {
            Loss::Ppo if adapter.value.is_none() => adapter.add_value(model)?,
            Loss::Ppo => {}
            _ => adapter.value = None,
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
        let elements = match spec.kind {
            RoundKind::Ppo => elements_by_prompt(&train),
            _ => elements(&train, spec.hyper.batch_by),
        };
        let sampler = Sampler::new(rng, elements.len(), &spec.hyper);
        let mut session = Self {
            spec,
            model,
            adapter,
            starting_adapter,
            base_model,
            train,
            eval,
            elements,
            n_left_out,
            sampler,
            optimiser,
            step: 0,
            probes,
            references,
            carried: Carried::new(&spec.hyper),
            history: Vec::new(),
            ended_by: None,
            saved_step: None,
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
            watch: Watch::default(),
            passes: Cell::new(0),
        };
        session.resume()?;
        session.introduce();
        Ok(Some(session))
    }

    /// The next step's rows; `None` when the round is over or asked to stop.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        // Written here, after a step's evaluation, so that its figures are not lost to a resumed round.
        self.save_due_checkpoint()?;
        if self.stopped || self.step() >= self.sampler.n_steps || self.watch.is_over(&self.spec.hyper) {
            return Ok(None);
        }
        self.step_started = Instant::now();
        self.passes.set(0);
        Ok(Some(self.batch(self.step())))
    }

    fn batch(&self, step: u64) -> Batch {
        let elements = self.sampler.batch(step).into_iter();
        Batch(elements.map(|at| self.elements[at].clone()).collect())
    }

    /// Those of all steps, done and to come.
    pub fn batches(&self) -> impl Iterator<Item = Batch> + '_ {
        (0..self.sampler.n_steps).map(|step| self.batch(step))
    }

    /// Applies a step's complete gradients and reports it; answers whether an evaluation is due.
    pub fn take_step(&mut self, gradients: &Gradients, tally: &Tally) -> Result<bool> {
        check_finite(&tally.means(), &format!("step {}: ", self.step + 1))?;
        let norm = self.update(gradients)?;
        self.end_step(tally, norm)
    }

    /// One step of the optimiser, at the rate of the round's step in hand; gives the gradient's norm.
    pub fn update(&mut self, gradients: &Gradients) -> Result<f64> {
        let rate = self.learning_rate();
        self.optimiser
            .step(gradients, rate)
            .with_context(|| format!("step {}: the gradient is unusable; {ADVICE}", self.step + 1))
    }

    fn learning_rate(&self) -> f64 {
        learning_rate(&self.spec.hyper, self.step, self.sampler.n_steps)
    }

    /// Reports a step whose updates are done; answers whether an evaluation is due.
    pub fn end_step(&mut self, tally: &Tally, grad_norm: f64) -> Result<bool> {
        let mut values = tally.means();
        check_finite(&values, &format!("step {}: ", self.step + 1))?;
        let n_steps = self.sampler.n_steps;
        let seconds = self.step_started.elapsed().as_secs_f64();
        values.insert("learning_rate".into(), self.learning_rate());
        values.insert("grad_norm".into(), grad_norm);
        values.insert("n_tokens".into(), tally.n_tokens as f64);
        self.step += 1;
        let step = self.step;
        values.insert(
            "tokens_per_second".into(),
            tally.n_tokens as f64 / seconds.max(1e-9),
        );
        self.write_metrics(Split::Train, values)?;
        self.heartbeat();
        let hyper = &self.spec.hyper;
        self.checkpoint_due = self.stopped || step.is_multiple_of(u64::from(hyper.checkpoint_every));
        let rhythm = hyper.eval_every > 0 && step.is_multiple_of(u64::from(hyper.eval_every));
        // A PPO round shows answers even where nothing is held out.
        let can = !self.eval.is_empty() || self.spec.kind == RoundKind::Ppo;
        Ok(can && (rhythm || step == n_steps))
    }

    /// The tape of the step's next pass, with the dropout that the adapter has. Evaluations, the reference and sampling
    /// have tapes without.
    pub fn tape(&self) -> Tape {
        let pass = self.passes.get();
        self.passes.set(pass + 1);
        let tape = Tape::training(Dropout {
            rng: Rng::new(self.spec.seed),
            step: self.step(),
            pass,
        });
        match self.spec.hyper.gradient_checkpointing {
            true => tape.checkpointing(),
            false => tape,
        }
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    pub fn trained(&self) -> &[PreferencePair] {
        &self.train
    }

    pub fn held_out(&self) -> Vec<&PreferencePair> {
        self.eval.iter().collect()
    }

    pub fn held_out_rankings(&self) -> Vec<Ranking<'_>> {
        rankings(&self.eval, &elements(&self.eval, self.spec.hyper.batch_by))
    }

    /// The rows that the steps to come and the evaluations use, each once.
    pub fn rows_in_use(&self) -> Vec<&PreferencePair> {
        let used: BTreeSet<usize> = (0..self.sampler.n_steps)
            .flat_map(|step| self.sampler.batch(step))
            .collect();
        used.into_iter()
            .flat_map(|element| &self.elements[element])
            .map(|&row| &self.train[row])
            .chain(&self.eval)
            .collect()
    }

    /// Updates of the optimiser so far.
    pub fn n_updates(&self) -> u64 {
        self.optimiser.n_steps
    }
}

fn rankings<'s>(rows: &'s [PreferencePair], elements: &[Vec<usize>]) -> Vec<Ranking<'s>> {
    elements
        .iter()
        .map(|element| Ranking::of(&element.iter().map(|&row| &rows[row]).collect::<Vec<_>>()))
        .collect()
}
