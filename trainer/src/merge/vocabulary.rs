//! A Hugging Face tokenizer as a GGUF file's `tokenizer.ggml.…`: byte-level BPE vocabularies (`gpt2`), whose
//! pre-tokenizer is found by trying those that are known.

use super::{gguf::Metadata, verify};
use crate::data::{Tokenizer, gguf};
use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::quantized::gguf_file::{Content, Value, VersionedMagic};
use serde_json::Value as Json;
use std::{collections::HashMap, fs, path::Path};

/// Types of tokens in `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// The metadata of the tokenizer in the folder, filled up to the `vocab` rows that the embedding has.
pub fn of(folder: &Path, vocab: usize) -> Result<Metadata> {
    let file = folder.join("tokenizer.json");
    ensure!(
        file.exists(),
        "a GGUF file needs a tokenizer, and {folder:?} has no tokenizer.json; merge to a folder instead"
    );
    let bytes = fs::read(&file).with_context(|| format!("read {file:?}"))?;
    let json: Json = serde_json::from_slice(&bytes).with_context(|| format!("{file:?} is not JSON"))?;
    let inner =
        tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| anyhow!("read {file:?}: {error}"))?;
    ensure!(
        json["model"]["type"] == "BPE" && json["decoder"]["type"] == "ByteLevel",
        "the tokenizer in {folder:?} is no byte-level BPE (its model is {}, its decoder {}), which is all that can be \
         written into a GGUF file; merge to a folder and convert that with llama.cpp's convert_hf_to_gguf.py",
        json["model"]["type"],
        json["decoder"]["type"]
    );
    let mut metadata = tokens(&json, &inner, vocab)?;
    metadata.insert(
        "tokenizer.ggml.model".to_owned(),
        Value::String("gpt2".to_owned()),
    );
    let merges = merges(&json).context("the merges in tokenizer.json are malformed")?;
    let merges = merges.into_iter().map(Value::String).collect();
    metadata.insert("tokenizer.ggml.merges".to_owned(), Value::Array(merges));
    add_roles(&mut metadata, folder, &inner)?;
    let original = Tokenizer::from_folder(folder)?;
    for pre in gguf::PRE_TOKENIZERS {
        metadata.insert("tokenizer.ggml.pre".to_owned(), Value::String(pre.to_owned()));
        if same_ids(&metadata, &original)? {
            return Ok(metadata);
        }
    }
    bail!(
        "the tokenizer in {folder:?} splits text into words in a way of its own, not as {:?}; merge to a folder and \
         convert that with llama.cpp's convert_hf_to_gguf.py",
        gguf::PRE_TOKENIZERS
    )
}

fn tokens(json: &Json, inner: &tokenizers::Tokenizer, vocab: usize) -> Result<Metadata> {
    let n = inner
        .get_vocab(true)
        .values()
        .max()
        .map_or(0, |id| *id as usize + 1);
    ensure!(
        n <= vocab,
        "the tokenizer has {n} tokens, but the model's embedding has {vocab} rows"
    );
    let added: HashMap<u64, bool> = json["added_tokens"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|token| Some((token["id"].as_u64()?, token["special"].as_bool()?)))
        .collect();
    let (mut texts, mut types) = (Vec::with_capacity(vocab), Vec::with_capacity(vocab));
    for id in 0..vocab as u32 {
        let text = inner.id_to_token(id);
        types.push(Value::I32(match (&text, added.get(&u64::from(id))) {
            (None, _) => UNUSED,
            (Some(_), Some(true)) => CONTROL,
            (Some(_), Some(false)) => USER_DEFINED,
            (Some(_), None) => NORMAL,
        }));
        // Rows that no token has, as llama.cpp's converter fills them.
        texts.push(Value::String(text.unwrap_or_else(|| format!("[PAD{id}]"))));
    }
    Ok(Metadata::from([
        ("tokenizer.ggml.tokens".to_owned(), Value::Array(texts)),
        ("tokenizer.ggml.token_type".to_owned(), Value::Array(types)),
    ]))
}

/// Two spellings are in use: "a b" and ["a", "b"].
fn merges(json: &Json) -> Option<Vec<String>> {
    let merge = |merge: &Json| match merge {
        Json::String(merge) => Some(merge.clone()),
        Json::Array(parts) => Some(format!(
            "{} {}",
            parts.first()?.as_str()?,
            parts.get(1)?.as_str()?
        )),
        _ => None,
    };
    json["model"]["merges"].as_array()?.iter().map(merge).collect()
}

/// BOS, EOS and so on, the chat template, and whether plain text begins with BOS.
fn add_roles(metadata: &mut Metadata, folder: &Path, inner: &tokenizers::Tokenizer) -> Result<()> {
    let read = |name: &str| -> Json {
        let bytes = fs::read(folder.join(name)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or(Json::Null)
    };
    let (config, model) = (read("tokenizer_config.json"), read("config.json"));
    let token_of = |name: &str| {
        let token = &config[name];
        let text = token.as_str().or(token["content"].as_str())?;
        inner.token_to_id(text)
    };
    let id_of = |name: &str| {
        let id = &model[name];
        let id = id.as_u64().or(id[0].as_u64())?;
        Some(id as u32)
    };
    let mut bos_id = None;
    for (role, key) in [
        ("bos", "bos"),
        ("eos", "eos"),
        ("padding", "pad"),
        ("unknown", "unk"),
    ] {
        let id = token_of(&format!("{key}_token")).or(id_of(&format!("{key}_token_id")));
        if let Some(id) = id {
            metadata.insert(format!("tokenizer.ggml.{role}_token_id"), Value::U32(id));
        }
        if role == "bos" {
            bos_id = id;
        }
    }
    let encoded = inner.encode("a", true).map_err(anyhow::Error::msg)?;
    let adds_bos = bos_id.is_some() && encoded.get_ids().first().copied() == bos_id;
    metadata.insert("tokenizer.ggml.add_bos_token".to_owned(), Value::Bool(adds_bos));
    let template = fs::read_to_string(folder.join("chat_template.jinja")).ok();
    let template = template.or_else(|| config["chat_template"].as_str().map(str::to_owned));
    if let Some(template) = template {
        metadata.insert("tokenizer.chat_template".to_owned(), Value::String(template));
    }
    Ok(())
}

fn same_ids(metadata: &Metadata, original: &Tokenizer) -> Result<bool> {
    let content = Content {
        magic: VersionedMagic::GgufV3,
        metadata: metadata.clone().into_iter().collect(),
        tensor_infos: HashMap::new(),
        tensor_data_offset: 0,
    };
    let written = Tokenizer::from_gguf(&content)?;
    Ok(written.encode(verify::TEXT)? == original.encode(verify::TEXT)?)
}
