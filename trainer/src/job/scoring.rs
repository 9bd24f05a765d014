//! A scoring: what was compared and the open tasks in, features of every completion through the model, a head that
//! learns from the comparisons, and each task's uncertainty out. Features are kept in the work folder, so that a scoring that was
//! broken off goes on, and the next one computes those of new completions alone.

use super::{client::JobClient, heart::Wishes};
use crate::{
    adapters::Adapter,
    data::{
        Row, Tokenizer, read_rows,
        rows::{Example, Side},
        template::hex,
    },
    model::Model,
    rounds,
    select::{Cache, Comparison, Posterior, Sequence, Space, features, worth},
};
use anyhow::{Context, Result, anyhow, ensure};
use laurel_protocol::{
    AdapterRef, Directive, Message, Outcome, Precision, Report, TaskId, TaskUncertainty, Uncertainties,
    WorkTask,
};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// How often the server hears how far it is.
const EVERY: Duration = Duration::from_millis(1000);

pub struct Task<'a> {
    pub client: &'a JobClient,
    pub model: &'a Model,
    pub precision: Precision,
    pub tokenizer: &'a Tokenizer,
    /// The reward model, where there is one.
    pub adapter: Option<(&'a AdapterRef, &'a Adapter)>,
    /// Keeps features.
    pub folder: &'a Path,
    pub wishes: &'a Wishes,
    /// Answers turns of chats that wait, between two passes.
    pub talk: &'a dyn Fn(),
}

/// A comparison by the places of its completions.
struct Compared {
    chosen: usize,
    rejected: usize,
    tie: bool,
}

/// All that is read, every sequence once.
#[derive(Default)]
struct Material {
    sequences: Vec<Sequence>,
    places: BTreeMap<[u8; 32], usize>,
    compared: Vec<Compared>,
    open: Vec<(TaskId, Vec<usize>)>,
}

/// Runs the scoring. `None` when it was stopped without an end of its own.
pub fn run(task: &Task<'_>) -> Result<Option<Outcome>> {
    let material = Material::read(task)?;
    let Some(states) = states(task, &material)? else {
        return Ok(super::ends::stopped(task.wishes));
    };
    let Some(scored) = score(task, &material, &states)? else {
        return Ok(super::ends::stopped(task.wishes));
    };
    let n_comparisons = material.compared.len() as u64;
    for part in scored.chunks(Uncertainties::MOST_TASKS / 5) {
        let part = Uncertainties {
            n_comparisons,
            tasks: part.to_vec(),
        };
        task.wishes
            .heed(task.client.post::<Directive>("uncertainties", &part)?);
        if task.wishes.stop() {
            break;
        }
    }
    Ok(super::ends::outcome(
        task.wishes,
        Outcome::Done { made_with: None },
    ))
}

impl Material {
    fn read(task: &Task<'_>) -> Result<Self> {
        let mut material = Self::default();
        for (at, row) in read_rows(task.client.get("rows")?.as_slice())?.iter().enumerate() {
            let Row::Preference(row) = row else { continue };
            let pair = task.tokenizer.preference(row);
            let pair = pair.map_err(|error| anyhow!("comparison {}: {error:#}", at + 1))?;
            let sequence = |completion| Sequence {
                prompt: pair.prompt.clone(),
                completion,
            };
            let chosen = material.place(task.model, sequence(pair.chosen.clone()));
            let rejected = material.place(task.model, sequence(pair.rejected.clone()));
            // What the model cannot read teaches its head nothing.
            if let (Some(chosen), Some(rejected)) = (chosen, rejected) {
                material.compared.push(Compared {
                    chosen,
                    rejected,
                    tie: pair.label.tie,
                });
            }
        }
        let lines = task.client.get("tasks")?;
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let open: WorkTask = serde_json::from_slice(line).context("read a task of the job")?;
            let id = open.task_id;
            material
                .take(task, open)
                .map_err(|error| anyhow!("task {id}: {error:#}"))?;
        }
        Ok(material)
    }

    fn take(&mut self, task: &Task<'_>, open: WorkTask) -> Result<()> {
        let mut places = Vec::with_capacity(open.completions.len());
        for completion in open.completions {
            let row = Example {
                prompt: Side::Messages(open.messages.clone()),
                completion: Side::Messages(vec![Message::assistant(completion.text)]),
                group: None,
                desirable: None,
            };
            let read = task.tokenizer.demonstration(&row)?;
            let sequence = Sequence {
                prompt: read.prompt,
                completion: read.completion,
            };
            match self.place(task.model, sequence) {
                Some(place) => places.push(place),
                None => return Ok(()), // too long for the model: the task has no score
            }
        }
        self.open.push((open.task_id, places));
        Ok(())
    }

    /// The place of a sequence among all; none where the model cannot read it.
    fn place(&mut self, model: &Model, sequence: Sequence) -> Option<usize> {
        if !sequence.fits(&model.config) {
            return None;
        }
        let next = self.sequences.len();
        let place = *self.places.entry(sequence.key()).or_insert(next);
        if place == next {
            self.sequences.push(sequence);
        }
        Some(place)
    }
}

/// The features of every sequence, from the work folder or through the model. `None` when it was to stop.
fn states(task: &Task<'_>, material: &Material) -> Result<Option<Vec<Vec<f32>>>> {
    let keys: Vec<[u8; 32]> = material.sequences.iter().map(Sequence::key).collect();
    let wanted: HashSet<_> = keys.iter().copied().collect();
    let mut cache = Cache::open(task.folder, &file_name(task)?, task.model.config.hidden, &wanted)?;
    let absent = material
        .sequences
        .iter()
        .zip(&keys)
        .filter(|(_, key)| cache.get(key).is_none());
    let mut missing: Vec<Sequence> = absent.map(|(one, _)| one.clone()).collect();
    missing.sort_by(|a, b| a.prompt.cmp(&b.prompt)); // a prompt that several share goes through the model once
    let (n_total, begun) = (keys.len(), Instant::now());
    let n_kept = n_total - missing.len();
    let (mut n_new, mut last_told) = (0, None);
    for pass in features::passes(&missing) {
        if last_told.is_none_or(|at: Instant| at.elapsed() > EVERY) {
            let each = (n_new > 0).then(|| begun.elapsed().as_secs_f64() / n_new as f64);
            tell(
                task,
                n_kept + n_new,
                n_total,
                each.map(|each| each * (missing.len() - n_new) as f64),
            )?;
            last_told = Some(Instant::now());
        }
        if task.wishes.stop() {
            return Ok(None);
        }
        if task.wishes.chat.swap(false, Ordering::SeqCst) {
            (task.talk)();
        }
        let adapter = task.adapter.map(|(_, adapter)| adapter);
        for (sequence, state) in pass.iter().zip(features::features(task.model, adapter, pass)?) {
            cache.add(sequence.key(), state)?;
        }
        n_new += pass.len();
    }
    tell(task, n_total, n_total, None)?;
    let state = |key: &[u8; 32]| {
        cache
            .get(key)
            .map(<[f32]>::to_vec)
            .context("every sequence has its features")
    };
    keys.iter().map(state).collect::<Result<_>>().map(Some)
}

fn tell(task: &Task<'_>, n_done: usize, n_total: usize, seconds_left: Option<f64>) -> Result<()> {
    let report = Report {
        step: Some(n_done as u64),
        n_steps: Some(n_total as u64),
        seconds_left,
        ..Report::default()
    };
    task.wishes
        .heed(task.client.post::<Directive>("report", &report)?);
    Ok(())
}

/// Features differ by base weights, what these are held in, and the adapter.
fn file_name(task: &Task<'_>) -> Result<String> {
    let base = rounds::base_weights_hash(task.model)?;
    let adapter = task
        .adapter
        .map_or("base", |(reference, _)| reference.hash.as_str());
    let name = format!(
        "{base} {adapter} {:?} {}",
        task.precision, task.model.config.hidden
    );
    Ok(hex(&Sha256::digest(name))[..32].to_owned())
}

fn score(task: &Task<'_>, material: &Material, states: &[Vec<f32>]) -> Result<Option<Vec<TaskUncertainty>>> {
    let compared = &material.compared;
    ensure!(
        !compared.is_empty(),
        "there is no comparison yet that the model can read: label some tasks first"
    );
    let state = |place: usize| states[place].as_slice();
    let judged = compared
        .iter()
        .map(|one| (state(one.chosen), state(one.rejected)));
    let open = material.open.iter().flat_map(move |(_, places)| {
        let pairs = places
            .iter()
            .enumerate()
            .flat_map(|(at, first)| places[at + 1..].iter().map(move |second| (*first, *second)));
        pairs.map(move |(first, second)| (state(first), state(second)))
    });
    let space = Space::of(task.model.config.hidden, judged.chain(open));
    let comparisons: Vec<Comparison<'_>> = compared
        .iter()
        .map(|one| Comparison {
            chosen: state(one.chosen),
            rejected: state(one.rejected),
            tie: one.tie,
        })
        .collect();
    let stop = task.wishes.clone();
    let go_on = || !stop.stop();
    let Some(posterior) = Posterior::fit(&comparisons, &space, &go_on)? else {
        return Ok(None);
    };
    tracing::info!(
        n_comparisons = comparisons.len(),
        spread = posterior.spread,
        "A head learnt from {} comparisons",
        comparisons.len()
    );
    let of_task = |(_, places): &(TaskId, Vec<usize>)| places.iter().map(|place| state(*place)).collect();
    let tasks: Vec<Vec<&[f32]>> = material.open.iter().map(of_task).collect();
    let Some(worths) = worth(&posterior, &space, &tasks, &go_on)? else {
        return Ok(None);
    };
    let told = material.open.iter().zip(worths).filter_map(|((id, _), worth)| {
        Some(TaskUncertainty {
            task_id: *id,
            uncertainty: worth?,
        })
    });
    Ok(Some(told.collect()))
}
