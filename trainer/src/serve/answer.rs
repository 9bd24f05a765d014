//! Answers in the shapes of OpenAI's API: whole, or in chunks as they come.

use super::request::Kind;
use crate::{
    data::TokenTexts,
    generate::{Piece, PieceToken},
};
use laurel_protocol::FinishReason;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::SystemTime};

/// What all chunks of an answer share.
#[derive(Clone)]
pub struct Form {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    /// With log-probabilities, and those of so many likeliest tokens.
    logprobs: Option<usize>,
    texts: Arc<TokenTexts<'static>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub prompt: usize,
    pub completion: usize,
}

/// One completion as far as it has come.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub piece: Piece,
    pub reason: Option<FinishReason>,
}

impl Form {
    pub fn new(kind: Kind, model: &str, logprobs: Option<usize>, texts: Arc<TokenTexts<'static>>) -> Self {
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Text => "cmpl",
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            kind,
            id: format!("{prefix}-{:016x}", super::request::fresh()),
            created: now.map_or(0, |time| time.as_secs()),
            model: model.to_owned(),
            logprobs,
            texts,
        }
    }

    /// The whole answer.
    pub fn whole(&self, choices: &[Choice], usage: Usage) -> Value {
        let choices: Vec<Value> = choices
            .iter()
            .enumerate()
            .map(|(index, choice)| {
                let Choice { piece, reason } = choice;
                let mut fields = match self.kind {
                    Kind::Chat => json!({
                        "message": {"role": "assistant", "content": piece.text, "refusal": null},
                    }),
                    Kind::Text => json!({ "text": piece.text }),
                };
                fields["index"] = index.into();
                fields["finish_reason"] = reason.map(name).into();
                fields["logprobs"] = self.logprobs(&piece.tokens);
                fields
            })
            .collect();
        let object = match self.kind {
            Kind::Chat => "chat.completion",
            Kind::Text => "text_completion",
        };
        let mut answer = self.frame(object, choices.into());
        answer["usage"] = usage.value();
        answer
    }

    /// The chunk with which a chat's choice begins.
    pub fn opening(&self, index: usize) -> Option<Value> {
        match self.kind {
            Kind::Chat => {
                let delta = json!({"role": "assistant", "content": "", "refusal": null});
                Some(self.chunk(index, delta, Value::Null, None))
            }
            Kind::Text => None,
        }
    }

    pub fn piece(&self, index: usize, piece: &Piece) -> Value {
        let logprobs = self.logprobs(&piece.tokens);
        match self.kind {
            Kind::Chat => self.chunk(index, json!({ "content": piece.text }), logprobs, None),
            Kind::Text => self.chunk(index, piece.text.as_str().into(), logprobs, None),
        }
    }

    pub fn end(&self, index: usize, reason: FinishReason) -> Value {
        let nothing = match self.kind {
            Kind::Chat => json!({}),
            Kind::Text => "".into(),
        };
        self.chunk(index, nothing, Value::Null, Some(reason))
    }

    /// The last chunk, where usage was asked for.
    pub fn usage(&self, usage: Usage) -> Value {
        let mut chunk = self.frame(self.chunk_name(), json!([]));
        chunk["usage"] = usage.value();
        chunk
    }

    fn chunk_name(&self) -> &'static str {
        match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Text => "text_completion",
        }
    }

    fn chunk(&self, index: usize, content: Value, logprobs: Value, reason: Option<FinishReason>) -> Value {
        let name_of_content = match self.kind {
            Kind::Chat => "delta",
            Kind::Text => "text",
        };
        let choice = json!({
            "index": index, name_of_content: content, "logprobs": logprobs, "finish_reason": reason.map(name),
        });
        self.frame(self.chunk_name(), json!([choice]))
    }

    fn frame(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
        })
    }

    fn logprobs(&self, tokens: &[PieceToken]) -> Value {
        if self.logprobs.is_none() {
            return Value::Null;
        }
        match self.kind {
            Kind::Chat => {
                let token = |token: &PieceToken| {
                    let mut entry = self.entry(token.id, token.logprob);
                    let top = token.top.iter().map(|&(id, logprob)| self.entry(id, logprob));
                    entry["top_logprobs"] = top.collect();
                    entry
                };
                json!({ "content": tokens.iter().map(token).collect::<Vec<_>>(), "refusal": null })
            }
            Kind::Text => {
                let text = |id| String::from_utf8_lossy(&self.texts.bytes(id)).into_owned();
                let top = |token: &PieceToken| {
                    // The drawn token always stands among them, as in OpenAI's answers.
                    let all = token.top.iter().copied().chain([(token.id, token.logprob)]);
                    all.map(|(id, logprob)| (text(id), logprob.into()))
                        .collect::<Map<_, _>>()
                };
                json!({
                    "tokens": tokens.iter().map(|token| text(token.id)).collect::<Vec<_>>(),
                    "token_logprobs": tokens.iter().map(|token| token.logprob).collect::<Vec<_>>(),
                    "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
                    "text_offset": tokens.iter().map(|token| token.offset).collect::<Vec<_>>(),
                })
            }
        }
    }

    fn entry(&self, id: u32, logprob: f32) -> Value {
        let bytes = self.texts.bytes(id);
        json!({ "token": String::from_utf8_lossy(&bytes), "logprob": logprob, "bytes": bytes })
    }
}

impl Usage {
    fn value(self) -> Value {
        json!({
            "prompt_tokens": self.prompt, "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        })
    }
}

fn name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}
