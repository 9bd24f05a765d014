//! Weights from a Hugging Face folder (`config.json` and safetensors, sharded or not) or a GGUF file. A missing
//! tensor or one of the wrong shape is an error that names it.

use super::{AttentionRule, Bundle, Config, Family, Layer, Linear, Rope, RopeShape, Weights, gguf};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

pub fn load(path: &Path, device: &Device, dtype: DType) -> Result<Weights> {
    ensure!(
        path.exists(),
        "no model at {path:?}: give a GGUF file or a Hugging Face folder"
    );
    if path.is_dir() {
        let text = fs::read_to_string(path.join("config.json"))
            .with_context(|| format!("read config.json of the model folder {path:?}"))?;
        let config = Config::from_hf(&text).with_context(|| format!("model folder {path:?}"))?;
        let mut tensors = folder(path, device)?;
        if config.family.is_gemma() {
            add_one_to_norms(&mut tensors)?;
        }
        assemble(config, device, dtype, tensors).with_context(|| format!("model folder {path:?}"))
    } else {
        let (config, tensors) =
            gguf::read(path, device).with_context(|| format!("read GGUF file {path:?}"))?;
        assemble(config, device, dtype, tensors).with_context(|| format!("GGUF file {path:?}"))
    }
}

/// A folder's safetensors files, sharded or not.
pub fn weight_files(path: &Path) -> Result<Vec<PathBuf>> {
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
    Ok(files)
}

/// All tensors of a folder's safetensors files.
fn folder(path: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    let mut tensors = HashMap::new();
    for file in weight_files(path)? {
        let loaded = candle_core::safetensors::load(&file, device)
            .with_context(|| format!("read {file:?}: is it complete?"))?;
        tensors.extend(loaded);
    }
    Ok(tensors)
}

/// Gemma's files hold w where the normalisation multiplies by 1 + w (GGUF files hold the sum). In f32, since bf16
/// would round the sum.
fn add_one_to_norms(tensors: &mut HashMap<String, Tensor>) -> Result<()> {
    for (name, tensor) in tensors {
        if name.ends_with("norm.weight") {
            *tensor = (tensor.to_dtype(DType::F32)? + 1.0)?;
        }
    }
    Ok(())
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

    fn layer(&mut self, config: &Config, index: usize, rope: Rope) -> Result<Layer> {
        let (hidden, inner, head_dim) = (config.hidden, config.inner, config.head_dim);
        let (q, kv) = (config.n_heads * head_dim, config.n_kv_heads * head_dim);
        let path = |name: &str| format!("model.layers.{index}.{name}");
        let family = config.family;
        let (qkv, gate_up) = if family.is_fused() {
            let qkv = self.linear(path("self_attn.qkv_proj"), q + 2 * kv, hidden)?;
            let gate_up = self.linear(path("mlp.gate_up_proj"), 2 * inner, hidden)?;
            (
                Bundle::Fused {
                    layer: qkv,
                    widths: [q, kv, kv],
                },
                Bundle::Fused {
                    layer: gate_up,
                    widths: [inner, inner],
                },
            )
        } else {
            let qkv = [
                self.linear(path("self_attn.q_proj"), q, hidden)?,
                self.linear(path("self_attn.k_proj"), kv, hidden)?,
                self.linear(path("self_attn.v_proj"), kv, hidden)?,
            ];
            let bare = qkv.iter().find(|linear| linear.bias.is_none());
            if let (Family::Qwen2, Some(linear)) = (family, bare) {
                bail!("the tensor {:?} is missing", format!("{}.bias", linear.path));
            }
            let gate_up = [
                self.linear(path("mlp.gate_proj"), inner, hidden)?,
                self.linear(path("mlp.up_proj"), inner, hidden)?,
            ];
            (Bundle::Apart(qkv), Bundle::Apart(gate_up))
        };
        let mut norm = |wanted: bool, name: &str, width: usize| match wanted {
            true => self.take(&path(&format!("{name}.weight")), &[width]).map(Some),
            false => Ok(None),
        };
        let head_norms = family.has_head_norms();
        let query_norm = norm(head_norms, "self_attn.q_norm", head_dim)?;
        let key_norm = norm(head_norms, "self_attn.k_norm", head_dim)?;
        // Gemma keeps Llama's name for another norm.
        let (post, before, after) = match family.is_gemma() {
            true => (true, "pre_feedforward_layernorm", "post_feedforward_layernorm"),
            false => (false, "post_attention_layernorm", ""),
        };
        let attention_post_norm = norm(post, "post_attention_layernorm", hidden)?;
        let feed_forward_post_norm = norm(post, after, hidden)?;
        Ok(Layer {
            attention_norm: self.take(&path("input_layernorm.weight"), &[hidden])?,
            attention_post_norm,
            query_norm,
            key_norm,
            qkv,
            rule: AttentionRule {
                rope,
                factor: config.attention_factor,
                cap: config.attention_cap,
                window: config.windows[index],
            },
            o: self.linear(path("self_attn.o_proj"), hidden, q)?,
            feed_forward_norm: self.take(&path(&format!("{before}.weight")), &[hidden])?,
            feed_forward_post_norm,
            gate_up,
            down: self.linear(path("mlp.down_proj"), hidden, inner)?,
        })
    }

    /// A tensor of a block that was not taken does something that the decoder would leave out. Old files hold the
    /// rotary frequencies too.
    fn check_nothing_is_left(&self) -> Result<()> {
        let mut left = self.tensors.keys();
        let stranger =
            left.find(|name| name.starts_with("model.layers.") && !name.ends_with(".rotary_emb.inv_freq"));
        match stranger {
            Some(name) => {
                bail!("the model has the tensor {name:?}, which its family's decoder does not know")
            }
            None => Ok(()),
        }
    }
}

fn assemble(
    config: Config,
    device: &Device,
    dtype: DType,
    tensors: HashMap<String, Tensor>,
) -> Result<Weights> {
    let mut source = Source { tensors, dtype };
    let hidden = config.hidden;
    let mut ropes: Vec<(&RopeShape, Rope)> = Vec::new();
    let mut layers = Vec::with_capacity(config.n_layers);
    for index in 0..config.n_layers {
        let shape = config.rope_of(index);
        let rope = match ropes.iter().find(|(known, _)| *known == shape) {
            Some((_, rope)) => rope.clone(),
            None => {
                let (frequencies, n) = (shape.frequencies(), config.max_positions);
                let rope = Rope::new(&frequencies, config.head_dim, n, device, dtype)?;
                ropes.push((shape, rope.clone()));
                rope
            }
        };
        layers.push(source.layer(&config, index, rope)?);
    }
    let embedding = source.take("model.embed_tokens.weight", &[config.vocab, hidden])?;
    let head = if config.tied {
        embedding.clone()
    } else {
        source.take("lm_head.weight", &[config.vocab, hidden])?
    };
    let norm = source.take("model.norm.weight", &[hidden])?;
    source.check_nothing_is_left()?;
    Ok(Weights {
        norm,
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
        let mut more = tensors();
        let name = "model.layers.0.self_attn.q_norm.weight";
        more.insert(
            name.to_owned(),
            Tensor::zeros(6, DType::F32, &Device::Cpu).unwrap(),
        );
        let error = assemble(tiny::config(), &Device::Cpu, DType::F32, more)
            .err()
            .unwrap();
        assert!(error.to_string().contains(name), "{error}");
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
            "rope_theta": config.rope.theta, "rms_norm_eps": config.rms_eps,
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
