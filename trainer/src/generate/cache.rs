//! The key/value cache of one sequence, and attention over it. Prompt rows are shared between the samples of a
//! prompt; a sequence's own rows come behind them.

use crate::{
    model::{AttentionRule, Config},
    ops::exp::tanh,
};
use std::sync::Arc;

/// Keys and values of one layer, row after row, `(rows, kv_heads · head_dim)`.
#[derive(Clone, Default)]
pub struct Rows {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// Keys and values of some rows, by layer.
#[derive(Clone)]
pub struct Segment(pub Vec<Rows>);

impl Segment {
    pub fn new(n_layers: usize) -> Self {
        Self(vec![Rows::default(); n_layers])
    }
}

/// What one sequence has seen.
pub struct Cache {
    pub prompt: Option<Arc<Segment>>,
    pub own: Segment,
}

impl Cache {
    pub fn push(&mut self, layer: usize, key: &[f32], value: &[f32]) {
        let rows = &mut self.own.0[layer];
        rows.keys.extend_from_slice(key);
        rows.values.extend_from_slice(value);
    }

    /// Attention of one row's query over the rows so far that it sees, the newest included: `softmax(f q Kᵀ) V` a
    /// head, f q Kᵀ capped where the rule says so.
    pub fn attend(
        &self,
        layer: usize,
        query: &[f32],
        (config, rule): (&Config, &AttentionRule),
        out: &mut [f32],
    ) {
        let d = config.head_dim;
        let width = config.n_kv_heads * d;
        let share = config.n_heads / config.n_kv_heads;
        let scale = rule.factor as f32;
        let segments = self
            .prompt
            .iter()
            .map(|prompt| &prompt.0[layer])
            .chain([&self.own.0[layer]]);
        let n_rows: usize = segments.clone().map(|rows| rows.keys.len() / width).sum();
        // Rows that the window hides, from the first on.
        let mut hidden = rule.first_seen(n_rows.saturating_sub(1));
        let mut seen: Vec<(&[f32], &[f32])> = Vec::with_capacity(2);
        for rows in segments {
            let skipped = hidden.min(rows.keys.len() / width);
            hidden -= skipped;
            seen.push((&rows.keys[skipped * width..], &rows.values[skipped * width..]));
        }
        let mut weights = Vec::new();
        for head in 0..config.n_heads {
            let q = &query[head * d..(head + 1) * d];
            let at = (head / share) * d;
            weights.clear();
            for (keys, _) in &seen {
                let keys = keys.chunks_exact(width);
                weights.extend(keys.map(|key| dot(q, &key[at..at + d]) * scale));
            }
            if let Some(cap) = rule.cap {
                let cap = cap as f32;
                weights
                    .iter_mut()
                    .for_each(|score| *score = cap * tanh(*score / cap));
            }
            let top = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut total = 0.0;
            for weight in &mut weights {
                *weight = (*weight - top).exp();
                total += *weight;
            }
            let out = &mut out[head * d..(head + 1) * d];
            out.fill(0.0);
            let values = seen.iter().flat_map(|(_, values)| values.chunks_exact(width));
            for (weight, value) in weights.iter().zip(values) {
                let weight = weight / total;
                for (sum, x) in out.iter_mut().zip(&value[at..at + d]) {
                    *sum += weight * x;
                }
            }
        }
    }
}

/// Eight sums side by side, so that the compiler can use wide registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for at in 0..8 {
            sums[at] += x[at] * y[at];
        }
    }
    sums.iter().sum::<f32>() + rest
}
