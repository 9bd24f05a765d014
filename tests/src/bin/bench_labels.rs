//! Many annotators at once, with a SIGKILL of the server in the middle: answers a second, how long submit-and-next takes,
//! and whether every answer is there exactly once. Paced first, as people answer; then each without a pause. With a
//! Python environment also Label Studio with as many, without the SIGKILL. One line of JSON; fails when a check does.
//!
//! Usage: bench_labels ANNOTATORS SECONDS ANSWERS_PER_SECOND [SCRIPTS VENV]

use anyhow::{Context, Result, bail, ensure};
use laurel_tests::{
    Crowd,
    crowd::{Report, Stretch},
    process::{Process, free_port},
    until,
};
use serde_json::{Value, json};
use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    thread,
};

const OVERLAP: u8 = 3;
/// More answers a second than two cores give, so that no stretch runs out of tasks.
const MOST_PER_SECOND: f64 = 1200.0;

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [n, seconds, per_second, rest @ ..] = args.as_slice() else {
        bail!("usage: bench_labels ANNOTATORS SECONDS ANSWERS_PER_SECOND [SCRIPTS VENV]");
    };
    let (n, seconds, per_second) = (
        n.parse::<usize>()?,
        seconds.parse::<f64>()?,
        per_second.parse::<f64>()?,
    );
    let tasks = |rate: f64| (rate * seconds / f64::from(OVERLAP)) as usize + 2 * n;
    let mut crowd = Crowd::gather(n)?;
    let stretch = |rate, seconds_between| Stretch {
        overlap: OVERLAP,
        n_tasks: tasks(rate),
        seconds,
        seconds_between,
    };
    let paced = crowd.annotate(stretch(per_second, n as f64 / per_second))?;
    let closed = crowd.annotate(stretch(MOST_PER_SECOND, 0.0))?;
    drop(crowd);
    let mut line = json!({
        "bench": "labels", "annotators": n, "overlap": OVERLAP, "seconds": seconds,
        "cores": thread::available_parallelism()?.get(), "paced": shown(&paced), "closed_loop": shown(&closed),
    });
    if let [scripts, venv] = rest {
        let theirs = label_studio(Path::new(scripts), Path::new(venv), n, seconds)?;
        let rate = theirs["annotations_per_s"]
            .as_f64()
            .context("Label Studio's rate")?;
        line["ratio_answers_per_second"] = json!(rounded(closed.answers_per_second() / rate));
        line["label_studio"] = theirs;
    }
    println!("{line}");
    for (name, report) in [("paced", &paced), ("closed loop", &closed)] {
        ensure!(report.findings.is_good(), "{name}: {:?}", report.findings);
        ensure!(
            report.n_resent > 0,
            "{name}: no request was under way when the server was ended"
        );
        ensure!(!report.ran_out, "{name}: the tasks ran out");
    }
    Ok(())
}

fn shown(report: &Report) -> Value {
    let found = &report.findings;
    json!({
        "answers": found.n_acknowledged, "answers_per_second": rounded(report.answers_per_second()),
        "p50_ms": rounded(report.quantile(0.5)), "p99_ms": rounded(report.quantile(0.99)),
        "max_ms": rounded(report.quantile(1.0)),
        "n_stored": found.n_stored, "n_finished_tasks": found.n_finished, "n_lost": found.n_lost,
        "n_double": found.n_double, "n_unknown": found.n_unknown, "n_handed_twice": found.n_handed_twice,
        "n_wrong_overlap": found.n_wrong_overlap, "n_resent": report.n_resent,
        "seconds_away": rounded(report.seconds_away), "server_cores": rounded(report.cores.server),
        "generator_cores": rounded(report.cores.own), "other_cores": rounded(report.cores.other),
    })
}

/// The same work by Label Studio's own server on SQLite: 6000 tasks, overlap 1.
fn label_studio(scripts: &Path, venv: &Path, n: usize, seconds: f64) -> Result<Value> {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let mut serve = Command::new(venv.join("bin").join("label-studio"));
    serve.args([
        "start",
        "--no-browser",
        "--log-level",
        "ERROR",
        "--port",
        &port.to_string(),
    ]);
    serve.arg("--data-dir").arg(folder.path());
    serve.args([
        "--username",
        "bench@example.org",
        "--password",
        "correct horse",
        "--user-token",
        TOKEN,
    ]);
    serve
        .env("LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN", "true")
        .env("COLLECT_ANALYTICS", "False");
    let mut server = Process::start("Label Studio", &mut serve, &folder.path().join("log"))?;
    let url = format!("http://127.0.0.1:{port}");
    until(180, "Label Studio to answer", || {
        server.must_run()?;
        Ok(laurel_tests::api::get_status(&format!("{url}/health")) == Some(200))
    })?;
    let output = Command::new(venv.join("bin").join("python"))
        .arg(scripts.join("bench_label_studio.py"))
        .args([url.as_str(), TOKEN, &n.to_string(), &seconds.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "bench_label_studio.py failed ({})",
        output.status
    );
    serde_json::from_slice(&output.stdout).context("read what bench_label_studio.py printed")
}

fn rounded(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}
