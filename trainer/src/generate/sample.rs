//! Drawing a token: temperature, then nucleus (Holtzman et al. 2020), from a stream of random numbers.

use crate::{ops::exp::exp, rng::Stream};
use anyhow::{Result, ensure};
use laurel_protocol::Sampling;

/// The drawn token and its log-probability under the model at temperature 1.
pub fn draw(logits: &[f32], sampling: &Sampling, stream: &mut Stream) -> Result<(u32, f32)> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut weights: Vec<f32> = logits.iter().map(|&logit| exp(logit - top)).collect();
    let total = sum(&weights);
    ensure!(
        total.is_finite() && total > 0.0,
        "the model's output is no number: its weights, or the adapter's, are broken"
    );
    let token = if sampling.temperature == 0.0 {
        logits.iter().position(|&logit| logit == top).unwrap_or(0)
    } else {
        if sampling.temperature != 1.0 {
            let sharpness = (1.0 / sampling.temperature) as f32;
            for (weight, logit) in weights.iter_mut().zip(logits) {
                *weight = exp((logit - top) * sharpness);
            }
        }
        nucleus(&weights, sampling.top_p, stream.uniform())
    };
    let logprob = f64::from(logits[token] - top) - total.ln();
    Ok((token as u32, logprob as f32))
}

/// The smallest set of the likeliest tokens that holds `top_p` of the weight, and one of them drawn by weight.
fn nucleus(weights: &[f32], top_p: f64, uniform: f64) -> usize {
    let weight = |at: usize| f64::from(weights[at]);
    let total = sum(weights);
    // Tokens far below the top cannot be in a nucleus of less than all: leave them out of the sorting.
    let floor = if top_p < 1.0 {
        ((1.0 - top_p) * total / weights.len() as f64) as f32
    } else {
        0.0
    };
    let mut order: Vec<usize> = (0..weights.len()).filter(|&at| weights[at] >= floor).collect();
    order.sort_unstable_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    let mut kept = 0.0;
    let mut n_kept = 0;
    for &at in &order {
        kept += weight(at);
        n_kept += 1;
        if kept >= top_p * total {
            break;
        }
    }
    let mut left = uniform * kept;
    for &at in &order[..n_kept] {
        left -= weight(at);
        if left < 0.0 {
            return at;
        }
    }
    order[n_kept - 1]
}

/// In f64, eight sums side by side: a fixed order that the compiler can vectorise.
fn sum(numbers: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    for chunk in numbers.chunks(8) {
        for (sum, &number) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(number);
        }
    }
    sums.iter().sum()
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
            counts[draw(&logits, &sampling, &mut stream).unwrap().0 as usize] += 1.0 / 20_000.0;
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
        assert!((0..2_000).all(|_| matches!(draw(&logits, &narrow, &mut stream).unwrap().0, 1 | 2)));
    }

    #[test]
    fn an_output_that_is_no_number_is_an_error() {
        let mut stream = Rng::new(7).stream("test", 0);
        for logits in [[f32::NAN, 1.0], [f32::INFINITY, 1.0], [f32::NEG_INFINITY; 2]] {
            assert!(
                draw(&logits, &Sampling::default(), &mut stream).is_err(),
                "{logits:?}"
            );
        }
    }
}
