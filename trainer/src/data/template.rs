//! A chat template: a conversation becomes the text that a model reads.
//!
//! The template is the model's own (from a GGUF file's metadata or a Hugging Face folder), a built-in one
//! (`templates/`) or one that the user wrote; all are Jinja, rendered as transformers renders it ([`super::jinja`]).
//! A prompt and its completion are never rendered apart: some templates put a default system turn before whatever
//! they are given.

use super::jinja::Jinja;
use anyhow::{Context, Result, bail, ensure};
use hf_chat_template::{TokenField, TokenizerConfig};
use laurel_protocol::{Message, Template};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{fs, path::Path};

/// Stanford Alpaca's prompts (`PROMPT_DICT` of its train.py), before, between and behind instruction and input.
const ALPACA: &str = "Below is an instruction that describes a task. Write a response that appropriately completes the \
                      request.\n\n### Instruction:\n";
const ALPACA_WITH_INPUT: &str = "Below is an instruction that describes a task, paired with an input that provides \
                                 further context. Write a response that appropriately completes the request.\n\n### \
                                 Instruction:\n";

/// The prompt of a row with Alpaca's columns. It ends behind the response's header, without a line break.
pub fn alpaca_prompt(instruction: &str, input: &str) -> String {
    match input {
        "" => format!("{ALPACA}{instruction}\n\n### Response:"),
        _ => format!("{ALPACA_WITH_INPUT}{instruction}\n\n### Input:\n{input}\n\n### Response:"),
    }
}

/// The choice that a spec makes: a name, `{"file": PATH}` or `{"jinja": TEXT}`. Paths are relative to `folder`.
pub fn choice(given: &Value, folder: &Path) -> Result<Template> {
    let choice = match given.get("file").and_then(Value::as_str) {
        Some(file) => read(&folder.join(file))?,
        None => serde_json::from_value(given.clone()).ok().with_context(|| {
            format!(
                "\"template\" must be one of {}, {{\"file\": \"x.jinja\"}} or {{\"jinja\": \"…\"}}",
                names()
            )
        })?,
    };
    checked(choice)
}

/// The choice that a command line makes: a name, or the path of a file.
pub fn named(text: &str) -> Result<Template> {
    if let Some(choice) = Template::from_name(text) {
        return Ok(choice);
    }
    let path = Path::new(text);
    ensure!(
        path.is_file(),
        "no template {text:?}: choose one of {}, or name a file with a Jinja template",
        names()
    );
    checked(read(path)?)
}

fn read(path: &Path) -> Result<Template> {
    let source = fs::read_to_string(path).with_context(|| format!("read the template {path:?}"))?;
    Ok(Template::Jinja(source))
}

fn checked(choice: Template) -> Result<Template> {
    if let Err(errors) = choice.validate() {
        bail!("the template {}", errors[0].reason);
    }
    Ok(choice)
}

fn names() -> String {
    let names: Vec<_> = Template::NAMED.iter().map(Template::as_str).collect();
    names.join(", ")
}

/// The Jinja text of a template that is built in.
pub fn built_in(choice: &Template) -> Option<&'static str> {
    match choice {
        Template::Alpaca => Some(include_str!("templates/alpaca.jinja")),
        Template::AlpacaLf => Some(include_str!("templates/alpaca_lf.jinja")),
        Template::Chatml => Some(include_str!("templates/chatml.jinja")),
        Template::Model | Template::Plain | Template::Jinja(_) => None,
    }
}

#[derive(Clone)]
pub struct ChatTemplate {
    compiled: Jinja,
    /// `bos_token` and the like.
    special_tokens: Map<String, Value>,
    /// SHA-256 of the template's text, hex.
    pub hash: String,
}

impl ChatTemplate {
    /// Compiles `source`; `special_tokens` gives it `bos_token` and the like.
    pub fn new(source: &str, special_tokens: &TokenizerConfig) -> Result<Self> {
        let tokens = [
            ("bos_token", &special_tokens.bos_token),
            ("eos_token", &special_tokens.eos_token),
            ("pad_token", &special_tokens.pad_token),
            ("unk_token", &special_tokens.unk_token),
        ];
        let text = |field: &Option<TokenField>| field.as_ref().and_then(TokenField::as_str).map(Value::from);
        Ok(Self {
            compiled: Jinja::compile(source).context("read the chat template")?,
            special_tokens: tokens
                .into_iter()
                .filter_map(|(name, field)| Some((name.to_owned(), text(field)?)))
                .collect(),
            hash: hex(&Sha256::digest(source)),
        })
    }

    /// The text of a conversation. With `await_answer` it ends where the assistant's next turn begins.
    pub fn render(&self, messages: &[Message], await_answer: bool) -> Result<String> {
        let turns: Vec<Value> = messages
            .iter()
            .map(|message| json!({ "role": message.role.as_str(), "content": message.content }))
            .collect();
        let n_bytes = messages.iter().map(|message| message.content.len()).sum();
        let mut context = self.special_tokens.clone();
        context.insert("messages".into(), turns.into());
        context.insert("add_generation_prompt".into(), await_answer.into());
        self.compiled
            .render(context.into(), n_bytes)
            .context("apply the chat template")
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::Speaker;

    fn render(choice: &Template, messages: &[Message], await_answer: bool) -> String {
        let config: TokenizerConfig = serde_json::from_str(r#"{"eos_token": "</s>"}"#).unwrap();
        let template = ChatTemplate::new(built_in(choice).unwrap(), &config).unwrap();
        template.render(messages, await_answer).unwrap()
    }

    #[test]
    fn a_template_that_prints_the_date_prints_the_same_one_every_day() {
        let source = "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}";
        let template = ChatTemplate::new(source, &TokenizerConfig::default()).unwrap();
        let text = template.render(&[Message::user("hello")], true).unwrap();
        assert_eq!(text, "26 Jul 2024 hello");
    }

    #[test]
    fn alpaca_is_stanfords_text() {
        let expected = "Below is an instruction that describes a task. Write a response that appropriately completes \
                        the request.\n\n### Instruction:\nName it.\n\n### Response:";
        assert_eq!(alpaca_prompt("Name it.", ""), expected);
        let turns = [Message::user("Name it."), Message::assistant("Ada.")];
        assert_eq!(render(&Template::Alpaca, &turns[..1], true), expected);
        assert_eq!(
            render(&Template::Alpaca, &turns, false),
            format!("{expected}Ada.</s>")
        );
        let with_input = "Below is an instruction that describes a task, paired with an input that provides further \
                          context. Write a response that appropriately completes the request.\n\n### Instruction:\n\
                          Name it.\n\n### Input:\nA dog.\n\n### Response:";
        assert_eq!(alpaca_prompt("Name it.", "A dog."), with_input);
    }

    #[test]
    fn a_system_turn_takes_the_place_of_alpacas_preamble_and_turns_follow_each_other() {
        let system = Message {
            role: Speaker::System,
            content: "Be brief.".into(),
        };
        let turns = [
            system,
            Message::user("a"),
            Message::assistant("b"),
            Message::user("c"),
        ];
        let expected =
            "Be brief.\n\n### Instruction:\na\n\n### Response:b</s>\n\n### Instruction:\nc\n\n### Response:";
        assert_eq!(render(&Template::Alpaca, &turns, true), expected);
    }

    #[test]
    fn llama_factorys_alpaca_has_a_line_break_behind_its_header_and_blank_lines_behind_answers() {
        let turns = [Message::user("a"), Message::assistant("b")];
        let prompt = render(&Template::AlpacaLf, &turns[..1], true);
        assert!(
            prompt.ends_with("request.\n\n### Instruction:\na\n\n### Response:\n"),
            "{prompt}"
        );
        assert_eq!(
            render(&Template::AlpacaLf, &turns, false),
            format!("{prompt}b</s>\n\n")
        );
    }

    #[test]
    fn chatml_is_that_of_openai() {
        let turns = [Message::user("a"), Message::assistant("b")];
        let expected = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(render(&Template::Chatml, &turns[..1], true), expected);
        assert_eq!(
            render(&Template::Chatml, &turns, false),
            format!("{expected}b<|im_end|>\n")
        );
    }
}
