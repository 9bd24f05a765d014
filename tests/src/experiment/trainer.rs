//! The trainer's own command line: rounds, scores, completions and log-probabilities, in a folder that goes when the
//! experiment ends. The programs of `cargo xtask experiment` get the trainer and the default model by environment.

use anyhow::{Context, Result, bail, ensure};
use candle_core::{
    Device,
    quantized::gguf_file::{self, Content, Value as Field},
    safetensors,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    env, fs,
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub struct Trainer {
    program: PathBuf,
    model: PathBuf,
    work: TempDir,
    n_files: usize,
}

/// What a round is made of.
pub struct Round<'a> {
    pub kind: &'a str,
    pub rows: &'a [Value],
    pub adapter: Value,
    pub hyper: Value,
    pub seed: u64,
    /// Of a PPO round with a reward model: its adapter.
    pub reward_adapter: Option<&'a Path>,
}

/// What came of a round.
pub struct Trained {
    pub adapter: PathBuf,
    /// Adapters after so many steps, as its checkpoints had them; the last one is not among them.
    pub on_the_way: BTreeMap<u64, PathBuf>,
    pub seconds: f64,
    pub report: Value,
    /// The lines of `metrics.jsonl`.
    pub metrics: Vec<Value>,
}

impl Trained {
    /// Rows that were trained on.
    pub fn n_rows(&self) -> Result<u64> {
        self.report["n_train_rows"]
            .as_u64()
            .context("the report tells no n_train_rows")
    }
}

impl Trainer {
    /// With the default model.
    pub fn new() -> Result<Self> {
        Ok(Self {
            program: given("LAUREL_TRAINER_BIN")?,
            model: given("LAUREL_MODEL")?,
            work: tempfile::tempdir()?,
            n_files: 0,
        })
    }

    /// With the first blocks of the default model alone: its embedding, its vocabulary, a fraction of its time.
    pub fn with_blocks(n_blocks: u32) -> Result<Self> {
        let mut trainer = Self::new()?;
        let to = trainer.work.path().join("first-blocks.gguf");
        keep_first_blocks(&trainer.model, &to, n_blocks).context("cut the default model")?;
        trainer.model = to;
        Ok(trainer)
    }

    pub fn round(&mut self, round: &Round<'_>) -> Result<Trained> {
        let out = self.fresh("round");
        let spec = self.spec(round)?;
        let begun = Instant::now();
        let log = self.fresh("log");
        let mut child = Command::new(&self.program)
            .arg("round")
            .arg(&spec)
            .arg("--out")
            .arg(&out)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut seen = BTreeMap::new();
        // A checkpoint stands until the next one, which is many seconds.
        let status = loop {
            let status = child.try_wait()?;
            keep_checkpoints(&out, &mut seen)?;
            if let Some(status) = status {
                break status;
            }
            thread::sleep(Duration::from_millis(100));
        };
        if !status.success() {
            bail!("the {} round failed: {}", round.kind, fs::read_to_string(&log)?);
        }
        let adapter = out.join("adapter");
        let mut on_the_way = BTreeMap::new();
        for (step, weights) in seen {
            on_the_way.insert(step, as_adapter(&weights, &adapter)?);
        }
        let report: Value = serde_json::from_slice(&fs::read(out.join("report.json"))?)?;
        let metrics = json_lines(&fs::read_to_string(out.join("metrics.jsonl"))?)?;
        let last = metrics.iter().filter_map(|point| point["step"].as_u64()).max();
        on_the_way.retain(|step, _| Some(*step) != last);
        Ok(Trained {
            adapter,
            on_the_way,
            seconds: begun.elapsed().as_secs_f64(),
            report,
            metrics,
        })
    }

    /// The scores of both sides of each row, one behind the other.
    pub fn scores(&mut self, reward_adapter: &Path, rows: &[Value]) -> Result<Vec<f64>> {
        let data = self.write(rows)?;
        let mut score = Command::new(&self.program);
        score.arg("score").arg("--model").arg(&self.model);
        let text = output(
            score
                .arg("--adapter")
                .arg(reward_adapter)
                .arg("--data")
                .arg(&data),
        )?;
        let mut scores = Vec::new();
        for line in json_lines(&text)? {
            for side in ["chosen_score", "rejected_score"] {
                scores.push(line[side].as_f64().with_context(|| format!("no {side}"))?);
            }
        }
        ensure!(
            scores.len() == 2 * rows.len(),
            "{} scores of {} rows",
            scores.len(),
            rows.len()
        );
        Ok(scores)
    }

    /// What `laurel-trainer generate` prints, by prompt and number; without an adapter the model's own answers.
    pub fn generate(
        &mut self,
        adapter: Option<&Path>,
        prompts: &[Value],
        options: &[(&str, String)],
    ) -> Result<Vec<Value>> {
        let data = self.write(prompts)?;
        let mut generate = Command::new(&self.program);
        generate.arg("generate").arg("--model").arg(&self.model);
        generate.arg("--prompts").arg(&data);
        if let Some(adapter) = adapter {
            generate.arg("--adapter").arg(adapter);
        }
        for (name, value) in options {
            generate.arg(name).arg(value);
        }
        let mut lines = json_lines(&output(&mut generate)?)?;
        lines.sort_by_key(|line| (line["prompt_index"].as_u64(), line["index"].as_u64()));
        Ok(lines)
    }

    /// The token ids of rows `{"prompt", "completion"}` as training would see them, and how many are the prompt's.
    pub fn tokens(&mut self, rows: &[Value]) -> Result<Vec<(Vec<u64>, usize)>> {
        let spec = self.spec(&Round {
            kind: "sft",
            rows,
            adapter: json!({"type": "lora", "rank": 8, "alpha": 16}),
            hyper: json!({}),
            seed: 0,
            reward_adapter: None,
        })?;
        let mut preview = Command::new(&self.program);
        preview.arg("preview").arg(&spec).arg("--json");
        let text = output(preview.arg("--rows").arg(rows.len().to_string()))?;
        let preview: Value = serde_json::from_str(&text)?;
        let texts = preview["rows"].as_array().context("a preview has rows")?;
        ensure!(
            texts.len() == rows.len(),
            "{} texts of {} rows",
            texts.len(),
            rows.len()
        );
        texts
            .iter()
            .map(|text| {
                let tokens = text["tokens"].as_array().context("a text has tokens")?;
                let ids = tokens.iter().filter_map(|token| token["id"].as_u64()).collect();
                let n_prompt = text["n_prompt"].as_u64().context("a text has n_prompt")?;
                Ok((ids, n_prompt as usize))
            })
            .collect()
    }

    /// For each sequence of token ids the log-probabilities from a position on, summed; without an adapter the base's.
    pub fn logprobs(&mut self, adapter: Option<&Path>, sequences: &[(&[u64], usize)]) -> Result<Vec<f64>> {
        let rows: Vec<Value> = sequences
            .iter()
            .map(|(ids, from)| json!({"ids": ids, "from": from}))
            .collect();
        let data = self.write(&rows)?;
        let mut logprobs = Command::new(&self.program);
        logprobs.arg("logprobs").arg("--model").arg(&self.model);
        if let Some(adapter) = adapter {
            logprobs.arg("--adapter").arg(adapter);
        }
        let lines = json_lines(&output(logprobs.arg("--data").arg(&data))?)?;
        ensure!(
            lines.len() == rows.len(),
            "{} lines of {} rows",
            lines.len(),
            rows.len()
        );
        let sum = |line: &Value| {
            let logps = line["logps"].as_array().context("a line has logps")?;
            Ok(logps.iter().filter_map(Value::as_f64).sum())
        };
        lines.iter().map(sum).collect()
    }

    fn spec(&mut self, round: &Round<'_>) -> Result<PathBuf> {
        let mut spec = json!({
            "kind": round.kind, "model": self.model, "data": self.write(round.rows)?, "adapter": round.adapter,
            "hyper": round.hyper, "seed": round.seed,
        });
        if let Some(reward_adapter) = round.reward_adapter {
            spec["reward_adapter"] = json!(reward_adapter);
        }
        let file = self.fresh("spec");
        fs::write(&file, spec.to_string())?;
        Ok(file)
    }

    fn write(&mut self, rows: &[Value]) -> Result<PathBuf> {
        let file = self.fresh("rows");
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        fs::write(&file, lines)?;
        Ok(file)
    }

    fn fresh(&mut self, name: &str) -> PathBuf {
        self.n_files += 1;
        self.work.path().join(format!("{name}-{}", self.n_files))
    }
}

/// Copies the weights of a round's checkpoint that was not there before.
fn keep_checkpoints(out: &Path, seen: &mut BTreeMap<u64, PathBuf>) -> Result<()> {
    let Ok(folders) = fs::read_dir(out.join("checkpoints")) else {
        return Ok(());
    };
    for folder in folders {
        let folder = folder?;
        let name = folder.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix("step-"));
        let Some(step) = step.and_then(|step| step.parse().ok()) else {
            continue;
        };
        if let Entry::Vacant(place) = seen.entry(step) {
            let to = out.with_extension(format!("step-{step}"));
            if fs::copy(folder.path().join("weights.safetensors"), &to).is_ok() {
                place.insert(to);
            }
        }
    }
    Ok(())
}

/// A checkpoint's weights as a folder like the adapter that the round ended with.
fn as_adapter(weights: &Path, like: &Path) -> Result<PathBuf> {
    const FILE: &str = "adapter_model.safetensors";
    let folder = weights.with_extension(format!(
        "{}-adapter",
        weights.extension().unwrap_or_default().to_string_lossy()
    ));
    fs::create_dir_all(&folder)?;
    fs::copy(
        like.join("adapter_config.json"),
        folder.join("adapter_config.json"),
    )?;
    let trained = safetensors::load(weights, &Device::Cpu)?;
    let mut tensors = HashMap::new();
    for name in safetensors::load(like.join(FILE), &Device::Cpu)?.into_keys() {
        let ours = name.strip_prefix("base_model.model.").unwrap_or(&name);
        let tensor = trained
            .get(ours)
            .with_context(|| format!("a checkpoint has no {ours}"))?;
        tensors.insert(name, tensor.clone());
    }
    safetensors::save(&tensors, folder.join(FILE))?;
    Ok(folder)
}

fn given(name: &str) -> Result<PathBuf> {
    env::var_os(name)
        .map(PathBuf::from)
        .with_context(|| format!("{name} is not set: run this with `cargo xtask experiment`"))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn json_lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn keep_first_blocks(from: &Path, to: &Path, n_blocks: u32) -> Result<()> {
    let mut reader = BufReader::new(File::open(from)?);
    let content = Content::read(&mut reader)?;
    let mut metadata: Vec<(&str, &Field)> = content
        .metadata
        .iter()
        .map(|(key, field)| (key.as_str(), field))
        .collect();
    let count = Field::U32(n_blocks);
    let slot = metadata.iter_mut().find(|(key, _)| key.ends_with(".block_count"));
    slot.context("the model says how many blocks it has")?.1 = &count;
    let kept = |name: &&String| {
        let block = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
        block
            .and_then(|block| block.parse::<u32>().ok())
            .is_none_or(|block| block < n_blocks)
    };
    let mut tensors = Vec::new();
    for name in content.tensor_infos.keys().filter(kept) {
        tensors.push((name.as_str(), content.tensor(&mut reader, name, &Device::Cpu)?));
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    gguf_file::write(&mut BufWriter::new(File::create(to)?), &metadata, &tensors)?;
    Ok(())
}
