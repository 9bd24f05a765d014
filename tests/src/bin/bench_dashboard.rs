//! How long the server takes to answer what each page of the dashboard asks, in a project of 100 000 prompts, 400 000
//! completions, 300 000 annotations, 200 rounds and 5 million metric points (see `seed`); prints one line of JSON, in
//! milliseconds, and says on standard error which answers take longer than they should.
//!
//! Usage: bench_dashboard DATA_FOLDER REQUESTS

use anyhow::{Context, Result, bail};
use laurel_tests::{Api, TestServer, server::ADMIN};
use serde_json::{Map, json};
use std::{env, path::Path, time::Instant};

/// p95 at the server.
const AIM_MS: f64 = 200.0;

/// What the pages ask, by page.
const ASKED: &[&str] = &[
    "/projects",
    "/projects/1",
    "/projects/1/agreement",
    "/projects/1/progress",
    "/projects/1/annotators",
    "/projects/1/members",
    "/projects/1/completion-jobs",
    "/projects/1/scorings",
    "/projects/1/prompts?limit=50",
    "/prompts/90000/completions",
    "/projects/1/rounds",
    "/projects/1/adapters",
    "/projects/1/arena/results",
    "/projects/1/gold",
    "/projects/1/review",
    "/projects/1/flagged",
    "/rounds/100",
    "/rounds/100/metrics?stretches=300",
    "/rounds/100/metrics",
    "/rounds/100/log",
    "/rounds/100/samples",
    "/rounds/100/agreement",
    "/projects/1/ladder",
    "/projects/1/contests",
    "/projects/1/lineage",
    "/projects/1/planned-rounds",
    "/projects/1/webhooks",
    "/adapters/150",
    "/storage",
    "/users",
    "/audit",
];

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [data, n] = args.as_slice() else {
        bail!("usage: bench_dashboard DATA_FOLDER REQUESTS");
    };
    let n: usize = n.parse().context("REQUESTS is a whole number")?;
    let server = TestServer::over(Path::new(data))?;
    let api = server.script_access(ADMIN)?;
    let (mut line, mut slow) = (Map::new(), Vec::new());
    for path in ASKED {
        let figures = measure(&api, path, n)?;
        if figures.p95 > AIM_MS {
            slow.push(format!("{path} ({:.0} ms)", figures.p95));
        }
        let Figures {
            first,
            p50,
            p95,
            bytes,
        } = figures;
        line.insert(
            (*path).to_owned(),
            json!({"first": round(first), "p50": round(p50), "p95": round(p95), "kb": bytes / 1024}),
        );
    }
    println!(
        "{}",
        json!({"bench": "dashboard", "requests": n, "aim_p95_ms": AIM_MS, "ms": line})
    );
    match slow.is_empty() {
        true => eprintln!("All of {} within {AIM_MS} ms (p95).", ASKED.len()),
        false => eprintln!("Beyond {AIM_MS} ms (p95): {}", slow.join(", ")),
    }
    Ok(())
}

struct Figures {
    /// The first request after the start of the server.
    first: f64,
    p50: f64,
    p95: f64,
    bytes: usize,
}

fn measure(api: &Api, path: &str, n: usize) -> Result<Figures> {
    let (mut times, mut bytes) = (Vec::with_capacity(n + 1), 0);
    for _ in 0..=n {
        let begun = Instant::now();
        bytes = api.get_bytes(path)?.len();
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    let first = times.remove(0);
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
    Ok(Figures {
        first,
        p50: at(0.5),
        p95: at(0.95),
        bytes,
    })
}

fn round(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}
