//! Drawing a token: temperature, then nucleus (Holtzman et al. 2020), from a stream of random numbers.

use crate::rng::Stream;
use laurel_protocol::Sampling;

/// The drawn token and its log-probability under the model at temperature 1.
pub fn draw(logits: &[f32], sampling: &Sampling, stream: &mut Stream) -> (u32, f32) {
    let token = if sampling.temperature == 0.0 {
        greedy(logits)
    } else {
        nucleus(logits, sampling, stream.uniform())
    };
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&logit| f64::from(logit - top).exp()).sum();
    let logprob = f64::from(logits[token] - top) - total.ln();
    (token as u32, logprob as f32)
}

fn greedy(logits: &[f32]) -> usize {
    let mut best = 0;
    for (at, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = at;
        }
    }
    best
}

fn nucleus(logits: &[f32], sampling: &Sampling, uniform: f64) -> usize {
    let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let weights: Vec<f64> = logits
        .iter()
        .map(|&logit| ((f64::from(logit) - top) / sampling.temperature).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    // Tokens far below the top cannot be in a nucleus of less than all: leave them out of the sorting.
    let floor = if sampling.top_p < 1.0 {
        (1.0 - sampling.top_p) * total / weights.len() as f64
    } else {
        0.0
    };
    let mut order: Vec<usize> = (0..weights.len()).filter(|&at| weights[at] >= floor).collect();
    order.sort_unstable_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    let mut kept = 0.0;
    let mut n_kept = 0;
    for &at in &order {
        kept += weights[at];
        n_kept += 1;
        if kept >= sampling.top_p * total {
            break;
        }
    }
    let mut left = uniform * kept;
    for &at in &order[..n_kept] {
        left -= weights[at];
        if left < 0.0 {
            return at;
        }
    }
    order[n_kept - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn draws_follow_the_softmax_and_stay_in_the_nucleus() {
        let logits = [0.0, 1.0, 2.0, -3.0];
        let mut stream = Rng::new(7).stream("test", 0);
        let mut counts = [0.0; 4];
        let sampling = Sampling {
            temperature: 1.0,
            top_p: 1.0,
            ..Sampling::default()
        };
        for _ in 0..20_000 {
            counts[draw(&logits, &sampling, &mut stream).0 as usize] += 1.0 / 20_000.0;
        }
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        for (count, logit) in counts.iter().zip(logits) {
            assert!(
                (count - f64::from(logit).exp() / total).abs() < 0.015,
                "{counts:?}"
            );
        }
        // exp(2) / total is 0.66, with exp(1) 0.90: a nucleus of 0.8 keeps those two.
        let narrow = Sampling {
            top_p: 0.8,
            ..sampling
        };
        assert!((0..2_000).all(|_| matches!(draw(&logits, &narrow, &mut stream).0, 1 | 2)));
    }
}
