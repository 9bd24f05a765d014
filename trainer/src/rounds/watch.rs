//! Watches the held-out loss of a round: when to stop early, and which weights were the best so far. What it knows
//! is part of a checkpoint, so that a resumed round stops and keeps as the uninterrupted one does.

use crate::adapters::Adapter;
use anyhow::{Context, Result};
use candle_core::Tensor;
use laurel_protocol::{Hyper, Keep};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

#[derive(Default)]
pub struct Watch {
    pub seen: Seen,
    /// The best evaluation's weights, where they are to be kept.
    weights: Option<BTreeMap<String, Tensor>>,
}

/// What the evaluations have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub best: Option<Best>,
    /// Evaluations in a row since then.
    pub n_since_best: u32,
}

/// The evaluation with the lowest held-out loss, of equals the first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: u64,
    pub loss: f64,
}

impl Watch {
    /// Takes note of an evaluation of `adapter` as it is after `step`.
    pub fn see(&mut self, step: u64, loss: f64, adapter: &Adapter, hyper: &Hyper) -> Result<()> {
        if self.seen.best.is_some_and(|best| loss >= best.loss) {
            self.seen.n_since_best += 1;
            return Ok(());
        }
        self.seen = Seen {
            best: Some(Best { step, loss }),
            n_since_best: 0,
        };
        if hyper.keep == Keep::Best {
            // The variables change in place, so their numbers are copied.
            let copies = adapter
                .variables()
                .into_iter()
                .map(|(name, var)| Ok((name, var.as_tensor().detach().copy()?)));
            self.weights = Some(copies.collect::<Result<_>>()?);
        }
        Ok(())
    }

    /// Whether patience has run out.
    pub fn is_over(&self, hyper: &Hyper) -> bool {
        hyper.patience > 0 && self.seen.n_since_best >= hyper.patience
    }

    /// For a checkpoint.
    pub fn weights(&self) -> Option<&BTreeMap<String, Tensor>> {
        self.weights.as_ref()
    }

    /// From a checkpoint.
    pub fn restore(&mut self, seen: Seen, weights: Option<HashMap<String, Tensor>>) {
        self.seen = seen;
        self.weights = weights.map(|weights| weights.into_iter().collect());
    }

    /// Puts the best weights into the adapter, where they are kept; answers the step they are of.
    pub fn put_best(&self, adapter: &Adapter) -> Result<Option<u64>> {
        let (Some(best), Some(weights)) = (self.seen.best, &self.weights) else {
            return Ok(None);
        };
        for (name, var) in adapter.variables() {
            let weight = weights
                .get(&name)
                .with_context(|| format!("the best weights have no {name:?}"))?;
            var.set(weight)?;
        }
        Ok(Some(best.step))
    }
}
