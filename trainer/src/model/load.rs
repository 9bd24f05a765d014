//! Weights from a Hugging Face folder (`config.json` and safetensors, sharded or not) or a GGUF file. A missing
//! tensor or one of the wrong shape is an error that names it.

use super::{Config, Layer, Linear, Rope, Weights, gguf};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use std::{collections::HashMap, fs, path::Path};

pub fn load(path: &Path, device: &Device, dtype: DType) -> Result<Weights> {
    ensure!(
        path.exists(),
        "no model at {path:?}: give a GGUF file or a Hugging Face folder"
    );
    if path.is_dir() {
        let text = fs::read_to_string(path.join("config.json"))
            .with_context(|| format!("read config.json of the model folder {path:?}"))?;
        let config = Config::from_hf(&text).with_context(|| format!("model folder {path:?}"))?;
        let tensors = folder(path, device)?;
        assemble(config, device, dtype, tensors).with_context(|| format!("model folder {path:?}"))
    } else {
        let (config, tensors) =
            gguf::read(path, device).with_context(|| format!("read GGUF file {path:?}"))?;
        assemble(config, device, dtype, tensors).with_context(|| format!("GGUF file {path:?}"))
    }
}

/// All tensors of a folder's safetensors files.
fn folder(path: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    let mut files: Vec<_> = fs::read_dir(path)
        .with_context(|| format!("list {path:?}"))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "safetensors")
        })
        .filter(|file| {
            file.file_stem()
                .is_some_and(|stem| stem.to_string_lossy().starts_with("model"))
        })
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "no model*.safetensors in {path:?}");
    let mut tensors = HashMap::new();
    for file in files {
        let loaded = candle_core::safetensors::load(&file, device)
            .with_context(|| format!("read {file:?}: is it complete?"))?;
        tensors.extend(loaded);
    }
    Ok(tensors)
}

/// Takes tensors out by their Hugging Face name, and checks shapes.
struct Source {
    tensors: HashMap<String, Tensor>,
    dtype: DType,
}

impl Source {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        match self.take_if_there(name, shape)? {
            Some(tensor) => Ok(tensor),
            None => bail!("the tensor {name:?} is missing"),
        }
    }

    fn take_if_there(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        let Some(tensor) = self.tensors.remove(name) else {
            return Ok(None);
        };
        ensure!(
            tensor.dims() == shape,
            "the tensor {name:?} has the shape {:?}, the configuration wants {shape:?}",
            tensor.dims()
        );
        Ok(Some(tensor.to_dtype(self.dtype)?.contiguous()?))
    }

    fn linear(&mut self, path: String, n_out: usize, n_in: usize) -> Result<Linear> {
        Ok(Linear {
            weight: self.take(&format!("{path}.weight"), &[n_out, n_in])?,
            bias: self.take_if_there(&format!("{path}.bias"), &[n_out])?,
            path,
        })
    }
}

fn assemble(
    config: Config,
    device: &Device,
    dtype: DType,
    tensors: HashMap<String, Tensor>,
) -> Result<Weights> {
    let mut source = Source { tensors, dtype };
    let (hidden, inner) = (config.hidden, config.inner);
    let (q, kv) = (
        config.n_heads * config.head_dim,
        config.n_kv_heads * config.head_dim,
    );
    let mut layers = Vec::with_capacity(config.n_layers);
    for index in 0..config.n_layers {
        let path = |name: &str| format!("model.layers.{index}.{name}");
        layers.push(Layer {
            attention_norm: source.take(&path("input_layernorm.weight"), &[hidden])?,
            q: source.linear(path("self_attn.q_proj"), q, hidden)?,
            k: source.linear(path("self_attn.k_proj"), kv, hidden)?,
            v: source.linear(path("self_attn.v_proj"), kv, hidden)?,
            o: source.linear(path("self_attn.o_proj"), hidden, q)?,
            feed_forward_norm: source.take(&path("post_attention_layernorm.weight"), &[hidden])?,
            gate: source.linear(path("mlp.gate_proj"), inner, hidden)?,
            up: source.linear(path("mlp.up_proj"), inner, hidden)?,
            down: source.linear(path("mlp.down_proj"), hidden, inner)?,
        });
    }
    let embedding = source.take("model.embed_tokens.weight", &[config.vocab, hidden])?;
    let head = if config.tied {
        embedding.clone()
    } else {
        source.take("lm_head.weight", &[config.vocab, hidden])?
    };
    Ok(Weights {
        norm: source.take("model.norm.weight", &[hidden])?,
        rope: Rope::new(
            config.rope_theta,
            config.head_dim,
            config.max_positions,
            device,
            dtype,
        )?,
        device: device.clone(),
        layers,
        embedding,
        head,
        config,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tiny;

    fn tensors() -> HashMap<String, Tensor> {
        let model = tiny::model(0);
        let mut tensors = HashMap::from([
            ("model.embed_tokens.weight".to_owned(), model.embedding.clone()),
            ("model.norm.weight".to_owned(), model.norm.clone()),
        ]);
        for (index, layer) in model.layers.iter().enumerate() {
            let norm = |name: &str| format!("model.layers.{index}.{name}.weight");
            tensors.insert(norm("input_layernorm"), layer.attention_norm.clone());
            tensors.insert(norm("post_attention_layernorm"), layer.feed_forward_norm.clone());
            for linear in layer.linears() {
                tensors.insert(format!("{}.weight", linear.path), linear.weight.clone());
            }
        }
        tensors
    }

    #[test]
    fn missing_and_misshapen_tensors_are_named() {
        let name = "model.layers.1.mlp.up_proj.weight";
        let mut missing = tensors();
        missing.remove(name);
        let error = assemble(tiny::config(), &Device::Cpu, DType::F32, missing)
            .err()
            .unwrap();
        assert!(error.to_string().contains(name), "{error}");
        let mut wrong = tensors();
        wrong.insert(
            name.to_owned(),
            Tensor::zeros((3, 3), DType::F32, &Device::Cpu).unwrap(),
        );
        let error = assemble(tiny::config(), &Device::Cpu, DType::F32, wrong)
            .err()
            .unwrap();
        assert!(error.to_string().contains("[3, 3]"), "{error}");
    }

    #[test]
    fn a_folder_in_bf16_gives_the_model_that_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let config = tiny::config();
        let json = serde_json::json!({
            "model_type": "llama", "hidden_size": config.hidden, "intermediate_size": config.inner,
            "num_hidden_layers": config.n_layers, "num_attention_heads": config.n_heads,
            "num_key_value_heads": config.n_kv_heads, "head_dim": config.head_dim,
            "vocab_size": config.vocab, "max_position_embeddings": config.max_positions,
            "rope_theta": config.rope_theta, "rms_norm_eps": config.rms_eps,
            "tie_word_embeddings": true, "eos_token_id": [2], "bos_token_id": 1,
        });
        fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
        let narrow: HashMap<String, Tensor> = tensors()
            .into_iter()
            .map(|(name, t)| (name, t.to_dtype(DType::BF16).unwrap()))
            .collect();
        candle_core::safetensors::save(&narrow, dir.path().join("model.safetensors")).unwrap();
        let loaded = load(dir.path(), &Device::Cpu, DType::F32).unwrap();
        assert_eq!(loaded.config, config);
        let saved = narrow["model.norm.weight"]
            .to_dtype(DType::F32)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert_eq!(loaded.norm.to_vec1::<f32>().unwrap(), saved);
    }
}
