//! A model's chat template: a conversation becomes the text that the model was trained to read.
//!
//! The template comes from a GGUF file's metadata or a Hugging Face folder, and is rendered as transformers
//! renders it (crate `hf-chat-template`). A prompt and its completion are never rendered apart: some templates
//! put a default system turn before whatever they are given.

use anyhow::{Context, Result};
use hf_chat_template::{FixedClock, Message as TemplateMessage, TokenizerConfig};
use laurel_protocol::Message;
use sha2::{Digest, Sha256};

/// 26 July 2024, 00:00 UTC, the date that Llama 3's templates fall back to. A template that prints today's date
/// (`strftime_now`) prints this one: a round that goes on tomorrow must see the same tokens.
const TODAY_UNIX_SECONDS: i64 = 1_721_952_000;

pub struct ChatTemplate {
    compiled: hf_chat_template::ChatTemplate,
    /// SHA-256 of the template's text, hex.
    pub hash: String,
}

impl ChatTemplate {
    /// Compiles `source`; `special_tokens` gives it `bos_token` and the like.
    pub fn new(source: &str, special_tokens: &TokenizerConfig) -> Result<Self> {
        let compiled = hf_chat_template::ChatTemplate::builder(source)
            .special_tokens_from(special_tokens)
            .clock(FixedClock::from_unix_secs(TODAY_UNIX_SECONDS))
            .build()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_prints_the_date_prints_the_same_one_every_day() {
        let source = "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}";
        let template = ChatTemplate::new(source, &TokenizerConfig::default()).unwrap();
        let text = template.render(&[Message::user("hello")], true).unwrap();
        assert_eq!(text, "26 Jul 2024 hello");
    }
}
