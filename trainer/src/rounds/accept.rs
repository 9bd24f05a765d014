//! What a round accepts: the rows it can train on, and the folder it may write to. A round is known by the hash
//! of all that decides it.

use crate::{adapters::Adapter, checkpoint, data::PreferencePair, model::Model, report::Reporter};
use anyhow::{Context, Result, ensure};
use candle_core::DType;
use laurel_protocol::{
    Margin,
    round::{LogLevel, RoundKind, RoundSpec},
};
use sha2::{Digest, Sha256};
use std::{fs, path::Path};

/// How many numbers of each base tensor count towards a round's fingerprint.
const FIRST_NUMBERS: usize = 1024;

/// Leaves out rows that cannot be trained on, and says how many.
pub(super) fn usable(
    rows: Vec<PreferencePair>,
    spec: &RoundSpec,
    model: &Model,
    reporter: &mut dyn Reporter,
) -> Result<Vec<PreferencePair>> {
    let limit = (spec.hyper.max_length as usize).min(model.config.max_positions);
    let (n_rows, mut n_long, mut n_equal, mut n_ties, mut n_bad) = (rows.len(), 0, 0, 0, 0);
    let imitates = spec.kind == RoundKind::Sft;
    let (trains_ties, is_unpaired) = (spec.hyper.loss.trains_ties(), spec.hyper.loss.is_unpaired());
    let kept: Vec<PreferencePair> = rows
        .into_iter()
        .filter(|row| {
            let compares = !imitates && !(is_unpaired && row.label.desirable.is_some());
            let bad = imitates && row.label.desirable == Some(false);
            n_bad += usize::from(bad);
            if bad {
                return false;
            }
            let length = match compares {
                true => row.longest(),
                false => row.prompt.len() + row.chosen.len(),
            };
            let tie = row.label.tie && !trains_ties;
            n_ties += usize::from(tie);
            if tie {
                return false;
            }
            let long = length > limit;
            let empty = row.prompt.is_empty() || row.chosen.is_empty();
            let equal = compares && (row.chosen == row.rejected || row.rejected.is_empty());
            n_long += usize::from(long);
            n_equal += usize::from(!long && (equal || empty));
            !(long || equal || empty)
        })
        .collect();
    if n_ties > 0 {
        let text = format!(
            "{n_ties} ties are left out: the loss {} cannot use them",
            spec.hyper.loss.as_str()
        );
        reporter.log(LogLevel::Warning, &text);
    }
    if n_bad > 0 {
        let text = format!("{n_bad} rows whose label is false are left out: they are not to be imitated");
        reporter.log(LogLevel::Warning, &text);
    }
    if n_long > 0 {
        reporter.log(
            LogLevel::Warning,
            &format!("{n_long} rows of more than {limit} tokens are left out"),
        );
    }
    if n_equal > 0 {
        let text = format!("{n_equal} rows with equal or empty completions are left out");
        reporter.log(LogLevel::Warning, &text);
    }
    ensure!(
        !kept.is_empty(),
        "no row is left to train on: of {n_rows}, {n_long} are longer than {limit} tokens, {n_equal} have equal or \
         empty completions, {n_ties} are ties that the loss cannot use and {n_bad} are not to be imitated"
    );
    check_margins(&kept, spec.hyper.margin)?;
    Ok(kept)
}

/// Margins that are asked for must be in the data.
fn check_margins(rows: &[PreferencePair], margin: Margin) -> Result<()> {
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
    starting_adapter: Option<&Adapter>,
    rows: &[PreferencePair],
) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(spec)?);
    hash.update(base_model);
    hash_base(&mut hash, model)?;
    if let Some(adapter) = starting_adapter {
        // The weights do not tell LoRA's alpha.
        hash.update(serde_json::to_vec(&adapter.config)?);
    }
    for (name, weight) in starting_adapter.iter().flat_map(|adapter| adapter.weights()) {
        hash.update(name);
        for number in weight.tensor().flatten_all()?.to_vec1::<f32>()? {
            hash.update(number.to_le_bytes());
        }
    }
    for row in rows {
        hash.update(pair_hash(row));
        hash.update(row.group.to_le_bytes());
        hash.update(format!("{:?}", row.label));
    }
    Ok(hex(&hash.finalize()))
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
    let mut tensors = vec![&model.embedding, &model.norm, &model.head];
    for layer in &model.layers {
        tensors.extend(layer.norms());
        for linear in layer.linears() {
            tensors.push(&linear.weight);
            tensors.extend(&linear.bias);
        }
    }
    for tensor in tensors {
        hash.update(format!("{:?}", tensor.dims()));
        let n = tensor.elem_count().min(FIRST_NUMBERS);
        let numbers = tensor.flatten_all()?.narrow(0, 0, n)?.to_dtype(DType::F32)?;
        for number in numbers.to_vec1::<f32>()? {
            hash.update(number.to_le_bytes());
        }
    }
    Ok(())
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
