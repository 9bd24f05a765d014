//! The subcommand `preview`: rows as the model will see them, with the tokens that the loss is on, and what is odd about
//! the data; before a round, or as the first thing that a round tells its server.

use super::{
    accept::{about_rows, compares, left_out},
    check::findings,
    cli::read_spec,
    data_file::data,
};
use crate::{
    data::{PreferencePair, TokenTexts, Tokenizer},
    hub,
    model::{Config, Facts},
};
use anyhow::{Context, Result, bail};
use laurel_protocol::{
    Finding, Preview, PreviewRow, PreviewSide, PreviewToken,
    round::{RoundKind, RoundSpec},
};
use std::{
    fs,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
};

/// Rows that a preview shows unless told otherwise.
pub const ROWS: usize = 5;

/// Show what a round would train on: rows as tokens, and what is odd about the data.
#[derive(clap::Args)]
pub struct PreviewArgs {
    /// The spec of a round, as `round` takes it
    spec: PathBuf,
    /// Rows to show, from the first on
    #[arg(long, default_value_t = ROWS)]
    rows: usize,
    /// Print one JSON object instead of coloured text
    #[arg(long)]
    json: bool,
}

pub fn run(args: &PreviewArgs) -> Result<()> {
    let text = fs::read_to_string(&args.spec).with_context(|| format!("read {:?}", args.spec))?;
    let folder = args.spec.parent().unwrap_or(Path::new("."));
    let (spec, files) = read_spec(&text, folder).with_context(|| format!("spec {:?}", args.spec))?;
    let path = hub::locate_in(folder, &files.model)?.path;
    let model = Facts::read(&path)?.config;
    let tokenizer = Tokenizer::read(&path)?.with_template(&files.template)?;
    let (rows, _) = data(&folder.join(&files.data), &tokenizer, spec.hyper.loss)?;
    let preview = preview(&tokenizer, &model, &spec, &rows, args.rows, usize::MAX)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&preview)?)?;
    } else {
        let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        write!(out, "{}", for_terminal(&preview, spec.kind, colours))?;
    }
    match preview.findings.iter().find(|finding| finding.fatal) {
        Some(finding) => bail!("{}", finding.text),
        None => Ok(()),
    }
}

/// The first `n_rows` rows, with at most `n_tokens` tokens of each text, and all findings.
pub fn preview(
    tokenizer: &Tokenizer,
    model: &Config,
    spec: &RoundSpec,
    rows: &[PreferencePair],
    n_rows: usize,
    n_tokens: usize,
) -> Result<Preview> {
    let texts = TokenTexts::new(tokenizer);
    let mut shown = Vec::new();
    for (at, row) in rows.iter().take(n_rows).enumerate() {
        let why = left_out(row, spec, model).map(|why| why.reason(spec, model));
        // The policy writes the answer.
        let none = Vec::new();
        let chosen = if spec.kind == RoundKind::Ppo {
            &none
        } else {
            &row.chosen
        };
        let mut sides = vec![(PreviewSide::Chosen, chosen)];
        if compares(row, spec) {
            sides.push((PreviewSide::Rejected, &row.rejected));
        }
        for (side, completion) in sides {
            shown.push(PreviewRow {
                row: at as u64 + 1,
                side,
                left_out: why.clone(),
                ..sequence(&texts, spec.kind, &row.prompt, completion, n_tokens)
            });
        }
    }
    let mut findings = findings(tokenizer, model, spec, rows)?;
    match about_rows(rows, spec, model) {
        Ok(sentences) => findings.extend(sentences.into_iter().map(|text| Finding { fatal: false, text })),
        Err(error) => findings.push(Finding {
            fatal: true,
            text: format!("{error:#}"),
        }),
    }
    findings.sort_by_key(|finding| !finding.fatal);
    Ok(Preview {
        template_hash: tokenizer.template_hash(),
        findings,
        rows: shown,
        size: None,
    })
}

/// A prompt with one of its completions. Of a long one those tokens are shown that lie around the first trained one.
fn sequence(
    texts: &TokenTexts<'_>,
    kind: RoundKind,
    prompt: &[u32],
    completion: &[u32],
    n_tokens: usize,
) -> PreviewRow {
    let ids = [prompt, completion].concat();
    // A reward model's score is read at the last token, and at no other.
    let first_trained = match kind {
        RoundKind::Reward => ids.len().saturating_sub(1),
        RoundKind::Sft | RoundKind::Dpo | RoundKind::Ppo => prompt.len(),
    };
    let begin = match ids.len() <= n_tokens {
        true => 0,
        false => first_trained
            .saturating_sub(n_tokens / 2)
            .min(ids.len() - n_tokens),
    };
    let end = ids.len().min(begin.saturating_add(n_tokens));
    let tokens = (begin..end)
        .map(|at| PreviewToken {
            id: ids[at],
            text: texts.of(ids[at]),
            trained: at >= first_trained,
        })
        .collect();
    PreviewRow {
        row: 0,
        side: PreviewSide::Chosen,
        tokens,
        n_prompt: prompt.len() as u64,
        n_completion: completion.len() as u64,
        n_before: begin as u64,
        n_behind: (ids.len() - end) as u64,
        left_out: None,
    }
}

/// Trained tokens are green and others grey, in two shades by turns so that one sees where each ends; without colours
/// trained stretches stand between « and ».
fn for_terminal(preview: &Preview, kind: RoundKind, colours: bool) -> String {
    let mut out = String::new();
    for row in &preview.rows {
        let side = match (kind, row.side) {
            (RoundKind::Sft | RoundKind::Ppo, _) => "",
            (_, PreviewSide::Chosen) => ", chosen",
            (_, PreviewSide::Rejected) => ", rejected",
        };
        let left_out = row.left_out.as_ref().map(|why| format!(" – left out: {why}"));
        out += &format!(
            "row {}{side}: {} tokens of prompt, {} of completion{}\n",
            row.row,
            row.n_prompt,
            row.n_completion,
            left_out.unwrap_or_default()
        );
        let mut trained = false;
        for (at, token) in row.tokens.iter().enumerate() {
            let text = visible(&token.text);
            if colours {
                let colour = match (token.trained, at % 2) {
                    (true, 0) => "32",
                    (true, _) => "92",
                    (false, 0) => "37",
                    (false, _) => "90",
                };
                out += &format!("\x1b[{colour}m{text}\x1b[0m");
            } else {
                if token.trained != trained {
                    out.push(if token.trained { '«' } else { '»' });
                }
                out += &text;
            }
            trained = token.trained;
        }
        if trained && !colours {
            out.push('»');
        }
        out += "\n\n";
    }
    let what = match kind {
        RoundKind::Reward => "The score is read at",
        RoundKind::Sft | RoundKind::Dpo | RoundKind::Ppo => "The loss is on",
    };
    let how = if colours {
        "green tokens"
    } else {
        "tokens between « and »"
    };
    let what = match kind {
        RoundKind::Ppo => "The policy answers these prompts".to_owned(),
        _ => format!("{what} {how}"),
    };
    out += &format!("{what}. Chat template: {}\n", preview.template_hash);
    for finding in preview.findings.iter().filter(|finding| !finding.fatal) {
        out += &format!("warning: {}\n", finding.text);
    }
    out
}

/// Control characters, and those that turn the direction of writing, are spelt out: data must not steer a terminal.
fn visible(text: &str) -> String {
    text.chars()
        .map(|char| match char {
            '\n' => "\\n".to_owned(),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                char.escape_unicode().to_string()
            }
            _ if char.is_control() => char.escape_default().to_string(),
            _ => char.to_string(),
        })
        .collect()
}
