//! Reads a GGUF file: metadata to a [`Config`], tensors in their blocks and named as Hugging Face names them.

use super::{Config, Family, RopeShape, Scaling, StoredTensor};
use crate::ops::Activation;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{
    Device, Tensor,
    quantized::{
        QStorage, QTensor,
        gguf_file::{Content, Value},
    },
};
use std::{borrow::Cow, collections::BTreeMap, fs::File, io::BufReader, path::Path};

/// Llama 3.1's rope scaling: what each frequency is divided by.
pub const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// An open file, from which tensors are read one by one.
pub struct GgufFile {
    pub config: Config,
    content: Content,
    reader: BufReader<File>,
    /// The file's names, by Hugging Face's.
    names: BTreeMap<String, String>,
}

impl GgufFile {
    pub fn open(path: &Path) -> Result<Self> {
        let mut reader = BufReader::new(File::open(path)?);
        let content = Content::read(&mut reader).context("the file is no complete GGUF file")?;
        let mut config = config(&content)?;
        let mut names = BTreeMap::new();
        for name in content.tensor_infos.keys() {
            if name == ROPE_DIVISORS {
                let divisors = read(&content, &mut reader, name)?.dequantize(&Device::Cpu)?;
                config.rope.scaling = Scaling::Divisors(divisors.flatten_all()?.to_vec1()?);
                continue;
            }
            let Some(hf_name) = hf_name(config.family, name) else {
                bail!("the file has the tensor {name:?}, which this decoder does not know");
            };
            names.insert(hf_name, name.clone());
        }
        Ok(Self {
            config: config.checked()?,
            content,
            reader,
            names,
        })
    }

    /// By Hugging Face's names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    pub fn stored(&self) -> Vec<StoredTensor> {
        let stored = |(hf_name, name): (&String, &String)| {
            let info = &self.content.tensor_infos[name];
            let n = info.shape.elem_count();
            StoredTensor {
                name: hf_name.clone(),
                shape: info.shape.dims().to_vec(),
                dtype: format!("{:?}", info.ggml_dtype).to_lowercase(),
                n_bytes: n / info.ggml_dtype.block_size() * info.ggml_dtype.type_size(),
            }
        };
        self.names.iter().map(stored).collect()
    }

    /// A tensor by Hugging Face's name, in main memory.
    pub fn read(&mut self, hf_name: &str) -> Result<Option<QTensor>> {
        let Some(name) = self.names.get(hf_name) else {
            return Ok(None);
        };
        let tensor = read(&self.content, &mut self.reader, name)?;
        Ok(Some(match permuted_heads(&self.config, name) {
            Some(n_heads) => restore_order(&tensor, n_heads).with_context(|| format!("tensor {name:?}"))?,
            None => tensor,
        }))
    }
}

fn read(content: &Content, reader: &mut BufReader<File>, name: &str) -> Result<QTensor> {
    content
        .tensor(reader, name, &Device::Cpu)
        .with_context(|| format!("read tensor {name:?}: is the file complete?"))
}

/// The metadata of one architecture.
struct Fields<'a> {
    content: &'a Content,
    architecture: &'static str,
}

impl Fields<'_> {
    fn find(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(&format!("{}.{key}", self.architecture))
    }

    fn size(&self, key: &str) -> Result<usize> {
        let name = format!("{}.{key}", self.architecture);
        let value = self
            .find(key)
            .with_context(|| format!("the file has no {name}"))?;
        integer(value).with_context(|| format!("{name} is no whole number"))
    }

    fn size_or(&self, key: &str, default: usize) -> usize {
        self.find(key).and_then(integer).unwrap_or(default)
    }

    /// The metadata hold an f32: 1e-5 is not to become 9.99999974738e-6.
    fn float(&self, key: &str) -> Option<f64> {
        let number = self.find(key)?.to_f32().ok()?;
        format!("{number:e}").parse().ok()
    }
}

pub fn config(content: &Content) -> Result<Config> {
    let architecture = match content.metadata.get("general.architecture") {
        Some(value) => value.to_string()?.clone(),
        None => bail!("the file has no general.architecture"),
    };
    let family = Family::ALL
        .into_iter()
        .find(|family| family.gguf_name() == architecture)
        .with_context(|| format!("models of the architecture {architecture:?} are not supported"))?;
    let fields = Fields {
        content,
        architecture: family.gguf_name(),
    };
    let (hidden, n_heads) = (
        fields.size("embedding_length")?,
        fields.size("attention.head_count")?,
    );
    let head_dim = fields.size_or("attention.key_length", hidden / n_heads.max(1));
    let value_dim = fields.size_or("attention.value_length", head_dim);
    ensure!(
        value_dim == head_dim,
        "values of {value_dim} numbers beside keys of {head_dim} are not supported"
    );
    let n_layers = fields.size("block_count")?;
    let embedding = content
        .tensor_infos
        .get("token_embd.weight")
        .context("the tensor \"token_embd.weight\" is missing")?;
    let (rope, windowed_rope) = ropes(&fields, family, head_dim)?;
    Config {
        hidden,
        inner: fields.size("feed_forward_length")?,
        n_layers,
        n_heads,
        n_kv_heads: fields.size_or("attention.head_count_kv", n_heads),
        head_dim,
        vocab: embedding.shape.dims().first().copied().unwrap_or(0),
        max_positions: fields.size("context_length")?,
        rms_eps: fields
            .float("attention.layer_norm_rms_epsilon")
            .context("the file has no epsilon for its normalisation")?,
        tied: !content.tensor_infos.contains_key("output.weight"),
        activation: match family.is_gemma() {
            true => Activation::GeluTanh,
            false => Activation::Silu,
        },
        rope,
        windowed_rope,
        windows: windows(&fields, family, n_layers),
        attention_factor: attention_factor(family, n_layers, hidden / n_heads.max(1), head_dim),
        attention_cap: fields.float("attn_logit_softcapping"),
        logit_cap: fields.float("final_logit_softcapping"),
        embedding_factor: family.is_gemma().then(|| (hidden as f64).sqrt()),
        family,
    }
    .checked()
}

/// How many heads a tensor's rows belong to where llama.cpp stores them in another order than Hugging Face: q and k of
/// the architecture llama.
pub fn permuted_heads(config: &Config, name: &str) -> Option<usize> {
    if config.family.gguf_name() != "llama" {
        return None;
    }
    match name.split('.').nth(2) {
        Some("attn_q") => Some(config.n_heads),
        Some("attn_k") => Some(config.n_kv_heads),
        _ => None,
    }
}

/// The metadata do not tell Gemma's `query_pre_attn_scalar`: it is the head's width, but in the models of 27
/// billion weights the width over the heads. llama.cpp knows those by their number of blocks too.
pub fn attention_factor(family: Family, n_layers: usize, shared_dim: usize, head_dim: usize) -> f64 {
    let dim = match (family, n_layers) {
        (Family::Gemma2, 46) | (Family::Gemma3, 62) => shared_dim,
        _ => head_dim,
    };
    (dim as f64).powf(-0.5)
}

/// The window of each block. Which blocks have one is a rule of the family unless the metadata tell.
fn windows(fields: &Fields<'_>, family: Family, n_layers: usize) -> Vec<Option<usize>> {
    // 0 stands for none.
    let window = fields.size_or("attention.sliding_window", 0);
    if window == 0 {
        return vec![None; n_layers];
    }
    let pattern = fields.find("attention.sliding_window_pattern");
    let period = match (pattern.and_then(integer), family) {
        (Some(period), _) => period,
        (None, Family::Gemma2) => 2,
        (None, Family::Gemma3) => 6,
        (None, _) => 0,
    };
    let listed: Option<Vec<bool>> = pattern.and_then(|list| {
        let list = list.to_vec().ok()?;
        list.iter().map(|item| item.to_bool().ok()).collect()
    });
    let has_window = |layer: usize| match &listed {
        Some(listed) => listed.get(layer).copied().unwrap_or(false),
        None => period == 0 || !(layer + 1).is_multiple_of(period),
    };
    (0..n_layers)
        .map(|layer| has_window(layer).then_some(window))
        .collect()
}

/// The rotary embedding, and that of the blocks with a window where it differs.
fn ropes(fields: &Fields<'_>, family: Family, head_dim: usize) -> Result<(RopeShape, Option<RopeShape>)> {
    let kind = match fields.find("rope.scaling.type") {
        Some(kind) => kind.to_string()?.as_str(),
        None => "none",
    };
    let scaling = match kind {
        "none" => Scaling::None,
        "linear" => Scaling::Linear(
            fields
                .float("rope.scaling.factor")
                .context("rope scaling of type \"linear\" has no factor")?,
        ),
        _ => bail!("rope scaling of type {kind:?} is not supported"),
    };
    let long = fields
        .content
        .tensor_infos
        .contains_key("rope_factors_long.weight");
    ensure!(!long, "rope scaling of type \"longrope\" is not supported");
    let rotary_dim = fields.size_or("rope.dimension_count", head_dim);
    ensure!(
        family != Family::Llama || rotary_dim == head_dim,
        "a rotary embedding of {rotary_dim} of {head_dim} components is not supported in a Llama file"
    );
    let rope = RopeShape {
        theta: fields.float("rope.freq_base").unwrap_or(10_000.0),
        rotary_dim,
        scaling,
    };
    let windowed = RopeShape {
        theta: fields.float("rope.freq_base_swa").unwrap_or(10_000.0),
        rotary_dim,
        scaling: Scaling::None,
    };
    Ok((rope, (family == Family::Gemma3).then_some(windowed)))
}

fn integer(value: &Value) -> Option<usize> {
    value
        .to_u64()
        .ok()
        .map(|n| n as usize)
        .or_else(|| value.to_u32().ok().map(|n| n as usize))
}

/// The Hugging Face name of a GGUF tensor.
pub fn hf_name(family: Family, name: &str) -> Option<String> {
    let whole = match name {
        "token_embd.weight" => Some("model.embed_tokens.weight"),
        "output_norm.weight" => Some("model.norm.weight"),
        "output.weight" => Some("lm_head.weight"),
        _ => None,
    };
    if let Some(whole) = whole {
        return Some(whole.to_owned());
    }
    let (index, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (part, kind) = rest.split_once('.')?;
    let part = match part {
        "attn_norm" => "input_layernorm",
        "ffn_norm" if family.is_gemma() => "pre_feedforward_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "post_attention_norm" => "post_attention_layernorm",
        "post_ffw_norm" => "post_feedforward_layernorm",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "attn_qkv" => "self_attn.qkv_proj",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" if family.is_fused() => "mlp.gate_up_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{index}.{part}.{kind}"))
}

/// llama.cpp stores q and k so that neighbouring components turn together; Hugging Face (and so every adapter)
/// turns component i with i + head_dim / 2. Row (head, i, half) goes back to row (head, half, i). A row is a whole
/// number of blocks, so that rows are moved as bytes.
fn restore_order(tensor: &QTensor, n_heads: usize) -> Result<QTensor> {
    let (shape, stored) = (tensor.shape(), tensor.data()?);
    let n_rows = shape.dims()[0];
    ensure!(
        n_rows > 0 && n_rows.is_multiple_of(2 * n_heads),
        "{n_rows} rows are no {n_heads} heads of an even width"
    );
    let (half, row) = (n_rows / n_heads / 2, stored.len() / n_rows);
    let mut restored = Vec::with_capacity(stored.len());
    for head in 0..n_heads {
        for part in 0..2 {
            for i in 0..half {
                let from = (head * 2 * half + i * 2 + part) * row;
                restored.extend_from_slice(&stored[from..from + row]);
            }
        }
    }
    let storage = QStorage::from_data(Cow::Owned(restored), &Device::Cpu, tensor.dtype())?;
    Ok(QTensor::new(storage, shape.clone())?)
}

/// The same for numbers.
pub fn restore_numbers(tensor: &Tensor, n_heads: usize) -> Result<Tensor> {
    let dims = tensor.dims().to_vec();
    let half = dims[0] / n_heads / 2;
    let columns = dims.get(1).copied().unwrap_or(1);
    let restored = tensor
        .reshape((n_heads, half, 2, columns))?
        .transpose(1, 2)?
        .contiguous()?;
    Ok(restored.reshape(dims)?)
}

/// The inverse of [`restore_numbers`].
pub fn store_order(tensor: &Tensor, n_heads: usize) -> Result<Tensor> {
    let dims = tensor.dims().to_vec();
    let half = dims[0] / n_heads / 2;
    let columns = dims.get(1).copied().unwrap_or(1);
    let stored = tensor
        .reshape((n_heads, 2, half, columns))?
        .transpose(1, 2)?
        .contiguous()?;
    Ok(stored.reshape(dims)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{
        DType, Tensor,
        quantized::{GgmlDType, gguf_file},
    };
    use std::io::Cursor;

    #[test]
    fn rows_of_a_head_go_back_to_halves_in_every_type() {
        use crate::ops::{Matrix, matrix_types};
        // Two heads of six rows, and each row's place in the restored order.
        let places = [0f32, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0];
        let rows: Vec<f32> = places
            .iter()
            .flat_map(|place| (0..512).map(move |i| (place * 7.0 + i as f32 * 0.3).sin()))
            .collect();
        let stored = Tensor::from_vec(rows, (12, 512), &Device::Cpu).unwrap();
        for dtype in matrix_types() {
            let stored = QTensor::quantize(&stored, dtype).unwrap();
            let restored = Matrix::from_blocks(restore_order(&stored, 2).unwrap()).unwrap();
            let rows = |tensor: Tensor| tensor.to_vec2::<f32>().unwrap();
            let (stored, restored) = (
                rows(stored.dequantize(&Device::Cpu).unwrap()),
                rows(restored.to_dtype(DType::F32).unwrap()),
            );
            for (row, place) in stored.iter().zip(places) {
                assert_eq!(*row, restored[place as usize], "{dtype:?}");
            }
        }
        let error = restore_order(&QTensor::quantize(&stored, GgmlDType::F32).unwrap(), 5);
        assert!(error.unwrap_err().to_string().contains("12 rows"));

        let numbers = Tensor::new(&[[0f32], [3.0], [1.0], [4.0], [2.0], [5.0]], &Device::Cpu).unwrap();
        let restored = restore_numbers(&numbers, 1).unwrap();
        assert_eq!(
            restored.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        );
        let again = store_order(&restored, 1).unwrap();
        assert_eq!(again.to_vec2::<f32>().unwrap(), numbers.to_vec2::<f32>().unwrap());
    }

    fn config_of(architecture: &str, more: &[(&str, Value)]) -> Result<Config> {
        let named = |name: &str| format!("{architecture}.{name}");
        let sizes = [
            ("context_length", 4096),
            ("embedding_length", 32),
            ("feed_forward_length", 64),
            ("block_count", 3),
            ("attention.head_count", 4),
        ];
        let mut metadata: Vec<(String, Value)> = sizes
            .iter()
            .map(|(name, size)| (named(name), Value::U32(*size)))
            .chain(more.iter().map(|(name, value)| (named(name), value.clone())))
            .collect();
        metadata.push((named("attention.layer_norm_rms_epsilon"), Value::F32(1e-5)));
        metadata.push((
            "general.architecture".to_owned(),
            Value::String(architecture.to_owned()),
        ));
        let fields: Vec<(&str, &Value)> = metadata
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        let embedding = Tensor::zeros((8, 32), DType::F32, &Device::Cpu).unwrap();
        let embedding = QTensor::quantize(&embedding, GgmlDType::F32).unwrap();
        let mut file = Cursor::new(Vec::new());
        gguf_file::write(&mut file, &fields, &[("token_embd.weight", &embedding)]).unwrap();
        file.set_position(0);
        config(&Content::read(&mut file).unwrap())
    }

    #[test]
    fn windows_follow_the_family_or_the_metadata() {
        let windows = |architecture: &str, window: u32, more: &[(&str, Value)]| {
            let window = ("attention.sliding_window", Value::U32(window));
            let more = [&[window], more].concat();
            config_of(architecture, &more).unwrap().windows
        };
        assert_eq!(windows("llama", 4096, &[]), [None; 3]);
        assert_eq!(windows("llama", 0, &[]), [None; 3]);
        assert_eq!(windows("phi3", 1024, &[]), [Some(1024); 3]);
        assert_eq!(windows("gemma2", 9, &[]), [Some(9), None, Some(9)]);
        assert_eq!(windows("gemma3", 9, &[]), [Some(9); 3]);
        let period = ("attention.sliding_window_pattern", Value::U32(3));
        assert_eq!(windows("gemma3", 9, &[period]), [Some(9), Some(9), None]);
    }

    #[test]
    fn what_the_decoder_does_not_compute_is_named_in_the_error() {
        let error = |architecture, more: &[_]| format!("{:#}", config_of(architecture, more).unwrap_err());
        assert!(error("mamba", &[]).contains("mamba"));
        let yarn = ("rope.scaling.type", Value::String("yarn".to_owned()));
        assert!(error("qwen3", &[yarn]).contains("yarn"));
        let values = ("attention.value_length", Value::U32(16));
        assert!(error("qwen3", &[values]).contains("16"));
    }

    #[test]
    fn names_follow_hugging_face_and_unknown_tensors_have_none() {
        let name = |family, name| hf_name(family, name).unwrap();
        assert_eq!(
            name(Family::Llama, "blk.3.ffn_up.weight"),
            "model.layers.3.mlp.up_proj.weight"
        );
        assert_eq!(
            name(Family::Phi3, "blk.3.ffn_up.weight"),
            "model.layers.3.mlp.gate_up_proj.weight"
        );
        assert_eq!(
            name(Family::Gemma2, "blk.3.ffn_norm.weight"),
            "model.layers.3.pre_feedforward_layernorm.weight"
        );
        assert_eq!(hf_name(Family::Llama, "blk.3.ssm_in.weight"), None);
    }
}
