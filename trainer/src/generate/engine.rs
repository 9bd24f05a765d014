//! The engine: continuous batching. Each step takes one new token of every sequence in a slot through the model in
//! one batch; a sequence that ends frees its slot for the next request.

use super::{
    cache::{Cache, Segment},
    merged::MergedLayer,
    sample,
};
use crate::{
    adapters::Adapter,
    model::Model,
    ops::{gated_value, rms_norm_value},
    rng::{Rng, Stream},
};
use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use laurel_protocol::{FinishReason, Sampling};
use rayon::prelude::*;
use std::{collections::VecDeque, sync::Arc};

/// Sequences in one batch.
const SLOTS: usize = 32;

/// A prompt and which of its completions are wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names the prompt in the random streams, and in [`Finished`].
    pub key: u64,
    pub prompt: Vec<u32>,
    pub indexes: Vec<u32>,
}

/// A finished completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    pub key: u64,
    pub index: u32,
    /// Without the token that ended it.
    pub ids: Vec<u32>,
    /// Of each token of `ids`, at temperature 1.
    pub logprobs: Vec<f32>,
    /// The stop token that ended it and its log-probability, where one did.
    pub end: Option<(u32, f32)>,
    pub reason: FinishReason,
}

/// Samples from a model with an adapter or none. The adapter is merged into a copy of the layers that it changes.
pub struct Engine {
    model: Model,
    layers: Vec<MergedLayer>,
    sampling: Sampling,
    stop_ids: Vec<u32>,
}

struct Slot {
    key: u64,
    index: u32,
    cache: Cache,
    position: u32,
    /// Sampled, not yet taken through the model.
    next: u32,
    ids: Vec<u32>,
    /// Of `ids` and of `next`.
    logprobs: Vec<f32>,
    stream: Stream,
}

impl Engine {
    pub fn new(
        model: &Model,
        adapter: Option<&Adapter>,
        sampling: &Sampling,
        stop_ids: &[u32],
    ) -> Result<Self> {
        let layers = model
            .layers
            .iter()
            .map(|layer| MergedLayer::new(layer, adapter))
            .collect::<candle_core::Result<_>>()?;
        Ok(Self {
            model: model.clone(),
            layers,
            sampling: sampling.clone(),
            stop_ids: stop_ids.to_vec(),
        })
    }

    /// Completes all requests. `finished` takes each completion as it ends and answers whether to go on.
    pub fn run(
        &self,
        requests: Vec<Request>,
        finished: &mut dyn FnMut(Finished) -> Result<bool>,
    ) -> Result<()> {
        self.run_until(&|| false, requests, finished)
    }

    /// The same, asked before every token whether to `stop`.
    pub fn run_until(
        &self,
        stop: &dyn Fn() -> bool,
        requests: Vec<Request>,
        finished: &mut dyn FnMut(Finished) -> Result<bool>,
    ) -> Result<()> {
        let mut requests = VecDeque::from(requests);
        let mut waiting: VecDeque<Slot> = VecDeque::new();
        let mut active: Vec<Slot> = Vec::new();
        loop {
            while active.len() < SLOTS {
                if let Some(slot) = waiting.pop_front() {
                    active.push(slot);
                } else if let Some(request) = requests.pop_front() {
                    waiting.extend(self.prefill(&request)?);
                } else {
                    break;
                }
            }
            if active.is_empty() || stop() {
                return Ok(());
            }
            let mut going = Vec::with_capacity(active.len());
            for slot in active {
                match self.ended(&slot) {
                    None => going.push(slot),
                    Some(reason) => {
                        // The token that was drawn last is not part of the completion.
                        let logprobs = slot.logprobs[..slot.ids.len()].to_vec();
                        let end = slot.logprobs.last().map(|&logprob| (slot.next, logprob));
                        let done = Finished {
                            key: slot.key,
                            index: slot.index,
                            ids: slot.ids,
                            logprobs,
                            end: end.filter(|_| reason == FinishReason::Stop),
                            reason,
                        };
                        if !finished(done)? {
                            return Ok(());
                        }
                    }
                }
            }
            active = going;
            if !active.is_empty() {
                self.step(&mut active)?;
            }
        }
    }

    /// Whether the token sampled last ends the sequence; otherwise it belongs to it.
    fn ended(&self, slot: &Slot) -> Option<FinishReason> {
        if self.stop_ids.contains(&slot.next) {
            return Some(FinishReason::Stop);
        }
        let full = slot.position as usize + 1 >= self.model.config.max_positions;
        (full || slot.ids.len() >= self.sampling.max_tokens as usize).then_some(FinishReason::Length)
    }

    /// Takes a prompt through the model once and samples the first token of each of its completions.
    fn prefill(&self, request: &Request) -> Result<Vec<Slot>> {
        let n = request.prompt.len();
        ensure!(n > 0, "a prompt is empty");
        ensure!(
            n < self.model.config.max_positions,
            "a prompt has {n} tokens; the model reads at most {}",
            self.model.config.max_positions
        );
        let mut cache = Cache {
            prompt: None,
            own: Segment::new(self.layers.len()),
        };
        let positions: Vec<u32> = (0..n as u32).collect();
        let hidden = self.forward(&request.prompt, &positions, &mut [&mut cache])?;
        let logits = self.logits(&hidden.narrow(0, n - 1, 1)?)?;
        let prompt = Arc::new(cache.own);
        let rng = Rng::new(self.sampling.seed);
        let slots = request.indexes.iter().map(|&index| {
            let mut stream = rng.stream(&format!("completion {}", request.key), u64::from(index));
            let (next, logprob) = sample::draw(&logits, &self.sampling, &mut stream)?;
            Ok(Slot {
                key: request.key,
                index,
                cache: Cache {
                    prompt: Some(prompt.clone()),
                    own: Segment::new(self.layers.len()),
                },
                position: n as u32,
                next,
                ids: Vec::new(),
                logprobs: vec![logprob],
                stream,
            })
        });
        slots.collect()
    }

    /// One token of each sequence.
    fn step(&self, slots: &mut [Slot]) -> Result<()> {
        let ids: Vec<u32> = slots.iter().map(|slot| slot.next).collect();
        let positions: Vec<u32> = slots.iter().map(|slot| slot.position).collect();
        let mut caches: Vec<&mut Cache> = slots.iter_mut().map(|slot| &mut slot.cache).collect();
        let hidden = self.forward(&ids, &positions, &mut caches)?;
        let logits = self.logits(&hidden)?;
        let vocab = self.model.config.vocab;
        slots
            .par_iter_mut()
            .zip(logits.par_chunks_exact(vocab))
            .try_for_each(|(slot, logits)| {
                slot.ids.push(slot.next);
                let (next, logprob) = sample::draw(logits, &self.sampling, &mut slot.stream)?;
                slot.next = next;
                slot.position += 1;
                slot.logprobs.push(logprob);
                Ok(())
            })
    }

    /// Rows through all blocks. With one cache, all rows are that sequence's, in order; else row i is cache i's.
    fn forward(&self, ids: &[u32], positions: &[u32], caches: &mut [&mut Cache]) -> Result<Tensor> {
        let config = &self.model.config;
        let (kv_width, q_width) = (
            config.n_kv_heads * config.head_dim,
            config.n_heads * config.head_dim,
        );
        let mut hidden = self.model.embed(ids)?;
        for (at, (layer, merged)) in self.model.layers.iter().zip(&self.layers).enumerate() {
            let rule = (config, &layer.rule);
            let x = rms_norm_value(&hidden, &layer.attention_norm, config.rms_eps)?;
            let [queries, keys, values] = merged.qkv.forward(&x)?;
            let queries = self.norm_if_there(queries, layer.query_norm.as_ref())?;
            let keys = self.norm_if_there(keys, layer.key_norm.as_ref())?;
            let queries = numbers(&layer.rule.rope.apply(&queries, positions)?)?;
            let keys = numbers(&layer.rule.rope.apply(&keys, positions)?)?;
            let values = numbers(&values)?;
            let mut attended = vec![0.0; ids.len() * q_width];
            let rows = queries
                .chunks_exact(q_width)
                .zip(keys.chunks_exact(kv_width).zip(values.chunks_exact(kv_width)));
            if let [cache] = caches {
                for ((query, (key, value)), out) in rows.zip(attended.chunks_exact_mut(q_width)) {
                    cache.push(at, key, value);
                    cache.attend(at, query, rule, out);
                }
            } else {
                let rows: Vec<_> = rows.zip(attended.chunks_exact_mut(q_width)).collect();
                caches
                    .par_iter_mut()
                    .zip(rows)
                    .for_each(|(cache, ((query, (key, value)), out))| {
                        cache.push(at, key, value);
                        cache.attend(at, query, rule, out);
                    });
            }
            let attended = Tensor::from_vec(attended, (ids.len(), q_width), &self.model.device)?;
            let attended = merged.o.forward(&attended)?;
            hidden = (hidden + self.norm_if_there(attended, layer.attention_post_norm.as_ref())?)?;
            let x = rms_norm_value(&hidden, &layer.feed_forward_norm, config.rms_eps)?;
            let [gate, up] = merged.gate_up.forward(&x)?;
            let fed = merged
                .down
                .forward(&gated_value(config.activation, &gate, &up)?)?;
            hidden = (hidden + self.norm_if_there(fed, layer.feed_forward_post_norm.as_ref())?)?;
        }
        Ok(hidden)
    }

    fn norm_if_there(&self, x: Tensor, norm: Option<&Tensor>) -> candle_core::Result<Tensor> {
        match norm {
            Some(norm) => rms_norm_value(&x, norm, self.model.config.rms_eps),
            None => Ok(x),
        }
    }

    fn logits(&self, hidden: &Tensor) -> Result<Vec<f32>> {
        let states = rms_norm_value(hidden, &self.model.norm, self.model.config.rms_eps)?;
        numbers(&self.model.logits(&states)?)
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Family, tiny},
        rounds::cli::id_logps,
    };
    use candle_core::quantized::GgmlDType;
    use laurel_protocol::adapter::{AdapterConfig, LoraConfig};

    fn complete(engine: &Engine, requests: Vec<Request>) -> Vec<Finished> {
        let mut all = Vec::new();
        engine
            .run(requests, &mut |finished| {
                all.push(finished);
                Ok(true)
            })
            .unwrap();
        all.sort_by_key(|finished| (finished.key, finished.index));
        all
    }

    fn request(key: u64, indexes: std::ops::Range<u32>) -> Request {
        Request {
            key,
            prompt: vec![1 + key as u32, 5, 9],
            indexes: indexes.collect(),
        }
    }

    fn sampling() -> Sampling {
        Sampling {
            temperature: 1.0,
            top_p: 1.0,
            max_tokens: 12,
            seed: 3,
        }
    }

    #[test]
    fn a_completion_does_not_depend_on_what_else_is_in_the_batch() {
        let engine = Engine::new(&tiny::model(0), None, &sampling(), &[2]).unwrap();
        let together = complete(&engine, (0..7).map(|key| request(key, 0..5)).collect());
        assert_eq!(together.len(), 35);
        let alone = complete(&engine, vec![request(3, 2..3)]);
        let same = together.iter().find(|it| (it.key, it.index) == (3, 2)).unwrap();
        assert_eq!(alone[0].ids, same.ids);
    }

    #[test]
    fn sampled_log_probabilities_agree_with_the_training_forward() {
        let ia3 = AdapterConfig::ia3();
        let families = Family::ALL.map(|family| (tiny::of(family, 0), AdapterConfig::default()));
        let dora = AdapterConfig::Lora(LoraConfig {
            use_dora: true,
            ..LoraConfig::default()
        });
        // With biases, and with fused layers.
        let others = [ia3.clone(), dora.clone()].into_iter().flat_map(|config| {
            let models = [tiny::biased_model(0), tiny::of(Family::Phi3, 0)];
            models.map(|model| (model, config.clone()))
        });
        // Held in blocks, the adapter is computed beside the base instead of merged into it.
        let blocks = |model: Model| model.held(&|matrix| matrix.quantise(GgmlDType::F16).unwrap());
        let held =
            [AdapterConfig::default(), ia3, dora].map(|config| (blocks(tiny::biased_model(0)), config));
        let fused = (blocks(tiny::of(Family::Phi3, 0)), AdapterConfig::default());
        for (model, config) in families.into_iter().chain(others).chain(held).chain([fused]) {
            let adapter = Adapter::init(&config, &model, &Rng::new(1)).unwrap();
            tiny::disturb(&adapter, 0.2);
            let engine = Engine::new(&model, Some(&adapter), &sampling(), &[]).unwrap();
            for done in complete(&engine, vec![request(0, 0..3)]) {
                assert_eq!((done.ids.len(), done.reason), (12, FinishReason::Length));
                let ids = [vec![1, 5, 9], done.ids.clone()].concat();
                let expected = id_logps(&model, Some(&adapter), &ids, 3).unwrap();
                assert_eq!(done.logprobs.len(), expected.len());
                for (sampled, trained) in done.logprobs.iter().zip(expected) {
                    let family = model.config.family;
                    assert!(
                        (sampled - trained).abs() < 1e-3,
                        "{family:?}: {sampled} against {trained}"
                    );
                }
            }
        }
    }
}
