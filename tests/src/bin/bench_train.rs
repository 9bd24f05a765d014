//! Training speed and memory on the default model: SFT, reward and DPO rounds by the trainer's own command line on the
//! rows in `tests/bench/`; with a Python environment also TRL and, for DPO, an expert's own loop on the same rows, in turn. One line of JSON a round.
//!
//! Usage: bench_train ROWS_FOLDER PRECISION CHECKPOINTING N_STEPS [VENV]

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const BATCH: usize = 8;
/// Steps that are run first and not counted.
const WARM_UP: usize = 2;
/// Weights of the default model that a token is multiplied with: the matrices of its blocks and the output layer.
const N_WEIGHTS: f64 = 134.5e6;

/// Debian's libtcmalloc-minimal4 or libgoogle-perftools4.
const TCMALLOC: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
    "/usr/lib/x86_64-linux-gnu/libtcmalloc.so.4",
];

struct Task {
    name: &'static str,
    kind: &'static str,
    rows: &'static str,
    /// What TRL is fastest with (`peers/bench_train.py`).
    trl: &'static [&'static str],
    /// An expert's loop in PyTorch without a trainer around it (`peers/bench_handloop.py`), at its best.
    by_hand: &'static [&'static str],
}

const TASKS: [Task; 3] = [
    Task {
        name: "sft",
        kind: "sft",
        rows: "sft.jsonl",
        trl: &["--task", "sft"],
        by_hand: &[],
    },
    Task {
        name: "reward",
        kind: "reward",
        rows: "pref.jsonl",
        trl: &["--task", "rm"],
        by_hand: &[],
    },
    Task {
        name: "dpo",
        kind: "dpo",
        rows: "pref.jsonl",
        trl: &["--task", "dpo", "--precompute"],
        by_hand: &["--task", "dpo", "--precompute", "--sort"],
    },
];

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [rows, precision, checkpointing, n_steps, venv @ ..] = args.as_slice() else {
        bail!("usage: bench_train ROWS_FOLDER PRECISION CHECKPOINTING N_STEPS [VENV]");
    };
    let checkpointing: bool = checkpointing.parse().context("CHECKPOINTING is true or false")?;
    let (rows, n_steps) = (Path::new(rows), n_steps.parse::<usize>()?);
    let precision = match precision.as_str() {
        "auto" if multiplies_bf16() => "bf16",
        "auto" => "f32",
        given => given,
    };
    let work = tempfile::tempdir()?;
    let trl = match venv.first() {
        Some(venv) => Some(Trl::prepare(Path::new(venv), rows, work.path())?),
        None => None,
    };
    for task in &TASKS {
        let peak = peak_gflops()?;
        let ours = run(task, rows, (precision, checkpointing), n_steps, work.path())?;
        let mut line = json!({
            "bench": "train", "task": task.name, "precision": precision,
            "gradient_checkpointing": checkpointing, "batch": BATCH, "steps": n_steps,
            "real_tokens_per_second": ours.tokens_per_second.round(), "seconds_per_step": ours.seconds_per_step,
            "peak_memory_mb": ours.peak_mb, "f32_product_gflops": peak.round(),
            // Two products for each weight and token, forward and backward; a shared prompt is counted twice.
            "share_of_f32_product_peak": round(ours.tokens_per_second * 4.0 * N_WEIGHTS / 1e9 / peak),
        });
        if let Some(trl) = &trl {
            let mut beside = |name: &str, script: &str, options: &[&str]| -> Result<()> {
                let theirs = trl.run(script, task, rows, options, n_steps)?;
                let speed = theirs["real_tok_per_s"].as_f64().context("the peer's speed")?;
                // The loop by hand reports the peak of its training alone.
                let peak = ["rss_peak_process_mb", "rss_peak_train_mb"].iter();
                let memory = peak
                    .filter_map(|name| theirs[*name].as_f64())
                    .next()
                    .context("the peer's memory")?;
                line[name] = json!({
                    "dtype": theirs["dtype"], "real_tokens_per_second": speed, "peak_memory_mb": memory,
                    "versions": theirs["v"], "tcmalloc": trl.allocator.is_some(),
                    "speed_ratio": round(ours.tokens_per_second / speed),
                    "memory_ratio": round(ours.peak_mb / memory),
                });
                Ok(())
            };
            beside("trl", "bench_train.py", task.trl)?;
            if !task.by_hand.is_empty() {
                let in_bf16: &[&str] = match multiplies_bf16() {
                    true => &["--dtype", "bf16", "--lora-bf16"],
                    false => &[],
                };
                beside("by_hand", "bench_handloop.py", &[task.by_hand, in_bf16].concat())?;
            }
        }
        println!("{line}");
    }
    Ok(())
}

fn multiplies_bf16() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("avx512_bf16"))
}

fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

struct Measured {
    tokens_per_second: f64,
    seconds_per_step: f64,
    peak_mb: f64,
}

/// One round through `laurel-trainer round`.
fn run(
    task: &Task,
    rows: &Path,
    (precision, checkpointing): (&str, bool),
    n_steps: usize,
    work: &Path,
) -> Result<Measured> {
    let out = work.join(task.name);
    let spec = json!({
        "kind": task.kind, "model": required("LAUREL_MODEL")?, "data": rows.canonicalize()?.join(task.rows),
        "adapter": {"type": "lora", "rank": 16, "alpha": 32.0},
        "hyper": {"batch_size": BATCH, "max_steps": WARM_UP + n_steps, "held_out": 0.0, "eval_every": 0,
                  "checkpoint_every": 1000, "learning_rate": 1e-4, "schedule": "constant", "warmup": 0.0,
                  "precision": precision, "gradient_checkpointing": checkpointing},
    });
    let file = work.join(format!("{}.json", task.name));
    fs::write(&file, spec.to_string())?;
    let mut child = Command::new(required("LAUREL_TRAINER_BIN")?)
        .arg("round")
        .arg(&file)
        .arg("--out")
        .arg(&out)
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
    ensure!(status.success(), "the round {} failed: {status}", task.name);
    let metrics = fs::read_to_string(out.join("metrics.jsonl"))?;
    let (mut tokens, mut seconds) = (0.0, 0.0);
    let mut n = 0;
    for line in metrics.lines().skip(WARM_UP) {
        let point: Value = serde_json::from_str(line)?;
        let value = |name: &str| {
            point["values"][name]
                .as_f64()
                .with_context(|| format!("no figure {name}"))
        };
        tokens += value("n_tokens")?;
        seconds += value("n_tokens")? / value("tokens_per_second")?;
        n += 1;
    }
    ensure!(n > 0, "the rows are too few for {WARM_UP} steps and more");
    Ok(Measured {
        tokens_per_second: tokens / seconds,
        seconds_per_step: round(seconds / f64::from(n)),
        peak_mb: peak_mb.round(),
    })
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

/// The best of half a second of f32 products in the shape of the model's feed-forward part.
fn peak_gflops() -> Result<f64> {
    let (rows, inner, out) = (1024, 576, 1536);
    let x = Tensor::rand(-1f32, 1.0, (rows, inner), &Device::Cpu)?;
    let w = Tensor::rand(-1f32, 1.0, (out, inner), &Device::Cpu)?;
    let begun = Instant::now();
    let mut best = f64::INFINITY;
    while begun.elapsed() < Duration::from_millis(500) {
        let start = Instant::now();
        std::hint::black_box(laurel_trainer::ops::matmul_transposed(&x, &w)?);
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(2.0 * (rows * inner * out) as f64 / best / 1e9)
}

/// TRL in a Python environment, over the same weights as a Hugging Face folder.
struct Trl {
    python: PathBuf,
    scripts: PathBuf,
    model: PathBuf,
    dtype: &'static str,
    /// tcmalloc, with which PyTorch is fastest; where it is installed.
    allocator: Option<PathBuf>,
}

impl Trl {
    fn prepare(venv: &Path, rows: &Path, work: &Path) -> Result<Self> {
        let (python, scripts) = (venv.join("bin/python"), rows.join("peers"));
        let gguf = required("LAUREL_MODEL")?;
        let folder = gguf.parent().context("the model lies in a folder")?;
        let model = work.join("model");
        quietly(
            Command::new(&python)
                .arg(scripts.join("convert.py"))
                .arg(folder)
                .arg(gguf.file_name().context("the model is a file")?)
                .arg(&model),
        )?;
        let bf16 = work.join("model-bf16");
        quietly(
            Command::new(&python)
                .arg(scripts.join("fix_tokenizer.py"))
                .args([&model, &bf16]),
        )?;
        // Autocast pays where the CPU multiplies bf16; elsewhere PyTorch emulates it and f32 is its best.
        let has_bf16 = multiplies_bf16();
        Ok(Self {
            python,
            scripts,
            model: if has_bf16 { bf16 } else { model },
            dtype: if has_bf16 { "bf16amp" } else { "f32" },
            allocator: TCMALLOC
                .map(PathBuf::from)
                .into_iter()
                .find(|path| path.is_file()),
        })
    }

    fn run(&self, script: &str, task: &Task, rows: &Path, options: &[&str], n_steps: usize) -> Result<Value> {
        let mut command = Command::new(&self.python);
        if let Some(allocator) = &self.allocator {
            command.env("LD_PRELOAD", allocator);
        }
        let output = command
            .arg(self.scripts.join(script))
            .arg(&self.model)
            .arg(rows.join(task.rows))
            .args(["--bs", &BATCH.to_string(), "--dtype", self.dtype])
            .args(options)
            .args(["--warmup", &WARM_UP.to_string(), "--steps", &n_steps.to_string()])
            .stderr(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("RESULT "))
            .with_context(|| format!("{script} ended without a result for {}", task.name))?;
        Ok(serde_json::from_str(line)?)
    }
}

fn quietly(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
