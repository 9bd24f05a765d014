//! Speed and memory of a PPO step on the default model: 8 prompts, 128 new tokens at most, one inner epoch in one
//! minibatch, scored by a reward adapter; beside it the peak memory of an SFT round on the same rows. One line of JSON.
//!
//! Usage: bench_ppo ROWS_FOLDER PRECISION N_STEPS

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

const PROMPTS: usize = 8;
const NEW_TOKENS: usize = 128;

struct Bench {
    rows: PathBuf,
    precision: String,
    work: tempfile::TempDir,
}

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [rows, precision, n_steps] = args.as_slice() else {
        bail!("usage: bench_ppo ROWS_FOLDER PRECISION N_STEPS");
    };
    let n_steps: usize = n_steps.parse()?;
    let bench = Bench {
        rows: Path::new(rows).canonicalize()?,
        precision: precision.clone(),
        work: tempfile::tempdir()?,
    };
    bench.round("reward", json!({"max_steps": 1}), json!({}))?;
    let sft_peak_mb = bench.round("sft", json!({"max_steps": 2}), json!({}))?;
    let settings = json!({
        "max_new_tokens": NEW_TOKENS, "minibatches": 1, "inner_epochs": 1, "n_samples": 0,
    });
    // The first step loads what is read late, and is not counted.
    let peak_mb = bench.round(
        "ppo",
        json!({"max_steps": 1 + n_steps, "ppo": settings}),
        json!({"reward_adapter": "reward/adapter"}),
    )?;
    let metrics = fs::read_to_string(bench.work.path().join("ppo/metrics.jsonl"))?;
    let mut sums = [0.0; 4];
    for line in metrics.lines().skip(1) {
        let point: Value = serde_json::from_str(line)?;
        let names = [
            "seconds_sampling",
            "seconds_scoring",
            "seconds_training",
            "n_tokens",
        ];
        for (sum, name) in sums.iter_mut().zip(names) {
            *sum += point["values"][name]
                .as_f64()
                .with_context(|| format!("no figure {name}"))?;
        }
    }
    let [sampling, scoring, training, n_tokens] = sums.map(|sum| round(sum / n_steps as f64));
    let line = json!({
        "bench": "ppo", "precision": bench.precision, "prompts": PROMPTS, "new_tokens": NEW_TOKENS, "steps": n_steps,
        "seconds_per_step": round(sampling + scoring + training), "seconds_sampling": sampling,
        "seconds_scoring": scoring, "seconds_training": training, "tokens_per_step": n_tokens,
        "peak_memory_mb": peak_mb, "sft_peak_memory_mb": sft_peak_mb, "memory_ratio": round(peak_mb / sft_peak_mb),
    });
    println!("{line}");
    Ok(())
}

impl Bench {
    /// A round through `laurel-trainer round`; gives its peak memory.
    fn round(&self, kind: &str, hyper: Value, fields: Value) -> Result<f64> {
        let mut spec = json!({
            "kind": kind, "model": required("LAUREL_MODEL")?,
            "data": self.rows.join(if kind == "sft" { "sft.jsonl" } else { "pref.jsonl" }),
            "adapter": {"type": "lora", "rank": 16, "alpha": 32.0},
            "hyper": {"batch_size": PROMPTS, "held_out": 0.0, "eval_every": 0, "checkpoint_every": 1000,
                      "precision": self.precision},
        });
        extend(&mut spec, fields);
        extend(&mut spec["hyper"], hyper);
        let file = self.work.path().join(format!("{kind}.json"));
        fs::write(&file, spec.to_string())?;
        let mut child = Command::new(required("LAUREL_TRAINER_BIN")?)
            .arg("round")
            .arg(&file)
            .arg("--out")
            .arg(self.work.path().join(kind))
            .stderr(Stdio::null())
            .spawn()?;
        let mut peak_mb: f64 = 0.0;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            peak_mb = peak_mb.max(high_water_mb(child.id()));
            thread::sleep(Duration::from_millis(50));
        };
        ensure!(status.success(), "the round {kind} failed: {status}");
        Ok(peak_mb.round())
    }
}

fn extend(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

fn required(name: &str) -> Result<PathBuf> {
    env::var_os(name)
        .map(PathBuf::from)
        .with_context(|| format!("{name} is not set"))
}

/// The most memory that a process has had in use, as the kernel counts it.
fn high_water_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kb.unwrap_or(0.0) / 1024.0
}

fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}
