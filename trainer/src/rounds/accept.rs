//! What a round accepts: the rows it can train on, and the folder it may write to. A round is known by the hash
//! of all that decides it.

use super::ppo::Environment;
use crate::{
    adapters::Adapter,
    checkpoint,
    data::PreferencePair,
    model::{Config, Matrix, Model},
    ops::FIRST_NUMBERS,
    report::Reporter,
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};
use laurel_protocol::{
    Margin, RowWeights,
    round::{LogLevel, RoundKind, RoundSpec},
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fs, path::Path};

/// Refuses settings that are out of bounds or do not go together.
pub(super) fn settings(spec: &RoundSpec) -> Result<()> {
    let Err(errors) = spec.validate() else {
        return Ok(());
    };
    let reasons: Vec<String> = errors
        .iter()
        .map(|error| format!("{} {}", error.field, error.reason))
        .collect();
    bail!("the round's settings are not valid: {}", reasons.join("; "))
}

/// Why a round leaves a row out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LeftOut {
    Tie,
    Bad,
    Long,
    Equal,
    Empty,
}

impl LeftOut {
    /// A sentence about `n` such rows.
    pub fn count(self, n: usize, spec: &RoundSpec, model: &Config) -> String {
        match self {
            Self::Tie => format!(
                "{n} ties are left out: the loss {} cannot use them",
                spec.hyper.loss.as_str()
            ),
            Self::Bad => format!("{n} rows whose label is false are left out: they are not to be imitated"),
            Self::Long => match &spec.hyper.ppo {
                Some(_) => format!(
                    "{n} rows whose prompt has more than {} tokens are left out: no {} new ones fit behind it",
                    longest_prompt(spec, model),
                    new_tokens(spec)
                ),
                None => format!(
                    "{n} rows of more than {} tokens are left out",
                    longest(spec, model)
                ),
            },
            Self::Equal => format!("{n} rows whose two completions are equal are left out"),
            Self::Empty if spec.kind == RoundKind::Ppo => {
                format!("{n} rows with an empty prompt are left out")
            }
            Self::Empty => format!("{n} rows with an empty prompt or completion are left out"),
        }
    }

    /// Of a single row.
    pub fn reason(self, spec: &RoundSpec, model: &Config) -> String {
        match self {
            Self::Tie => "a tie, which the loss cannot use".to_owned(),
            Self::Bad => "its label is false, so it is not to be imitated".to_owned(),
            Self::Long => match &spec.hyper.ppo {
                Some(_) => format!(
                    "a prompt of more than {} tokens, behind which no {} new ones fit",
                    longest_prompt(spec, model),
                    new_tokens(spec)
                ),
                None => format!("more than {} tokens", longest(spec, model)),
            },
            Self::Equal => "both completions are equal".to_owned(),
            Self::Empty => "an empty prompt or completion".to_owned(),
        }
    }
}

/// Tokens that a row may have.
fn longest(spec: &RoundSpec, model: &Config) -> usize {
    (spec.hyper.max_length as usize).min(model.max_positions)
}

/// Tokens that may stand behind an answer when it is scored: its end, and what the template puts there.
pub(super) const ENDING: usize = 8;

fn new_tokens(spec: &RoundSpec) -> usize {
    spec.hyper
        .ppo
        .as_ref()
        .map_or(0, |ppo| ppo.max_new_tokens as usize)
}

/// Tokens that the prompt of a PPO round may have, so that an answer of full length fits behind it.
fn longest_prompt(spec: &RoundSpec, model: &Config) -> usize {
    longest(spec, model).saturating_sub(new_tokens(spec) + ENDING)
}

/// Whether a row has a rejected completion that counts: answers to imitate, or judged by themselves, have none.
pub(super) fn compares(row: &PreferencePair, spec: &RoundSpec) -> bool {
    let alone = spec.hyper.loss.is_unpaired() && row.label.desirable.is_some();
    !matches!(spec.kind, RoundKind::Sft | RoundKind::Ppo) && !alone
}

/// A PPO round takes a row's prompt, whatever its answers are.
fn prompt_left_out(row: &PreferencePair, spec: &RoundSpec, model: &Config) -> Option<LeftOut> {
    if row.prompt.is_empty() {
        Some(LeftOut::Empty)
    } else if row.prompt.len() > longest_prompt(spec, model) {
        Some(LeftOut::Long)
    } else {
        None
    }
}

/// Whether an answer of a PPO round fits behind a prompt.
pub fn has_room(prompt: &[u32], spec: &RoundSpec, model: &Config) -> bool {
    !prompt.is_empty() && prompt.len() <= longest_prompt(spec, model)
}

/// Whether a row's chosen answer can be imitated beside a PPO round's own.
pub(super) fn is_example(row: &PreferencePair, spec: &RoundSpec, model: &Config) -> bool {
    let is_good = !row.label.tie && row.label.desirable != Some(false);
    is_good && !row.chosen.is_empty() && row.prompt.len() + row.chosen.len() <= longest(spec, model)
}

pub(super) fn left_out(row: &PreferencePair, spec: &RoundSpec, model: &Config) -> Option<LeftOut> {
    if spec.kind == RoundKind::Ppo {
        return prompt_left_out(row, spec, model);
    }
    let compares = compares(row, spec);
    let length = match compares {
        true => row.longest(),
        false => row.prompt.len() + row.chosen.len(),
    };
    if row.label.tie && !spec.hyper.loss.trains_ties() {
        Some(LeftOut::Tie)
    } else if spec.kind == RoundKind::Sft && row.label.desirable == Some(false) {
        Some(LeftOut::Bad)
    } else if length > longest(spec, model) {
        Some(LeftOut::Long)
    } else if row.prompt.is_empty() || row.chosen.is_empty() || (compares && row.rejected.is_empty()) {
        Some(LeftOut::Empty)
    } else if compares && row.chosen == row.rejected {
        Some(LeftOut::Equal)
    } else {
        None
    }
}

/// Leaves out rows that cannot be trained on, and says how many.
pub(super) fn usable(
    rows: Vec<PreferencePair>,
    spec: &RoundSpec,
    model: &Config,
    reporter: &mut dyn Reporter,
) -> Result<Vec<PreferencePair>> {
    for sentence in about_rows(&rows, spec, model)? {
        reporter.log(LogLevel::Warning, &sentence);
    }
    let kept = rows
        .into_iter()
        .filter(|row| left_out(row, spec, model).is_none());
    Ok(kept.collect())
}

/// How many rows are left out and why; an error where none is left or what is asked for is not in them.
pub(super) fn about_rows(rows: &[PreferencePair], spec: &RoundSpec, model: &Config) -> Result<Vec<String>> {
    let mut counts: BTreeMap<LeftOut, usize> = BTreeMap::new();
    let mut kept = Vec::new();
    for row in rows {
        match left_out(row, spec, model) {
            Some(why) => *counts.entry(why).or_default() += 1,
            None => kept.push(row),
        }
    }
    let sentences: Vec<String> = counts.iter().map(|(why, n)| why.count(*n, spec, model)).collect();
    ensure!(
        !kept.is_empty(),
        "no row is left to train on, of {}: {}",
        rows.len(),
        sentences.join(", ")
    );
    check_margins(&kept, spec.hyper.margin)?;
    check_weights(&kept, spec.hyper.row_weights)?;
    Ok(sentences)
}

/// Margins that are asked for must be in the data.
fn check_margins(rows: &[&PreferencePair], margin: Margin) -> Result<()> {
    match margin {
        Margin::None => {}
        Margin::Column => {
            let without = rows
                .iter()
                .filter(|row| row.label.margin.is_none() && !row.label.tie);
            let n = without.count();
            ensure!(n == 0, "{n} rows have no number in the column \"margin\"");
        }
        Margin::Strength => ensure!(
            rows.iter().any(|row| row.label.strength > 0),
            "no row has a \"strength\" to take a margin from"
        ),
    }
    Ok(())
}

/// Weights that are asked for must be in the data, and some of them above 0.
fn check_weights(rows: &[&PreferencePair], weights: RowWeights) -> Result<()> {
    if weights == RowWeights::None {
        return Ok(());
    }
    let n = rows.iter().filter(|row| row.label.weight.is_none()).count();
    ensure!(n == 0, "{n} rows have no number from 0 in the column \"weight\"");
    ensure!(
        rows.iter().any(|row| row.label.weight() > 0.0),
        "every row has the weight 0: nothing would be learnt"
    );
    Ok(())
}

/// Makes the weights of the rows that are trained relative to their mean, so that the learning rate means what it does
/// without weights. Held-out rows count alike: rounds with and without weights can be compared.
pub(super) fn weigh(
    train: &mut [PreferencePair],
    eval: &mut [PreferencePair],
    weights: RowWeights,
) -> Result<()> {
    eval.iter_mut().for_each(|row| row.label.weight = None);
    if weights == RowWeights::None {
        train.iter_mut().for_each(|row| row.label.weight = None);
        return Ok(());
    }
    let sum: f64 = train.iter().map(|row| f64::from(row.label.weight())).sum();
    ensure!(
        sum > 0.0,
        "every row that is trained has the weight 0: nothing would be learnt"
    );
    let mean = sum / train.len() as f64;
    for row in train {
        row.label.weight = Some((f64::from(row.label.weight()) / mean) as f32);
    }
    Ok(())
}

pub(super) fn is_finished(out: &Path, fingerprint: &str) -> Result<bool> {
    let Ok(bytes) = fs::read(out.join("report.json")) else {
        return Ok(false);
    };
    let report: serde_json::Value =
        serde_json::from_slice(&bytes).with_context(|| format!("read report.json in {out:?}"))?;
    ensure!(
        report["fingerprint"] == fingerprint,
        "{out:?} holds the finished round of another spec, data or model: choose another folder"
    );
    Ok(true)
}

/// Names the round that a folder belongs to, from its start on.
const OWNER: &str = "round.json";

/// Takes a folder for a round: a new or empty one, or the one that it began in. Files of anything else in there are
/// neither overwritten nor removed.
pub(super) fn take_folder(out: &Path, fingerprint: &str) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("create {out:?}"))?;
    let owner = out.join(OWNER);
    if let Ok(bytes) = fs::read(&owner) {
        let owner: serde_json::Value =
            serde_json::from_slice(&bytes).with_context(|| format!("read {owner:?}"))?;
        ensure!(
            owner["fingerprint"] == fingerprint,
            "{out:?} holds a round with another spec, data or model: choose another folder"
        );
        return Ok(());
    }
    for name in ["adapter", "checkpoints", "metrics.jsonl", "report.json"] {
        ensure!(
            !out.join(name).exists(),
            "{out:?} holds a file {name:?} that is not this round's: choose an empty folder"
        );
    }
    let text = serde_json::json!({ "fingerprint": fingerprint }).to_string();
    checkpoint::write_file(&owner, text.as_bytes())
}

/// Hash of all that decides a round.
pub(super) fn fingerprint(
    spec: &RoundSpec,
    base_model: &str,
    model: &Model,
    (starting_adapter, environment): (Option<&Adapter>, Option<&Environment<'_>>),
    rows: &[PreferencePair],
) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(spec)?);
    hash.update(base_model);
    hash_base(&mut hash, model)?;
    if let Some(adapter) = starting_adapter {
        hash_adapter(&mut hash, adapter)?;
    }
    if let Some(environment) = environment {
        hash.update("reward");
        if let Some(adapter) = environment.scorer.adapter() {
            hash_adapter(&mut hash, adapter)?;
        }
        environment
            .ending
            .iter()
            .for_each(|id| hash.update(id.to_le_bytes()));
        hash.update(environment.tokenizer.template_hash());
    }
    for row in rows {
        hash.update(pair_hash(row));
        hash.update(row.group.to_le_bytes());
        hash.update(format!("{:?}", row.label));
    }
    Ok(hex(&hash.finalize()))
}

/// Hash of all that decides the reference's log-probabilities of these rows, in this order.
pub(super) fn reference_hash(
    spec: &RoundSpec,
    model: &Model,
    adapter: Option<&Adapter>,
    rows: &[PreferencePair],
) -> Result<String> {
    let mut hash = Sha256::new();
    hash_base(&mut hash, model)?;
    hash.update(format!(
        "{:?}",
        (spec.hyper.precision, spec.hyper.loss.is_unpaired())
    ));
    if let Some(adapter) = adapter {
        hash_adapter(&mut hash, adapter)?;
    }
    rows.iter().for_each(|row| hash.update(pair_hash(row)));
    Ok(hex(&hash.finalize()))
}

fn hash_adapter(hash: &mut Sha256, adapter: &Adapter) -> Result<()> {
    // The weights do not tell LoRA's alpha.
    hash.update(serde_json::to_vec(&adapter.config)?);
    for (name, weight) in adapter.weights() {
        hash.update(name);
        for number in weight.tensor().flatten_all()?.to_vec1::<f32>()? {
            hash.update(number.to_le_bytes());
        }
    }
    Ok(())
}

/// Names the base model's weights in what is told about an adapter that was trained on them.
pub fn base_weights_hash(model: &Model) -> Result<String> {
    let mut hash = Sha256::new();
    hash_base(&mut hash, model)?;
    Ok(hex(&hash.finalize()))
}

/// The base model's shape, and of each of its tensors the shape and the first numbers: a file of another model,
/// training or quantisation differs there, and gigabytes need not be hashed.
fn hash_base(hash: &mut Sha256, model: &Model) -> Result<()> {
    hash.update(format!("{:?}", model.config));
    hash_matrix(hash, &model.embedding)?;
    hash_vector(hash, &model.norm)?;
    hash_matrix(hash, &model.head)?;
    for layer in &model.layers {
        layer.norms().try_for_each(|norm| hash_vector(hash, norm))?;
        for linear in layer.linears() {
            hash_matrix(hash, &linear.weight)?;
            linear.bias.iter().try_for_each(|bias| hash_vector(hash, bias))?;
        }
    }
    Ok(())
}

/// By the numbers of the file, whatever the matrix is held in.
fn hash_matrix(hash: &mut Sha256, matrix: &Matrix) -> Result<()> {
    hash_numbers(hash, matrix.dims(), &matrix.first_numbers()?);
    Ok(())
}

fn hash_vector(hash: &mut Sha256, tensor: &Tensor) -> Result<()> {
    let n = tensor.elem_count().min(FIRST_NUMBERS);
    let numbers = tensor.flatten_all()?.narrow(0, 0, n)?.to_dtype(DType::F32)?;
    hash_numbers(hash, tensor.dims(), &numbers.to_vec1::<f32>()?);
    Ok(())
}

fn hash_numbers(hash: &mut Sha256, dims: &[usize], numbers: &[f32]) {
    hash.update(format!("{dims:?}"));
    for number in numbers {
        hash.update(number.to_le_bytes());
    }
}

/// Names a pair by its tokens.
pub(super) fn pair_hash(pair: &PreferencePair) -> String {
    let mut hash = Sha256::new();
    for ids in [&pair.prompt, &pair.chosen, &pair.rejected] {
        hash.update((ids.len() as u64).to_le_bytes());
        ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
    }
    hex(&hash.finalize()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
