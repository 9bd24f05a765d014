//! How fast the labelling page comes up with an empty cache on a "Fast 4G" connection, as Chromium's own
//! developer tools define it; prints one line of JSON.

use anyhow::{Context, Result};
use laurel_tests::{Browser, Scene, TestServer, scene, server::PASSWORD, within};
use serde_json::json;

const N_RUNS: usize = 5;
/// Chromium's preset: 9 Mbit/s down and 1.5 up, of which 90 % are used, and 60 ms × 2.75 round trip.
const LATENCY_MS: f64 = 165.0;
const DOWN_BYTES_PER_SECOND: f64 = 9e6 / 8.0 * 0.9;
const UP_BYTES_PER_SECOND: f64 = 1.5e6 / 8.0 * 0.9;

fn main() -> Result<()> {
    let mut scene = Scene::start(TestServer::start()?, &scene::pick(1), &scene::sample_prompts(4)?)?;
    scene.complete(&scene::completions(2, 16, 1, None))?;
    scene.server.add_user("ada", "annotator")?;
    let browser = Browser::start(&scene.server.url())?;
    browser.sign_in("ada", PASSWORD)?;
    browser.devtools("Network.enable", json!({}))?;
    browser.devtools(
        "Network.emulateNetworkConditions",
        json!({"offline": false, "latency": LATENCY_MS, "downloadThroughput": DOWN_BYTES_PER_SECOND,
               "uploadThroughput": UP_BYTES_PER_SECOND}),
    )?;
    let (mut paints, mut tasks) = (Vec::new(), Vec::new());
    for _ in 0..N_RUNS {
        browser.devtools("Network.clearBrowserCache", json!({}))?;
        browser.open(&format!("/projects/{}/label", scene.project))?;
        browser.sees("task")?;
        let paint = within(10, "the first paint", || {
            let paint = browser.run(
                "const p = performance.getEntriesByName('first-contentful-paint')[0];
                 return p ? p.startTime : null",
            )?;
            Ok(paint.as_f64())
        })?;
        paints.push(paint);
        let task = browser.run("return performance.now()")?;
        tasks.push(task.as_f64().context("performance.now() is a number")?);
    }
    let wasm_bytes: u64 = browser.fetched(".wasm")?.values().sum();
    let line = json!({
        "bench": "page", "connection": "Fast 4G", "runs": N_RUNS,
        "first_contentful_paint_ms": median(paints), "task_shown_ms": median(tasks),
        "wasm_bytes": wasm_bytes,
    });
    println!("{line}");
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2].round()
}
