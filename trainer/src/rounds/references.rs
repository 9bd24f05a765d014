//! The reference's log-probabilities of what a DPO or KTO round uses: computed once, before the first step, and
//! kept beside the checkpoints.

use super::{
    accept::pair_hash,
    completion_logps,
    logps::{answer_logps, passes},
    session::Session,
};
use crate::{checkpoint, data::PreferencePair};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use std::{collections::HashMap, fs};

pub enum References {
    /// By the tokens of the pair, of the chosen and the rejected completion (0 where there is none).
    Logps(HashMap<String, (f32, f32)>),
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
    if let Ok(bytes) = fs::read(&path) {
        let saved = serde_json::from_slice(&bytes).with_context(|| format!("read {path:?}"))?;
        session.info("The reference's log-probabilities come from the earlier attempt");
        return Ok(Some(References::Logps(saved)));
    }
    // A fresh LoRA changes nothing (B is zero): then the reference is the base model.
    let reference = session
        .starting_adapter
        .map(|adapter| adapter.frozen_copy())
        .transpose()?;
    let rows = wanted(session);
    let mut logps = HashMap::new();
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
    fs::create_dir_all(session.checkpoints())?;
    checkpoint::write_file(&path, &serde_json::to_vec(&logps)?)?;
    Ok(Some(References::Logps(logps)))
}
