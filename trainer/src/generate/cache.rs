//! The key/value cache of one sequence, and attention over it. Prompt rows are shared between the samples of a
//! prompt; a sequence's own rows come behind them.

use crate::{
    model::{AttentionRule, Config},
    ops::{
        elementwise::{Loop, highest, sum, vectorised},
        exp::{exp, tanh},
    },
};
use std::sync::Arc;

/// Rows whose keys lie side by side, so that the scores of as many are vector instructions.
const BLOCK: usize = 16;
/// Components of a head that are summed side by side.
const LANES: usize = 32;

/// Keys and values of one layer.
#[derive(Clone, Default)]
pub struct Rows {
    n: usize,
    /// `(blocks, kv_heads · head_dim, BLOCK)`; zero behind the last row.
    keys: Vec<f32>,
    /// `(rows, kv_heads · head_dim)`
    values: Vec<f32>,
}

impl Rows {
    fn push(&mut self, key: &[f32], value: &[f32]) {
        let at = self.n % BLOCK;
        if at == 0 {
            self.keys.resize(self.keys.len() + key.len() * BLOCK, 0.0);
        }
        let block = self.keys.len() - key.len() * BLOCK;
        for (place, key) in self.keys[block + at..].iter_mut().step_by(BLOCK).zip(key) {
            *place = *key;
        }
        self.values.extend_from_slice(value);
        self.n += 1;
    }
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
        self.own.0[layer].push(key, value);
    }

    /// Attention of the query heads of one key/value head in the row at `position` over the rows that it sees, itself
    /// included: `softmax(f q Kᵀ) V` a head, f q Kᵀ capped where the rule says so. Shapes: query and out
    /// `(heads / kv_heads, head_dim)`.
    pub fn attend(
        &self,
        (layer, kv_head): (usize, usize),
        position: usize,
        query: &[f32],
        (config, rule): (&Config, &AttentionRule),
        out: &mut [f32],
    ) {
        let prompt = self.prompt.as_ref().map(|prompt| &prompt.0[layer]);
        let head = Head {
            segments: [prompt, Some(&self.own.0[layer])],
            seen: rule.first_seen(position)..position + 1,
            width: config.n_kv_heads * config.head_dim,
            at: kv_head * config.head_dim,
            query,
            factor: rule.factor as f32,
            cap: rule.cap.map(|cap| cap as f32),
            head_dim: config.head_dim,
        };
        vectorised(Attend { head, out });
    }
}

struct Attend<'a> {
    head: Head<'a>,
    out: &'a mut [f32],
}

/// The query heads of a key/value head, and what they see.
struct Head<'a> {
    segments: [Option<&'a Rows>; 2],
    /// Rows that the query sees.
    seen: std::ops::Range<usize>,
    /// Components of a row, of them the head's first.
    width: usize,
    at: usize,
    head_dim: usize,
    query: &'a [f32],
    factor: f32,
    cap: Option<f32>,
}

impl Loop for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { head, out } = self;
        let d = head.head_dim;
        let mut weights = Vec::with_capacity(head.seen.len());
        for (query, out) in head.query.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
            weights.clear();
            for (rows, seen) in parts(&head.segments, &head.seen) {
                head.scores(rows, seen, query, &mut weights);
            }
            if let Some(cap) = head.cap {
                weights
                    .iter_mut()
                    .for_each(|score| *score = cap * tanh(*score / cap));
            }
            let top = highest(&weights);
            weights.iter_mut().for_each(|weight| *weight = exp(*weight - top));
            let share = 1.0 / sum(&weights);
            out.fill(0.0);
            let mut rest = weights.as_slice();
            for (rows, seen) in parts(&head.segments, &head.seen) {
                let (weights, behind) = rest.split_at(seen.len());
                rest = behind;
                let values = &rows.values[seen.start * head.width..seen.end * head.width];
                head.mix(values, weights, out);
            }
            out.iter_mut().for_each(|sum| *sum *= share);
        }
    }
}

impl Head<'_> {
    /// Adds the scores of the rows `seen` of a segment.
    #[inline(always)]
    fn scores(&self, rows: &Rows, seen: std::ops::Range<usize>, query: &[f32], scores: &mut Vec<f32>) {
        for block in seen.start / BLOCK..seen.end.div_ceil(BLOCK) {
            let keys = &rows.keys[(block * self.width + self.at) * BLOCK..];
            let mut sums = [0.0_f32; BLOCK];
            for (q, keys) in query.iter().zip(keys.as_chunks::<BLOCK>().0) {
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum += q * key;
                }
            }
            let first = seen.start.max(block * BLOCK) - block * BLOCK;
            let end = seen.end.min((block + 1) * BLOCK) - block * BLOCK;
            scores.extend(sums[first..end].iter().map(|sum| sum * self.factor));
        }
    }

    /// Adds the values of rows by weight.
    #[inline(always)]
    fn mix(&self, values: &[f32], weights: &[f32], out: &mut [f32]) {
        let (wide, rest) = out.as_chunks_mut::<LANES>();
        let n_wide = wide.len() * LANES;
        for (at, out) in wide.iter_mut().enumerate() {
            let mut sums = *out;
            for (weight, row) in weights.iter().zip(values.chunks_exact(self.width)) {
                let value: &[f32] = &row[self.at + at * LANES..][..LANES];
                for (sum, x) in sums.iter_mut().zip(value) {
                    *sum += weight * x;
                }
            }
            *out = sums;
        }
        for (weight, row) in weights.iter().zip(values.chunks_exact(self.width)) {
            for (sum, x) in rest.iter_mut().zip(&row[self.at + n_wide..]) {
                *sum += weight * x;
            }
        }
    }
}

/// The segments with the rows of each that are seen.
#[inline(always)]
fn parts<'a>(
    segments: &[Option<&'a Rows>; 2],
    seen: &std::ops::Range<usize>,
) -> impl Iterator<Item = (&'a Rows, std::ops::Range<usize>)> {
    let mut before = 0;
    let (start, end) = (seen.start, seen.end);
    segments.iter().flatten().filter_map(move |&rows| {
        let from = start.saturating_sub(before).min(rows.n);
        let to = end.saturating_sub(before).min(rows.n);
        before += rows.n;
        (from < to).then_some((rows, from..to))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Family, tiny},
        rng::Rng,
    };

    /// Softmax attention written down as it is defined, in f64.
    fn plain(
        config: &Config,
        rule: &AttentionRule,
        rows: &[(Vec<f32>, Vec<f32>)],
        query: &[f32],
    ) -> Vec<f64> {
        let (d, share) = (config.head_dim, config.n_heads / config.n_kv_heads);
        let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum() };
        let mut out = Vec::new();
        for (head, query) in query.chunks_exact(d).enumerate() {
            let at = head / share * d;
            let scores = rows[rule.first_seen(rows.len() - 1)..].iter().map(|(key, _)| {
                let score = dot(query, &key[at..at + d]) * rule.factor;
                rule.cap.map_or(score, |cap| cap * (score / cap).tanh())
            });
            let weights: Vec<f64> = scores.map(f64::exp).collect();
            let total: f64 = weights.iter().sum();
            for i in 0..d {
                let values = rows[rule.first_seen(rows.len() - 1)..]
                    .iter()
                    .map(|(_, value)| value[at + i]);
                out.push(
                    weights
                        .iter()
                        .zip(values)
                        .map(|(w, v)| w / total * f64::from(v))
                        .sum(),
                );
            }
        }
        out
    }

    #[test]
    fn attention_over_prompt_and_own_rows_is_the_definition() {
        // A window of three, capped scores; a head wider than the lanes and one narrower.
        for (family, head_dim) in [(Family::Gemma2, 6), (Family::Llama, 6), (Family::Llama, 40)] {
            let model = tiny::of(family, 0);
            let config = Config {
                head_dim,
                ..model.config.clone()
            };
            let rule = &model.layers[0].rule;
            let mut stream = Rng::new(1).stream("rows", 0);
            let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| stream.normal() as f32).collect() };
            let width = config.n_kv_heads * head_dim;
            let mut cache = Cache {
                prompt: None,
                own: Segment::new(1),
            };
            let mut rows = Vec::new();
            for n in 0..40 {
                if n == 19 {
                    let own = std::mem::replace(&mut cache.own, Segment::new(1));
                    cache.prompt = Some(Arc::new(own));
                }
                let (key, value) = (numbers(width), numbers(width));
                cache.push(0, &key, &value);
                rows.push((key, value));
                let query = numbers(config.n_heads * head_dim);
                let expected = plain(&config, rule, &rows, &query);
                let mut ours = vec![0.0; query.len()];
                let each = query.len() / config.n_kv_heads;
                let parts = query.chunks_exact(each).zip(ours.chunks_exact_mut(each));
                for (kv_head, (query, out)) in parts.enumerate() {
                    cache.attend((0, kv_head), n, query, (&config, rule), out);
                }
                for (ours, expected) in ours.iter().zip(expected) {
                    assert!((f64::from(*ours) - expected).abs() < 1e-5, "{family:?}, row {n}");
                }
            }
        }
    }
}
