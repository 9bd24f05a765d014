//! From text to token ids: the tokenizer, the chat template and the rows of a dataset.
//!
//! Rows come in as JSON Lines in TRL's columns ([`rows`]) and go out as token ids that the rounds train on.
//! A completion is everything after the generation prompt: the answer, its end token and what the template
//! puts behind it, as in TRL.

pub(crate) mod gguf;
pub mod jinja;
pub mod rows;
mod sentencepiece;
pub mod template;
pub mod token_text;
pub mod tokenizer;

pub use rows::{Label, Row, read_rows};
pub use template::ChatTemplate;
pub use token_text::TokenTexts;
pub use tokenizer::Tokenizer;

/// A preference as token ids. The sequence that the model reads is `prompt` followed by a completion.
#[derive(Clone, Debug, PartialEq)]
pub struct PreferencePair {
    pub prompt: Vec<u32>,
    pub chosen: Vec<u32>,
    pub rejected: Vec<u32>,
    /// Rows of one prompt share it: the held-out split goes by group.
    pub group: u64,
    pub label: Label,
}

/// An example to imitate, as token ids: the loss is on `completion` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    pub prompt: Vec<u32>,
    pub completion: Vec<u32>,
    pub group: u64,
}

impl PreferencePair {
    /// Tokens of the longer of the two sequences.
    pub fn longest(&self) -> usize {
        self.prompt.len() + self.chosen.len().max(self.rejected.len())
    }

    /// The two answers as judged one by one: the chosen one desirable, the rejected one not. An answer that was
    /// judged by itself stands in `chosen`, beside an empty `rejected`, and stays what it is.
    pub fn unpaired(self) -> Vec<Self> {
        if self.label.desirable.is_some() {
            return vec![self];
        }
        let of = |completion: Vec<u32>, desirable: bool| Self {
            prompt: self.prompt.clone(),
            chosen: completion,
            rejected: Vec::new(),
            group: self.group,
            label: Label {
                desirable: Some(desirable),
                ..self.label
            },
        };
        vec![of(self.chosen, true), of(self.rejected, false)]
    }

    /// The preferred answer as an example to imitate.
    pub fn demonstration(&self) -> Demonstration {
        Demonstration {
            prompt: self.prompt.clone(),
            completion: self.chosen.clone(),
            group: self.group,
        }
    }
}
