//! A [`Config`] as a GGUF file's metadata: the inverse of `model::gguf::config`; and where the weights came from.

use super::{Names, WeightType, gguf::Metadata};
use crate::model::{Config, Family, RopeShape, Scaling};
use candle_core::quantized::gguf_file::Value;

/// The metadata of a model that came from a Hugging Face folder, but for its tokenizer. `notes` hears what llama.cpp
/// leaves out.
pub fn of(config: &Config, notes: &mut Vec<String>) -> Metadata {
    let architecture = config.family.gguf_name();
    let size = |number: usize| Value::U32(number as u32);
    let float = |number: f64| Value::F32(number as f32);
    let mut fields = vec![
        ("context_length", size(config.max_positions)),
        ("embedding_length", size(config.hidden)),
        ("block_count", size(config.n_layers)),
        ("feed_forward_length", size(config.inner)),
        ("vocab_size", size(config.vocab)),
        ("attention.head_count", size(config.n_heads)),
        ("attention.head_count_kv", size(config.n_kv_heads)),
        ("attention.key_length", size(config.head_dim)),
        ("attention.value_length", size(config.head_dim)),
        ("attention.layer_norm_rms_epsilon", float(config.rms_eps)),
        ("rope.dimension_count", size(config.rope.rotary_dim)),
        ("rope.freq_base", float(config.rope.theta)),
    ];
    if let Scaling::Linear(factor) = config.rope.scaling {
        fields.push(("rope.scaling.type", Value::String("linear".to_owned())));
        fields.push(("rope.scaling.factor", float(factor)));
    }
    if let Some(RopeShape { theta, .. }) = config.windowed_rope {
        fields.push(("rope.freq_base_swa", float(theta)));
    }
    if let Some(cap) = config.attention_cap {
        fields.push(("attn_logit_softcapping", float(cap)));
    }
    if let Some(cap) = config.logit_cap {
        fields.push(("final_logit_softcapping", float(cap)));
    }
    if let Some(window) = config.windows.iter().flatten().next() {
        fields.push(("attention.sliding_window", size(*window)));
        let usual: Vec<bool> = (1..=config.n_layers)
            .map(|layer| match config.family {
                Family::Gemma2 => !layer.is_multiple_of(2),
                Family::Gemma3 => !layer.is_multiple_of(6),
                _ => true,
            })
            .collect();
        let windowed: Vec<bool> = config.windows.iter().map(Option::is_some).collect();
        if windowed != usual {
            let pattern = windowed.iter().map(|&windowed| Value::Bool(windowed)).collect();
            fields.push(("attention.sliding_window_pattern", Value::Array(pattern)));
        }
        if !config.family.is_gemma() {
            notes.push(format!(
                "llama.cpp computes no attention window for {architecture}: beyond {window} tokens it is another model."
            ));
        } else if windowed != usual {
            notes.push(format!(
                "llama.cpp gives other blocks of {architecture} a window than this model has: beyond {window} tokens it \
                 is another model."
            ));
        }
    }
    let named = |(key, value): (&str, Value)| (format!("{architecture}.{key}"), value);
    let mut metadata: Metadata = fields.into_iter().map(named).collect();
    metadata.insert(
        "general.architecture".to_owned(),
        Value::String(architecture.to_owned()),
    );
    metadata.insert("general.type".to_owned(), Value::String("model".to_owned()));
    metadata.insert("general.quantization_version".to_owned(), Value::U32(2));
    metadata
}

/// What was merged into what, in the keys that GGUF has for it, and the adapter's hash.
pub fn add_provenance(metadata: &mut Metadata, names: &Names) {
    metadata.retain(|key, _| !key.starts_with("general.base_model."));
    let text = |text: &str| Value::String(text.to_owned());
    metadata.extend([
        (
            "general.name".to_owned(),
            text(&format!("{} {}", names.base, names.adapter)),
        ),
        ("general.finetune".to_owned(), text(&names.adapter)),
        ("general.base_model.count".to_owned(), Value::U32(1)),
        ("general.base_model.0.name".to_owned(), text(&names.base)),
        ("laurel.adapter_sha256".to_owned(), text(&names.adapter_sha256)),
    ]);
}

/// `general.file_type`: llama.cpp's number for the type of most weights.
pub fn add_file_type(metadata: &mut Metadata, dtype: WeightType) {
    let number = match dtype {
        WeightType::F32 => 0,
        WeightType::F16 => 1,
        WeightType::Q8_0 => 7,
        WeightType::Bf16 => 32,
        WeightType::Keep => return,
    };
    metadata.insert("general.file_type".to_owned(), Value::U32(number));
}
