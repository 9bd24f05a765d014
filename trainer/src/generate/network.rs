//! The forward pass of generation: new rows of some sequences in, logits out. It walks the same layers as training, over
//! plain slices in main memory, keeps keys and values in the sequences' caches, and records nothing.

use super::{
    cache::Cache,
    layered::{Group, LayeredBlock, numbers, products},
};
use crate::{
    adapters::Adapter,
    model::{Layer, Model},
    ops::{
        elementwise::{Loop, dot, vectorised},
        gate_in_place,
    },
};
use anyhow::Result;
use rayon::prelude::*;

/// Products of numbers in attention that are not worth a second thread.
const SMALL: usize = 1 << 14;

/// A model with the adapters that sequences may ask for.
pub struct Network {
    pub model: Model,
    blocks: Vec<Block>,
    norm: Vec<f32>,
    n_adapters: usize,
}

struct Block {
    layers: LayeredBlock,
    norms: Norms,
}

/// The weights of a block's normalisations.
struct Norms {
    attention: Vec<f32>,
    attention_post: Option<Vec<f32>>,
    query: Option<Vec<f32>>,
    key: Option<Vec<f32>>,
    feed_forward: Vec<f32>,
    feed_forward_post: Option<Vec<f32>>,
}

/// The next rows of one sequence.
pub struct Rows<'a> {
    pub cache: &'a mut Cache,
    pub ids: &'a [u32],
    /// Of the first row.
    pub position: usize,
    /// Among the network's adapters; none for the base.
    pub adapter: Option<usize>,
}

impl Network {
    /// A model whose sequences choose among `adapters`.
    pub fn new(model: &Model, adapters: &[&Adapter]) -> Result<Self> {
        Self::of(model, adapters.len(), &|layer| LayeredBlock::new(layer, adapters))
    }

    /// A model with one adapter in it.
    pub fn merged(model: &Model, adapter: &Adapter) -> Result<Self> {
        Self::of(model, 1, &|layer| LayeredBlock::merged(layer, adapter))
    }

    fn of(
        model: &Model,
        n_adapters: usize,
        layered: &dyn Fn(&Layer) -> candle_core::Result<LayeredBlock>,
    ) -> Result<Self> {
        let block = |layer| {
            Ok(Block {
                layers: layered(layer)?,
                norms: Norms::of(layer)?,
            })
        };
        Ok(Self {
            blocks: model
                .layers
                .iter()
                .map(block)
                .collect::<candle_core::Result<_>>()?,
            norm: numbers(&model.norm)?,
            model: model.clone(),
            n_adapters,
        })
    }

    pub fn n_adapters(&self) -> usize {
        self.n_adapters
    }

    /// Takes new rows through all blocks. The hidden states of each sequence's last row, before the last normalisation:
    /// `(sequences, hidden)`.
    pub fn forward(&self, sequences: &mut [Rows<'_>]) -> Result<Vec<f32>> {
        let config = &self.model.config;
        let ids: Vec<u32> = sequences.iter().flat_map(|rows| rows.ids).copied().collect();
        let mut hidden = numbers(&self.model.embed(&ids)?)?;
        let groups = groups(sequences);
        for (at, (layer, block)) in self.model.layers.iter().zip(&self.blocks).enumerate() {
            let norms = &block.norms;
            let mut x = hidden.clone();
            self.normalise(&mut x, Some(&norms.attention));
            let [mut queries, mut keys, values] = block.layers.qkv.forward(&x, &groups)?;
            self.normalise(&mut queries, norms.query.as_ref());
            self.normalise(&mut keys, norms.key.as_ref());
            let mut attended = self.attention(at, layer, [&mut queries, &mut keys], &values, sequences);
            attended = block.layers.o.forward(&attended, &groups)?;
            self.normalise(&mut attended, norms.attention_post.as_ref());
            add(&mut hidden, &attended);
            x.copy_from_slice(&hidden);
            self.normalise(&mut x, Some(&norms.feed_forward));
            let [mut gate, up] = block.layers.gate_up.forward(&x, &groups)?;
            gate_in_place(config.activation, &mut gate, &up);
            let mut fed = block.layers.down.forward(&gate, &groups)?;
            self.normalise(&mut fed, norms.feed_forward_post.as_ref());
            add(&mut hidden, &fed);
        }
        let mut end = 0;
        let mut last = Vec::with_capacity(sequences.len() * config.hidden);
        for rows in sequences {
            end += rows.ids.len() * config.hidden;
            last.extend_from_slice(&hidden[end - config.hidden..end]);
        }
        Ok(last)
    }

    /// Shapes: `(rows, hidden)` to `(rows, vocab)`.
    pub fn logits(&self, mut hidden: Vec<f32>) -> Result<Vec<f32>> {
        self.normalise(&mut hidden, Some(&self.norm));
        let [mut logits] = products(&hidden, [&self.model.head])?;
        if let Some(cap) = self.model.config.logit_cap {
            let cap = cap as f32;
            logits
                .par_iter_mut()
                .for_each(|logit| *logit = cap * crate::ops::exp::tanh(*logit / cap));
        }
        Ok(logits)
    }

    /// Turns queries and keys, keeps keys and values, and lets every row attend to what it sees.
    fn attention(
        &self,
        at: usize,
        layer: &Layer,
        [queries, keys]: [&mut [f32]; 2],
        values: &[f32],
        sequences: &mut [Rows<'_>],
    ) -> Vec<f32> {
        let config = &self.model.config;
        let d = config.head_dim;
        let (q_width, kv_width) = (config.n_heads * d, config.n_kv_heads * d);
        let positions: Vec<(usize, usize)> = sequences
            .iter()
            .enumerate()
            .flat_map(|(sequence, rows)| (0..rows.ids.len()).map(move |n| (sequence, rows.position + n)))
            .collect();
        let rows = queries
            .chunks_exact_mut(q_width)
            .zip(keys.chunks_exact_mut(kv_width));
        let rows = rows.zip(values.chunks_exact(kv_width));
        for (((query, key), value), &(sequence, position)) in rows.zip(&positions) {
            let heads = query.chunks_exact_mut(d).chain(key.chunks_exact_mut(d));
            heads.for_each(|head| layer.rule.rope.turn(head, position, 1.0));
            sequences[sequence].cache.push(at, key, value);
        }
        // The query heads of one key/value head are one piece of work.
        let share = q_width / config.n_kv_heads;
        let sequences: &[Rows<'_>] = sequences;
        let mut attended = vec![0.0; queries.len()];
        let n_seen: usize = positions.iter().map(|(_, position)| position + 1).sum();
        let piece = 2 * share * n_seen / positions.len().max(1);
        attended
            .par_chunks_exact_mut(share)
            .zip(queries.par_chunks_exact(share))
            .with_min_len((SMALL / piece.max(1)).max(1))
            .enumerate()
            .for_each(|(piece, (out, query))| {
                let (row, kv_head) = (piece / config.n_kv_heads, piece % config.n_kv_heads);
                let (sequence, position) = positions[row];
                let cache = &sequences[sequence].cache;
                cache.attend((at, kv_head), position, query, (config, &layer.rule), out);
            });
        attended
    }

    /// Each stretch as wide as the weight; nothing where there is none.
    fn normalise(&self, x: &mut [f32], weight: Option<&Vec<f32>>) {
        let eps = self.model.config.rms_eps;
        if let Some(weight) = weight {
            vectorised(Normalise { x, weight, eps });
        }
    }
}

impl Norms {
    fn of(layer: &Layer) -> candle_core::Result<Self> {
        let some = |norm: &Option<_>| norm.as_ref().map(numbers).transpose();
        Ok(Self {
            attention: numbers(&layer.attention_norm)?,
            attention_post: some(&layer.attention_post_norm)?,
            query: some(&layer.query_norm)?,
            key: some(&layer.key_norm)?,
            feed_forward: numbers(&layer.feed_forward_norm)?,
            feed_forward_post: some(&layer.feed_forward_post_norm)?,
        })
    }
}

/// Neighbours with the same adapter are one group.
fn groups(sequences: &[Rows<'_>]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut first = 0;
    for rows in sequences {
        let end = first + rows.ids.len();
        match groups.last_mut() {
            Some(last) if last.adapter == rows.adapter => last.rows.end = end,
            _ => groups.push(Group {
                rows: first..end,
                adapter: rows.adapter,
            }),
        }
        first = end;
    }
    groups
}

struct Normalise<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    eps: f64,
}

impl Loop for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for x in self.x.chunks_exact_mut(self.weight.len()) {
            let mean = f64::from(dot(x, x)) / x.len() as f64;
            let scale = (1.0 / (mean + self.eps).sqrt()) as f32;
            for (x, weight) in x.iter_mut().zip(self.weight) {
                *x *= scale * weight;
            }
        }
    }
}

fn add(sums: &mut [f32], more: &[f32]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}
