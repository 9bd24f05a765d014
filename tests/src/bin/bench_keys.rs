//! From a key press that answers a task to the paint of the next one, in a real Chromium and against a real server;
//! prints one line of JSON. Chromium's own measure is the duration of the `keydown` event, from the press to the next
//! frame (in steps of 8 ms); the page's is its measure `label:next`, from the handler to behind the frame.

use anyhow::{Context, Result, ensure};
use laurel_tests::{Browser, Scripted, scene, server::PASSWORD, within};
use serde_json::json;

const N_PRESSES: usize = 100;
/// Between two presses: a person reads, and prefetching has time.
const PAUSE_MS: u64 = 150;

fn main() -> Result<()> {
    let scripted = Scripted::start()?;
    let project = scripted.project(&scene::pick(1), N_PRESSES + 10)?;
    scripted.server.add_user("ada", "annotator")?;
    let browser = Browser::start(&scripted.server.url())?;
    browser.sign_in("ada", PASSWORD)?;
    browser.open(&format!("/projects/{project}/label"))?;
    browser.sees("task")?;
    browser.run(
        "window.presses = [];
         new PerformanceObserver(list => list.getEntries().forEach(e => e.name === 'keydown' && presses.push(e.duration)))
             .observe({type: 'event', durationThreshold: 16});",
    )?;
    for _ in 0..N_PRESSES {
        let shown = browser.attribute("task", "data-assignment")?;
        browser.press("1")?;
        within(30, "the next task", || {
            Ok((browser.attribute("task", "data-assignment")? != shown).then_some(()))
        })?;
        std::thread::sleep(std::time::Duration::from_millis(PAUSE_MS));
    }
    let measured = browser.run(
        "return [performance.getEntriesByName('label:next').map(entry => entry.duration), window.presses]",
    )?;
    let (own, slow): (Vec<f64>, Vec<f64>) = serde_json::from_value(measured)?;
    ensure!(
        own.len() == N_PRESSES,
        "{} of {N_PRESSES} presses were measured",
        own.len()
    );
    // Events below the observer's threshold of 16 ms are not reported.
    let mut events = vec![16.0; N_PRESSES.saturating_sub(slow.len())];
    events.extend(slow);
    let line = json!({
        "bench": "keys", "presses": N_PRESSES,
        "press_to_paint_ms": {"p50": quantile(&own, 0.5)?, "p99": quantile(&own, 0.99)?},
        "keydown_event_ms": {"p50": quantile(&events, 0.5)?, "p99": quantile(&events, 0.99)?},
    });
    println!("{line}");
    Ok(())
}

fn quantile(values: &[f64], share: f64) -> Result<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = (share * (values.len() as f64 - 1.0)).round() as usize;
    values
        .get(at)
        .map(|value| value.round())
        .context("something was measured")
}
