//! What can be seen to be wrong with a round before its first step: a tokenizer, template or model that do not belong
//! together, and rows that teach something else than was meant. A fatal finding ends the round, others are warnings.

use super::accept::{about_rows, compares, left_out, pair_hash, settings};
use crate::{
    data::{PreferencePair, TokenTexts, Tokenizer},
    model::Config,
    report::Reporter,
};
use anyhow::{Result, bail};
use laurel_protocol::{
    Finding, Margin,
    round::{LogLevel, RoundKind, RoundSpec},
};
use std::collections::BTreeSet;

/// A completion of so many tokens may be nothing but blanks and an end token.
const SHORT: usize = 6;

/// Logs what is odd about a round, and refuses one that cannot work.
pub fn check(
    tokenizer: &Tokenizer,
    model: &Config,
    spec: &RoundSpec,
    rows: &[PreferencePair],
    reporter: &mut dyn Reporter,
) -> Result<()> {
    settings(spec)?;
    // What is left out is logged where the round takes its rows.
    about_rows(rows, spec, model)?;
    for finding in findings(tokenizer, model, spec, rows)? {
        if finding.fatal {
            bail!("{}", finding.text);
        }
        reporter.log(LogLevel::Warning, &finding.text);
    }
    Ok(())
}

/// All findings, the fatal ones first.
pub(super) fn findings(
    tokenizer: &Tokenizer,
    model: &Config,
    spec: &RoundSpec,
    rows: &[PreferencePair],
) -> Result<Vec<Finding>> {
    let kept: Vec<&PreferencePair> = rows
        .iter()
        .filter(|row| left_out(row, spec, model).is_none())
        .collect();
    let mut found = Findings(Vec::new());
    found.vocabulary(tokenizer, model, &kept);
    found.beginnings(tokenizer, &kept)?;
    found.ends(tokenizer, spec, &kept)?;
    found.contents(tokenizer, spec, &kept);
    found.0.sort_by_key(|finding| !finding.fatal);
    Ok(found.0)
}

struct Findings(Vec<Finding>);

impl Findings {
    fn fatal(&mut self, text: String) {
        self.0.push(Finding { fatal: true, text });
    }

    fn warn(&mut self, text: String) {
        self.0.push(Finding { fatal: false, text });
    }

    /// The model has an embedding for each token.
    fn vocabulary(&mut self, tokenizer: &Tokenizer, model: &Config, rows: &[&PreferencePair]) {
        let vocabulary = tokenizer.vocabulary();
        let (own, all) = (vocabulary.get_vocab_size(false), vocabulary.get_vocab_size(true));
        let largest = rows
            .iter()
            .flat_map(|row| [&row.prompt, &row.chosen, &row.rejected])
            .flatten()
            .max();
        let n = model.vocab;
        if own > n {
            self.fatal(format!(
                "the tokenizer has {own} tokens but the model's embedding has {n} rows: they belong to different models"
            ));
        } else if let Some(id) = largest.filter(|id| **id as usize >= n) {
            self.fatal(format!(
                "the data has the token {id} but the model's embedding has {n} rows: the tokenizer belongs to another \
                 model"
            ));
        } else if all > n {
            self.warn(format!(
                "the tokenizer has {all} tokens with those added to it, but the model's embedding has {n} rows"
            ));
        }
        for (name, token) in [("EOS", tokenizer.eos()), ("BOS", tokenizer.bos())] {
            if let Some(token) = token.filter(|token| vocabulary.token_to_id(token).is_none()) {
                self.fatal(format!(
                    "the {name} token {token:?} is not in the tokenizer's vocabulary"
                ));
            }
        }
        if let Some(token) = tokenizer
            .pad()
            .filter(|token| vocabulary.token_to_id(token).is_none())
        {
            self.warn(format!(
                "the padding token {token:?} is not in the tokenizer's vocabulary: programs that pad will fail"
            ));
        }
    }

    /// A text begins with one BOS where the model is used to it.
    fn beginnings(&mut self, tokenizer: &Tokenizer, rows: &[&PreferencePair]) -> Result<()> {
        let Some(bos) = tokenizer
            .bos()
            .and_then(|bos| tokenizer.vocabulary().token_to_id(bos))
        else {
            return Ok(());
        };
        let doubled = rows
            .iter()
            .filter(|row| row.prompt.starts_with(&[bos, bos]))
            .count();
        if doubled > 0 {
            self.warn(format!(
                "{doubled} prompts begin with two BOS tokens: the data or the template writes one where there is one \
                 already"
            ));
        }
        let without = rows.iter().filter(|row| row.prompt.first() != Some(&bos)).count();
        if without > 0 && tokenizer.begins_text_with()?.first() == Some(&bos) {
            self.warn(format!(
                "{without} prompts do not begin with the BOS token, which the tokenizer puts before plain text"
            ));
        }
        Ok(())
    }

    /// A completion ends with one token at which sampling stops.
    fn ends(&mut self, tokenizer: &Tokenizer, spec: &RoundSpec, rows: &[&PreferencePair]) -> Result<()> {
        let texts = TokenTexts::new(tokenizer);
        let ends = tokenizer.stop_ids();
        if ends.is_empty() {
            self.warn(
                "the model names no end token: what it samples ends at the token limit alone".to_owned(),
            );
        }
        if let Some(end) = tokenizer.turn_end()?
            && !tokenizer.model_ends().is_empty()
            && !tokenizer.model_ends().contains(&end)
        {
            let known: Vec<String> = tokenizer
                .model_ends()
                .iter()
                .map(|id| format!("{:?}", texts.of(*id)))
                .collect();
            self.warn(format!(
                "the template ends an answer with {:?}, but the model's files name {}: other programs will not stop \
                 there",
                texts.of(end),
                known.join(" and ")
            ));
        }
        let completions = completions(rows, spec);
        let endless = completions
            .iter()
            .filter(|ids| !ids.iter().any(|id| ends.contains(id)))
            .count();
        if endless > 0 && !ends.is_empty() && spec.kind != RoundKind::Reward {
            self.warn(format!(
                "{endless} of {} completions have no end token: the model does not learn from them where to stop",
                completions.len()
            ));
        }
        let doubled = completions
            .iter()
            .filter(|ids| {
                ids.windows(2)
                    .any(|pair| pair[0] == pair[1] && ends.contains(&pair[0]))
            })
            .count();
        if doubled > 0 {
            self.warn(format!("{doubled} completions end with two end tokens"));
        }
        Ok(())
    }

    /// Rows say something, and not the same again.
    fn contents(&mut self, tokenizer: &Tokenizer, spec: &RoundSpec, rows: &[&PreferencePair]) {
        let blank = |ids: &&[u32]| {
            ids.len() <= SHORT && tokenizer.decode(ids).is_ok_and(|text| text.trim().is_empty())
        };
        let blanks = completions(rows, spec).iter().filter(|ids| blank(ids)).count();
        if blanks > 0 {
            self.warn(format!("{blanks} completions are blank but for their end token"));
        }
        let distinct: BTreeSet<String> = rows.iter().map(|row| pair_hash(row)).collect();
        let repeated = rows.len() - distinct.len();
        // Prompts are taken once each whatever rows repeat them.
        if repeated > 0 && spec.kind != RoundKind::Ppo {
            self.warn(format!("{repeated} rows repeat an earlier one"));
        }
        let negative = rows
            .iter()
            .filter(|row| row.label.margin.is_some_and(|margin| margin < 0.0))
            .count();
        if negative > 0 && spec.hyper.margin == Margin::Column {
            self.warn(format!("{negative} rows have a margin below 0"));
        }
    }
}

/// The token ids that the round's loss is on.
fn completions<'a>(rows: &[&'a PreferencePair], spec: &RoundSpec) -> Vec<&'a [u32]> {
    // A PPO round writes its own, and imitates chosen ones where it is told to.
    if let Some(ppo) = &spec.hyper.ppo {
        let chosen = rows
            .iter()
            .filter(|row| ppo.sft_weight > 0.0 && !row.chosen.is_empty());
        return chosen.map(|row| row.chosen.as_slice()).collect();
    }
    let rejected = |row: &&'a PreferencePair| compares(row, spec).then_some(row.rejected.as_slice());
    let chosen = rows.iter().map(|row| row.chosen.as_slice());
    chosen.chain(rows.iter().filter_map(rejected)).collect()
}
