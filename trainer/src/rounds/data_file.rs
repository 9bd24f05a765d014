//! A file of JSON Lines as the rows of a round.

use super::prompts;
use crate::data::{Demonstration, Label, PreferencePair, Row, Tokenizer, read_rows};
use anyhow::{Context, Result, ensure};
use laurel_protocol::{Loss, round::RoundKind};
use std::{fs::File, io::BufReader, path::Path};

/// Rows as token ids, and for a PPO round what closes an answer.
pub fn data(path: &Path, tokenizer: &Tokenizer, loss: Loss) -> Result<(Vec<PreferencePair>, Vec<u32>)> {
    match loss.kind() {
        RoundKind::Ppo => prompts(&rows(path)?, tokenizer, &format!("{path:?}")),
        _ => Ok((pairs(path, tokenizer, loss)?, Vec::new())),
    }
}

pub fn rows(path: &Path) -> Result<Vec<Row>> {
    let file = File::open(path).with_context(|| format!("open {path:?}"))?;
    ensure!(
        !path.is_dir(),
        "{path:?} is a folder: the data is a file of JSON Lines"
    );
    let rows = read_rows(BufReader::new(file)).with_context(|| format!("read {path:?}"))?;
    ensure!(!rows.is_empty(), "{path:?} has no rows");
    Ok(rows)
}

/// The file's rows as token ids.
pub fn pairs(path: &Path, tokenizer: &Tokenizer, loss: Loss) -> Result<Vec<PreferencePair>> {
    let mut pairs = Vec::new();
    for (at, row) in rows(path)?.iter().enumerate() {
        let pair = pair(row, tokenizer, loss);
        pairs.push(pair.with_context(|| format!("{path:?}, row {}", at + 1))?);
    }
    Ok(pairs)
}

/// A row as token ids. Supervised fine-tuning takes demonstrations as well, and KTO answers that were judged by
/// themselves.
pub fn pair(row: &Row, tokenizer: &Tokenizer, loss: Loss) -> Result<PreferencePair> {
    let example = |it: Demonstration| PreferencePair {
        prompt: it.prompt,
        chosen: it.completion,
        rejected: Vec::new(),
        group: it.group,
        label: Label::default(),
    };
    match row {
        Row::Preference(row) => tokenizer.preference(row),
        Row::Example(row)
            if loss.kind() == RoundKind::Sft || loss.is_unpaired() && row.desirable.is_some() =>
        {
            let label = Label {
                desirable: row.desirable,
                ..Label::default()
            };
            tokenizer
                .demonstration(row)
                .map(|it| PreferencePair { label, ..example(it) })
        }
        Row::Alpaca(row) if loss.kind() == RoundKind::Sft => tokenizer.alpaca(row).map(example),
        _ if loss.is_unpaired() => Err(anyhow::anyhow!(
            "a row with neither a completion and its label (true or false) nor a chosen and a rejected completion"
        )),
        _ => Err(anyhow::anyhow!(
            "a row without a chosen and a rejected completion"
        )),
    }
}
