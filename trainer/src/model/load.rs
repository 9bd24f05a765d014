//! Weights from a Hugging Face folder (`config.json` and safetensors, sharded or not) or a GGUF file. A tensor is read
//! when its place is filled and becomes there what it is held in, so that loading takes the model's memory and that of
//! one tensor more. A missing tensor or one of the wrong shape is an error that names it.

use super::{
    AttentionRule, Bundle, Config, Family, Layer, Linear, Matrix, Rope, RopeShape, StoredTensor, Weights,
    gguf::GgufFile, shards::Shards,
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{
    DType, Device, Tensor,
    quantized::{GgmlDType, QStorage, QTensor},
};
use laurel_protocol::Precision;
#[cfg(test)]
use std::collections::HashMap;
use std::{borrow::Cow, collections::BTreeSet, fs, path::Path};

/// What weights are held in.
#[derive(Clone, Copy)]
pub struct Holding {
    matrices: Held,
    /// Normalisations and biases.
    rest: DType,
}

#[derive(Clone, Copy)]
enum Held {
    As(DType),
    /// In the file's blocks; what has none is quantised to Q8_0.
    Blocks,
}

impl From<DType> for Holding {
    fn from(dtype: DType) -> Self {
        Self {
            matrices: Held::As(dtype),
            rest: dtype,
        }
    }
}

impl From<Precision> for Holding {
    fn from(precision: Precision) -> Self {
        Self {
            matrices: match precision {
                Precision::F32 => Held::As(DType::F32),
                Precision::Bf16 => Held::As(DType::BF16),
                Precision::Quantized => Held::Blocks,
            },
            rest: DType::F32,
        }
    }
}

pub fn load(path: &Path, device: &Device, holding: Holding) -> Result<Weights> {
    let is_bf16 = matches!(holding.matrices, Held::As(DType::BF16));
    ensure!(
        !is_bf16 || device.is_cpu(),
        "weights in bf16 are for the CPU; on this device choose the precision f32 or quantized"
    );
    let (config, files) = open(path)?;
    let source = Source {
        add_one: matches!(files, Files::Shards(_)) && config.family.is_gemma(),
        untaken: files.names(),
        files,
        holding,
        device: device.clone(),
    };
    source.assemble(config).with_context(|| of(path))
}

fn of(path: &Path) -> String {
    let kind = if path.is_dir() {
        "model folder"
    } else {
        "GGUF file"
    };
    format!("{kind} {path:?}")
}

/// Opens a model without reading its weights.
pub fn open(path: &Path) -> Result<(Config, Files)> {
    ensure!(
        path.exists(),
        "no model at {path:?}: give a GGUF file or a Hugging Face folder"
    );
    if !path.is_dir() {
        let file = GgufFile::open(path).with_context(|| format!("read GGUF file {path:?}"))?;
        return Ok((file.config.clone(), Files::Gguf(Box::new(file))));
    }
    let text = fs::read_to_string(path.join("config.json"))
        .with_context(|| format!("read config.json of the model folder {path:?}"))?;
    let config = Config::from_hf(&text).with_context(|| of(path))?;
    Ok((config, Files::Shards(Shards::open(path)?)))
}

/// Where tensors come from.
pub enum Files {
    Gguf(Box<GgufFile>),
    Shards(Shards),
    #[cfg(test)]
    Memory(HashMap<String, Tensor>),
}

/// A tensor as it was stored, in main memory.
enum Raw {
    Blocks(QTensor),
    Tensor(Tensor),
}

impl Files {
    fn names(&self) -> BTreeSet<String> {
        match self {
            Self::Gguf(file) => file.names().map(str::to_owned).collect(),
            Self::Shards(shards) => shards.names().map(str::to_owned).collect(),
            #[cfg(test)]
            Self::Memory(tensors) => tensors.keys().cloned().collect(),
        }
    }

    pub fn stored(&self) -> Vec<StoredTensor> {
        match self {
            Self::Gguf(file) => file.stored(),
            Self::Shards(shards) => shards.stored(),
            #[cfg(test)]
            Self::Memory(_) => Vec::new(),
        }
    }

    fn read(&mut self, name: &str) -> Result<Option<Raw>> {
        Ok(match self {
            Self::Gguf(file) => file.read(name)?.map(Raw::Blocks),
            Self::Shards(shards) => shards.read(name)?.map(Raw::Tensor),
            #[cfg(test)]
            Self::Memory(tensors) => tensors.remove(name).map(Raw::Tensor),
        })
    }
}

impl Raw {
    fn dims(&self) -> &[usize] {
        match self {
            Self::Blocks(tensor) => tensor.shape().dims(),
            Self::Tensor(tensor) => tensor.dims(),
        }
    }

    fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        let tensor = match self {
            Self::Blocks(tensor) => tensor.dequantize(&Device::Cpu)?,
            Self::Tensor(tensor) => tensor.clone(),
        };
        Ok(tensor.to_dtype(dtype)?.contiguous()?)
    }
}

/// Takes tensors out by their Hugging Face name, and checks shapes.
struct Source {
    files: Files,
    holding: Holding,
    device: Device,
    /// Gemma's folders hold w where the normalisation multiplies by 1 + w (GGUF files hold the sum).
    add_one: bool,
    untaken: BTreeSet<String>,
}

impl Source {
    fn raw(&mut self, name: &str, shape: &[usize]) -> Result<Option<Raw>> {
        let Some(raw) = self.files.read(name)? else {
            return Ok(None);
        };
        self.untaken.remove(name);
        ensure!(
            raw.dims() == shape,
            "the tensor {name:?} has the shape {:?}, the configuration wants {shape:?}",
            raw.dims()
        );
        Ok(Some(raw))
    }

    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        let Some(raw) = self.raw(name, &shape)? else {
            bail!("the tensor {name:?} is missing");
        };
        let matrix = match (self.holding.matrices, raw) {
            (Held::As(DType::BF16), Raw::Tensor(tensor)) if tensor.dtype() == DType::BF16 => tensor.into(),
            (Held::As(DType::BF16), raw) => Matrix::from(raw.to_dtype(DType::F32)?).to_bf16()?,
            (Held::As(dtype), raw) => raw.to_dtype(dtype)?.to_device(&self.device)?.into(),
            (Held::Blocks, Raw::Blocks(blocks)) => held_on(blocks, &self.device)?,
            (Held::Blocks, Raw::Tensor(tensor)) => {
                let whole = Matrix::from(tensor.to_dtype(DType::F32)?.to_device(&self.device)?);
                match shape[1].is_multiple_of(GgmlDType::Q8_0.block_size()) {
                    true => whole.quantise(GgmlDType::Q8_0)?,
                    false => whole,
                }
            }
        };
        Ok(matrix)
    }

    fn vector_if_there(&mut self, name: &str, width: usize) -> Result<Option<Tensor>> {
        let Some(raw) = self.raw(name, &[width])? else {
            return Ok(None);
        };
        // The sum in f32, since bf16 would round it.
        let tensor = match self.add_one && name.ends_with("norm.weight") {
            true => (raw.to_dtype(DType::F32)? + 1.0)?.to_dtype(self.holding.rest)?,
            false => raw.to_dtype(self.holding.rest)?,
        };
        Ok(Some(tensor.to_device(&self.device)?))
    }

    fn vector(&mut self, name: &str, width: usize) -> Result<Tensor> {
        match self.vector_if_there(name, width)? {
            Some(tensor) => Ok(tensor),
            None => bail!("the tensor {name:?} is missing"),
        }
    }

    fn linear(&mut self, path: String, n_out: usize, n_in: usize) -> Result<Linear> {
        Ok(Linear {
            weight: self.matrix(&format!("{path}.weight"), [n_out, n_in])?,
            bias: self.vector_if_there(&format!("{path}.bias"), n_out)?,
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
            true => self.vector(&path(&format!("{name}.weight")), width).map(Some),
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
            attention_norm: self.vector(&path("input_layernorm.weight"), hidden)?,
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
            feed_forward_norm: self.vector(&path(&format!("{before}.weight")), hidden)?,
            feed_forward_post_norm,
            gate_up,
            down: self.linear(path("mlp.down_proj"), hidden, inner)?,
        })
    }

    /// A tensor of a block that was not taken does something that the decoder would leave out. Old files hold the
    /// rotary frequencies too. What lies outside the blocks (another head) is left aside.
    fn check_nothing_is_left(&self) -> Result<()> {
        let left = self
            .untaken
            .iter()
            .filter(|name| !name.ends_with(".rotary_emb.inv_freq"));
        let (strangers, aside): (Vec<&String>, Vec<&String>) =
            left.partition(|name| name.starts_with("model.layers."));
        ensure!(
            strangers.is_empty(),
            "the model has {}, which its family's decoder does not know",
            named(&strangers)
        );
        if !aside.is_empty() {
            tracing::warn!("Left aside: {}", named(&aside));
        }
        Ok(())
    }

    fn assemble(mut self, config: Config) -> Result<Weights> {
        let hidden = config.hidden;
        let mut ropes: Vec<(&RopeShape, Rope)> = Vec::new();
        let mut layers = Vec::with_capacity(config.n_layers);
        for index in 0..config.n_layers {
            let shape = config.rope_of(index);
            let rope = match ropes.iter().find(|(known, _)| *known == shape) {
                Some((_, rope)) => rope.clone(),
                None => {
                    let (frequencies, n) = (shape.frequencies(), config.max_positions);
                    let rope = Rope::new(&frequencies, config.head_dim, n, &self.device, self.holding.rest)?;
                    ropes.push((shape, rope.clone()));
                    rope
                }
            };
            layers.push(self.layer(&config, index, rope)?);
        }
        check_biases(&layers)?;
        let embedding = self.matrix("model.embed_tokens.weight", [config.vocab, hidden])?;
        let head = match config.tied {
            true => embedding.clone(),
            false => self.matrix("lm_head.weight", [config.vocab, hidden])?,
        };
        let norm = self.vector("model.norm.weight", hidden)?;
        self.check_nothing_is_left()?;
        Ok(Weights {
            norm,
            device: self.device,
            layers,
            embedding,
            head,
            config,
        })
    }
}

/// Blocks on their device. GPUs get what has no blocks of its own (f32, f16, bf16) as f32.
fn held_on(blocks: QTensor, device: &Device) -> Result<Matrix> {
    if device.is_cpu() {
        return Ok(Matrix::from_blocks(blocks)?);
    }
    if blocks.dtype().block_size() == 1 {
        return Ok(blocks.dequantize(&Device::Cpu)?.to_device(device)?.into());
    }
    let storage = QStorage::from_data(Cow::Borrowed(&blocks.data()?), device, blocks.dtype())?;
    Ok(Matrix::from_blocks(QTensor::new(
        storage,
        blocks.shape().clone(),
    )?)?)
}

/// A bias that some blocks have and another lacks has been lost.
fn check_biases(layers: &[Layer]) -> Result<()> {
    let Some(first) = layers.first() else {
        return Ok(());
    };
    for (at, of_first) in first.linears().enumerate() {
        let mut same = layers.iter().filter_map(|layer| layer.linears().nth(at));
        let somewhere = of_first.bias.is_some() || same.clone().any(|linear| linear.bias.is_some());
        if let (true, Some(bare)) = (somewhere, same.find(|linear| linear.bias.is_none())) {
            bail!(
                "the tensor {:?} is missing, which other blocks have",
                format!("{}.bias", bare.path)
            );
        }
    }
    Ok(())
}

/// Up to three names, and how many more.
fn named(names: &[&String]) -> String {
    let shown: Vec<String> = names.iter().take(3).map(|name| format!("{name:?}")).collect();
    let more = match names.len() - shown.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let noun = if names.len() == 1 { "tensor" } else { "tensors" };
    format!("the {noun} {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tiny;

    fn tensors() -> HashMap<String, Tensor> {
        let model = tiny::model(0);
        let mut tensors = HashMap::from([
            (
                "model.embed_tokens.weight".to_owned(),
                model.embedding.to_dtype(DType::F32).unwrap(),
            ),
            ("model.norm.weight".to_owned(), model.norm.clone()),
        ]);
        for (index, layer) in model.layers.iter().enumerate() {
            let norm = |name: &str| format!("model.layers.{index}.{name}.weight");
            tensors.insert(norm("input_layernorm"), layer.attention_norm.clone());
            tensors.insert(norm("post_attention_layernorm"), layer.feed_forward_norm.clone());
            for linear in layer.linears() {
                let weight = linear.weight.to_dtype(DType::F32).unwrap();
                tensors.insert(format!("{}.weight", linear.path), weight);
            }
        }
        tensors
    }

    fn assemble(config: Config, tensors: HashMap<String, Tensor>) -> Result<Weights> {
        let files = Files::Memory(tensors);
        let source = Source {
            untaken: files.names(),
            files,
            holding: DType::F32.into(),
            device: Device::Cpu,
            add_one: false,
        };
        source.assemble(config)
    }

    fn refused(change: impl FnOnce(&mut HashMap<String, Tensor>)) -> String {
        let mut tensors = tensors();
        change(&mut tensors);
        let error = assemble(tiny::config(), tensors).err().expect("refused");
        error.to_string()
    }

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
    }

    #[test]
    fn missing_misshapen_and_unknown_tensors_are_named() {
        let name = "model.layers.1.mlp.up_proj.weight";
        let error = refused(|tensors| {
            tensors.remove(name);
        });
        assert!(error.contains(name) && error.contains("missing"), "{error}");
        let error = refused(|tensors| {
            tensors.insert(name.to_owned(), zeros(&[3, 3]));
        });
        assert!(error.contains("[3, 3]") && error.contains(name), "{error}");
        let stranger = "model.layers.0.self_attn.q_norm.weight";
        let error = refused(|tensors| {
            tensors.insert(stranger.to_owned(), zeros(&[6]));
        });
        assert!(error.contains(stranger), "{error}");
        let error = refused(|tensors| {
            tensors.insert("model.layers.0.self_attn.o_proj.bias".to_owned(), zeros(&[16]));
        });
        assert!(error.contains("model.layers.1.self_attn.o_proj.bias"), "{error}");
        // What lies outside the blocks does not stop a model.
        let mut with_head = tensors();
        with_head.insert("score.weight".to_owned(), zeros(&[1, 16]));
        assemble(tiny::config(), with_head).unwrap();
    }

    fn numbers(matrix: &Matrix) -> Vec<f32> {
        let tensor = matrix.to_dtype(DType::F32).unwrap();
        tensor.flatten_all().unwrap().to_vec1().unwrap()
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
        let loaded = load(dir.path(), &Device::Cpu, DType::F32.into()).unwrap();
        assert_eq!(loaded.config, config);
        let saved = narrow["model.norm.weight"]
            .to_dtype(DType::F32)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert_eq!(loaded.norm.to_vec1::<f32>().unwrap(), saved);
        // bf16 stays what it is, and quantising finds rows of 16 too short for its blocks.
        for precision in [Precision::Bf16, Precision::Quantized] {
            let other = load(dir.path(), &Device::Cpu, precision.into()).unwrap();
            assert_eq!(
                numbers(&other.embedding),
                numbers(&loaded.embedding),
                "{precision:?}"
            );
        }
    }
}
