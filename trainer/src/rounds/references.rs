//! The reference's log-probabilities of the pairs that a DPO round uses: computed once, before the first step, and
//! kept beside the checkpoints.

use super::{accept::pair_hash, completion_logps, logps::passes, session::Session};
use crate::{checkpoint, data::PreferencePair};
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use std::{collections::HashMap, fs};

pub enum References {
    /// By the tokens of the pair, of the chosen and the rejected completion.
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

/// `None` when the round was asked to stop meanwhile.
pub fn reference_logps(session: &mut Session<'_>) -> Result<Option<References>> {
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
    let rows: Vec<PreferencePair> = session.rows_in_use().into_iter().cloned().collect();
    let mut logps = HashMap::new();
    for pass in passes(&rows.iter().collect::<Vec<_>>()) {
        for (pair, logp) in pass
            .iter()
            .zip(completion_logps(session.model, reference.as_ref(), &pass)?)
        {
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
