//! Writes the merged model as a Hugging Face folder: weights, configuration, tokenizer. The model card comes last
//! ([`super::card`]).

use super::{
    base::Base,
    hf_config::{Roles, dtype_name, to_hf},
    layer::merged,
};
use crate::{
    adapters::Adapter,
    data::gguf,
    model::{Config, Family},
};
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

/// Bytes of weights in a file at most, as transformers writes them, in MB of 10^6.
const SHARD_BYTES: usize = 5_000_000_000;

/// What a base folder may hold beside its weights that the merged one needs as well.
const COPIED: [&str; 11] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "additional_chat_templates",
];

/// How much was written.
#[derive(Default)]
pub struct Written {
    pub n_tensors: usize,
    pub n_changed: usize,
}

/// Writes `config.json`, the weights and the tokenizer into the folder `dir`. What should be known goes to `notes`.
pub fn write(
    base: &Base,
    config: &Config,
    adapter: &Adapter,
    dtype: DType,
    dir: &Path,
    notes: &mut Vec<String>,
) -> Result<Written> {
    let mut weights = Shards::new(dir, SHARD_BYTES);
    let (mut written, mut n_biases) = (Written::default(), 0);
    let scores = adapter.score.as_ref().map(|score| score.tensor().detach());
    base.each(config, &mut |name, tensor| {
        if scores.is_some() && name == "lm_head.weight" {
            return Ok(());
        }
        n_biases += usize::from(name.ends_with("_proj.bias"));
        written.n_tensors += 1;
        let tensor = match merged(adapter, &name, &tensor)? {
            Some(merged) => {
                written.n_changed += 1;
                merged
            }
            None => tensor,
        };
        weights.push(&name, narrowed(&name, &tensor, dtype)?)
    })?;
    if let Some(score) = &scores {
        weights.push(
            "score.weight",
            narrowed("score.weight", &score.to_device(&Device::Cpu)?, dtype)?,
        )?;
    }
    weights.finish()?;
    let roles = roles(base)?;
    let mut hf = match base {
        Base::Folder(path) => of_folder(path, dtype)?,
        Base::Gguf(..) => {
            let biases = config.family == Family::Qwen2 || n_biases == 0 || n_biases == 4 * config.n_layers;
            ensure!(
                biases,
                "{n_biases} of the model's {} layers have biases, which its family has not in Hugging Face's code; \
                 merge to a GGUF file",
                7 * config.n_layers
            );
            to_hf(config, n_biases > 0, &roles, dtype)?
        }
    };
    if scores.is_some() {
        as_reward_model(&mut hf, &roles);
    }
    write_json(&dir.join("config.json"), &hf)?;
    match base {
        Base::Folder(path) => copy_beside(path, dir, notes)?,
        Base::Gguf(_, content) => match content.metadata.contains_key("tokenizer.ggml.tokens") {
            true => write_tokenizer(content, dir)?,
            false => notes.push("The GGUF file holds no tokenizer, so the folder has none.".to_owned()),
        },
    }
    // The weights' library writes files that only their owner may read.
    let permissions = fs::metadata(dir.join("config.json"))?.permissions();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            fs::set_permissions(path, permissions.clone())?;
        }
    }
    let generation = dir.join("generation_config.json");
    if !generation.exists() {
        let mut fields = roles.fields();
        fields.retain(|_, id| !id.is_null());
        write_json(&generation, &fields)?;
    }
    Ok(written)
}

/// The tensor in the type that is written. Tensors of integers, and the rotary frequencies of old files, stay.
pub fn narrowed(name: &str, tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    if !tensor.dtype().is_float() || name.ends_with(".rotary_emb.inv_freq") {
        return Ok(tensor.clone());
    }
    if dtype == DType::F16 {
        let largest = tensor
            .to_dtype(DType::F32)?
            .abs()?
            .max_all()?
            .to_scalar::<f32>()?;
        ensure!(
            largest <= 65504.0,
            "the tensor {name:?} has numbers up to {largest:e}, which f16 cannot hold; write bf16 or f32"
        );
    }
    Ok(tensor.to_dtype(dtype)?.contiguous()?)
}

/// Weights on their way to files of limited size.
struct Shards<'a> {
    dir: &'a Path,
    limit: usize,
    held: BTreeMap<String, Tensor>,
    held_bytes: usize,
    /// Names of the tensors in each file that is written.
    files: Vec<Vec<String>>,
    total_bytes: usize,
}

impl<'a> Shards<'a> {
    fn new(dir: &'a Path, limit: usize) -> Self {
        Self {
            dir,
            limit,
            held: BTreeMap::new(),
            held_bytes: 0,
            files: Vec::new(),
            total_bytes: 0,
        }
    }

    fn push(&mut self, name: &str, tensor: Tensor) -> Result<()> {
        let size = tensor.elem_count() * tensor.dtype().size_in_bytes();
        if self.held_bytes + size > self.limit && !self.held.is_empty() {
            self.flush()?;
        }
        self.held.insert(name.to_owned(), tensor);
        self.held_bytes += size;
        self.total_bytes += size;
        Ok(())
    }

    /// How many files there will be is not known yet.
    fn draft(&self, index: usize) -> PathBuf {
        self.dir.join(format!("shard-{index}"))
    }

    fn flush(&mut self) -> Result<()> {
        let file = self.draft(self.files.len());
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(&self.held, Some(metadata), &file)
            .with_context(|| format!("write {file:?}"))?;
        self.files
            .push(std::mem::take(&mut self.held).into_keys().collect());
        self.held_bytes = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.flush()?;
        let n = self.files.len();
        if n == 1 {
            return Ok(fs::rename(self.draft(0), self.dir.join("model.safetensors"))?);
        }
        let mut map = BTreeMap::new();
        for (index, names) in self.files.iter().enumerate() {
            let file = format!("model-{:05}-of-{n:05}.safetensors", index + 1);
            fs::rename(self.draft(index), self.dir.join(&file))?;
            map.extend(names.iter().map(|name| (name.clone(), file.clone())));
        }
        let index = json!({"metadata": {"total_size": self.total_bytes}, "weight_map": map});
        write_json(&self.dir.join("model.safetensors.index.json"), &index)
    }
}

/// The base's own configuration, with the type of the weights that are written.
fn of_folder(path: &Path, dtype: DType) -> Result<Map<String, Value>> {
    let text = fs::read(path.join("config.json"))?;
    let mut hf: Map<String, Value> = serde_json::from_slice(&text)?;
    for stale in ["_name_or_path", "quantization_config"] {
        hf.remove(stale);
    }
    let key = if hf.contains_key("dtype") {
        "dtype"
    } else {
        "torch_dtype"
    };
    hf.insert(key.to_owned(), json!(dtype_name(dtype)));
    Ok(hf)
}

/// Hugging Face's `…ForSequenceClassification` with one label: the score at the last token that is no padding.
fn as_reward_model(hf: &mut Map<String, Value>, roles: &Roles) {
    if let Some(Value::String(name)) = hf.get_mut("architectures").and_then(|list| list.get_mut(0)) {
        *name = name.replace("ForCausalLM", "ForSequenceClassification");
    }
    hf.insert("id2label".to_owned(), json!({"0": "score"}));
    hf.insert("label2id".to_owned(), json!({"score": 0}));
    hf.insert("problem_type".to_owned(), json!("regression"));
    // Without an output layer there is nothing to tie, and no tensor to look for.
    hf.insert("tie_word_embeddings".to_owned(), json!(true));
    // It tells padding by this id, and refuses a batch without one.
    if hf.get("pad_token_id").is_none_or(Value::is_null) {
        hf.insert("pad_token_id".to_owned(), json!(roles.ends.first()));
    }
}

fn roles(base: &Base) -> Result<Roles> {
    match base {
        Base::Gguf(_, content) => {
            let id = |name: &str| gguf::token_id(content, name);
            let mut ends: Vec<u32> = id("eos").into_iter().collect();
            ends.extend(id("eot").filter(|eot| !ends.contains(eot)));
            Ok(Roles {
                bos: id("bos"),
                ends,
                pad: id("padding"),
            })
        }
        Base::Folder(path) => {
            let text = fs::read(path.join("config.json"))?;
            let hf: Value = serde_json::from_slice(&text)?;
            let ids = |name: &str| -> Vec<u32> {
                let ids = match &hf[name] {
                    Value::Array(ids) => ids.clone(),
                    id => vec![id.clone()],
                };
                ids.iter().filter_map(|id| Some(id.as_u64()? as u32)).collect()
            };
            Ok(Roles {
                bos: ids("bos_token_id").first().copied(),
                ends: ids("eos_token_id"),
                pad: ids("pad_token_id").first().copied(),
            })
        }
    }
}

fn copy_beside(from: &Path, to: &Path, notes: &mut Vec<String>) -> Result<()> {
    let copy = |from: &Path, to: &Path| -> Result<()> {
        fs::copy(from, to).with_context(|| format!("copy {from:?}"))?;
        Ok(())
    };
    for entry in fs::read_dir(from).with_context(|| format!("list {from:?}"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_license = ["LICENSE", "NOTICE"].iter().any(|start| name.starts_with(start));
        if !COPIED.contains(&name.as_str()) && !is_license {
            continue;
        }
        // Links (the hub's cache is full of them) are followed.
        if entry.path().is_dir() {
            fs::create_dir(to.join(&name))?;
            for inner in fs::read_dir(entry.path())? {
                let inner = inner?;
                copy(&inner.path(), &to.join(&name).join(inner.file_name()))?;
            }
        } else {
            copy(&entry.path(), &to.join(&name))?;
        }
    }
    if !["tokenizer.json", "tokenizer.model", "vocab.json"]
        .iter()
        .any(|name| to.join(name).exists())
    {
        notes.push(format!(
            "The base folder {from:?} holds no tokenizer, so the merged one has none."
        ));
    }
    Ok(())
}

/// `tokenizer.json` and `tokenizer_config.json` from a GGUF file's vocabulary.
fn write_tokenizer(content: &candle_core::quantized::gguf_file::Content, dir: &Path) -> Result<()> {
    gguf::write_folder(content, dir).context(
        "the GGUF file's tokenizer cannot be written as tokenizer.json; merge to a GGUF file instead",
    )
}

pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    fs::write(path, text).with_context(|| format!("write {path:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_beyond_the_limit_go_to_files_of_their_own_with_an_index() {
        let dir = tempfile::tempdir().unwrap();
        let mut shards = Shards::new(dir.path(), 100);
        let tensor = |start: f32| {
            Tensor::new(
                &[start, start + 1.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0],
                &Device::Cpu,
            )
        };
        for (at, name) in ["c", "a", "b", "d", "e"].into_iter().enumerate() {
            shards.push(name, tensor(at as f32).unwrap()).unwrap();
        }
        shards.finish().unwrap();
        let index = fs::read(dir.path().join("model.safetensors.index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        assert_eq!(index["metadata"]["total_size"], 200);
        let file = |n: usize| format!("model-0000{n}-of-00003.safetensors");
        let expected = json!({"a": file(1), "b": file(2), "c": file(1), "d": file(2), "e": file(3)});
        assert_eq!(index["weight_map"], expected);
        let loaded = candle_core::safetensors::load(dir.path().join(file(2)), &Device::Cpu).unwrap();
        assert_eq!(loaded["d"].to_vec1::<f32>().unwrap()[0], 3.0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn numbers_that_f16_cannot_hold_are_refused_by_name() {
        let tensor = Tensor::new(&[1f32, 7e4], &Device::Cpu).unwrap();
        let error = narrowed("model.norm.weight", &tensor, DType::F16)
            .unwrap_err()
            .to_string();
        assert!(error.contains("model.norm.weight"), "{error}");
        assert!(narrowed("model.norm.weight", &tensor, DType::BF16).is_ok());
    }
}
