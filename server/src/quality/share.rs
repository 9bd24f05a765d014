//! A share of a count, with the interval of Wilson (1927): it stays within 0 and 1, and holds for few and for extreme ones.

use laurel_protocol::{Interval, Share};

/// The normal distribution's for 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// `None` of nothing.
pub fn share(n: u64, of: u64) -> Option<Share> {
    if of == 0 {
        return None;
    }
    Some(Share {
        n,
        of,
        interval: wilson(n as f64 / of as f64, of as f64),
    })
}

/// The interval of 95 % of a share that was observed in so many trials, of which there is one at least.
pub fn wilson(observed: f64, total: f64) -> Interval {
    let scale = 1.0 + Z * Z / total;
    let middle = (observed + Z * Z / (2.0 * total)) / scale;
    let spread = Z / scale * (observed * (1.0 - observed) / total + Z * Z / (4.0 * total * total)).sqrt();
    Interval {
        low: (middle - spread).max(0.0),
        high: (middle + spread).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_of_ten_may_still_be_a_quarter() {
        let none = share(0, 10).unwrap();
        assert_eq!(none.interval.low, 0.0);
        assert!((none.interval.high - 0.277_5).abs() < 1e-3, "{none:?}");
        assert_eq!(share(0, 0), None);
    }
}
