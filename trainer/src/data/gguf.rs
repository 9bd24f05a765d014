//! The tokenizer that a GGUF file describes in its metadata (`tokenizer.ggml.…`), built as a `tokenizers`
//! pipeline: SentencePiece's BPE, and byte-level BPE with the pre-tokenizers that are known. A guess would give other
//! token ids than the model was trained on.

use super::sentencepiece;
use anyhow::{Context, Result, bail};
use candle_core::quantized::gguf_file::{Content, Value};
use serde_json::json;
use std::{fs, path::Path};
use tokenizers::{
    AddedToken, Tokenizer,
    decoders::byte_level::ByteLevel as ByteLevelDecoder,
    models::bpe::BPE,
    normalizers::unicode::NFC,
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
    processors::template::TemplateProcessing,
    tokenizer::SplitDelimiterBehavior,
};

/// `tokenizer.ggml.token_type` of a token with a meaning of its own, such as `<|im_end|>`.
const CONTROL: u32 = 3;
/// `tokenizer.ggml.token_type` of a token that was added to the vocabulary by hand.
const USER_DEFINED: u32 = 4;

/// `tokenizer.ggml.model` of a SentencePiece BPE vocabulary.
const SENTENCEPIECE: &str = "llama";

/// The pre-tokenizers that differ, by the name that a file gives them.
pub const PRE_TOKENIZERS: [&str; 4] = ["smollm", "gpt-2", "qwen2", "llama-bpe"];

/// The words split off before byte-level BPE, as in the models' own `tokenizer.json`.
const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub fn tokenizer(content: &Content) -> Result<Tokenizer> {
    match text(content, "tokenizer.ggml.model")? {
        "gpt2" => byte_level(content),
        SENTENCEPIECE => sentencepiece::tokenizer(&sentencepiece::Vocabulary {
            pieces: &texts(content, "tokenizer.ggml.tokens")?,
            scores: &floats(content, "tokenizer.ggml.scores")?,
            types: &numbers(content, "tokenizer.ggml.token_type")?,
            adds_space: flag(content, "tokenizer.ggml.add_space_prefix").unwrap_or(true),
            strips_behind_special: text(content, "general.architecture").is_ok_and(|name| name == "phi3"),
        }),
        other => bail!(
            "the GGUF file has a {other:?} vocabulary; only byte-level BPE (\"gpt2\") and SentencePiece's BPE \
             (\"llama\") are supported"
        ),
    }
}

fn byte_level(content: &Content) -> Result<Tokenizer> {
    let pre = text(content, "tokenizer.ggml.pre")?;
    let tokens = texts(content, "tokenizer.ggml.tokens")?;
    let merges = texts(content, "tokenizer.ggml.merges")?
        .iter()
        .map(|merge| match merge.split_once(' ') {
            Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
            None => bail!("the GGUF file has the malformed merge {merge:?}"),
        })
        .collect::<Result<Vec<_>>>()?;
    let vocabulary: tokenizers::models::bpe::Vocab = tokens.iter().cloned().zip(0u32..).collect();
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .ignore_merges(pre == "llama-bpe")
        .build()
        .map_err(anyhow::Error::msg)
        .context("read the GGUF file's merges")?;

    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer(pre)?));
    tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
    if pre == "qwen2" {
        tokenizer.with_normalizer(Some(NFC)).map_err(anyhow::Error::msg)?;
    }
    for (token, kind) in tokens.iter().zip(numbers(content, "tokenizer.ggml.token_type")?) {
        let token = AddedToken::from(token.clone(), kind == CONTROL);
        let added = match kind {
            CONTROL => tokenizer.add_special_tokens([token]),
            USER_DEFINED => tokenizer.add_tokens([token.normalized(false)]),
            _ => continue,
        };
        added.map_err(anyhow::Error::msg)?;
    }
    Ok(tokenizer)
}

/// Writes the tokenizer that the file describes as Hugging Face's `tokenizer.json` and `tokenizer_config.json`, with
/// the chat template.
pub fn write_folder(content: &Content, dir: &Path) -> Result<()> {
    let mut tokenizer = tokenizer(content)?;
    let bos = token_id(content, "bos").zip(named_token(content, "bos"));
    if let (true, Some((id, bos))) = (adds_bos(content), &bos) {
        let processor = TemplateProcessing::builder()
            .try_single(format!("{bos} $A"))
            .map_err(anyhow::Error::msg)?
            .try_pair(format!("{bos} $A {bos} $B"))
            .map_err(anyhow::Error::msg)?
            .special_tokens(vec![(bos.clone(), *id)])
            .build()?;
        tokenizer.with_post_processor(Some(processor));
    }
    let file = dir.join("tokenizer.json");
    tokenizer
        .save(&file, false)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("write {file:?}"))?;
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": adds_bos(content),
        "clean_up_tokenization_spaces": false,
    });
    for (key, role) in [
        ("bos_token", "bos"),
        ("eos_token", "eos"),
        ("pad_token", "padding"),
        ("unk_token", "unknown"),
    ] {
        if let Some(token) = named_token(content, role) {
            config[key] = json!(token);
        }
    }
    if let Some(Value::String(template)) = content.metadata.get("tokenizer.chat_template") {
        config["chat_template"] = json!(template);
    }
    let file = dir.join("tokenizer_config.json");
    fs::write(&file, serde_json::to_string_pretty(&config)? + "\n").with_context(|| format!("write {file:?}"))
}

/// An id that the metadata give a role, for example `tokenizer.ggml.eot_token_id`. Old files of SentencePiece
/// vocabularies leave out those that are Llama's.
pub fn token_id(content: &Content, name: &str) -> Option<u32> {
    match (
        content.metadata.get(&format!("tokenizer.ggml.{name}_token_id")),
        name,
    ) {
        (Some(id), _) => number(id).ok(),
        (None, "unknown") if is_sentencepiece(content) => Some(0),
        (None, "bos") if is_sentencepiece(content) => Some(1),
        (None, "eos") if is_sentencepiece(content) => Some(2),
        _ => None,
    }
}

/// The text of a token that the metadata name by its id, for example `tokenizer.ggml.eos_token_id`.
pub fn named_token(content: &Content, name: &str) -> Option<String> {
    let id = token_id(content, name)?;
    let Value::Array(tokens) = content.metadata.get("tokenizer.ggml.tokens")? else {
        return None;
    };
    tokens.get(id as usize)?.to_string().ok().cloned()
}

/// Whether plain text begins with the BOS token (a chat template writes its own). A file that does not say means what
/// llama.cpp takes it to mean.
pub fn adds_bos(content: &Content) -> bool {
    flag(content, "tokenizer.ggml.add_bos_token").unwrap_or(is_sentencepiece(content))
}

fn is_sentencepiece(content: &Content) -> bool {
    text(content, "tokenizer.ggml.model").is_ok_and(|model| model == SENTENCEPIECE)
}

fn pre_tokenizer(pre: &str) -> Result<PreTokenizerWrapper> {
    let words = |pattern: &str| -> Result<PreTokenizerWrapper> {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        let split =
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(anyhow::Error::msg)?;
        Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into())
    };
    match pre {
        // Digits are split one by one before GPT-2's own words.
        "smollm" | "starcoder" | "refact" | "command-r" => Ok(Sequence::new(vec![
            Digits::new(true).into(),
            ByteLevel::new(false, true, true).into(),
        ])
        .into()),
        "gpt-2" => Ok(ByteLevel::new(false, true, true).into()),
        "qwen2" => words(QWEN2_WORDS),
        "llama-bpe" => words(LLAMA3_WORDS),
        other => bail!(
            "the GGUF file names the pre-tokenizer {other:?}, which is not supported; use the model's \
             Hugging Face folder with its tokenizer.json"
        ),
    }
}

fn value<'a>(content: &'a Content, key: &str) -> Result<&'a Value> {
    content
        .metadata
        .get(key)
        .with_context(|| format!("the GGUF file lacks {key}"))
}

fn text<'a>(content: &'a Content, key: &str) -> Result<&'a str> {
    Ok(value(content, key)?.to_string()?)
}

fn texts(content: &Content, key: &str) -> Result<Vec<String>> {
    let list = value(content, key)?.to_vec()?;
    list.iter().map(|item| Ok(item.to_string()?.clone())).collect()
}

fn numbers(content: &Content, key: &str) -> Result<Vec<u32>> {
    value(content, key)?.to_vec()?.iter().map(number).collect()
}

fn floats(content: &Content, key: &str) -> Result<Vec<f32>> {
    let list = value(content, key)?.to_vec()?;
    list.iter().map(|item| Ok(item.to_f32()?)).collect()
}

fn flag(content: &Content, key: &str) -> Option<bool> {
    content.metadata.get(key)?.to_bool().ok()
}

fn number(value: &Value) -> Result<u32> {
    match value {
        Value::I32(number) => Ok(u32::try_from(*number)?),
        _ => Ok(value.to_u32()?),
    }
}
