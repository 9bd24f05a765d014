//! Decode speed on the default model: tokens a second of one sequence and of eight, by what the weights are held in, with an
//! adapter and without; with a Python environment also llama.cpp's on the same file, in turn. One line of JSON.
//!
//! Usage: bench_generate SCRIPTS PRECISION,… REPETITIONS [VENV]

use anyhow::{Context, Result, bail};
use laurel_protocol::{Precision, Sampling, adapter::AdapterConfig};
use laurel_trainer::{
    adapters::Adapter,
    generate::{Engine, Request},
    model::Model,
    rng::Rng,
};
use serde_json::{Value, json};
use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Instant,
};

const PROMPT: usize = 64;
const NEW: u32 = 128;
const SEQUENCES: [usize; 2] = [1, 8];

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [scripts, precisions, repetitions, venv @ ..] = args.as_slice() else {
        bail!("usage: bench_generate SCRIPTS PRECISION,… REPETITIONS [VENV]");
    };
    let repetitions: usize = repetitions.parse()?;
    let file = PathBuf::from(env::var_os("LAUREL_MODEL").context("LAUREL_MODEL is not set")?);
    let threads = thread::available_parallelism()?.get();
    let mut theirs = match venv.first() {
        Some(venv) => Some(LlamaCpp::start(
            Path::new(venv),
            Path::new(scripts),
            &file,
            threads,
        )?),
        None => None,
    };
    let mut engines = Vec::new();
    for name in precisions.split(',') {
        let (held, adapted) = match name.split_once('+') {
            Some((held, "lora")) => (held, true),
            None => (name, false),
            _ => bail!("{name:?} is no precision"),
        };
        let precision: Precision =
            serde_json::from_value(held.into()).context("PRECISION is f32, bf16 or quantized")?;
        let model = Model::load_in(&file, &candle_core::Device::Cpu, precision)?;
        let adapter = match adapted {
            true => Some(Adapter::init(
                &AdapterConfig::lora(16, 32.0),
                &model,
                &Rng::new(1),
            )?),
            false => None,
        };
        engines.push((name, Ours { model, adapter }));
    }
    let mut line = json!({
        "bench": "generate", "threads": threads, "prompt": PROMPT, "new": NEW,
        "model": file.file_name().map(|name| name.to_string_lossy()),
    });
    for n in SEQUENCES {
        let mut speeds = vec![Vec::new(); engines.len() + 1];
        for _ in 0..repetitions {
            for ((_, engine), speeds) in engines.iter().zip(&mut speeds) {
                speeds.push(engine.tokens_per_second(n)?);
            }
            if let Some(theirs) = &mut theirs {
                speeds[engines.len()].push(theirs.tokens_per_second(n)?);
            }
        }
        let key = format!("sequences_{n}");
        let mut medians = speeds.into_iter().map(median);
        let mut ours = 0.0_f64;
        for ((name, _), median) in engines.iter().zip(&mut medians) {
            line[&key][*name] = rounded(median).into();
            ours = ours.max(median);
        }
        if let (Some(theirs), Some(median)) = (&theirs, medians.next()) {
            line[&key]["llamacpp"] = rounded(median).into();
            line[&key]["ratio_of_best"] = rounded(ours / median).into();
            line["xllamacpp"] = theirs.version.clone().into();
        }
    }
    println!("{line}");
    Ok(())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

fn rounded(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

struct Ours {
    model: Model,
    adapter: Option<Adapter>,
}

impl Ours {
    /// What 127 tokens more take, so that the prompts do not count.
    fn tokens_per_second(&self, n: usize) -> Result<f64> {
        let more = self.seconds(n, NEW)? - self.seconds(n, 1)?;
        Ok(n as f64 * f64::from(NEW - 1) / more)
    }

    fn seconds(&self, n: usize, max_tokens: u32) -> Result<f64> {
        let sampling = Sampling {
            temperature: 1.0,
            top_p: 1.0,
            max_tokens,
            ..Sampling::default()
        };
        let engine = Engine::new(&self.model, self.adapter.as_ref(), &sampling, &[])?;
        let requests = (0..n as u64).map(|key| {
            let mut stream = Rng::new(0).stream("prompt", key);
            Request {
                key,
                prompt: (0..PROMPT).map(|_| 100 + stream.below(39_900) as u32).collect(),
                indexes: vec![0],
            }
        });
        let requests = requests.collect();
        let begun = Instant::now();
        engine.run(requests, &mut |_| Ok(true))?;
        Ok(begun.elapsed().as_secs_f64())
    }
}

/// llama.cpp in a Python process that measures when it is told to.
struct LlamaCpp {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    version: String,
}

impl LlamaCpp {
    fn start(venv: &Path, scripts: &Path, file: &Path, threads: usize) -> Result<Self> {
        let mut child = Command::new(venv.join("bin").join("python"))
            .arg(scripts.join("bench_llamacpp.py"))
            .arg(file)
            .args([threads, PROMPT, NEW as usize].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (ask, answers) = (child.stdin.take(), child.stdout.take());
        let mut theirs = Self {
            child,
            ask: ask.context("its input is a pipe")?,
            answers: BufReader::new(answers.context("its output is a pipe")?),
            version: String::new(),
        };
        theirs
            .tokens_per_second(1)
            .context("llama.cpp does not run: is xllamacpp in that environment?")?;
        Ok(theirs)
    }

    fn tokens_per_second(&mut self, n: usize) -> Result<f64> {
        writeln!(self.ask, "{n}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line).context("llama.cpp gave no answer")?;
        self.version = answer["version"].as_str().unwrap_or_default().to_owned();
        answer["tokens_per_second"].as_f64().context("llama.cpp's speed")
    }
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
