//! What a round takes in memory, told before it begins: from the shapes of the model, the adapter and the longest pass,
//! without reading a weight. An upper bound of what a process on the CPU keeps at once; the tests and
//! docs/TRAINING.md compare it with what was measured.

use crate::{
    adapters::Sizes,
    model::{Config, Facts},
    ops::LOGIT_ROWS,
};
use laurel_protocol::{AdapterConfig, Precision};
use std::collections::BTreeSet;

/// The program, the tokenizer, the rows, and what the allocator keeps back.
const FIXED: usize = 80 << 20;
const F32: usize = 4;

/// Bytes of the base model's weights, by what they are held in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct WeightBytes {
    pub f32: usize,
    pub bf16: usize,
    pub quantized: usize,
}

impl WeightBytes {
    pub fn of(facts: &Facts) -> Self {
        let (mut sums, mut vectors) = ([0; 3], 0);
        for tensor in &facts.tensors {
            let n: usize = tensor.shape.iter().product();
            match tensor.shape.as_slice() {
                [_, columns] => {
                    // Q8_0: 34 bytes for 32 numbers, where a row is a whole number of them.
                    let quantised = match (facts.is_gguf, columns.is_multiple_of(32)) {
                        (true, _) => tensor.n_bytes,
                        (false, true) => n / 32 * 34,
                        (false, false) => n * F32,
                    };
                    sums = [sums[0] + F32 * n, sums[1] + 2 * n, sums[2] + quantised];
                }
                _ => vectors += n * F32,
            }
        }
        // Cosines and sines of every position, twice: as tensors and as the table of the fused form.
        let ropes: BTreeSet<usize> = (0..facts.config.n_layers)
            .map(|layer| facts.config.rope_of(layer).rotary_dim)
            .collect();
        let rest = vectors + ropes.iter().sum::<usize>() * facts.config.max_positions * 2 * F32;
        let [f32, bf16, quantized] = sums.map(|sum| sum + rest);
        Self { f32, bf16, quantized }
    }

    pub fn held_in(&self, precision: Precision) -> usize {
        match precision {
            Precision::F32 => self.f32,
            Precision::Bf16 => self.bf16,
            Precision::Quantized => self.quantized,
        }
    }

    /// For a log: megabytes in each choice.
    pub fn text(&self) -> String {
        let [f32, bf16, quantized] = [self.f32, self.bf16, self.quantized].map(bytes);
        format!("{f32} in f32, {bf16} in bf16, {quantized} quantised")
    }
}

/// What decides a round's memory beside the weights.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    pub precision: Precision,
    pub adapter: &'a AdapterConfig,
    /// Tokens of the longest pass, shared prompts once.
    pub pass_tokens: usize,
    pub gradient_checkpointing: bool,
    /// Whether the round samples from the model with its adapter, as a worker does before and after.
    pub samples: bool,
    /// Tokens of prompts and answers whose keys and values the sampling keeps at once.
    pub cached_tokens: usize,
}

/// Bytes of a round, part by part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RoundBytes {
    pub weights: usize,
    /// Trained weights, their gradients and moments, and the frozen copy that the round starts from.
    pub adapter: usize,
    /// Of the forward pass, and what the backward pass has in hand at once; at most.
    pub activations: usize,
    pub fixed: usize,
    /// While sampling: the layers that the adapter was merged into, keys and values.
    pub sampling: usize,
}

impl RoundBytes {
    pub fn of(facts: &Facts, plan: &Plan<'_>) -> Self {
        let weights = WeightBytes::of(facts).held_in(plan.precision);
        let config = &facts.config;
        let (n_trained, n_changed) = adapted(facts, plan.adapter);
        Self {
            weights,
            // Weight, gradient, two moments, what the update computes with, and the copy at the start.
            adapter: 6 * F32 * n_trained,
            activations: activations(config, plan),
            fixed: FIXED + scratch(config, plan.precision),
            sampling: match (plan.samples, plan.precision) {
                (true, Precision::F32) => F32 * n_changed,
                _ => 0,
            } + F32
                * plan.cached_tokens
                * config.n_layers
                * 2
                * config.n_kv_heads
                * config.head_dim,
        }
    }

    /// Training and sampling do not happen at once.
    pub fn total(&self) -> usize {
        self.weights + self.fixed + (self.adapter + self.activations).max(self.sampling)
    }
}

/// Numbers of the adapter, and of the base matrices that it changes.
fn adapted(facts: &Facts, adapter: &AdapterConfig) -> (usize, usize) {
    let (mut trained, mut changed) = (0, 0);
    // Patterns that are none end the round where its adapter is made.
    let Ok(sizes) = Sizes::of(adapter) else {
        return (0, 0);
    };
    for tensor in &facts.tensors {
        let (Some(path), [n_out, n_in]) = (tensor.name.strip_suffix(".weight"), tensor.shape.as_slice())
        else {
            continue;
        };
        if let Ok(Some(n)) = sizes.n_trained(path, (*n_out, *n_in)) {
            changed += n_out * n_in;
            trained += n;
        }
    }
    (trained, changed)
}

fn activations(config: &Config, plan: &Plan<'_>) -> usize {
    let (hidden, inner) = (config.hidden, config.inner);
    let (q, kv) = (
        config.n_heads * config.head_dim,
        config.n_kv_heads * config.head_dim,
    );
    // x Aᵀ of each layer, and for DoRA what the turned weight gives.
    let adapter = match plan.adapter {
        AdapterConfig::Lora(lora) => {
            let patterns = lora.rank_pattern.0.iter().map(|(_, rank)| rank);
            let rank = patterns
                .chain([&lora.rank])
                .max()
                .map_or(0, |&rank| rank as usize);
            let turned = if lora.use_dora {
                q + 2 * kv + 2 * hidden + 2 * inner
            } else {
                0
            };
            7 * rank + turned
        }
        AdapterConfig::Ia3(_) => 0,
    };
    let more_norms = if config.family.is_gemma() { 2 * hidden } else { 0 };
    // Kept of a block for its backward pass: the hidden states before and after attention, both normalised; q, k, v
    // and what attention gives; gate, up and their product; what the adapter adds.
    let block = 4 * hidden + more_norms + 2 * q + 2 * kv + 3 * inner + adapter;
    let kept = match plan.gradient_checkpointing {
        // The input of each block, and one block whole.
        true => config.n_layers * hidden + block,
        false => config.n_layers * block,
    };
    // In hand in the backward pass of a block: gradients of the widest part, and of the hidden states.
    let in_hand = 3 * inner + 3 * hidden;
    // The states of all tokens, their gradient, and the logits of some.
    let head = 3 * hidden * plan.pass_tokens + LOGIT_ROWS.min(plan.pass_tokens) * config.vocab;
    F32 * (plan.pass_tokens * (kept + in_hand) + head)
}

/// The f32 numbers of a panel of a quantised matrix.
fn scratch(config: &Config, precision: Precision) -> usize {
    match precision {
        Precision::Quantized => F32 * crate::ops::PANEL.max(config.hidden.max(config.inner)),
        _ => 0,
    }
}

/// What this machine has left for a new process, where the system tells.
pub fn available() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: usize = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// For people: `538 MB`, `1.7 GB`.
pub fn bytes(n: usize) -> String {
    match n {
        0..1_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        1_000_000..1_000_000_000 => format!("{:.0} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{StoredTensor, tiny};

    fn facts(is_gguf: bool) -> Facts {
        let tensor = |name: &str, shape: &[usize], n_bytes| StoredTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            dtype: "q4_0".to_owned(),
            n_bytes,
        };
        Facts {
            config: tiny::wide(0).config.clone(),
            is_gguf,
            tensors: vec![
                tensor("model.embed_tokens.weight", &[40, 64], 1440),
                tensor("model.layers.0.mlp.up_proj.weight", &[96, 64], 3456),
                tensor("model.norm.weight", &[64], 256),
            ],
        }
    }

    fn plan(adapter: &AdapterConfig) -> Plan<'_> {
        Plan {
            precision: Precision::F32,
            adapter,
            pass_tokens: 100,
            gradient_checkpointing: false,
            samples: false,
            cached_tokens: 0,
        }
    }

    #[test]
    fn weights_count_matrices_by_what_they_are_held_in() {
        let n = 40 * 64 + 96 * 64;
        let rest = 64 * 4 + 2 * 4 * 256 * 16;
        let expected = WeightBytes {
            f32: 4 * n + rest,
            bf16: 2 * n + rest,
            quantized: 1440 + 3456 + rest,
        };
        assert_eq!(WeightBytes::of(&facts(true)), expected);
        let q8 = WeightBytes::of(&facts(false)).quantized;
        assert_eq!(q8, n / 32 * 34 + rest);
        let odd = StoredTensor {
            name: "model.layers.0.mlp.down_proj.weight".to_owned(),
            shape: vec![2, 31],
            dtype: "bf16".to_owned(),
            n_bytes: 124,
        };
        let mut facts = facts(false);
        facts.tensors.push(odd);
        assert_eq!(WeightBytes::of(&facts).quantized, q8 + 4 * 62);
    }

    #[test]
    fn longer_passes_larger_ranks_and_samples_take_more_and_checkpointing_less() {
        let (small, large) = (AdapterConfig::default(), AdapterConfig::lora(64, 1.0));
        let facts = facts(true);
        let base = RoundBytes::of(&facts, &plan(&small));
        // Weight, gradient, moments …: six times rank 16 over the one layer that the adapter changes.
        assert_eq!(base.adapter, 6 * 4 * 16 * (96 + 64));
        assert!(RoundBytes::of(&facts, &plan(&large)).adapter == 4 * base.adapter);
        let longer = Plan {
            pass_tokens: 200,
            ..plan(&small)
        };
        assert!(RoundBytes::of(&facts, &longer).activations > base.activations * 3 / 2);
        let checkpointed = Plan {
            gradient_checkpointing: true,
            ..plan(&small)
        };
        assert!(RoundBytes::of(&facts, &checkpointed).activations < base.activations);
        let samples = Plan {
            samples: true,
            ..plan(&small)
        };
        assert_eq!(RoundBytes::of(&facts, &samples).sampling, 4 * 96 * 64);
        // Two layers with two heads of 16 for keys and as many for values.
        let cached = Plan {
            cached_tokens: 10,
            ..samples
        };
        assert_eq!(
            RoundBytes::of(&facts, &cached).sampling,
            4 * (96 * 64 + 10 * 2 * 2 * 2 * 16)
        );
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(
            [538_000_000, 1_660_000_000, 400_000].map(bytes),
            ["538 MB", "1.7 GB", "0.4 MB"]
        );
    }
}
