//! Reward models by the trainer's own command line: `laurel-trainer round`, then `laurel-trainer score`.

use crate::world::Question;
use anyhow::{Context, Result, ensure};
use candle_core::{
    Device,
    quantized::gguf_file::{self, Content, Value as Field},
};
use serde_json::{Value, json};
use std::{
    env, fs,
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};
use tempfile::TempDir;

pub struct Trainer {
    program: PathBuf,
    model: PathBuf,
    work: TempDir,
    n_rounds: usize,
}

/// What a round is made of beside its rows.
pub struct Settings {
    pub adapter: Value,
    pub hyper: Value,
    pub seed: u64,
}

pub struct RewardModel {
    adapter: PathBuf,
    pub seconds: f64,
    /// Rows that were trained on.
    pub n_rows: u64,
}

impl Trainer {
    /// With the default model.
    pub fn new() -> Result<Self> {
        Ok(Self {
            program: given("LAUREL_TRAINER_BIN")?,
            model: given("LAUREL_MODEL")?,
            work: tempfile::tempdir()?,
            n_rounds: 0,
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

    pub fn reward_model(&mut self, rows: &[Value], settings: &Settings) -> Result<RewardModel> {
        self.n_rounds += 1;
        let out = self.work.path().join(format!("round-{}", self.n_rounds));
        let data = self.write("rows.jsonl", rows)?;
        let spec = self.work.path().join("round.json");
        let text = json!({
            "kind": "reward", "model": self.model, "data": data, "adapter": settings.adapter,
            "hyper": settings.hyper, "seed": settings.seed,
        });
        fs::write(&spec, text.to_string())?;
        let begun = Instant::now();
        output(
            Command::new(&self.program)
                .arg("round")
                .arg(&spec)
                .arg("--out")
                .arg(&out),
        )?;
        let report: Value = serde_json::from_slice(&fs::read(out.join("report.json"))?)?;
        Ok(RewardModel {
            adapter: out.join("adapter"),
            seconds: begun.elapsed().as_secs_f64(),
            n_rows: report["n_train_rows"]
                .as_u64()
                .context("the report tells no n_train_rows")?,
        })
    }

    /// The score of each answer, question by question. Each has an even number of answers.
    pub fn scores(&self, model: &RewardModel, questions: &[Question]) -> Result<Vec<Vec<f64>>> {
        let rows: Vec<Value> = questions
            .iter()
            .flat_map(|question| {
                let twos = question.answers.chunks_exact(2);
                twos.map(
                    |two| json!({"prompt": question.prompt, "chosen": two[0].text, "rejected": two[1].text}),
                )
            })
            .collect();
        let data = self.write("fresh.jsonl", &rows)?;
        let mut score = Command::new(&self.program);
        score.arg("score").arg("--model").arg(&self.model);
        let text = output(
            score
                .arg("--adapter")
                .arg(&model.adapter)
                .arg("--data")
                .arg(&data),
        )?;
        let mut scores = Vec::new();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line)?;
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
        let n_each = questions.first().map_or(1, |question| question.answers.len());
        Ok(scores.chunks(n_each).map(<[f64]>::to_vec).collect())
    }

    fn write(&self, name: &str, rows: &[Value]) -> Result<PathBuf> {
        let file = self.work.path().join(name);
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        fs::write(&file, lines)?;
        Ok(file)
    }
}

fn given(name: &str) -> Result<PathBuf> {
    env::var_os(name)
        .map(PathBuf::from)
        .with_context(|| format!("{name} is not set: run this with `cargo xtask experiment reward`"))
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
