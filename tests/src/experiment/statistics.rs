//! Means over seeds with their 95 % intervals.

/// Quantiles of Student's distribution at 97.5 %, for 1, 2, … degrees of freedom.
const T: [f64; 20] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086,
];

#[derive(Clone, Copy)]
pub struct Mean {
    pub value: f64,
    /// Half of the 95 % interval's width; infinite for a single value.
    pub half: f64,
}

impl Mean {
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let value = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - value).powi(2)).sum();
        let half = match values.len() {
            0 | 1 => f64::INFINITY,
            many => T[(many - 2).min(T.len() - 1)] * (squares / (n - 1.0) / n).sqrt(),
        };
        Self { value, half }
    }
}

impl std::fmt::Display for Mean {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.half.is_finite() {
            true => write!(f, "{:.4} ± {:.4}", self.value, self.half),
            false => write!(f, "{:.4}", self.value),
        }
    }
}
