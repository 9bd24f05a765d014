//! Writes the merged model as a GGUF file. From a GGUF file everything that the adapter does not change is kept, tensors
//! byte for byte; from a Hugging Face folder the file is made anew, named and described as llama.cpp does.

use super::{Names, WeightType, base::Base, folder::Written, layer::merged, metadata, vocabulary};
use crate::{
    adapters::Adapter,
    model::{Config, Scaling, gguf},
};
use anyhow::{Context, Result, bail};
use candle_core::{
    DType, Device, Tensor,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{self, Content, Value},
    },
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, BufWriter, Write},
    path::Path,
};

pub type Metadata = BTreeMap<String, Value>;

pub fn write(
    base: &Base,
    config: &Config,
    adapter: &Adapter,
    dtype: WeightType,
    names: &Names,
    out: &Path,
    notes: &mut Vec<String>,
) -> Result<Written> {
    let (mut metadata, tensors, written) = match base {
        Base::Gguf(path, content) => from_gguf(path, content, config, adapter, dtype)?,
        Base::Folder(path) => {
            let (tensors, written) = from_folder(base, config, adapter, dtype)?;
            let mut metadata = metadata::of(config, notes);
            metadata.extend(vocabulary::of(path, config.vocab)?);
            (metadata, tensors, written)
        }
    };
    metadata::add_provenance(&mut metadata, names);
    metadata::add_file_type(&mut metadata, dtype);
    let fields: Vec<(&str, &Value)> = metadata
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    let tensors: Vec<(&str, &QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    let mut file = BufWriter::new(File::create(out).with_context(|| format!("create {out:?}"))?);
    gguf_file::write(&mut file, &fields, &tensors).with_context(|| format!("write {out:?}"))?;
    file.flush().with_context(|| format!("write {out:?}"))?;
    Ok(written)
}

type Parts = (Metadata, Vec<(String, QTensor)>, Written);

fn from_gguf(
    path: &Path,
    content: &Content,
    config: &Config,
    adapter: &Adapter,
    dtype: WeightType,
) -> Result<Parts> {
    let mut file = BufReader::new(File::open(path)?);
    let mut names: Vec<&String> = content.tensor_infos.keys().collect();
    names.sort_by_key(|name| content.tensor_infos[*name].offset);
    let mut tensors = Vec::with_capacity(names.len());
    let mut written = Written::default();
    for name in names {
        let stored = content
            .tensor(&mut file, name, &Device::Cpu)
            .with_context(|| format!("read tensor {name:?}: is the file complete?"))?;
        let merged =
            changed(&stored, name, config, adapter).with_context(|| format!("merge tensor {name:?}"))?;
        written.n_tensors += 1;
        tensors.push(match merged {
            None => (name.clone(), stored),
            Some(merged) => {
                written.n_changed += 1;
                (name.clone(), quantised(&merged, dtype, stored.dtype())?)
            }
        });
    }
    let mut metadata: Metadata = content.metadata.clone().into_iter().collect();
    // Tensors begin at multiples of 32 bytes, the default.
    metadata.remove("general.alignment");
    Ok((metadata, tensors, written))
}

/// The tensor with the adapter in it, in the file's order of rows; none where the adapter does not change it.
fn changed(stored: &QTensor, name: &str, config: &Config, adapter: &Adapter) -> Result<Option<Tensor>> {
    let Some(hf_name) = gguf::hf_name(config.family, name) else {
        return Ok(None);
    };
    let path = hf_name.strip_suffix(".weight").or(hf_name.strip_suffix(".bias"));
    if !path.is_some_and(|path| adapter.modules.contains_key(path)) {
        return Ok(None);
    }
    let tensor = stored.dequantize(&Device::Cpu)?;
    let permuted = gguf::permuted_heads(config, name);
    let tensor = match permuted {
        Some(n_heads) => gguf::restore_numbers(&tensor, n_heads)?,
        None => tensor,
    };
    let Some(merged) = merged(adapter, &hf_name, &tensor)? else {
        return Ok(None);
    };
    Ok(Some(match permuted {
        Some(n_heads) => gguf::store_order(&merged, n_heads)?,
        None => merged,
    }))
}

fn from_folder(
    base: &Base,
    config: &Config,
    adapter: &Adapter,
    dtype: WeightType,
) -> Result<(Vec<(String, QTensor)>, Written)> {
    let mut tensors = Vec::new();
    let mut written = Written::default();
    // A GGUF file does not tell the scale of the attention scores: what a reader takes is made up for in the queries.
    let assumed = gguf::attention_factor(
        config.family,
        config.n_layers,
        config.hidden / config.n_heads,
        config.head_dim,
    );
    let query_factor = config.attention_factor / assumed;
    let query = if config.family.has_head_norms() {
        "q_norm.weight"
    } else {
        "q_proj.weight"
    };
    base.each(config, &mut |hf_name, tensor| {
        if hf_name == "lm_head.weight" && config.tied || hf_name.ends_with(".rotary_emb.inv_freq") {
            return Ok(());
        }
        let Some(name) = gguf_name(config, &hf_name) else {
            bail!("the model has the tensor {hf_name:?}, for which GGUF files have no name");
        };
        let tensor = match merged(adapter, &hf_name, &tensor)? {
            Some(merged) => {
                written.n_changed += 1;
                merged
            }
            None => tensor.to_dtype(DType::F32)?,
        };
        // Gemma multiplies by 1 + w, and a GGUF file holds the sum.
        let tensor = match config.family.is_gemma() && hf_name.ends_with("norm.weight") {
            true => (tensor + 1.0)?,
            false => tensor,
        };
        let tensor = match hf_name.ends_with(query) && (query_factor - 1.0).abs() > 1e-9 {
            true => (tensor * query_factor)?,
            false => tensor,
        };
        let tensor = match gguf::permuted_heads(config, &name) {
            Some(n_heads) => gguf::store_order(&tensor, n_heads)?,
            None => tensor,
        };
        written.n_tensors += 1;
        tensors.push((name, quantised(&tensor, dtype, GgmlDType::F16)?));
        Ok(())
    })?;
    if let Some(divisors) = divisors(config)? {
        tensors.push((
            gguf::ROPE_DIVISORS.to_owned(),
            QTensor::quantize(&divisors, GgmlDType::F32)?,
        ));
    }
    Ok((tensors, written))
}

/// Llama 3.1's scaling as llama.cpp has it: what each frequency is divided by.
fn divisors(config: &Config) -> Result<Option<Tensor>> {
    let Scaling::Llama3 { .. } = config.rope.scaling else {
        return Ok(None);
    };
    let plain = crate::model::RopeShape {
        scaling: Scaling::None,
        ..config.rope.clone()
    };
    let scaled = config.rope.frequencies();
    let divisors: Vec<f32> = plain
        .frequencies()
        .iter()
        .zip(&scaled)
        .map(|(plain, scaled)| plain / scaled)
        .collect();
    Ok(Some(Tensor::new(divisors, &Device::Cpu)?))
}

/// The GGUF name of a tensor that Hugging Face names.
fn gguf_name(config: &Config, hf_name: &str) -> Option<String> {
    let parts = [
        "attn_norm",
        "ffn_norm",
        "post_attention_norm",
        "post_ffw_norm",
        "attn_q_norm",
        "attn_k_norm",
        "attn_qkv",
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ];
    let layer = hf_name
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.split('.').next());
    let of_layer = layer.into_iter().flat_map(|layer| {
        let names = parts
            .iter()
            .flat_map(move |part| ["weight", "bias"].map(|kind| format!("blk.{layer}.{part}.{kind}")));
        names.collect::<Vec<_>>()
    });
    let whole = ["token_embd.weight", "output_norm.weight", "output.weight"].map(str::to_owned);
    let mut all = whole.into_iter().chain(of_layer);
    all.find(|name| gguf::hf_name(config.family, name).as_deref() == Some(hf_name))
}

/// A tensor in the type that is asked for. What is no matrix stays in f32, as llama.cpp wants it; rows that do not
/// fall into a type's blocks are written in f16.
fn quantised(tensor: &Tensor, dtype: WeightType, kept: GgmlDType) -> Result<QTensor> {
    let columns = tensor.dims().last().copied().unwrap_or(1);
    let wanted = match dtype {
        _ if tensor.rank() < 2 => GgmlDType::F32,
        WeightType::F32 => GgmlDType::F32,
        WeightType::F16 => GgmlDType::F16,
        WeightType::Bf16 => GgmlDType::BF16,
        WeightType::Q8_0 => GgmlDType::Q8_0,
        WeightType::Keep => kept,
    };
    let wanted = if columns.is_multiple_of(wanted.block_size()) {
        wanted
    } else {
        GgmlDType::F16
    };
    Ok(QTensor::quantize(
        &tensor.to_dtype(DType::F32)?.contiguous()?,
        wanted,
    )?)
}
