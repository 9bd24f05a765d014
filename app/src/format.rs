//! Numbers, durations and times as people read them.

use crate::words::fill;
use laurel_protocol::Timestamp;

/// `12345` as `12,345`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 prompt`, `2 prompts`: of `{0} prompt` and `{0} prompts`.
pub fn counted(n: u64, one: &'static str, many: &'static str) -> String {
    fill(if n == 1 { one } else { many }, &[&count(n)])
}

/// Seconds as `40 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => fill("{0} s", &[&whole]),
        60..3600 => fill("{0} min {1} s", &[&(whole / 60), &(whole % 60)]),
        _ => fill("{0} h {1} min", &[&(whole / 3600), &(whole % 3600 / 60)]),
    }
}

/// A size as `4.2 MB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// A share as `62 %`.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A metric with four significant digits, very small and large ones as powers of ten.
pub fn figure(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs().log10().floor() as i32;
    if !(-4..=5).contains(&size) {
        return format!("{value:.2e}");
    }
    let n_decimals = (3 - size).max(0) as usize;
    let text = format!("{value:.n_decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The start of a hash, enough to tell it from others.
pub fn short_hash(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// Day and time where the browser is.
pub fn moment(at: Timestamp) -> String {
    let date = js_date(at);
    format!(
        "{}-{:02}-{:02} {:02}:{:02}",
        date.get_full_year(),
        date.get_month() + 1,
        date.get_date(),
        date.get_hours(),
        date.get_minutes()
    )
}

/// The day where the browser is: `2026-11-30`.
pub fn day(at: Timestamp) -> String {
    let date = js_date(at);
    format!("{}-{}", date.get_full_year(), short_day(at))
}

/// The day without its year: `11-30`.
pub fn short_day(at: Timestamp) -> String {
    let date = js_date(at);
    format!("{:02}-{:02}", date.get_month() + 1, date.get_date())
}

/// Time of day without seconds.
pub fn short_clock(at: Timestamp) -> String {
    let date = js_date(at);
    format!("{:02}:{:02}", date.get_hours(), date.get_minutes())
}

/// Time of day with seconds, where the browser is.
pub fn clock(at: Timestamp) -> String {
    let date = js_date(at);
    format!(
        "{:02}:{:02}:{:02}",
        date.get_hours(),
        date.get_minutes(),
        date.get_seconds()
    )
}

fn js_date(at: Timestamp) -> js_sys::Date {
    js_sys::Date::new(&wasm_bindgen::JsValue::from_f64(at.0 as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!(
            [count(7), count(1000), count(1_234_567)],
            ["7", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn durations_show_their_two_largest_units() {
        assert_eq!(
            [duration(-1.0), duration(59.6), duration(200.0), duration(7500.0)],
            ["0 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"]
        );
    }

    #[test]
    fn figures_keep_four_digits() {
        assert_eq!(
            [
                figure(0.0),
                figure(0.693_147),
                figure(-12.5),
                figure(2e-4),
                figure(5e-5),
                figure(1234.56)
            ],
            ["0", "0.6931", "-12.5", "0.0002", "5.00e-5", "1235"]
        );
    }
}
