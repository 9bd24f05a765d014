//! How long a person really worked on a task. Time counts from input to input; it stops 30 seconds after the
//! last one and while the page is hidden. Times come in as milliseconds from the page.

/// Without input for this long, a person counts as away.
const IDLE_MS: f64 = 30_000.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActiveClock {
    active_ms: f64,
    counted_to: f64,
    last_input: f64,
    is_visible: bool,
}

impl ActiveClock {
    /// Starts now, on top of what a draft had already counted.
    pub fn start(now: f64, is_visible: bool, seconds_before: f64) -> Self {
        Self {
            active_ms: seconds_before * 1000.0,
            counted_to: now,
            last_input: now,
            is_visible,
        }
    }

    pub fn input(&mut self, now: f64) {
        self.count_to(now);
        self.last_input = now;
    }

    pub fn set_visible(&mut self, now: f64, is_visible: bool) {
        self.count_to(now);
        self.is_visible = is_visible;
        if is_visible {
            self.last_input = now;
        }
    }

    pub fn seconds(&self, now: f64) -> f64 {
        let mut clock = *self;
        clock.count_to(now);
        // Tenths are as fine as anyone needs, and rounded numbers keep exports readable.
        (clock.active_ms / 100.0).round() / 10.0
    }

    /// Whether the person did something within the last `ms`, with the page in view.
    pub fn is_active(&self, now: f64, ms: f64) -> bool {
        self.is_visible && now - self.last_input <= ms
    }

    fn count_to(&mut self, now: f64) {
        if self.is_visible {
            let end = now.min(self.last_input + IDLE_MS);
            self.active_ms += (end - self.counted_to).max(0.0);
        }
        self.counted_to = self.counted_to.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_between_inputs_counts() {
        let mut clock = ActiveClock::start(1_000.0, true, 0.0);
        clock.input(11_000.0);
        assert_eq!(clock.seconds(21_000.0), 20.0);
    }

    #[test]
    fn idle_time_is_left_out_after_half_a_minute() {
        let mut clock = ActiveClock::start(0.0, true, 0.0);
        assert_eq!(clock.seconds(300_000.0), 30.0);
        clock.input(300_000.0);
        assert_eq!(clock.seconds(305_000.0), 35.0);
    }

    #[test]
    fn a_hidden_page_does_not_count() {
        let mut clock = ActiveClock::start(0.0, true, 0.0);
        clock.set_visible(5_000.0, false);
        clock.set_visible(15_000.0, true);
        assert_eq!(clock.seconds(18_000.0), 8.0);
    }

    #[test]
    fn coming_back_to_the_page_is_an_input() {
        let mut clock = ActiveClock::start(0.0, true, 0.0);
        clock.set_visible(1_000.0, false);
        clock.set_visible(100_000.0, true);
        assert_eq!(clock.seconds(120_000.0), 21.0);
        assert!(clock.is_active(120_000.0, 30_000.0));
    }

    #[test]
    fn a_draft_goes_on_where_it_stopped() {
        assert_eq!(ActiveClock::start(0.0, true, 12.5).seconds(2_000.0), 14.5);
    }
}
