//! Hugging Face's `config.json` to a [`Config`]: the names, defaults and older spellings that transformers
//! reads. A family or a setting that the decoder does not implement is refused here, by name.

use super::{Config, Family, RopeShape, Scaling};
use crate::ops::Activation;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

impl Config {
    pub fn from_hf(text: &str) -> Result<Self> {
        let hf: Value = serde_json::from_str(text).context("config.json is not JSON")?;
        let hf = Fields(&hf);
        let model_type = hf
            .text("model_type")
            .context("config.json has no \"model_type\"")?;
        let family = Family::ALL
            .into_iter()
            .find(|family| family.hf_name() == model_type)
            .with_context(|| {
                let known = Family::ALL.map(Family::hf_name);
                format!("models of type {model_type:?} are not supported; supported are {known:?}")
            })?;
        ensure!(
            !hf.flag("use_bidirectional_attention").unwrap_or(false),
            "the setting use_bidirectional_attention is not supported"
        );
        let (hidden, n_heads) = (hf.size("hidden_size")?, hf.size("num_attention_heads")?);
        let n_layers = hf.size("num_hidden_layers")?;
        let head_dim = match (hf.number("head_dim"), family) {
            (Some(head_dim), _) => head_dim as usize,
            (None, Family::Qwen3) => 128,
            (None, family) if family.is_gemma() => 256,
            (None, _) => hidden / n_heads.max(1),
        };
        let factor_of = hf.number_or("query_pre_attn_scalar", Some(256.0));
        let (attention_factor, embedding_factor) = match factor_of {
            Some(scalar) if family.is_gemma() => (scalar.powf(-0.5), Some((hidden as f64).sqrt())),
            _ => ((head_dim as f64).powf(-0.5), None),
        };
        let (attention_cap, logit_cap) = match family {
            Family::Gemma2 => (Some(50.0), Some(30.0)),
            _ => (None, None),
        };
        let cap = |name: &str, default| family.is_gemma().then(|| hf.number_or(name, default)).flatten();
        let (rope, windowed_rope) = ropes(hf, family, head_dim)?;
        Self {
            family,
            hidden,
            inner: hf.size("intermediate_size")?,
            n_layers,
            n_heads,
            n_kv_heads: hf
                .number("num_key_value_heads")
                .map_or(n_heads, |number| number as usize),
            head_dim,
            vocab: hf.size("vocab_size")?,
            max_positions: hf.size("max_position_embeddings")?,
            rms_eps: hf
                .number("rms_norm_eps")
                .context("config.json has no \"rms_norm_eps\"")?,
            tied: hf.flag("tie_word_embeddings").unwrap_or(family.is_gemma()),
            activation: activation(hf, family)?,
            rope,
            windowed_rope,
            windows: windows(hf, family, n_layers)?,
            attention_factor,
            attention_cap: cap("attn_logit_softcapping", attention_cap),
            logit_cap: cap("final_logit_softcapping", logit_cap),
            embedding_factor,
        }
        .checked()
    }
}

/// Fields by name; those that are null count as absent, except in [`Fields::number_or`].
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }

    fn flag(self, name: &str) -> Option<bool> {
        self.get(name)?.as_bool()
    }

    fn number(self, name: &str) -> Option<f64> {
        self.get(name)?.as_f64()
    }

    /// Null is none, an absent field has the default.
    fn number_or(self, name: &str, default: Option<f64>) -> Option<f64> {
        match self.0.get(name) {
            Some(value) => value.as_f64(),
            None => default,
        }
    }

    fn size(self, name: &str) -> Result<usize> {
        let value = self
            .get(name)
            .with_context(|| format!("config.json has no {name:?}"))?;
        let number = value
            .as_u64()
            .with_context(|| format!("{name:?} in config.json is no whole number: {value}"))?;
        Ok(number as usize)
    }
}

fn activation(hf: Fields<'_>, family: Family) -> Result<Activation> {
    // Gemma 2's files have both fields, and only this one counts.
    let (field, default) = match family.is_gemma() {
        true => ("hidden_activation", "gelu_pytorch_tanh"),
        false => ("hidden_act", "silu"),
    };
    match hf.text(field).unwrap_or(default) {
        "silu" => Ok(Activation::Silu),
        "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        other => bail!("the activation {other:?} is not supported"),
    }
}

/// The window of each block.
fn windows(hf: Fields<'_>, family: Family, n_layers: usize) -> Result<Vec<Option<usize>>> {
    let default = match family {
        Family::Llama | Family::Phi3 => None,
        _ => Some(4096.0),
    };
    let window = hf
        .number_or("sliding_window", default)
        .map(|window| window as usize);
    let qwen = matches!(family, Family::Qwen2 | Family::Qwen3);
    let in_use = family != Family::Llama && (!qwen || hf.flag("use_sliding_window").unwrap_or(false));
    let Some(window) = window.filter(|_| in_use) else {
        return Ok(vec![None; n_layers]);
    };
    if let (Some(Value::Array(kinds)), true) = (hf.get("layer_types"), qwen || family.is_gemma()) {
        ensure!(
            kinds.len() == n_layers,
            "layer_types in config.json names {} layers of {n_layers}",
            kinds.len()
        );
        return kinds
            .iter()
            .map(|kind| match kind.as_str() {
                Some("sliding_attention") => Ok(Some(window)),
                Some("full_attention") => Ok(None),
                _ => bail!("layers of type {kind} are not supported"),
            })
            .collect();
    }
    let number = |name: &str, default: usize| hf.number(name).map_or(default, |n| n as usize);
    let period = number("sliding_window_pattern", 6).max(1);
    let first = number("max_window_layers", 28);
    let has_window = |layer: usize| match family {
        Family::Gemma2 => layer.is_multiple_of(2),
        Family::Gemma3 => !(layer + 1).is_multiple_of(period),
        Family::Qwen2 | Family::Qwen3 => layer >= first,
        _ => true,
    };
    Ok((0..n_layers)
        .map(|layer| has_window(layer).then_some(window))
        .collect())
}

/// The rotary embedding, and that of the blocks with a window where it differs.
fn ropes(hf: Fields<'_>, family: Family, head_dim: usize) -> Result<(RopeShape, Option<RopeShape>)> {
    let empty = Value::Null;
    // Newer transformers keep all of rope in `rope_parameters`, by kind of layer where kinds differ.
    let parameters = hf.get("rope_parameters").unwrap_or(&empty);
    let scaling = hf.get("rope_scaling").unwrap_or(&empty);
    let whole = match parameters.get("full_attention") {
        Some(of_kind) => of_kind,
        None if parameters.is_null() => scaling,
        None => parameters,
    };
    let theta = hf.number("rope_theta");
    if family != Family::Gemma3 {
        return Ok((
            rope(hf, Fields(whole), theta.unwrap_or(10_000.0), head_dim)?,
            None,
        ));
    }
    let windowed = Fields(parameters.get("sliding_attention").unwrap_or(&empty));
    let windowed_theta = hf.number("rope_local_base_freq").unwrap_or(10_000.0);
    Ok((
        rope(hf, Fields(whole), theta.unwrap_or(1_000_000.0), head_dim)?,
        Some(rope(hf, windowed, windowed_theta, head_dim)?),
    ))
}

fn rope(hf: Fields<'_>, own: Fields<'_>, theta: f64, head_dim: usize) -> Result<RopeShape> {
    let kind = own.text("rope_type").or(own.text("type")).unwrap_or("default");
    let number = |name: &str| {
        own.number(name)
            .with_context(|| format!("rope scaling of type {kind:?} has no {name:?}"))
    };
    let scaling = match kind {
        "default" => Scaling::None,
        "linear" => Scaling::Linear(number("factor")?),
        "llama3" => Scaling::Llama3 {
            factor: number("factor")?,
            low: number("low_freq_factor")?,
            high: number("high_freq_factor")?,
            original_positions: own
                .number("original_max_position_embeddings")
                .or(hf.number("max_position_embeddings"))
                .context("config.json has no \"max_position_embeddings\"")?,
        },
        _ => bail!("rope scaling of type {kind:?} is not supported"),
    };
    let share = own
        .number("partial_rotary_factor")
        .or(hf.number("partial_rotary_factor"))
        .unwrap_or(1.0);
    Ok(RopeShape {
        theta: own.number("rope_theta").unwrap_or(theta),
        rotary_dim: (head_dim as f64 * share) as usize,
        scaling,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn smollm() -> Value {
        json!({"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
            "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
            "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
            "eos_token_id": 2, "bos_token_id": 1})
    }

    /// SmolLM's configuration with some fields changed.
    fn read(changes: Value) -> Result<Config> {
        let mut hf = smollm();
        hf.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        Config::from_hf(&hf.to_string())
    }

    fn error(changes: Value) -> String {
        format!("{:#}", read(changes).unwrap_err())
    }

    #[test]
    fn new_and_old_rope_settings_are_read() {
        let config = read(json!({})).unwrap();
        assert_eq!((config.rope.theta, config.head_dim), (100_000.0, 64));
        let llama3 = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        let config = read(json!({"rope_parameters": null, "rope_theta": 500000.0, "rope_scaling": llama3}));
        let rope = config.unwrap().rope;
        let scaling = Scaling::Llama3 {
            factor: 32.0,
            low: 1.0,
            high: 4.0,
            original_positions: 8192.0,
        };
        assert_eq!((rope.theta, rope.scaling), (500_000.0, scaling));
    }

    #[test]
    fn what_the_decoder_does_not_compute_is_named_in_the_error() {
        assert!(error(json!({"model_type": "mamba"})).contains("mamba"));
        assert!(error(json!({"hidden_act": "gelu_new"})).contains("gelu_new"));
        for kind in ["yarn", "dynamic", "longrope"] {
            let scaling = json!({"rope_theta": 1e4, "rope_type": kind, "factor": 2.0});
            assert!(error(json!({"rope_parameters": scaling})).contains(kind));
        }
        assert!(error(json!({"vocab_size": null})).contains("vocab_size"));
        let chunked = json!(["chunked_attention"]);
        let qwen = json!({"model_type": "qwen3", "num_hidden_layers": 1, "use_sliding_window": true,
            "layer_types": chunked});
        assert!(error(qwen).contains("chunked_attention"));
    }

    #[test]
    fn windows_follow_the_family() {
        let windows = |changes: Value| {
            let mut changes = changes;
            changes["num_hidden_layers"] = json!(4);
            changes["head_dim"] = json!(64);
            read(changes).unwrap().windows
        };
        let window = Some(100);
        assert_eq!(windows(json!({"sliding_window": 100})), [None; 4]);
        assert_eq!(
            windows(json!({"model_type": "mistral", "sliding_window": 100})),
            [window; 4]
        );
        assert_eq!(
            windows(json!({"model_type": "mistral", "sliding_window": 8192})),
            [None; 4]
        );
        assert_eq!(
            windows(json!({"model_type": "qwen2", "sliding_window": 100})),
            [None; 4]
        );
        let qwen = json!({"model_type": "qwen2", "sliding_window": 100, "use_sliding_window": true,
            "max_window_layers": 3});
        assert_eq!(windows(qwen), [None, None, None, window]);
        let gemma2 = json!({"model_type": "gemma2", "sliding_window": 100});
        assert_eq!(windows(gemma2), [window, None, window, None]);
        let gemma3 = json!({"model_type": "gemma3_text", "sliding_window": 100, "sliding_window_pattern": 3});
        assert_eq!(windows(gemma3), [window, window, None, window]);
    }

    #[test]
    fn gemma_has_its_scales_and_caps() {
        let config = read(json!({"model_type": "gemma2", "query_pre_attn_scalar": 144})).unwrap();
        assert_eq!(
            (config.attention_factor, config.embedding_factor),
            (1.0 / 12.0, Some(24.0))
        );
        assert_eq!((config.attention_cap, config.logit_cap), (Some(50.0), Some(30.0)));
        assert_eq!((config.activation, config.head_dim), (Activation::GeluTanh, 256));
        let config = read(json!({"model_type": "gemma2", "final_logit_softcapping": null})).unwrap();
        assert_eq!(config.logit_cap, None);
        let old = json!({"model_type": "gemma3_text", "rope_parameters": null, "rope_theta": 1e6,
            "rope_local_base_freq": 5e3, "rope_scaling": {"rope_type": "linear", "factor": 8.0}});
        let config = read(old).unwrap();
        assert_eq!(
            (config.rope.theta, config.rope.scaling),
            (1e6, Scaling::Linear(8.0))
        );
        let windowed = config.windowed_rope.unwrap();
        assert_eq!((windowed.theta, windowed.scaling), (5e3, Scaling::None));
    }
}
