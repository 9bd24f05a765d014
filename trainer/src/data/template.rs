//! A model's chat template: a conversation becomes the text that the model was trained to read.
//!
//! The template comes from a GGUF file's metadata or a Hugging Face folder, and is rendered as transformers
//! renders it (crate `hf-chat-template`). A prompt and its completion are never rendered apart: some templates
//! put a default system turn before whatever they are given.

use anyhow::{Context, Result};
use hf_chat_template::{Message as TemplateMessage, TokenizerConfig};
use laurel_protocol::Message;
use sha2::{Digest, Sha256};

pub struct ChatTemplate {
    compiled: hf_chat_template::ChatTemplate,
    /// SHA-256 of the template's text, hex.
    pub hash: String,
}

impl ChatTemplate {
    /// Compiles `source`; `special_tokens` gives it `bos_token` and the like.
    pub fn new(source: &str, special_tokens: &TokenizerConfig) -> Result<Self> {
        let compiled = hf_chat_template::ChatTemplate::from_template_and_config(source, special_tokens)
            .context("read the model's chat template")?;
        Ok(Self {
            compiled,
            hash: hex(&Sha256::digest(source)),
        })
    }

    /// The text of a conversation. With `await_answer` it ends where the assistant's next turn begins.
    pub fn render(&self, messages: &[Message], await_answer: bool) -> Result<String> {
        let messages: Vec<_> = messages
            .iter()
            .map(|message| TemplateMessage::new(message.role.as_str(), &message.content))
            .collect();
        self.compiled
            .render_messages(&messages, await_answer)
            .context("apply the model's chat template")
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
