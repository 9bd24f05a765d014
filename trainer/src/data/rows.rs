//! Rows of a dataset: JSON Lines in TRL's columns, one object a line; columns that are not named here are
//! provenance and ignored. A bad line stops the reading with its number.

mod columns;

pub use columns::parse;

use anyhow::{Context, Result};
use laurel_protocol::{Message, PromptText};
use std::io::BufRead;

/// A prompt or a completion: plain text, or turns for the chat template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    Text(String),
    Messages(Vec<Message>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    Preference(Preference),
    Example(Example),
    Alpaca(Alpaca),
    Ids(Ids),
    /// A prompt alone.
    Prompt(Prompt),
}

/// A prompt with a better and a worse completion, or with two equally good ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    pub prompt: Side,
    pub chosen: Side,
    pub rejected: Side,
    /// The row's `prompt_id`, where it has one.
    pub group: Option<u64>,
    pub label: Label,
}

/// What a preference says besides which completion is better.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Label {
    /// Both are equally good.
    pub tie: bool,
    /// TRL's column `margin`.
    pub margin: Option<f32>,
    /// The column `weight`, from 0; in a round's trained rows relative to their mean.
    pub weight: Option<f32>,
    /// 1 slightly to 4 far better; 0 where nobody was asked.
    pub strength: u8,
    /// The annotation that it comes from: rows of one share it, a ranking's pairs among them.
    pub annotation: Option<u64>,
    /// Of a completion that was judged by itself: whether it is desirable.
    pub desirable: Option<bool>,
}

impl Label {
    /// How much the row counts in a loss.
    pub fn weight(&self) -> f32 {
        self.weight.unwrap_or(1.0)
    }
}

/// A prompt with a completion to imitate, or one that was judged by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub prompt: Side,
    pub completion: Side,
    pub group: Option<u64>,
    /// TRL's column `label` of unpaired preferences.
    pub desirable: Option<bool>,
}

/// A prompt without an answer, for a round that answers it itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    pub prompt: Side,
    pub group: Option<u64>,
}

/// An example in Alpaca's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alpaca {
    pub instruction: String,
    /// Empty where the instruction needs none.
    pub input: String,
    pub output: String,
    pub group: Option<u64>,
}

impl Alpaca {
    /// Instruction and input as one turn, as LLaMA-Factory joins them.
    pub fn user_turn(&self) -> String {
        match self.input.as_str() {
            "" => self.instruction.clone(),
            input => format!("{}\n{input}", self.instruction),
        }
    }
}

/// A text as token ids; the tokens from position `from` on are of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    pub ids: Vec<u32>,
    pub from: usize,
}

/// What some editors put before a text in UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads every row of `lines`. Blank lines are skipped, but counted.
pub fn read_rows(lines: impl BufRead) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (at, line) in lines.lines().enumerate() {
        let row = line.context("not UTF-8, or the file broke off").and_then(|line| {
            match line.trim_start_matches(BYTE_ORDER_MARK).trim() {
                "" => Ok(None),
                text => parse(text).map(Some),
            }
        });
        rows.extend(row.with_context(|| format!("line {}", at + 1))?);
    }
    Ok(rows)
}

impl From<PromptText> for Side {
    fn from(text: PromptText) -> Self {
        match text {
            PromptText::Text(text) => Self::Text(text),
            PromptText::Messages(messages) => Self::Messages(messages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_and_carriage_returns_are_no_part_of_a_line() {
        let lines = "\u{feff}{\"prompt\":\"a\",\"completion\":\"b\"}\r\n\r\n";
        assert_eq!(read_rows(lines.as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let lines = "{\"prompt\":\"a\",\"completion\":\"b\"}\n\n{\"completion\":\"a\"}\n";
        let error = format!("{:#}", read_rows(lines.as_bytes()).unwrap_err());
        assert!(error.starts_with("line 3: the columns are none of"), "{error}");
    }
}
