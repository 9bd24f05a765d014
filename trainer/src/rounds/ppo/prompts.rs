//! The prompts of a PPO round from rows of any kind, and what stands behind an answer to them.

use crate::data::{Demonstration, Label, PreferencePair, Row, Tokenizer, rows::Side};
use anyhow::{Context, Result, bail, ensure};

/// Rows whose prompts are to be answered; what answers they have stay with them. With them the tokens that close an
/// answer, which depend on whether prompts are messages or texts. `place` names the data in an error.
pub fn prompts(rows: &[Row], tokenizer: &Tokenizer, place: &str) -> Result<(Vec<PreferencePair>, Vec<u32>)> {
    let mut pairs = Vec::with_capacity(rows.len());
    let mut of_messages = None;
    for (at, row) in rows.iter().enumerate() {
        let (pair, is_messages) =
            prompt(row, tokenizer).with_context(|| format!("{place}, row {}", at + 1))?;
        ensure!(
            *of_messages.get_or_insert(is_messages) == is_messages,
            "{place}, row {}: prompts are messages in some rows and texts in others, whose answers end differently: make \
             two rounds",
            at + 1
        );
        pairs.push(pair);
    }
    let ending = tokenizer.ending(of_messages.unwrap_or(true))?;
    Ok((pairs, ending))
}

fn prompt(row: &Row, tokenizer: &Tokenizer) -> Result<(PreferencePair, bool)> {
    let is_messages = |side: &Side| matches!(side, Side::Messages(_));
    let example = |it: Demonstration, desirable: Option<bool>| PreferencePair {
        prompt: it.prompt,
        chosen: it.completion,
        rejected: Vec::new(),
        group: it.group,
        label: Label {
            desirable,
            ..Label::default()
        },
    };
    Ok(match row {
        Row::Preference(row) => (tokenizer.preference(row)?, is_messages(&row.prompt)),
        Row::Example(row) => {
            let pair = example(tokenizer.demonstration(row)?, row.desirable);
            (pair, is_messages(&row.prompt))
        }
        Row::Alpaca(row) => (
            example(tokenizer.alpaca(row)?, None),
            tokenizer.alpaca_is_a_turn(),
        ),
        Row::Prompt(row) => (example(tokenizer.prompt(row)?, None), is_messages(&row.prompt)),
        Row::Ids(_) => bail!("token ids, which have no prompt"),
    })
}
