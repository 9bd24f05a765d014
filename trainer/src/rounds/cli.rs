//! The subcommands `round`, `logprobs` and `score`: rounds and their measures without a server.

use super::{
    Environment, Input, Probes, Scorer, announce, check, completion_logps,
    data_file::{data, pairs, rows},
    made_with::MadeWith,
    run, scores,
};
use crate::{
    adapters::{self, Adapter},
    data::{PreferencePair, Row, Tokenizer, template},
    device, hub,
    model::{Facts, Model, Pack, TokenAt},
    ops::Tape,
    report::{Directive, Progress, Reporter},
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::DType;
use indicatif::{ProgressBar, ProgressStyle};
use laurel_protocol::{
    Loss, RewardSource, Template,
    adapter::AdapterConfig,
    round::{LogLevel, MetricPoint, RoundKind, RoundSpec, Split},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Run one round offline; the same command again goes on where it was stopped.
#[derive(clap::Args)]
pub struct RoundArgs {
    /// JSON: kind (sft, reward, dpo, ppo), model, data, and where wanted template, starting_adapter, adapter, hyper,
    /// reward, reward_adapter, seed. Paths are relative to this file's folder.
    spec: PathBuf,
    /// Folder for adapter/, metrics.jsonl, report.json and checkpoints/.
    #[arg(long)]
    out: PathBuf,
    /// auto, cpu, cuda:N or metal
    #[arg(long, default_value = "auto")]
    device: String,
}

/// Print the log-probability of each row's completions, one JSON line a row.
#[derive(clap::Args)]
pub struct LogprobsArgs {
    /// GGUF file, Hugging Face folder or hub id
    #[arg(long)]
    model: PathBuf,
    /// PEFT folder
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// JSON Lines of preferences (TRL's columns), or of token ids: {"ids": [..], "from": n}
    #[arg(long)]
    data: PathBuf,
    /// model, alpaca, alpaca_lf, chatml, plain, or a file with a Jinja template
    #[arg(long, default_value = "model")]
    template: String,
    /// auto, cpu, cuda:N or metal
    #[arg(long, default_value = "auto")]
    device: String,
}

/// Print a reward model's score of each row's completions, one JSON line a row.
#[derive(clap::Args)]
pub struct ScoreArgs {
    /// GGUF file, Hugging Face folder or hub id
    #[arg(long)]
    model: PathBuf,
    /// PEFT folder, with a score head in its weights or in score.safetensors
    #[arg(long)]
    adapter: PathBuf,
    /// The score head's file, where it lies elsewhere
    #[arg(long)]
    head: Option<PathBuf>,
    /// JSON Lines of preferences (TRL's columns)
    #[arg(long)]
    data: PathBuf,
    /// model, alpaca, alpaca_lf, chatml, plain, or a file with a Jinja template
    #[arg(long, default_value = "model")]
    template: String,
    /// auto, cpu, cuda:N or metal
    #[arg(long, default_value = "auto")]
    device: String,
}

/// What a spec file says besides [`RoundSpec`].
#[derive(Debug, Deserialize)]
pub(super) struct Files {
    pub model: PathBuf,
    pub data: PathBuf,
    pub starting_adapter: Option<PathBuf>,
    /// Of a PPO round whose reward is an adapter.
    pub reward_adapter: Option<PathBuf>,
    #[serde(skip)]
    pub template: Template,
}

pub fn round(args: &RoundArgs) -> Result<()> {
    let text = fs::read_to_string(&args.spec).with_context(|| format!("read {:?}", args.spec))?;
    let folder = args.spec.parent().unwrap_or(Path::new("."));
    let (spec, files) = read_spec(&text, folder).with_context(|| format!("spec {:?}", args.spec))?;
    let located = hub::locate_in(folder, &files.model)?;
    let (device, facts) = (device::open(&args.device)?, Facts::read(&located.path)?);
    let tokenizer = Tokenizer::read(&located.path)?.with_template(&files.template)?;
    let (rows, ending) = data(&folder.join(&files.data), &tokenizer, spec.hyper.loss)?;
    let mut terminal = Terminal::new();
    check(&tokenizer, &facts.config, &spec, &rows, &mut terminal)?;
    let adapter = match &files.starting_adapter {
        Some(path) => adapters::read_config(&folder.join(path))?,
        None => spec.adapter.clone(),
    };
    announce(
        &facts,
        &spec,
        &adapter,
        &rows,
        (&device, false, spec.kind == RoundKind::Ppo),
        &mut terminal,
    );
    let model = Model::load_in(&located.path, &device, spec.hyper.precision)?;
    let starting_adapter = match &files.starting_adapter {
        Some(path) => Some(Adapter::load_peft(&folder.join(path), &model)?),
        None => None,
    };
    let made_with = MadeWith::of(&model, &tokenizer)?;
    let reward_adapter = match &files.reward_adapter {
        Some(path) => {
            let path = folder.join(path);
            made_with
                .check_same(&path)
                .with_context(|| format!("reward adapter {path:?}"))?;
            Some(Adapter::load_peft(&path, &model)?)
        }
        None => None,
    };
    let environment = match &spec.reward {
        Some(reward) => Some(Environment {
            tokenizer: &tokenizer,
            scorer: Scorer::new(reward, reward_adapter.as_ref())?,
            ending,
            samples: Vec::new(),
            stop: &|| false,
        }),
        None => None,
    };
    let probes = match spec.kind {
        RoundKind::Reward => Probes::new(&tokenizer, &rows)?,
        _ => None,
    };
    let input = Input {
        spec: &spec,
        model: &model,
        base_model: &located.name,
        starting_adapter: starting_adapter.as_ref(),
        rows,
        out: &args.out,
        environment: environment.as_ref(),
        probes,
        references: None,
    };
    // A terminal asks no round to stop: Ctrl-C ends the process, and the same command goes on from the checkpoint.
    run(input, &mut terminal)?;
    made_with.write(&args.out.join("adapter"))?;
    terminal.say(&format!("Adapter: {}", args.out.join("adapter").display()));
    Ok(())
}

/// The adapter as the text has it: a [`Value`] would sort its patterns, whose order counts.
#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    adapter: AdapterConfig,
}

/// Hyper-parameters that the file leaves out take the defaults of its kind.
pub(super) fn read_spec(text: &str, folder: &Path) -> Result<(RoundSpec, Files)> {
    let mut value: Value = serde_json::from_str(text).context("not JSON")?;
    serde_json::from_value::<RoundKind>(value["kind"].clone())
        .context("\"kind\" must be \"sft\", \"reward\", \"dpo\" or \"ppo\"")?;
    let known = [
        "kind",
        "model",
        "data",
        "template",
        "starting_adapter",
        "reward",
        "reward_adapter",
        "adapter",
        "hyper",
        "seed",
    ];
    if let Some(stranger) = value
        .as_object()
        .and_then(|o| o.keys().find(|key| !known.contains(&key.as_str())))
    {
        bail!("unknown field {stranger:?}; known are {known:?}");
    }
    let mut files: Files = serde_json::from_value(value.clone())?;
    if let Some(given) = value.get("template") {
        files.template = template::choice(given, folder)?;
    }
    if let Some(fields) = value.as_object_mut() {
        fields.entry("hyper").or_insert_with(|| json!({}));
    }
    let mut spec: RoundSpec = serde_json::from_value(value)?;
    spec.adapter = serde_json::from_str::<Shape>(text)?.adapter;
    let needs_adapter = spec.reward == Some(RewardSource::Adapter);
    ensure!(
        needs_adapter == files.reward_adapter.is_some(),
        match needs_adapter {
            true =>
                "\"reward_adapter\" must name the adapter of a reward round, or \"reward\" say what else scores the answers",
            false => "\"reward_adapter\" is not used by this round: leave it out",
        }
    );
    Ok((spec, files))
}

pub fn logprobs(args: &LogprobsArgs) -> Result<()> {
    let template = template::named(&args.template)?;
    let path = hub::locate(&args.model)?.path;
    let model = Model::load(&path, &device::open(&args.device)?, DType::F32)?;
    let adapter = args
        .adapter
        .as_deref()
        .map(|path| Adapter::load_peft(path, &model))
        .transpose()?;
    let mut tokenizer = None;
    let mut out = std::io::stdout().lock();
    for (at, row) in rows(&args.data)?.iter().enumerate() {
        let line = match row {
            Row::Ids(row) => json!({ "logps": id_logps(&model, adapter.as_ref(), &row.ids, row.from)? }),
            Row::Preference(row) => {
                if tokenizer.is_none() {
                    tokenizer = Some(Tokenizer::read(&path)?.with_template(&template)?);
                }
                let tokenizer = tokenizer.as_ref().context("a tokenizer was just read")?;
                let pair = tokenizer
                    .preference(row)
                    .and_then(with_prompt)
                    .with_context(|| format!("row {}", at + 1))?;
                let (chosen, rejected) = completion_logps(&model, adapter.as_ref(), &[&pair])?[0];
                json!({
                    "chosen_logp": chosen, "rejected_logp": rejected,
                    "chosen_tokens": pair.chosen.len(), "rejected_tokens": pair.rejected.len(),
                })
            }
            Row::Example(_) | Row::Alpaca(_) | Row::Prompt(_) => {
                bail!("row {}: neither a preference nor token ids", at + 1)
            }
        };
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Something must stand before a completion for the model to predict its first token.
fn with_prompt(pair: PreferencePair) -> Result<PreferencePair> {
    ensure!(!pair.prompt.is_empty(), "the prompt is empty");
    ensure!(
        !pair.chosen.is_empty() && !pair.rejected.is_empty(),
        "a completion is empty"
    );
    Ok(pair)
}

/// Log-probability of each token from position `from` on.
pub fn id_logps(model: &Model, adapter: Option<&Adapter>, ids: &[u32], from: usize) -> Result<Vec<f32>> {
    let mut pack = Pack::default();
    pack.push(ids, &[]);
    let hidden = model.forward(&Tape::off(), &pack, adapter)?;
    let tokens: Vec<TokenAt> = (from..ids.len())
        .map(|at| TokenAt {
            row: at as u32 - 1,
            token: ids[at],
        })
        .collect();
    Ok(model.logprobs(&Tape::off(), &hidden, &tokens)?.value.to_vec1()?)
}

pub fn score(args: &ScoreArgs) -> Result<()> {
    let path = hub::locate(&args.model)?.path;
    let model = Model::load(&path, &device::open(&args.device)?, DType::F32)?;
    let mut adapter = Adapter::load_peft(&args.adapter, &model)?;
    if let Some(head) = &args.head {
        adapter.load_score(head, &model)?;
    }
    let tokenizer = Tokenizer::read(&path)?.with_template(&template::named(&args.template)?)?;
    let mut out = std::io::stdout().lock();
    for (at, pair) in pairs(&args.data, &tokenizer, Loss::BradleyTerry)?
        .into_iter()
        .enumerate()
    {
        let pair = with_prompt(pair).with_context(|| format!("row {}", at + 1))?;
        let (chosen, rejected) = scores(&model, &adapter, &[&pair])?[0];
        writeln!(
            out,
            "{}",
            json!({ "chosen_score": chosen, "rejected_score": rejected })
        )?;
    }
    Ok(())
}

/// A bar and lines on a terminal; on anything else a line for each evaluation.
struct Terminal {
    bar: ProgressBar,
}

impl Terminal {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} step {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }
}

impl Reporter for Terminal {
    fn log(&mut self, _: LogLevel, text: &str) {
        self.say(text);
    }

    fn metrics(&mut self, point: &MetricPoint) {
        let shown = [
            "loss",
            "accuracy",
            "margin",
            "reward",
            "kl",
            "length",
            "tokens_per_second",
        ];
        let text: Vec<String> = shown
            .iter()
            .filter_map(|name| point.values.get(*name).map(|value| format!("{name} {value:.4}")))
            .collect();
        match point.split {
            Split::Train => self.bar.set_message(text.join("  ")),
            Split::Eval => self.say(&format!("step {}, held out: {}", point.step, text.join("  "))),
        }
    }

    fn progress(&mut self, progress: Progress) -> Directive {
        self.bar.set_length(progress.n_steps);
        self.bar.set_position(progress.step);
        Directive::GoOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_hyper_parameters_take_the_defaults_of_the_kind() {
        let text = r#"{"kind":"sft","model":"m","data":"d","hyper":{"epochs":3}}"#;
        let (spec, files) = read_spec(text, Path::new("")).unwrap();
        assert_eq!((spec.hyper.learning_rate, spec.hyper.epochs), (2e-4, 3));
        assert_eq!(files.data, Path::new("d"));
        let text = r#"{"kind":"dpo","model":"m","data":"d","lr":1}"#;
        let error = read_spec(text, Path::new("")).unwrap_err();
        assert!(error.to_string().contains("\"lr\""));
        let text =
            r#"{"kind":"sft","model":"m","data":"d","adapter":{"type":"lora","rank_pattern":{"v":2,"a":4}}}"#;
        let AdapterConfig::Lora(lora) = read_spec(text, Path::new("")).unwrap().0.adapter else {
            panic!("a LoRA")
        };
        assert_eq!(lora.rank_pattern.0, [("v".to_owned(), 2), ("a".to_owned(), 4)]);
    }

    #[test]
    fn a_spec_names_its_template_or_brings_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("own.jinja"), "text").unwrap();
        let template = |given: &str| {
            let text = format!(r#"{{"kind":"sft","model":"m","data":"d","template":{given}}}"#);
            read_spec(&text, dir.path()).map(|(_, files)| files.template)
        };
        assert_eq!(template("\"chatml\"").unwrap(), Template::Chatml);
        let own = Template::Jinja("text".to_owned());
        assert_eq!(template(r#"{"file": "own.jinja"}"#).unwrap(), own);
        assert_eq!(template(r#"{"jinja": "text"}"#).unwrap(), own);
        let error = template("\"vicuna\"").unwrap_err().to_string();
        assert!(error.contains("alpaca_lf") && !error.contains('\n'), "{error}");
    }
}
