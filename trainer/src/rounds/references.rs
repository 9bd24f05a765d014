//! The reference's log-probabilities of what a DPO or KTO round uses: computed once, before the first step, and
//! kept beside the checkpoints. A trainer keeps them for later rounds, too, that ask for the same ones: a sweep over β
//! or the learning rate pays once.

use super::{
    accept::{pair_hash, reference_hash},
    completion_logps,
    logps::{answer_logps, passes},
    session::Session,
};
use crate::{checkpoint, data::PreferencePair};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Rounds whose log-probabilities a trainer keeps; a thousand pairs take about 0.1 MB.
const MAX_KEPT: usize = 32;

type Logps = HashMap<String, (f32, f32)>;

pub enum References {
    /// By the tokens of the pair, of the chosen and the rejected completion (0 where there is none).
    Logps(Logps),
    /// The loss measures from nothing: every log-probability counts as 0.
    None,
}

impl References {
    pub fn get(&self, pair: &PreferencePair) -> Result<(f32, f32)> {
        match self {
            Self::Logps(logps) => logps
                .get(&pair_hash(pair))
                .copied()
                .context("a reference for every pair"),
            Self::None => Ok((0.0, 0.0)),
        }
    }

    /// Those of `pairs`, chosen and rejected, both `(pairs,)`.
    pub fn of(&self, pairs: &[&PreferencePair], device: &Device) -> Result<(Tensor, Tensor)> {
        let logps = pairs
            .iter()
            .map(|pair| self.get(pair))
            .collect::<Result<Vec<_>>>()?;
        let (chosen, rejected): (Vec<f32>, Vec<f32>) = logps.into_iter().unzip();
        let n = pairs.len();
        Ok((
            Tensor::from_vec(chosen, n, device)?,
            Tensor::from_vec(rejected, n, device)?,
        ))
    }
}

/// How far policy and reference may lie apart at the start, in nats a token. The same weights in another packing
/// differ by rounding, about a hundredth of this; the bound does not depend on β, which only scales it.
const ROUNDING: f32 = 1e-4;

/// At the start policy and reference are the same weights: their log-probabilities of a completion of `n_tokens` are
/// equal up to rounding.
pub fn check_same(policy: f32, reference: f32, n_tokens: usize) -> Result<()> {
    ensure!(
        (policy - reference).abs() <= ROUNDING * n_tokens as f32,
        "before the first step policy and reference differ: they give a completion of {n_tokens} tokens \
         the log-probabilities {policy} and {reference}"
    );
    Ok(())
}

/// Those of the rows that `wanted` names. `None` when the round was asked to stop meanwhile.
pub fn reference_logps(
    session: &mut Session<'_>,
    wanted: impl Fn(&Session<'_>) -> Vec<PreferencePair>,
) -> Result<Option<References>> {
    let path = session
        .checkpoints()
        .join(format!("reference-{}.json", session.fingerprint()));
    if path.exists() {
        session.info("The reference's log-probabilities come from the earlier attempt");
        return Ok(Some(References::Logps(read(&path)?)));
    }
    let rows = wanted(session);
    let shared = shared_file(session, &rows)?;
    // What cannot be read there is computed again.
    let known = shared.as_deref().and_then(|shared| read(shared).ok());
    let logps = match known {
        Some(known) => {
            session.info("The reference's log-probabilities come from an earlier round with the same rows");
            Some(known)
        }
        None => compute(session, &rows)?,
    };
    let Some(logps) = logps else { return Ok(None) };
    let bytes = serde_json::to_vec(&logps)?;
    fs::create_dir_all(session.checkpoints())?;
    checkpoint::write_file(&path, &bytes)?;
    if let Some(shared) = &shared {
        // The round needs nothing of it: a full disk is told where it matters.
        let _ = keep(shared, &bytes);
    }
    Ok(Some(References::Logps(logps)))
}

fn compute(session: &mut Session<'_>, rows: &[PreferencePair]) -> Result<Option<Logps>> {
    // A fresh LoRA changes nothing (B is zero): then the reference is the base model.
    let reference = session
        .starting_adapter
        .map(|adapter| adapter.frozen_copy())
        .transpose()?;
    let mut logps = Logps::new();
    for pass in passes(&rows.iter().collect::<Vec<_>>()) {
        let (model, reference) = (session.model, reference.as_ref());
        let of_pass = match session.spec.hyper.loss.is_unpaired() {
            true => {
                let logps = answer_logps(model, reference, &pass)?.into_iter();
                logps.map(|logp| (logp, 0.0)).collect()
            }
            false => completion_logps(model, reference, &pass)?,
        };
        for (pair, logp) in pass.iter().zip(of_pass) {
            logps.insert(pair_hash(pair), logp);
        }
        if !session.heartbeat() {
            return Ok(None);
        }
    }
    Ok(Some(logps))
}

/// Where rounds share what they computed. The name has all in it that decides the numbers, the order of the rows
/// included, since that decides the packing and so the last bits.
fn shared_file(session: &Session<'_>, rows: &[PreferencePair]) -> Result<Option<PathBuf>> {
    let Some(folder) = session.references else {
        return Ok(None);
    };
    let hash = reference_hash(session.spec, session.model, session.starting_adapter, rows)?;
    Ok(Some(folder.join(format!("{hash}.json"))))
}

fn read(path: &Path) -> Result<Logps> {
    let bytes = fs::read(path).with_context(|| format!("read {path:?}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("read {path:?}"))
}

/// Keeps a file, or that it was of use just now, and removes those that were not for longest.
fn keep(file: &Path, bytes: &[u8]) -> Result<()> {
    let folder = file.parent().context("the file lies in a folder")?;
    fs::create_dir_all(folder)?;
    checkpoint::write_file(file, bytes)?;
    let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        kept.push((entry.metadata()?.modified()?, entry.path()));
    }
    kept.sort();
    for (_, old) in kept.iter().rev().skip(MAX_KEPT) {
        fs::remove_file(old)?;
    }
    Ok(())
}
