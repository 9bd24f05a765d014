//! A conversation, in the shape that TRL, transformers and the OpenAI API share.

use crate::error::{Check, Validation};
use serde::{Deserialize, Serialize};

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Message {
    pub role: Speaker,
    pub content: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    System,
    User,
    Assistant,
}

impl Speaker {
    /// The name that chat templates use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

impl Message {
    pub fn user(content: impl Into<String>) -> Self {
        Self {
            role: Speaker::User,
            content: content.into(),
        }
    }

    pub fn assistant(content: impl Into<String>) -> Self {
        Self {
            role: Speaker::Assistant,
            content: content.into(),
        }
    }
}

/// The longest prompt that is accepted, all messages together.
pub const MAX_PROMPT_BYTES: usize = 64 * 1024;

/// A prompt as it stands in an imported line: a text (one user turn) or a whole conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum PromptText {
    Text(String),
    Messages(Vec<Message>),
}

impl PromptText {
    pub fn into_messages(self) -> Vec<Message> {
        match self {
            Self::Text(text) => vec![Message::user(text)],
            Self::Messages(messages) => messages,
        }
    }
}

/// Checks a conversation that awaits an answer: an optional system turn first, then user and assistant in
/// turn, the last one the user's; nothing empty; at most [`MAX_PROMPT_BYTES`].
pub fn validate_prompt(messages: &[Message]) -> Validation {
    let turns = match messages.first() {
        Some(first) if first.role == Speaker::System => &messages[1..],
        _ => messages,
    };
    let alternates = turns.iter().enumerate().all(|(at, turn)| {
        turn.role
            == if at % 2 == 0 {
                Speaker::User
            } else {
                Speaker::Assistant
            }
    });
    let size: usize = messages.iter().map(|message| message.content.len()).sum();
    Check::default()
        .ensure(!turns.is_empty(), "prompt", "has no user message")
        .ensure(
            turns.is_empty() || turns.len() % 2 == 1,
            "prompt",
            "must end with a user message",
        )
        .ensure(
            alternates,
            "prompt",
            "user and assistant must alternate, with at most one system message, first",
        )
        .ensure(
            messages.iter().all(|m| !m.content.trim().is_empty()),
            "prompt",
            "has an empty message",
        )
        .ensure(size <= MAX_PROMPT_BYTES, "prompt", "is longer than 64 KiB")
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_text_is_one_user_turn() {
        let prompt: PromptText = serde_json::from_str("\"hi\"").unwrap();
        assert_eq!(prompt.into_messages(), vec![Message::user("hi")]);
    }

    #[test]
    fn prompts_that_await_no_answer_are_refused() {
        assert!(validate_prompt(&[]).is_err());
        assert!(validate_prompt(&[Message::user("a"), Message::assistant("b")]).is_err());
        assert!(validate_prompt(&[Message::user("  ")]).is_err());
        assert!(
            validate_prompt(&[Message {
                role: Speaker::System,
                content: "s".into()
            }])
            .is_err()
        );
        assert!(validate_prompt(&[Message::user("a"), Message::assistant("b"), Message::user("c")]).is_ok());
    }
}
