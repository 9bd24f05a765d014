//! The key/value cache of one sequence, and attention over it. Prompt rows are shared between the samples of a
//! prompt; a sequence's own rows come behind them.

use crate::model::Config;
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

    /// Attention of one row's query over all rows so far, the newest included: `softmax(q Kᵀ / √d) V` a head.
    pub fn attend(&self, layer: usize, query: &[f32], config: &Config, out: &mut [f32]) {
        let d = config.head_dim;
        let width = config.n_kv_heads * d;
        let share = config.n_heads / config.n_kv_heads;
        let scale = 1.0 / (d as f32).sqrt();
        let segments = self
            .prompt
            .iter()
            .map(|prompt| &prompt.0[layer])
            .chain([&self.own.0[layer]]);
        let segments: Vec<&Rows> = segments.collect();
        let mut weights = Vec::new();
        for head in 0..config.n_heads {
            let q = &query[head * d..(head + 1) * d];
            let at = (head / share) * d;
            weights.clear();
            for rows in &segments {
                let keys = rows.keys.chunks_exact(width);
                weights.extend(keys.map(|key| dot(q, &key[at..at + d]) * scale));
            }
            let top = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut total = 0.0;
            for weight in &mut weights {
                *weight = (*weight - top).exp();
                total += *weight;
            }
            let out = &mut out[head * d..(head + 1) * d];
            out.fill(0.0);
            let values = segments.iter().flat_map(|rows| rows.values.chunks_exact(width));
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
