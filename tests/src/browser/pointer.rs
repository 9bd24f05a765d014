//! The mouse and the finger of a browser: real events at places on the screen.

use super::{Browser, PAGE_SECONDS, selector};
use crate::wait::within;
use anyhow::Result;
use serde_json::{Value, json};

impl Browser {
    /// Clicks twice in the same place, as fast as a double click.
    pub fn double_click(&self, hook: &str) -> Result<()> {
        let at = self.middle(&selector(hook))?;
        self.mouse("mouseMoved", at, 0)?;
        for n_clicks in [1, 2] {
            self.mouse("mousePressed", at, n_clicks)?;
            self.mouse("mouseReleased", at, n_clicks)?;
        }
        Ok(())
    }

    /// Drags with the mouse from the middle of one element to the middle of another, both by CSS selector.
    pub fn drag(&self, from: &str, to: &str) -> Result<()> {
        let from = self.reachable(from)?;
        self.mouse("mouseMoved", from, 0)?;
        self.mouse("mousePressed", from, 1)?;
        let to = self.middle(to)?;
        let between = |share: f64| (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
        for step in 1..=5 {
            self.mouse("mouseMoved", between(f64::from(step) / 5.0), 1)?;
        }
        self.mouse("mouseReleased", to, 1)
    }

    /// The middle of an element on screen.
    fn middle(&self, selector: &str) -> Result<(f64, f64)> {
        let script = format!(
            "const e = document.querySelector({selector:?}); if (!e) return null; e.scrollIntoView({{block: 'nearest'}});
             const r = e.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]"
        );
        let middle = within(PAGE_SECONDS, &format!("{selector} on the page"), || {
            Ok(serde_json::from_value(self.run(&script)?).ok())
        })?;
        Ok(middle)
    }

    fn mouse(&self, kind: &str, (x, y): (f64, f64), n_clicks: u32) -> Result<()> {
        let button = if n_clicks > 0 { "left" } else { "none" };
        let event = json!({"type": kind, "x": x, "y": y, "button": button, "buttons": u32::from(n_clicks > 0),
            "clickCount": n_clicks});
        self.devtools("Input.dispatchMouseEvent", event).map(drop)
    }

    /// Clicks with the mouse where an element stands, by CSS selector: what covers it gets the click.
    pub fn click_at(&self, selector: &str) -> Result<()> {
        let at = self.reachable(selector)?;
        self.mouse("mouseMoved", at, 0)?;
        self.mouse("mousePressed", at, 1)?;
        self.mouse("mouseReleased", at, 1)
    }

    /// Whether the screen is touched from now on.
    pub fn fingers(&self, on: bool) -> Result<()> {
        let touch = json!({"enabled": on, "maxTouchPoints": 1});
        self.devtools("Emulation.setTouchEmulationEnabled", touch)
            .map(drop)
    }

    /// Taps an element with a finger, by CSS selector.
    pub fn tap(&self, selector: &str) -> Result<()> {
        let at = self.reachable(selector)?;
        self.touch("touchStart", Some(at))?;
        self.touch("touchEnd", None)
    }

    /// Moves a finger from the middle of one element to the middle of another, both by CSS selector.
    pub fn swipe(&self, from: &str, to: &str) -> Result<()> {
        let from = self.reachable(from)?;
        self.touch("touchStart", Some(from))?;
        let to = self.middle(to)?;
        let between = |share: f64| (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
        for step in 1..=5 {
            self.touch("touchMove", Some(between(f64::from(step) / 5.0)))?;
        }
        // A finger that is lifted in full swing flings, and the next tap only stops that.
        std::thread::sleep(std::time::Duration::from_millis(200));
        self.touch("touchMove", Some(to))?;
        self.touch("touchEnd", None)
    }

    fn touch(&self, kind: &str, at: Option<(f64, f64)>) -> Result<()> {
        let points: Vec<Value> = at.iter().map(|(x, y)| json!({"x": x, "y": y})).collect();
        self.devtools(
            "Input.dispatchTouchEvent",
            json!({"type": kind, "touchPoints": points}),
        )
        .map(drop)
    }

    /// The middle of an element that is scrolled to; waits until it stands still and nothing covers it.
    fn reachable(&self, selector: &str) -> Result<(f64, f64)> {
        let script = format!(
            "const e = document.querySelector({selector:?}); if (!e) return done(null);
             e.scrollIntoView({{block: 'center', behavior: 'instant'}});
             const middle = () => {{ const r = e.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; }};
             const before = middle();
             requestAnimationFrame(() => requestAnimationFrame(() => {{
                 const [x, y] = middle(), hit = document.elementFromPoint(x, y);
                 const still = Math.hypot(x - before[0], y - before[1]) < 1;
                 done(still && hit && e.contains(hit) ? [x, y] : null);
             }}))"
        );
        within(PAGE_SECONDS, &format!("{selector} within reach"), || {
            Ok(serde_json::from_value(self.run_async(&script)?).ok())
        })
    }
}
