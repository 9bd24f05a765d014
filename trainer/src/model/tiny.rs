//! A decoder of random weights, small enough that a test trains it in a second.

use super::{
    AttentionRule, Bundle, Config, Family, Layer, Linear, Matrix, Model, Rope, RopeShape, Scaling, Weights,
};
use crate::{adapters::Adapter, ops::Activation, rng::Rng};
use candle_core::{DType, Device, Tensor};

/// The shape: two blocks, four heads over two key/value heads.
pub fn config() -> Config {
    let head_dim = 6;
    Config {
        family: Family::Llama,
        hidden: 16,
        inner: 24,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim,
        vocab: 40,
        max_positions: 256,
        rms_eps: 1e-5,
        tied: true,
        activation: Activation::Silu,
        rope: rope(10_000.0, head_dim),
        windowed_rope: None,
        windows: vec![None; 2],
        attention_factor: (head_dim as f64).powf(-0.5),
        attention_cap: None,
        logit_cap: None,
        embedding_factor: None,
    }
}

/// The shape of [`config`] with what a family has on top.
pub fn config_of(family: Family) -> Config {
    let mut config = Config { family, ..config() };
    match family {
        Family::Mistral => config.windows = vec![Some(3); 2],
        Family::Phi3 => config.rope.rotary_dim = 4,
        Family::Gemma2 | Family::Gemma3 => {
            config.windows = vec![Some(3), None];
            config.activation = Activation::GeluTanh;
            config.attention_factor = 0.5;
            config.embedding_factor = Some(4.0);
        }
        Family::Llama | Family::Qwen2 | Family::Qwen3 => {}
    }
    match family {
        Family::Gemma2 => (config.attention_cap, config.logit_cap) = (Some(2.0), Some(3.0)),
        Family::Gemma3 => config.windowed_rope = Some(rope(100.0, config.head_dim)),
        _ => {}
    }
    config
}

fn rope(theta: f64, rotary_dim: usize) -> RopeShape {
    RopeShape {
        theta,
        rotary_dim,
        scaling: Scaling::None,
    }
}

/// A model of [`config`] on the CPU; `seed` decides its weights.
pub fn model(seed: u64) -> Model {
    of(Family::Llama, seed)
}

/// A model whose widths are whole blocks of 32, so that its matrices can be quantised.
pub fn wide(seed: u64) -> Model {
    let head_dim = 16;
    let wide = Config {
        hidden: 64,
        inner: 96,
        head_dim,
        rope: rope(10_000.0, head_dim),
        attention_factor: 0.25,
        ..config()
    };
    build(wide, seed).expect("a tiny model on the CPU can always be built")
}

/// [`model`] with biases on q, k and v, as Qwen2 has them.
pub fn biased_model(seed: u64) -> Model {
    of(Family::Qwen2, seed)
}

/// A model of [`config_of`] a family on the CPU.
pub fn of(family: Family, seed: u64) -> Model {
    build(config_of(family), seed).expect("a tiny model on the CPU can always be built")
}

fn build(config: Config, seed: u64) -> candle_core::Result<Model> {
    let (device, rng) = (Device::Cpu, Rng::new(seed));
    let random = |name: &str, rows: usize, columns: usize, deviation: f64| {
        let mut stream = rng.stream(name, 0);
        let numbers: Vec<f32> = (0..rows * columns)
            .map(|_| (stream.normal() * deviation) as f32)
            .collect();
        Tensor::from_vec(numbers, (rows, columns), &device)
    };
    let norm = |name: &str, width: usize| random(name, 1, width, 0.2)?.squeeze(0)? + 1.0;
    let linear = |path: String, n_out: usize, n_in: usize| -> candle_core::Result<Linear> {
        let weight = random(&path, n_out, n_in, 1.0 / (n_in as f64).sqrt())?;
        let has_bias = config.family == Family::Qwen2
            && ["q_proj", "k_proj", "v_proj"]
                .iter()
                .any(|name| path.ends_with(name));
        let bias = match has_bias {
            true => Some(random(&format!("{path}.bias"), 1, n_out, 0.5)?.squeeze(0)?),
            false => None,
        };
        let weight = weight.into();
        Ok(Linear { path, weight, bias })
    };
    let (hidden, inner, head_dim) = (config.hidden, config.inner, config.head_dim);
    let (q, kv) = (config.n_heads * head_dim, config.n_kv_heads * head_dim);
    let mut layers = Vec::new();
    for index in 0..config.n_layers {
        let path = |name: &str| format!("model.layers.{index}.{name}");
        let norm_if = |wanted: bool, name: &str, width: usize| match wanted {
            true => norm(&path(name), width).map(Some),
            false => Ok(None),
        };
        let (qkv, gate_up) = if config.family.is_fused() {
            let qkv = Bundle::Fused {
                layer: linear(path("self_attn.qkv_proj"), q + 2 * kv, hidden)?,
                widths: [q, kv, kv],
            };
            let gate_up = Bundle::Fused {
                layer: linear(path("mlp.gate_up_proj"), 2 * inner, hidden)?,
                widths: [inner, inner],
            };
            (qkv, gate_up)
        } else {
            let qkv = Bundle::Apart([
                linear(path("self_attn.q_proj"), q, hidden)?,
                linear(path("self_attn.k_proj"), kv, hidden)?,
                linear(path("self_attn.v_proj"), kv, hidden)?,
            ]);
            let gate_up = Bundle::Apart([
                linear(path("mlp.gate_proj"), inner, hidden)?,
                linear(path("mlp.up_proj"), inner, hidden)?,
            ]);
            (qkv, gate_up)
        };
        let (head_norms, post_norms) = (config.family.has_head_norms(), config.family.is_gemma());
        let frequencies = config.rope_of(index).frequencies();
        layers.push(Layer {
            attention_norm: norm(&path("input_layernorm"), hidden)?,
            attention_post_norm: norm_if(post_norms, "attention_post_norm", hidden)?,
            query_norm: norm_if(head_norms, "self_attn.q_norm", head_dim)?,
            key_norm: norm_if(head_norms, "self_attn.k_norm", head_dim)?,
            qkv,
            rule: AttentionRule {
                rope: Rope::new(&frequencies, head_dim, config.max_positions, &device, DType::F32)?,
                factor: config.attention_factor,
                cap: config.attention_cap,
                window: config.windows[index],
            },
            o: linear(path("self_attn.o_proj"), hidden, q)?,
            feed_forward_norm: norm(&path("post_attention_layernorm"), hidden)?,
            feed_forward_post_norm: norm_if(post_norms, "feed_forward_post_norm", hidden)?,
            gate_up,
            down: linear(path("mlp.down_proj"), hidden, inner)?,
        });
    }
    let embedding = Matrix::from(random("model.embed_tokens", config.vocab, hidden, 1.0)?);
    Ok(Model::from(Weights {
        layers,
        norm: norm("model.norm", hidden)?,
        head: embedding.clone(),
        embedding,
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
