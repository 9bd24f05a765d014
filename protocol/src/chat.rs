//! Talking to a model: a turn of the user's is answered by a trainer as the next thing that it does, and is told as it is
//! written. Turns are kept in the server's memory while somebody watches them, and nowhere else.

use crate::{
    adapter::Adapter,
    completion::{FinishReason, JobStatus, Sampling},
    error::{Check, FieldError, Validation},
    ids::{AdapterId, JobId},
    message::{Message, validate_prompt},
};
use serde::{Deserialize, Serialize};

/// `POST /projects/{id}/chat`: one or two conversations, the model's next answer to each wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewChatTurn {
    /// Two are answered side by side.
    pub sides: Vec<ChatSide>,
    #[serde(default)]
    pub sampling: Sampling,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChatSide {
    /// None talks to the base model.
    #[serde(default)]
    pub adapter: Option<AdapterId>,
    /// All that was said so far; the last word is the user's.
    pub messages: Vec<Message>,
}

impl NewChatTurn {
    /// Most tokens of an answer.
    pub const MAX_TOKENS: u32 = 1024;
    /// Most messages of a conversation.
    pub const MAX_MESSAGES: usize = 100;

    pub fn validate(&self) -> Validation {
        let mut errors = self.sampling.validate().err().unwrap_or_default();
        for side in &self.sides {
            errors.extend(validate_prompt(&side.messages).err().unwrap_or_default());
        }
        for error in &mut errors {
            if error.field == "prompt" {
                error.field = "messages".to_owned();
            }
        }
        let own = Check::default()
            .ensure((1..=2).contains(&self.sides.len()), "sides", "must be one or two")
            .ensure(
                self.sampling.max_tokens <= Self::MAX_TOKENS,
                "max_tokens",
                "must be at most 1024 in a chat",
            )
            .ensure(
                self.sides
                    .iter()
                    .all(|side| side.messages.len() <= Self::MAX_MESSAGES),
                "messages",
                "has more than 100 messages: begin anew",
            )
            .finish();
        errors.extend(own.err().unwrap_or_default());
        errors.dedup_by(|a: &mut FieldError, b| a == b);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// A turn as it stands. Told whole, again and again until it has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChatTurn {
    /// Of the job that it is.
    pub id: JobId,
    /// Never `paused`.
    pub status: JobStatus,
    /// While it waits: the turns that are to be answered before it.
    pub n_ahead: u32,
    /// While it waits: what the trainers of this base model are at.
    pub busy_with: Vec<String>,
    /// In the order of the sides that were sent.
    pub answers: Vec<ChatAnswer>,
    /// Why it failed: one sentence.
    pub error: Option<String>,
}

/// What `GET /projects/{id}/chat/{turn}/events` streams (server-sent events named `update`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChatEvent {
    pub turn: ChatTurn,
}

/// An answer so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChatAnswer {
    pub text: String,
    pub n_tokens: u32,
    /// There once it has ended.
    pub finish_reason: Option<FinishReason>,
}

/// `POST /worker/jobs/{job}/chat`: the answers so far, whole, every few hundred milliseconds; renews the lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChatReport {
    pub answers: Vec<ChatAnswer>,
    /// SHA-256 of the chat template that was applied, hex. Answers of a battle are kept with it.
    #[serde(default)]
    pub template_hash: Option<String>,
}

impl ChatReport {
    /// Longest answer that is taken.
    pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

    /// Of a turn with so many sides.
    pub fn validate(&self, n_sides: usize) -> Validation {
        let is_short = |answer: &ChatAnswer| answer.text.len() <= Self::MAX_ANSWER_BYTES;
        Check::default()
            .ensure(
                self.answers.len() == n_sides,
                "answers",
                "must be one for each side",
            )
            .ensure(
                self.answers.iter().all(is_short),
                "answers",
                "must have at most 64 KiB each",
            )
            .finish()
    }
}

/// Adapters that can be talked to.
pub fn talkers(adapters: &[Adapter]) -> impl Iterator<Item = &Adapter> {
    adapters.iter().filter(|adapter| adapter.kind.makes_policy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(messages: Vec<Message>) -> ChatSide {
        ChatSide {
            adapter: None,
            messages,
        }
    }

    fn refused(sides: Vec<ChatSide>, max_tokens: u32) -> Vec<String> {
        let turn = NewChatTurn {
            sides,
            sampling: Sampling {
                max_tokens,
                ..Sampling::default()
            },
        };
        let errors = turn.validate().err().unwrap_or_default();
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn a_turn_has_one_or_two_conversations_that_end_with_the_user() {
        let good = || side(vec![Message::user("hi")]);
        assert_eq!(refused(vec![good()], 64), [""; 0]);
        assert_eq!(refused(vec![good(), good()], 64), [""; 0]);
        assert_eq!(refused(vec![], 64), ["sides"]);
        assert_eq!(refused(vec![good(), good(), good()], 64), ["sides"]);
        let answered = side(vec![Message::user("hi"), Message::assistant("ho")]);
        assert_eq!(refused(vec![answered], 64), ["messages"]);
        assert_eq!(refused(vec![good()], 1025), ["max_tokens"]);
    }

    #[test]
    fn long_conversations_begin_anew() {
        let mut messages = Vec::new();
        for _ in 0..50 {
            messages.extend([Message::user("a"), Message::assistant("b")]);
        }
        messages.push(Message::user("c"));
        assert_eq!(refused(vec![side(messages)], 64), ["messages"]);
    }
}
