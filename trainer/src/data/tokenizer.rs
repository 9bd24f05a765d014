//! A model's tokenizer with its chat template, from a GGUF file or a Hugging Face folder: rows of text become
//! token ids, sampled ids become text.

use super::{ChatTemplate, Demonstration, PreferencePair, gguf, rows::Side, template};
use anyhow::{Context, Result, anyhow, bail};
use candle_core::quantized::gguf_file;
use hf_chat_template::{ChatTemplateField, TokenField, TokenizerConfig};
use laurel_protocol::{Message, Speaker, Template};
use sha2::{Digest, Sha256};
use std::{fs, path::Path, sync::Arc};

#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    config: Arc<TokenizerConfig>,
    /// Jinja text of the template that came with the model.
    own_template: Option<Arc<str>>,
    choice: Template,
    format: Format,
    eos: Option<String>,
    bos_before_text: Option<u32>,
    /// What the model's files call the end of an answer.
    model_ends: Vec<u32>,
    stop_ids: Vec<u32>,
}

/// Where [`Tokenizer::decode_next`] stands in a sequence: tokens whose text is known, and behind them those that are
/// not a whole character yet.
#[derive(Clone, Debug, Default)]
pub struct Decoding {
    ids: Vec<u32>,
    n_known: usize,
}

/// How messages become text.
#[derive(Clone)]
enum Format {
    /// The model has no template: only plain text can be read.
    Missing,
    /// The texts are joined as they are.
    Plain,
    /// A template that came with a model, or a custom one, writes all special tokens itself. A built-in one is text
    /// like any other: the tokenizer puts its BOS before it where it does so by itself.
    Jinja { template: ChatTemplate, built_in: bool },
}

impl Tokenizer {
    /// The tokenizer of the model at `path` with the model's own template.
    pub fn load(path: &Path) -> Result<Self> {
        Self::read(path)?.with_template(&Template::Model)
    }

    /// Reads the tokenizer of the model at `path`: a GGUF file, or a folder with `tokenizer.json`. It has no
    /// template yet.
    pub fn read(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Self::from_folder(path).with_context(|| format!("read the tokenizer in {path:?}"));
        }
        let mut file = fs::File::open(path).with_context(|| format!("open the model {path:?}"))?;
        let content = gguf_file::Content::read(&mut file)
            .with_context(|| format!("{path:?} is neither a model folder nor a GGUF file"))?;
        Self::from_gguf(&content).with_context(|| format!("read the tokenizer in {path:?}"))
    }

    pub fn from_gguf(content: &gguf_file::Content) -> Result<Self> {
        let config = TokenizerConfig {
            bos_token: gguf::named_token(content, "bos").map(TokenField::Str),
            eos_token: gguf::named_token(content, "eos").map(TokenField::Str),
            pad_token: gguf::named_token(content, "padding").map(TokenField::Str),
            unk_token: gguf::named_token(content, "unknown").map(TokenField::Str),
            ..TokenizerConfig::default()
        };
        let own_template = match content.metadata.get("tokenizer.chat_template") {
            Some(source) => Some(source.to_string()?.as_str().into()),
            None => None,
        };
        let ends = ["eos", "eot"].map(|name| gguf::token_id(content, name));
        let ends = ends.into_iter().flatten().collect();
        let mut tokenizer = Self::new(gguf::tokenizer(content)?, own_template, config, ends);
        if gguf::adds_bos(content) {
            tokenizer.bos_before_text = tokenizer.bos().and_then(|bos| tokenizer.inner.token_to_id(bos));
        }
        Ok(tokenizer)
    }

    pub fn from_folder(folder: &Path) -> Result<Self> {
        let inner = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json"))
            .map_err(|error| anyhow!("read tokenizer.json: {error}"))?;
        let config: TokenizerConfig = match fs::read(folder.join("tokenizer_config.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).context("read tokenizer_config.json")?,
            Err(_) => TokenizerConfig::default(),
        };
        // The file of its own wins over the field, as in transformers.
        let own_template = match fs::read_to_string(folder.join("chat_template.jinja")) {
            Ok(source) => Some(source),
            Err(_) => default_template(&config)?,
        };
        let files = ["config.json", "generation_config.json"].map(|file| end_ids(&folder.join(file)));
        let ends = files.concat();
        Ok(Self::new(inner, own_template.map(Arc::from), config, ends))
    }

    fn new(
        inner: tokenizers::Tokenizer,
        own_template: Option<Arc<str>>,
        config: TokenizerConfig,
        model_ends: Vec<u32>,
    ) -> Self {
        let eos = config.eos_token.as_ref().and_then(TokenField::as_str);
        let mut tokenizer = Self {
            eos: eos.map(str::to_owned),
            bos_before_text: None,
            stop_ids: Vec::new(),
            choice: Template::Model,
            format: Format::Missing,
            inner: Arc::new(inner),
            config: Arc::new(config),
            own_template,
            model_ends,
        };
        tokenizer.set_stop_ids(None);
        tokenizer
    }

    /// The same tokenizer behind another template.
    pub fn with_template(&self, choice: &Template) -> Result<Self> {
        let mut changed = Self {
            choice: choice.clone(),
            ..self.clone()
        };
        let compile = |source: &str| ChatTemplate::new(source, &self.config);
        changed.format = match (choice, &self.own_template) {
            (Template::Plain, _) => Format::Plain,
            (Template::Model, None) => Format::Missing,
            (Template::Model, Some(source)) => Format::Jinja {
                template: compile(source)?,
                built_in: false,
            },
            (Template::Jinja(source), _) => Format::Jinja {
                template: compile(source)?,
                built_in: false,
            },
            _ => Format::Jinja {
                template: compile(template::built_in(choice).context("a named template is built in")?)?,
                built_in: true,
            },
        };
        let end = changed.turn_end()?;
        changed.set_stop_ids(end);
        Ok(changed)
    }

    /// SHA-256 of the chat template's text, hex; of no text where none is applied.
    pub fn template_hash(&self) -> String {
        match &self.format {
            Format::Jinja { template, .. } => template.hash.clone(),
            Format::Plain | Format::Missing => template::hex(&Sha256::digest("")),
        }
    }

    /// The BOS text, where there is one.
    pub fn bos(&self) -> Option<&str> {
        self.config.bos_token.as_ref().and_then(TokenField::as_str)
    }

    /// The EOS text, where there is one.
    pub fn eos(&self) -> Option<&str> {
        self.eos.as_deref()
    }

    /// The padding text, where there is one.
    pub fn pad(&self) -> Option<&str> {
        self.config.pad_token.as_ref().and_then(TokenField::as_str)
    }

    /// What the model's files call the end of an answer.
    pub fn model_ends(&self) -> &[u32] {
        &self.model_ends
    }

    /// The vocabulary and all that was added to it.
    pub fn vocabulary(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// Whether messages go through a template.
    pub fn has_template(&self) -> bool {
        matches!(self.format, Format::Jinja { .. })
    }

    /// Tokens that end an answer.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// The ids of a text in which special tokens may stand, with nothing added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| anyhow!("split a text into tokens: {error}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `ids` without special tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, true)
            .map_err(|error| anyhow!("turn tokens into text: {error}"))
    }

    /// What the next token adds to the text of a sequence, without special tokens; nothing as long as a character is
    /// not whole.
    pub fn decode_next(&self, at: &mut Decoding, id: u32) -> Result<Option<String>> {
        // The text of a token may depend on the one before it: both texts begin with the same tokens.
        let known = self.decode(&at.ids[..at.n_known])?;
        at.ids.push(id);
        let whole = self.decode(&at.ids)?;
        let Some(more) = whole
            .get(known.len()..)
            .filter(|more| !more.ends_with('\u{fffd}'))
        else {
            return Ok(None);
        };
        if more.is_empty() {
            return Ok(None);
        }
        at.ids.drain(..at.n_known);
        at.n_known = at.ids.len();
        Ok(Some(more.to_owned()))
    }

    /// The text of `ids`, special tokens included.
    pub fn decode_all(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, false)
            .map_err(|error| anyhow!("turn tokens into text: {error}"))
    }

    /// A conversation up to where the assistant's answer begins.
    pub fn prompt_ids(&self, prompt: &[Message]) -> Result<Vec<u32>> {
        self.message_ids(&self.render(prompt, None)?)
    }

    /// Token ids of a prompt and each of its completions.
    ///
    /// The text of the whole row is split into tokens in one go, as TRL does. Where a token would span the border
    /// between prompt and completion (an answer that begins with a line break, behind a prompt that ends in one),
    /// the completion is split on its own: that is what the model saw and wrote when it was sampled.
    pub fn split<const N: usize>(
        &self,
        prompt: &Side,
        completions: [&Side; N],
    ) -> Result<(Vec<u32>, [Vec<u32>; N])> {
        let prompt_text = self.text(prompt, None)?;
        let prompt_ids = self.ids(prompt, &prompt_text)?;
        let mut ids: [Vec<u32>; N] = std::array::from_fn(|_| Vec::new());
        for (slot, completion) in ids.iter_mut().zip(completions) {
            let text = self.text(prompt, Some(completion))?;
            let behind = text.strip_prefix(&prompt_text).context(
                "the chat template renders the prompt differently once an answer follows, so prompt and answer \
                 cannot be told apart: choose another template",
            )?;
            let whole = self.ids(prompt, &text)?;
            *slot = match whole.strip_prefix(prompt_ids.as_slice()) {
                Some(completion) => completion.to_vec(),
                None => self.encode(behind)?,
            };
        }
        Ok((prompt_ids, ids))
    }

    pub fn preference(&self, row: &super::rows::Preference) -> Result<PreferencePair> {
        let (prompt, [chosen, rejected]) = self.split(&row.prompt, [&row.chosen, &row.rejected])?;
        Ok(PreferencePair {
            group: row.group.unwrap_or_else(|| group_of(&prompt)),
            prompt,
            chosen,
            rejected,
            label: row.label,
        })
    }

    pub fn demonstration(&self, row: &super::rows::Example) -> Result<Demonstration> {
        let (prompt, [completion]) = self.split(&row.prompt, [&row.completion])?;
        Ok(Demonstration {
            group: row.group.unwrap_or_else(|| group_of(&prompt)),
            prompt,
            completion,
        })
    }

    /// A row with Alpaca's columns: in Stanford's text, or as one user turn where another template was chosen.
    pub fn alpaca(&self, row: &super::rows::Alpaca) -> Result<Demonstration> {
        let (prompt, completion) = if self.alpaca_is_a_turn() {
            (
                Side::Messages(vec![Message::user(row.user_turn())]),
                Side::Messages(vec![Message::assistant(&row.output)]),
            )
        } else {
            let prompt = template::alpaca_prompt(&row.instruction, &row.input);
            (Side::Text(prompt), Side::Text(row.output.clone()))
        };
        self.demonstration(&super::rows::Example {
            prompt,
            completion,
            group: row.group,
            desirable: None,
        })
    }

    /// Whether a row with Alpaca's columns goes through the template.
    pub fn alpaca_is_a_turn(&self) -> bool {
        matches!(
            self.choice,
            Template::AlpacaLf | Template::Chatml | Template::Jinja(_)
        )
    }

    /// A prompt without an answer, whose completion is empty.
    pub fn prompt(&self, row: &super::rows::Prompt) -> Result<Demonstration> {
        let text = self.text(&row.prompt, None)?;
        let prompt = self.ids(&row.prompt, &text)?;
        Ok(Demonstration {
            group: row.group.unwrap_or_else(|| group_of(&prompt)),
            prompt,
            completion: Vec::new(),
        })
    }

    /// SHA-256 over all tokens and their texts, hex: another tokenizer has another one.
    pub fn vocabulary_hash(&self) -> String {
        let mut tokens: Vec<(u32, String)> = self
            .inner
            .get_vocab(true)
            .into_iter()
            .map(|(text, id)| (id, text))
            .collect();
        tokens.sort_unstable();
        let mut hash = Sha256::new();
        for (id, text) in tokens {
            hash.update(id.to_le_bytes());
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        template::hex(&hash.finalize())
    }

    /// The text of a prompt up to where the answer begins, or of a whole row.
    fn text(&self, prompt: &Side, completion: Option<&Side>) -> Result<String> {
        match (prompt, completion) {
            (Side::Messages(prompt), None) => self.render(prompt, None),
            (Side::Messages(prompt), Some(Side::Messages(completion))) => {
                self.render(prompt, Some(completion))
            }
            (Side::Text(prompt), None) => Ok(prompt.clone()),
            (Side::Text(prompt), Some(Side::Text(completion))) => {
                Ok(prompt.clone() + &self.ended(completion))
            }
            _ => bail!("prompt and completion must both be text or both be messages"),
        }
    }

    /// The text of a conversation, up to where the answer begins or with the answer.
    fn render(&self, prompt: &[Message], completion: Option<&[Message]>) -> Result<String> {
        let whole: Vec<_> = prompt.iter().chain(completion.unwrap_or(&[])).cloned().collect();
        match &self.format {
            Format::Jinja { template, .. } => template.render(&whole, completion.is_none()),
            Format::Plain => {
                let text = whole
                    .iter()
                    .map(|message| message.content.as_str())
                    .collect::<String>();
                Ok(if completion.is_some() {
                    self.ended(&text)
                } else {
                    text
                })
            }
            Format::Missing => bail!(
                "the model has no chat template, so it cannot read messages: choose a template, or use rows of plain \
                 text"
            ),
        }
    }

    /// Plain text ends with the EOS text, which a trainer adds where it is missing.
    fn ended(&self, text: &str) -> String {
        let eos = self.eos.as_deref().unwrap_or("");
        let end = if text.ends_with(eos) { "" } else { eos };
        format!("{text}{end}")
    }

    /// A template writes its own special tokens; plain text gets the tokenizer's.
    fn ids(&self, side: &Side, text: &str) -> Result<Vec<u32>> {
        match side {
            Side::Messages(_) => self.message_ids(text),
            Side::Text(_) => self.plain_text(text),
        }
    }

    fn message_ids(&self, text: &str) -> Result<Vec<u32>> {
        match self.format {
            Format::Jinja { built_in: false, .. } => self.encode(text),
            _ => self.plain_text(text),
        }
    }

    /// The tokens that the tokenizer puts before plain text by itself.
    pub fn begins_text_with(&self) -> Result<Vec<u32>> {
        self.plain_text("")
    }

    /// The ids of plain text, with what the tokenizer puts before it by itself.
    pub fn plain_text(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, true)
            .map_err(|error| anyhow!("split a text into tokens: {error}"))?;
        Ok(self
            .bos_before_text
            .iter()
            .chain(encoding.get_ids())
            .copied()
            .collect())
    }

    /// All tokens that stand behind an answer in the data: for messages what the template puts there, else EOS.
    pub fn ending(&self, of_messages: bool) -> Result<Vec<u32>> {
        match (&self.format, of_messages) {
            (Format::Jinja { .. }, true) => self.behind_answer(),
            _ => self.encode(self.eos().unwrap_or("")),
        }
    }

    /// What the template puts behind an answer.
    fn behind_answer(&self) -> Result<Vec<u32>> {
        let Format::Jinja { template, .. } = &self.format else {
            return Ok(Vec::new());
        };
        let turns = [Message::user("question"), Message::assistant("answer")];
        let whole = template.render(&turns, false)?;
        match whole.rsplit_once("answer") {
            Some((_, behind)) => self.encode(behind),
            None => Ok(Vec::new()),
        }
    }

    /// The special token that the template puts right behind an answer.
    pub fn turn_end(&self) -> Result<Option<u32>> {
        let first = self.behind_answer()?.first().copied();
        let special = self.inner.get_added_tokens_decoder();
        Ok(first.filter(|id| special.get(id).is_some_and(|token| token.special)))
    }

    fn set_stop_ids(&mut self, turn_end: Option<u32>) {
        let eos = self.eos.as_ref().and_then(|eos| self.inner.token_to_id(eos));
        let mut ids: Vec<u32> = Vec::new();
        for id in eos
            .into_iter()
            .chain(turn_end)
            .chain(self.model_ends.iter().copied())
        {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        self.stop_ids = ids;
    }
}

/// A message list's last turn is the answer; all before it is the prompt.
pub fn split_messages(mut messages: Vec<Message>) -> Result<(Vec<Message>, Vec<Message>)> {
    match messages.pop() {
        Some(answer) if answer.role == Speaker::Assistant && !messages.is_empty() => {
            Ok((messages, vec![answer]))
        }
        _ => bail!("the messages must be a prompt and an assistant's answer, which comes last"),
    }
}

/// Rows without a prompt id are grouped by the prompt itself.
fn group_of(prompt: &[u32]) -> u64 {
    let mut hash = Sha256::new();
    for id in prompt {
        hash.update(id.to_le_bytes());
    }
    let digest = hash.finalize();
    u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
}

fn default_template(config: &TokenizerConfig) -> Result<Option<String>> {
    match &config.chat_template {
        None => Ok(None),
        Some(ChatTemplateField::Single(source)) => Ok(Some(source.clone())),
        Some(ChatTemplateField::Named(list)) => list
            .iter()
            .find(|named| named.name == "default" || list.len() == 1)
            .map(|named| Some(named.template.clone()))
            .context("tokenizer_config.json has several chat templates and none is named \"default\""),
    }
}

/// The `eos_token_id` of a model's JSON file, one or several; none where the file is missing or says nothing.
fn end_ids(path: &Path) -> Vec<u32> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(u32),
        Many(Vec<u32>),
    }
    #[derive(serde::Deserialize)]
    struct ModelConfig {
        eos_token_id: Option<OneOrMany>,
    }
    let config = fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<ModelConfig>(&bytes).ok());
    match config.and_then(|config| config.eos_token_id) {
        Some(OneOrMany::One(id)) => vec![id],
        Some(OneOrMany::Many(ids)) => ids,
        None => Vec::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use candle_core::quantized::gguf_file::Value;
    use std::io::Cursor;

    #[test]
    fn a_folders_stop_tokens_are_those_of_all_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut inner = tokenizers::Tokenizer::new(tokenizers::models::bpe::BPE::default());
        inner
            .add_special_tokens([tokenizers::AddedToken::from("<eos>".to_owned(), true)])
            .unwrap();
        inner.save(dir.path().join("tokenizer.json"), false).unwrap();
        let files = [
            ("tokenizer_config.json", r#"{"eos_token": "<eos>"}"#),
            ("config.json", r#"{"eos_token_id": 5}"#),
            ("generation_config.json", r#"{"eos_token_id": [5, 7]}"#),
        ];
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        assert_eq!(Tokenizer::load(dir.path()).unwrap().stop_ids(), [0, 5, 7]);
    }

    #[test]
    fn a_gguf_files_stop_tokens_are_eos_and_end_of_turn() {
        let text = |text: &str| Value::String(text.to_owned());
        let tokens = ["a", "<eos>", "<eot>", "aa"].map(text).to_vec();
        let metadata = [
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("gpt-2")),
            ("tokenizer.ggml.tokens", Value::Array(tokens)),
            ("tokenizer.ggml.merges", Value::Array(vec![text("a a")])),
            (
                "tokenizer.ggml.token_type",
                Value::Array([1, 3, 3, 1].map(Value::I32).to_vec()),
            ),
            ("tokenizer.ggml.eos_token_id", Value::U32(1)),
            ("tokenizer.ggml.eot_token_id", Value::U32(2)),
        ];
        let mut file = Cursor::new(Vec::new());
        let fields: Vec<(&str, &Value)> = metadata.iter().map(|(name, value)| (*name, value)).collect();
        gguf_file::write(&mut file, &fields, &[]).unwrap();
        file.set_position(0);
        let content = gguf_file::Content::read(&mut file).unwrap();
        assert_eq!(Tokenizer::from_gguf(&content).unwrap().stop_ids(), [1, 2]);
    }

    /// A tokenizer whose tokens are the bytes, GPT-2's spelling, and some pairs of letters; no token is special.
    pub fn of_bytes(pairs: &[&str]) -> Tokenizer {
        let mut letters: Vec<char> = crate::data::token_text::byte_letters().into_keys().collect();
        letters.sort_unstable();
        let tokens = letters
            .into_iter()
            .map(String::from)
            .chain(pairs.iter().map(|&pair| pair.to_owned()));
        let vocabulary: serde_json::Map<_, _> = tokens.zip((0..).map(serde_json::Value::from)).collect();
        let merges: Vec<_> = pairs.iter().map(|pair| pair.split_at(1)).collect();
        let bytes = serde_json::json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
        });
        let file = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
            "added_tokens": [], "pre_tokenizer": bytes, "decoder": bytes,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "vocab": vocabulary, "merges": merges,
            },
        });
        let inner = file.to_string().parse().unwrap();
        Tokenizer::new(inner, None, TokenizerConfig::default(), Vec::new())
    }
}
