//! A decoder of random weights, small enough that a test trains it in a second.

use super::{Config, Layer, Linear, Model, Rope, Weights};
use crate::{adapters::Adapter, rng::Rng};
use candle_core::{DType, Device, Tensor};

/// The shape: two blocks, four heads over two key/value heads.
pub fn config() -> Config {
    Config {
        architecture: "llama".to_owned(),
        hidden: 16,
        inner: 24,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 6,
        vocab: 40,
        max_positions: 256,
        rope_theta: 10_000.0,
        rms_eps: 1e-5,
        tied: true,
    }
}

/// A model of [`config`] on the CPU; `seed` decides its weights.
pub fn model(seed: u64) -> Model {
    build(seed, false).expect("a tiny model on the CPU can always be built")
}

/// The same with biases on q, k and v, as Qwen2 has them.
pub fn biased_model(seed: u64) -> Model {
    build(seed, true).expect("a tiny model on the CPU can always be built")
}

fn build(seed: u64, biased: bool) -> candle_core::Result<Model> {
    let (config, device, rng) = (config(), Device::Cpu, Rng::new(seed));
    let random = |name: &str, rows: usize, columns: usize, deviation: f64| {
        let mut stream = rng.stream(name, 0);
        let numbers: Vec<f32> = (0..rows * columns)
            .map(|_| (stream.normal() * deviation) as f32)
            .collect();
        Tensor::from_vec(numbers, (rows, columns), &device)
    };
    let norm = |name: &str| random(name, 1, config.hidden, 0.2)?.squeeze(0)? + 1.0;
    let linear = |path: String, n_out: usize, n_in: usize| -> candle_core::Result<Linear> {
        let weight = random(&path, n_out, n_in, 1.0 / (n_in as f64).sqrt())?;
        let has_bias = biased
            && ["q_proj", "k_proj", "v_proj"]
                .iter()
                .any(|name| path.ends_with(name));
        let bias = match has_bias {
            true => Some(random(&format!("{path}.bias"), 1, n_out, 0.5)?.squeeze(0)?),
            false => None,
        };
        Ok(Linear { path, weight, bias })
    };
    let (q, kv) = (
        config.n_heads * config.head_dim,
        config.n_kv_heads * config.head_dim,
    );
    let mut layers = Vec::new();
    for index in 0..config.n_layers {
        let path = |name: &str| format!("model.layers.{index}.{name}");
        layers.push(Layer {
            attention_norm: norm(&path("input_layernorm"))?,
            q: linear(path("self_attn.q_proj"), q, config.hidden)?,
            k: linear(path("self_attn.k_proj"), kv, config.hidden)?,
            v: linear(path("self_attn.v_proj"), kv, config.hidden)?,
            o: linear(path("self_attn.o_proj"), config.hidden, q)?,
            feed_forward_norm: norm(&path("post_attention_layernorm"))?,
            gate: linear(path("mlp.gate_proj"), config.inner, config.hidden)?,
            up: linear(path("mlp.up_proj"), config.inner, config.hidden)?,
            down: linear(path("mlp.down_proj"), config.hidden, config.inner)?,
        });
    }
    let embedding = random("model.embed_tokens", config.vocab, config.hidden, 1.0)?;
    Ok(Model::from(Weights {
        layers,
        norm: norm("model.norm")?,
        head: embedding.clone(),
        embedding,
        rope: Rope::new(
            config.rope_theta,
            config.head_dim,
            config.max_positions,
            &device,
            DType::F32,
        )?,
        device,
        config,
    }))
}

/// Moves every trainable weight of an adapter by random numbers, so that a fresh one acts.
pub fn disturb(adapter: &Adapter, deviation: f64) {
    for (name, var) in adapter.variables() {
        let mut stream = Rng::new(5).stream(&name, 0);
        let numbers: Vec<f32> = (0..var.elem_count())
            .map(|_| (stream.normal() * deviation) as f32)
            .collect();
        let noise =
            Tensor::from_vec(numbers, var.shape(), var.device()).expect("as many numbers as the shape");
        let moved = (var.as_tensor() + noise).expect("the same shape");
        var.set(&moved).expect("the same shape");
    }
}
