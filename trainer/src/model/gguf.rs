//! Reads a GGUF file: metadata to a [`Config`], tensors de-quantised once and named as Hugging Face names them.

use super::Config;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{
    Device, Tensor,
    quantized::gguf_file::{Content, Value},
};
use std::{collections::HashMap, fs::File, io::BufReader, path::Path};

pub fn read(path: &Path, device: &Device) -> Result<(Config, HashMap<String, Tensor>)> {
    let mut reader = BufReader::new(File::open(path)?);
    let content = Content::read(&mut reader).context("the file is no complete GGUF file")?;
    let config = config(&content)?;
    let mut tensors = HashMap::new();
    for name in content.tensor_infos.keys() {
        let Some(hf_name) = hf_name(name) else {
            bail!("the file has the tensor {name:?}, which this decoder does not know");
        };
        let quantised = content
            .tensor(&mut reader, name, device)
            .with_context(|| format!("read tensor {name:?}: is the file complete?"))?;
        let mut tensor = quantised.dequantize(device)?;
        if config.architecture == "llama" {
            tensor = match name.split('.').nth(2) {
                Some("attn_q") => restore_order(&tensor, config.n_heads)?,
                Some("attn_k") => restore_order(&tensor, config.n_kv_heads)?,
                _ => tensor,
            };
        }
        tensors.insert(hf_name, tensor);
    }
    Ok((config, tensors))
}

fn config(content: &Content) -> Result<Config> {
    let architecture = match content.metadata.get("general.architecture") {
        Some(value) => value.to_string()?.clone(),
        None => bail!("the file has no general.architecture"),
    };
    ensure!(
        Config::is_supported(&architecture),
        "models of the architecture {architecture:?} are not supported"
    );
    let find = |key: &str| content.metadata.get(&format!("{architecture}.{key}"));
    let size = |key: &str| -> Result<usize> {
        let value = find(key).with_context(|| format!("the file has no {architecture}.{key}"))?;
        integer(value).with_context(|| format!("{architecture}.{key} is no whole number"))
    };
    if let Some(kind) = find("rope.scaling.type").and_then(|value| value.to_string().ok()) {
        ensure!(kind == "none", "rope scaling of type {kind:?} is not supported");
    }
    let max_positions = size("context_length")?;
    if let Some(window) = find("attention.sliding_window").and_then(integer) {
        // 0 stands for none.
        ensure!(
            window == 0 || window >= max_positions,
            "attention with a sliding window ({window} tokens) is not supported"
        );
    }
    let (hidden, n_heads) = (size("embedding_length")?, size("attention.head_count")?);
    let float = |key: &str| find(key).and_then(|value| value.to_f32().ok()).map(f64::from);
    let embedding = content
        .tensor_infos
        .get("token_embd.weight")
        .context("the tensor \"token_embd.weight\" is missing")?;
    Config {
        hidden,
        inner: size("feed_forward_length")?,
        n_layers: size("block_count")?,
        n_heads,
        n_kv_heads: size("attention.head_count_kv").unwrap_or(n_heads),
        head_dim: size("attention.key_length").unwrap_or(hidden / n_heads.max(1)),
        vocab: embedding.shape.dims().first().copied().unwrap_or(0),
        max_positions,
        rope_theta: float("rope.freq_base").unwrap_or(10_000.0),
        // The metadata holds an f32: 1e-5 is not to become 9.99999974738e-6.
        rms_eps: float("attention.layer_norm_rms_epsilon")
            .map(|eps| format!("{:e}", eps as f32).parse().unwrap_or(eps))
            .context("the file has no epsilon for its normalisation")?,
        tied: !content.tensor_infos.contains_key("output.weight"),
        architecture,
    }
    .checked()
}

fn integer(value: &Value) -> Option<usize> {
    value
        .to_u64()
        .ok()
        .map(|n| n as usize)
        .or_else(|| value.to_u32().ok().map(|n| n as usize))
}

/// The Hugging Face name of a GGUF tensor.
fn hf_name(name: &str) -> Option<String> {
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
        "ffn_norm" => "post_attention_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{index}.{part}.{kind}"))
}

/// llama.cpp stores q and k so that neighbouring components turn together; Hugging Face (and so every adapter)
/// turns component i with i + head_dim / 2. Row (head, i, half) goes back to row (head, half, i).
fn restore_order(tensor: &Tensor, n_heads: usize) -> Result<Tensor> {
    let dims = tensor.dims().to_vec();
    let half = dims[0] / n_heads / 2;
    let columns = dims.get(1).copied().unwrap_or(1);
    let restored = tensor
        .reshape((n_heads, half, 2, columns))?
        .transpose(1, 2)?
        .contiguous()?;
    Ok(restored.reshape(dims)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{
        DType,
        quantized::{GgmlDType, QTensor, gguf_file},
    };
    use std::io::Cursor;

    #[test]
    fn rows_of_a_head_go_back_to_halves() {
        let stored = Tensor::new(&[[0f32], [3.0], [1.0], [4.0], [2.0], [5.0]], &Device::Cpu).unwrap();
        let restored = restore_order(&stored, 1).unwrap();
        assert_eq!(
            restored.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        );
    }

    #[test]
    fn a_sliding_window_shorter_than_the_context_is_refused() {
        let read = |window: u32| {
            let architecture = Value::String("llama".to_owned());
            let mut metadata = vec![("general.architecture", architecture)];
            let sizes = [
                ("llama.context_length", 4096),
                ("llama.embedding_length", 32),
                ("llama.feed_forward_length", 64),
                ("llama.block_count", 1),
                ("llama.attention.head_count", 4),
                ("llama.attention.sliding_window", window),
            ];
            metadata.extend(sizes.map(|(name, size)| (name, Value::U32(size))));
            metadata.push(("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)));
            let fields: Vec<(&str, &Value)> = metadata.iter().map(|(name, value)| (*name, value)).collect();
            let embedding = Tensor::zeros((8, 32), DType::F32, &Device::Cpu).unwrap();
            let embedding = QTensor::quantize(&embedding, GgmlDType::F32).unwrap();
            let mut file = Cursor::new(Vec::new());
            gguf_file::write(&mut file, &fields, &[("token_embd.weight", &embedding)]).unwrap();
            file.set_position(0);
            config(&Content::read(&mut file).unwrap())
        };
        assert_eq!(read(4096).unwrap().max_positions, 4096);
        assert!(read(0).is_ok());
        assert!(read(1024).unwrap_err().to_string().contains("1024"));
    }

    #[test]
    fn names_follow_hugging_face_and_unknown_tensors_have_none() {
        assert_eq!(
            hf_name("blk.3.ffn_up.weight").unwrap(),
            "model.layers.3.mlp.up_proj.weight"
        );
        assert_eq!(hf_name("rope_freqs.weight"), None);
    }
}
