//! A [`Config`] as Hugging Face's `config.json`: the inverse of `Config::from_hf`, for models that came from a GGUF
//! file. Settings are spelt in the older way (`rope_theta`, `rope_scaling`), which transformers 4 and 5 both read.

use crate::model::{Config, Family, RopeShape, Scaling};
use anyhow::{Context, Result, ensure};
use candle_core::DType;
use serde_json::{Map, Value, json};

/// The tokens with a role, by id.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    pub bos: Option<u32>,
    /// Those that end an answer, EOS first.
    pub ends: Vec<u32>,
    pub pad: Option<u32>,
}

impl Roles {
    /// As fields of `config.json` and `generation_config.json`.
    pub fn fields(&self) -> Map<String, Value> {
        let end = match self.ends.as_slice() {
            [] => Value::Null,
            [end] => json!(end),
            ends => json!(ends),
        };
        let fields = [
            ("bos_token_id", json!(self.bos)),
            ("eos_token_id", end),
            ("pad_token_id", json!(self.pad)),
        ];
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    }
}

/// `biased`: whether the attention's four layers have biases (Qwen 2's first three always have).
pub fn to_hf(config: &Config, biased: bool, roles: &Roles, dtype: DType) -> Result<Map<String, Value>> {
    let windowed: Vec<bool> = config.windows.iter().map(Option::is_some).collect();
    let window = config.windows.iter().flatten().next();
    // Llama has no windows in Hugging Face's code; GGUF files call Mistral's models Llama.
    let family = match (config.family, window) {
        (Family::Llama, Some(_)) => Family::Mistral,
        (family, _) => family,
    };
    let architecture = match family {
        Family::Llama => "Llama",
        Family::Mistral => "Mistral",
        Family::Qwen2 => "Qwen2",
        Family::Qwen3 => "Qwen3",
        Family::Gemma2 => "Gemma2",
        Family::Gemma3 => "Gemma3",
        Family::Phi3 => "Phi3",
    };
    let activation = if family.is_gemma() {
        "gelu_pytorch_tanh"
    } else {
        "silu"
    };
    let mut hf = json!({
        "architectures": [format!("{architecture}ForCausalLM")],
        "model_type": family.hf_name(),
        "hidden_size": config.hidden,
        "intermediate_size": config.inner,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.rms_eps,
        "tie_word_embeddings": config.tied,
        "hidden_act": activation,
        "hidden_activation": activation,
        "attention_bias": biased,
        "attention_dropout": 0.0,
        "use_cache": true,
        "torch_dtype": dtype_name(dtype),
        "rope_theta": config.rope.theta,
        "rope_scaling": rope_scaling(config)?,
    });
    let kinds: Vec<&str> = windowed
        .iter()
        .map(|&windowed| {
            if windowed {
                "sliding_attention"
            } else {
                "full_attention"
            }
        })
        .collect();
    let of_family = match family {
        Family::Llama => json!({}),
        Family::Mistral => {
            ensure!(
                windowed.iter().all(|&windowed| windowed),
                "a Llama file with a window in some blocks only has no Hugging Face configuration"
            );
            json!({"sliding_window": window})
        }
        Family::Qwen2 | Family::Qwen3 => json!({
            "use_sliding_window": window.is_some(),
            "sliding_window": window,
            "layer_types": kinds,
            // Older versions go by the number of the first block with a window.
            "max_window_layers": windowed.iter().position(|&windowed| windowed).unwrap_or(config.n_layers),
        }),
        Family::Gemma2 | Family::Gemma3 => json!({
            // A file that was trained without windows has blocks that see its whole context.
            "sliding_window": window.copied().unwrap_or(config.max_positions),
            "layer_types": kinds,
            "query_pre_attn_scalar": rounded(config.attention_factor.powi(-2)),
            "attn_logit_softcapping": config.attention_cap,
            "final_logit_softcapping": config.logit_cap,
        }),
        Family::Phi3 => json!({
            "sliding_window": window,
            "original_max_position_embeddings": config.max_positions,
            "partial_rotary_factor": config.rope.rotary_dim as f64 / config.head_dim as f64,
        }),
    };
    let hf = hf.as_object_mut().context("a configuration is an object")?;
    hf.extend(of_family.as_object().cloned().unwrap_or_default());
    hf.extend(roles.fields());
    if let Some(rope) = &config.windowed_rope {
        hf.insert("rope_local_base_freq".to_owned(), json!(rope.theta));
    }
    Ok(std::mem::take(hf))
}

pub fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        _ => "float32",
    }
}

/// 1/√d squared and inverted again is no whole number.
fn rounded(scalar: f64) -> Value {
    let whole = scalar.round();
    match (scalar - whole).abs() < 1e-6 {
        true => json!(whole as u64),
        false => json!(scalar),
    }
}

fn rope_scaling(config: &Config) -> Result<Value> {
    Ok(match &config.rope.scaling {
        Scaling::None => Value::Null,
        Scaling::Linear(factor) => json!({"rope_type": "linear", "factor": factor}),
        Scaling::Llama3 {
            factor,
            low,
            high,
            original_positions,
        } => llama3(*factor, *low, *high, *original_positions),
        Scaling::Divisors(divisors) => from_divisors(&config.rope, divisors).context(
            "the file's rope_freqs.weight is no scaling that config.json can describe; merge to a GGUF file",
        )?,
    })
}

fn llama3(factor: f64, low: f64, high: f64, original_positions: f64) -> Value {
    json!({
        "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
        "original_max_position_embeddings": original_positions as u64,
    })
}

/// A GGUF file holds what Llama 3.1's scaling does to each frequency, not its settings: those of all its releases are
/// tried, with every context that is a power of two.
fn from_divisors(rope: &RopeShape, divisors: &[f32]) -> Option<Value> {
    let factor = f64::from(divisors.iter().copied().fold(1.0, f32::max));
    let wanted = rope.frequencies();
    (4..24)
        .map(|power| f64::from(1u32 << power))
        .find_map(|original_positions| {
            let (low, high) = (1.0, 4.0);
            let shape = RopeShape {
                scaling: Scaling::Llama3 {
                    factor,
                    low,
                    high,
                    original_positions,
                },
                ..rope.clone()
            };
            let same = shape
                .frequencies()
                .iter()
                .zip(&wanted)
                .all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs());
            same.then(|| llama3(factor, low, high, original_positions))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tiny;

    #[test]
    fn a_configuration_comes_back_as_it_was() {
        for family in Family::ALL {
            let config = tiny::config_of(family);
            let hf = to_hf(&config, false, &Roles::default(), DType::F32).unwrap();
            let text = serde_json::to_string(&hf).unwrap();
            let again = Config::from_hf(&text).unwrap();
            assert!(
                (again.attention_factor - config.attention_factor).abs() < 1e-12,
                "{text}"
            );
            let attention_factor = config.attention_factor;
            let again = Config {
                attention_factor,
                ..again
            };
            assert_eq!(again, config, "{text}");
        }
    }

    #[test]
    fn llama_3s_scaling_is_found_from_its_divisors() {
        let mut rope = RopeShape {
            theta: 500_000.0,
            rotary_dim: 64,
            scaling: Scaling::None,
        };
        let plain = rope.frequencies();
        rope.scaling = Scaling::Llama3 {
            factor: 32.0,
            low: 1.0,
            high: 4.0,
            original_positions: 8192.0,
        };
        let scaled = rope.frequencies();
        let divisors: Vec<f32> = plain
            .iter()
            .zip(&scaled)
            .map(|(plain, scaled)| plain / scaled)
            .collect();
        rope.scaling = Scaling::Divisors(divisors.clone());
        assert_eq!(
            from_divisors(&rope, &divisors),
            Some(llama3(32.0, 1.0, 4.0, 8192.0))
        );
        let strange: Vec<f32> = (0..32).map(|i| 1.0 + i as f32).collect();
        rope.scaling = Scaling::Divisors(strange.clone());
        assert_eq!(from_divisors(&rope, &strange), None);
    }
}
