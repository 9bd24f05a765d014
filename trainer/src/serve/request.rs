//! What a request asks for: the bodies of `/v1/chat/completions` and `/v1/completions`, with the names of OpenAI's API
//! and of vLLM's additions to it. What would change the answer and cannot be done is refused.

use super::{
    error::Error,
    fields::{Fields, is_empty},
};
use laurel_protocol::{Message, Sampling, Speaker};
use serde_json::Value;
use std::hash::{BuildHasher, RandomState};

/// Choices of one prompt, as in OpenAI's API.
const MOST_CHOICES: i64 = 128;
/// Prompts of one request.
const MOST_PROMPTS: usize = 128;
/// OpenAI's default for plain completions.
const DEFAULT_TOKENS: i64 = 16;
/// Likeliest tokens that are told with each token.
const MOST_TOP: i64 = 20;

/// A request that can be understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub kind: Kind,
    pub model: String,
    pub prompts: Vec<Prompt>,
    /// Completions of each prompt.
    pub n: u32,
    /// `max_tokens` is the largest number where none was given.
    pub sampling: Sampling,
    pub stream: bool,
    pub include_usage: bool,
    /// With log-probabilities, and those of so many likeliest tokens.
    pub logprobs: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Chat,
    Text,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    Messages(Vec<Message>),
    Text(String),
    Ids(Vec<u32>),
}

impl Kind {
    /// The field with the prompt.
    pub fn prompt_field(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Text => "prompt",
        }
    }
}

impl Wanted {
    pub fn parse(kind: Kind, body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::parse(body)?;
        let Some(model) = fields.text("model")? else {
            return Err(Error::field("model", "is missing"));
        };
        let n = fields.whole("n", 1..=MOST_CHOICES)?.unwrap_or(1) as u32;
        refuse_unsupported(&mut fields, n)?;
        let (prompts, logprobs) = match kind {
            Kind::Chat => (vec![messages(&mut fields)?], chat_logprobs(&mut fields)?),
            Kind::Text => {
                let logprobs = fields.whole("logprobs", 0..=MOST_TOP)?;
                (prompts(&mut fields)?, logprobs.map(|n| n as usize))
            }
        };
        let stream = fields.flag("stream")?.unwrap_or(false);
        Ok(Self {
            kind,
            model,
            prompts,
            n,
            sampling: sampling(kind, &mut fields)?,
            include_usage: include_usage(&mut fields, stream)?,
            stream,
            logprobs,
        })
    }
}

fn refuse_unsupported(fields: &mut Fields, n: u32) -> Result<(), Error> {
    for name in [
        "tools",
        "functions",
        "logit_bias",
        "suffix",
        "chat_template_kwargs",
        "documents",
    ] {
        fields.refuse(name, is_empty)?;
    }
    for name in [
        "audio",
        "web_search_options",
        "chat_template",
        "guided_json",
        "guided_regex",
    ] {
        fields.refuse(name, |_| false)?;
    }
    for name in ["echo", "continue_final_message"] {
        fields.refuse(name, |value| value == false)?;
    }
    fields.refuse("add_generation_prompt", |value| value == true)?;
    for name in ["tool_choice", "function_call"] {
        fields.refuse(name, |value| value == "none" || value == "auto")?;
    }
    fields.refuse("best_of", |value| value == n)?;
    fields.refuse("response_format", |value| value["type"] == "text")?;
    fields.refuse("modalities", |value| *value == serde_json::json!(["text"]))
}

fn sampling(kind: Kind, fields: &mut Fields) -> Result<Sampling, Error> {
    let least = 1..=i64::MAX;
    let max_tokens = match fields.whole("max_completion_tokens", least.clone())? {
        Some(most) => Some(most),
        None => fields.whole("max_tokens", least)?,
    };
    let max_tokens = match kind {
        Kind::Chat => max_tokens.unwrap_or(i64::MAX),
        Kind::Text => max_tokens.unwrap_or(DEFAULT_TOKENS),
    };
    // vLLM's -1 keeps all as well.
    let top_k = fields.whole("top_k", -1..=1_000_000)?.unwrap_or(0).max(0);
    let sampling = Sampling {
        temperature: fields.number("temperature")?.unwrap_or(1.0),
        top_p: fields.number("top_p")?.unwrap_or(1.0),
        top_k: top_k as u32,
        min_p: fields.number("min_p")?.unwrap_or(0.0),
        repetition_penalty: fields.number("repetition_penalty")?.unwrap_or(1.0),
        presence_penalty: fields.number("presence_penalty")?.unwrap_or(0.0),
        frequency_penalty: fields.number("frequency_penalty")?.unwrap_or(0.0),
        stop: stop(fields)?,
        max_tokens: u32::try_from(max_tokens).unwrap_or(u32::MAX),
        seed: seed(fields)?,
    };
    match sampling.validate_drawing() {
        Ok(()) => Ok(sampling),
        Err(errors) => Err(Error::field(&errors[0].field, &errors[0].reason)),
    }
}

/// Of a whole number its last 53 bits; without one a fresh seed.
fn seed(fields: &mut Fields) -> Result<u64, Error> {
    let seed = match fields.take("seed") {
        None => fresh(),
        Some(value) => match (value.as_u64(), value.as_i64()) {
            (Some(seed), _) => seed,
            (None, Some(seed)) => seed as u64,
            (None, None) => return Err(Error::field("seed", "must be a whole number of 64 bits")),
        },
    };
    Ok(seed % Sampling::LAST_SEED)
}

/// A number that nobody can foresee.
pub fn fresh() -> u64 {
    RandomState::new().hash_one(0)
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, Error> {
    let texts = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![Value::String(text)],
        Some(Value::Array(texts)) => texts,
        Some(_) => return Err(Error::field("stop", "must be a text or a list of texts")),
    };
    let text = |value| match value {
        Value::String(text) => Ok(text),
        _ => Err(Error::field("stop", "must be a text or a list of texts")),
    };
    texts.into_iter().map(text).collect()
}

fn include_usage(fields: &mut Fields, stream: bool) -> Result<bool, Error> {
    match fields.take("stream_options") {
        None => Ok(false),
        Some(_) if !stream => Err(Error::field("stream_options", "may be given with `stream` alone")),
        Some(Value::Object(options)) => match options.get("include_usage") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Error::field(
                "stream_options.include_usage",
                "must be true or false",
            )),
        },
        Some(_) => Err(Error::field("stream_options", "must be an object")),
    }
}

fn chat_logprobs(fields: &mut Fields) -> Result<Option<usize>, Error> {
    let wanted = fields.flag("logprobs")?.unwrap_or(false);
    match fields.whole("top_logprobs", 0..=MOST_TOP)? {
        Some(_) if !wanted => Err(Error::field("top_logprobs", "needs `logprobs` to be true")),
        n_top => Ok(wanted.then(|| n_top.unwrap_or(0) as usize)),
    }
}

fn messages(fields: &mut Fields) -> Result<Prompt, Error> {
    let items = match fields.take("messages") {
        Some(Value::Array(items)) => items,
        None => return Err(Error::field("messages", "is missing")),
        Some(_) => return Err(Error::field("messages", "must be a list")),
    };
    if items.is_empty() {
        return Err(Error::field("messages", "is empty"));
    }
    let messages = items.iter().enumerate().map(|(at, item)| message(at, item));
    Ok(Prompt::Messages(messages.collect::<Result<_, _>>()?))
}

fn message(at: usize, item: &Value) -> Result<Message, Error> {
    let role = match item["role"].as_str() {
        Some("system" | "developer") => Speaker::System,
        Some("user") => Speaker::User,
        Some("assistant") => Speaker::Assistant,
        _ => {
            return Err(Error::field(
                format!("messages[{at}].role"),
                "must be system, developer, user or assistant",
            ));
        }
    };
    if !item["tool_calls"].is_null() {
        return Err(Error::field(
            format!("messages[{at}].tool_calls"),
            "is not supported by this server",
        ));
    }
    let wrong = || {
        Error::field(
            format!("messages[{at}].content"),
            "must be a text or a list of parts of type \"text\"",
        )
    };
    let content = match &item["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let text = |part: &Value| match (part["type"].as_str(), part["text"].as_str()) {
                (Some("text"), Some(text)) => Ok(text.to_owned()),
                _ => Err(wrong()),
            };
            parts.iter().map(text).collect::<Result<String, _>>()?
        }
        _ => return Err(wrong()),
    };
    Ok(Message { role, content })
}

/// A text, a list of texts, the token ids of a prompt, or a list of those.
fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, Error> {
    let wrong = || {
        Error::field(
            "prompt",
            "must be a text, a list of texts, token ids or a list of those",
        )
    };
    let items = match fields.take("prompt") {
        None => return Err(Error::field("prompt", "is missing")),
        Some(Value::String(text)) => return Ok(vec![Prompt::Text(text)]),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(wrong()),
    };
    if items.first().is_some_and(Value::is_number) {
        return Ok(vec![ids(&items).ok_or_else(wrong)?]);
    }
    if items.is_empty() || items.len() > MOST_PROMPTS {
        return Err(Error::field(
            "prompt",
            &format!("must be 1 to {MOST_PROMPTS} prompts"),
        ));
    }
    let prompt = |item: Value| match item {
        Value::String(text) => Some(Prompt::Text(text)),
        Value::Array(items) => ids(&items),
        _ => None,
    };
    let prompts: Option<_> = items.into_iter().map(prompt).collect();
    prompts.ok_or_else(wrong)
}

fn ids(items: &[Value]) -> Option<Prompt> {
    let id = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok());
    items.iter().map(id).collect::<Option<_>>().map(Prompt::Ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chat(on_top: Value) -> Result<Wanted, Error> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut()
            .unwrap()
            .extend(on_top.as_object().unwrap().clone());
        Wanted::parse(Kind::Chat, body.to_string().as_bytes())
    }

    fn text(on_top: Value) -> Result<Wanted, Error> {
        let mut body = json!({"model": "m", "prompt": "hi"});
        body.as_object_mut()
            .unwrap()
            .extend(on_top.as_object().unwrap().clone());
        Wanted::parse(Kind::Text, body.to_string().as_bytes())
    }

    #[test]
    fn defaults_are_openais() {
        let wanted = chat(json!({})).unwrap();
        assert_eq!(
            (wanted.n, wanted.sampling.temperature, wanted.sampling.top_p),
            (1, 1.0, 1.0)
        );
        assert_eq!(wanted.sampling.max_tokens, u32::MAX);
        assert_eq!(text(json!({})).unwrap().sampling.max_tokens, 16);
        assert_ne!(
            wanted.sampling.seed,
            chat(json!({})).unwrap().sampling.seed,
            "a fresh seed each time"
        );
    }

    #[test]
    fn all_that_is_known_is_read() {
        let wanted = chat(json!({
            "n": 4, "temperature": 0.5, "top_p": 0.9, "top_k": -1, "min_p": 0.1, "repetition_penalty": 1.1,
            "presence_penalty": -1, "frequency_penalty": 2, "stop": ["a", "b"], "seed": -1, "max_tokens": 5,
            "max_completion_tokens": 7, "stream": true, "stream_options": {"include_usage": true},
            "logprobs": true, "top_logprobs": 3, "user": "anybody", "tools": [], "logit_bias": {},
            "response_format": {"type": "text"},
        }));
        let wanted = wanted.unwrap();
        let expected = Sampling {
            temperature: 0.5,
            top_p: 0.9,
            top_k: 0,
            min_p: 0.1,
            repetition_penalty: 1.1,
            presence_penalty: -1.0,
            frequency_penalty: 2.0,
            stop: vec!["a".into(), "b".into()],
            max_tokens: 7,
            seed: u64::MAX % (1 << 53),
        };
        assert_eq!(wanted.sampling, expected);
        assert_eq!(
            (wanted.n, wanted.logprobs, wanted.include_usage),
            (4, Some(3), true)
        );
    }

    #[test]
    fn messages_may_come_in_parts_and_developers_are_system() {
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        let wanted = chat(json!({"messages": [{"role": "developer", "content": parts}]})).unwrap();
        let system = Message {
            role: Speaker::System,
            content: "ab".into(),
        };
        assert_eq!(wanted.prompts, [Prompt::Messages(vec![system])]);
    }

    #[test]
    fn prompts_may_be_texts_or_tokens() {
        let prompts = |prompt: Value| text(json!({ "prompt": prompt })).map(|wanted| wanted.prompts);
        assert_eq!(
            prompts(json!(["a", [3]])).unwrap(),
            [Prompt::Text("a".into()), Prompt::Ids(vec![3])]
        );
        assert_eq!(prompts(json!([1, 2])).unwrap(), [Prompt::Ids(vec![1, 2])]);
        for wrong in [
            json!([]),
            json!({}),
            json!([1, "a"]),
            json!([-1]),
            json!([[1.5]]),
            json!(null),
        ] {
            assert_eq!(
                prompts(wrong.clone()).unwrap_err().param.as_deref(),
                Some("prompt"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_is_wrong_or_cannot_be_done_is_named() {
        for (on_top, param) in [
            (json!({"messages": []}), "messages"),
            (json!({"messages": "hi"}), "messages"),
            (
                json!({"messages": [{"role": "tool", "content": "x"}]}),
                "messages[0].role",
            ),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
                "messages[0].content",
            ),
            (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
            (json!({"model": null}), "model"),
            (json!({"model": 3}), "model"),
            (json!({"n": 0}), "n"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"temperature": 3}), "temperature"),
            (json!({"top_p": 0}), "top_p"),
            (json!({"top_k": 1.5}), "top_k"),
            (json!({"frequency_penalty": 9}), "frequency_penalty"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"seed": "x"}), "seed"),
            (json!({"stop": [""]}), "stop"),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
            (json!({"stop": 3}), "stop"),
            (json!({"stream": "yes"}), "stream"),
            (
                json!({"stream_options": {"include_usage": true}}),
                "stream_options",
            ),
            (json!({"top_logprobs": 3}), "top_logprobs"),
            (json!({"logprobs": 3}), "logprobs"),
            (json!({"tools": [{"type": "function"}]}), "tools"),
            (json!({"logit_bias": {"5": 1}}), "logit_bias"),
            (
                json!({"response_format": {"type": "json_object"}}),
                "response_format",
            ),
        ] {
            let error = chat(on_top.clone()).unwrap_err();
            assert_eq!(
                (error.status.as_u16(), error.param.as_deref()),
                (400, Some(param)),
                "{on_top}"
            );
        }
        assert_eq!(
            text(json!({"echo": true})).unwrap_err().param.as_deref(),
            Some("echo")
        );
        assert_eq!(
            text(json!({"best_of": 2})).unwrap_err().param.as_deref(),
            Some("best_of")
        );
    }
}
