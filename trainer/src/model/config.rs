//! The shape of a model, read from a folder's `config.json` or from GGUF metadata. A family or a setting that
//! the decoder does not implement is refused here, by name.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// The shape of a Llama-like decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// GGUF's `general.architecture`, Hugging Face's `model_type`.
    pub architecture: String,
    pub hidden: usize,
    /// Width of the feed-forward part.
    pub inner: usize,
    pub n_layers: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub max_positions: usize,
    pub rope_theta: f64,
    pub rms_eps: f64,
    /// The output layer is the embedding.
    pub tied: bool,
}

/// Families whose blocks this decoder computes. Qwen2's differs from Llama's only in biases on q, k and v.
const FAMILIES: [&str; 3] = ["llama", "mistral", "qwen2"];

#[derive(Deserialize)]
struct HfConfig {
    model_type: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    rope_theta: Option<f64>,
    rope_parameters: Option<Value>,
    rope_scaling: Option<Value>,
    rms_norm_eps: f64,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    hidden_act: Option<String>,
    sliding_window: Option<usize>,
    #[serde(default)]
    use_sliding_window: Option<bool>,
}

impl Config {
    pub fn from_hf(text: &str) -> Result<Self> {
        let hf: HfConfig = serde_json::from_str(text).context("config.json does not describe a decoder")?;
        ensure!(
            FAMILIES.contains(&hf.model_type.as_str()),
            "models of type {:?} are not supported; supported are {FAMILIES:?}",
            hf.model_type
        );
        if let Some(activation) = &hf.hidden_act {
            ensure!(
                activation == "silu",
                "the activation {activation:?} is not supported"
            );
        }
        // Newer transformers keep all of rope in `rope_parameters`.
        let parameters = hf.rope_parameters.unwrap_or(Value::Null);
        for scaling in [&parameters, hf.rope_scaling.as_ref().unwrap_or(&Value::Null)] {
            if let Some(kind) = scaling
                .get("rope_type")
                .or(scaling.get("type"))
                .and_then(Value::as_str)
            {
                ensure!(
                    kind == "default",
                    "rope scaling of type {kind:?} is not supported"
                );
            }
        }
        let windowed = hf.use_sliding_window.unwrap_or(hf.model_type == "mistral");
        if windowed && let Some(window) = hf.sliding_window {
            ensure!(
                window >= hf.max_position_embeddings,
                "attention with a sliding window ({window} tokens) is not supported"
            );
        }
        let config = Self {
            architecture: hf.model_type,
            hidden: hf.hidden_size,
            inner: hf.intermediate_size,
            n_layers: hf.num_hidden_layers,
            n_heads: hf.num_attention_heads,
            n_kv_heads: hf.num_key_value_heads.unwrap_or(hf.num_attention_heads),
            head_dim: hf
                .head_dim
                .unwrap_or(hf.hidden_size / hf.num_attention_heads.max(1)),
            vocab: hf.vocab_size,
            max_positions: hf.max_position_embeddings,
            rope_theta: parameters
                .get("rope_theta")
                .and_then(Value::as_f64)
                .or(hf.rope_theta)
                .unwrap_or(10_000.0),
            rms_eps: hf.rms_norm_eps,
            tied: hf.tie_word_embeddings,
        };
        config.checked()
    }

    /// Refuses shapes that no weights can have.
    pub fn checked(self) -> Result<Self> {
        let sizes = [
            self.hidden,
            self.inner,
            self.n_layers,
            self.n_heads,
            self.n_kv_heads,
            self.head_dim,
            self.vocab,
            self.max_positions,
        ];
        if sizes.contains(&0)
            || !self.n_heads.is_multiple_of(self.n_kv_heads)
            || !self.head_dim.is_multiple_of(2)
        {
            bail!("the model's configuration makes no sense: {self:?}");
        }
        Ok(self)
    }

    pub fn is_supported(architecture: &str) -> bool {
        FAMILIES.contains(&architecture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMOLLM: &str = r#"{"model_type":"llama","hidden_size":576,"intermediate_size":1536,
        "num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,"vocab_size":49152,
        "max_position_embeddings":8192,"rope_parameters":{"rope_theta":100000.0,"rope_type":"default"},
        "rms_norm_eps":1e-5,"tie_word_embeddings":true,"eos_token_id":2,"bos_token_id":1}"#;

    #[test]
    fn new_and_old_rope_settings_are_read_and_scaling_is_refused() {
        let config = Config::from_hf(SMOLLM).unwrap();
        assert_eq!((config.rope_theta, config.head_dim), (100_000.0, 64));
        let scaled = SMOLLM.replace("\"default\"", "\"yarn\"");
        assert!(Config::from_hf(&scaled).unwrap_err().to_string().contains("yarn"));
    }

    #[test]
    fn unknown_family_is_named_in_the_error() {
        let other = SMOLLM.replace("\"llama\"", "\"mamba\"");
        assert!(Config::from_hf(&other).unwrap_err().to_string().contains("mamba"));
    }
}
