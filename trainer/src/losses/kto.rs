//! Losses of answers that are judged one by one, measured from a reference. ρ = log π(y|x) - log π_ref(y|x) is an
//! answer's log-ratio.

use super::log_sigmoid;
use candle_core::{Result, Tensor};

/// Answers with their judgements; all `(answers,)`.
pub struct Judged<'a> {
    /// Summed log-probabilities.
    pub logps: &'a Tensor,
    pub ref_logps: &'a Tensor,
    /// 1 for a desirable answer, -1 for an undesirable one.
    pub sign: &'a Tensor,
    /// The answer's share in the sum: λ_D / n or λ_U / n for the mean over n answers.
    pub weight: &'a Tensor,
}

/// KTO: the weighted sum of `1 - σ(β (ρ - z₀))` over desirable and `1 - σ(β (z₀ - ρ))` over undesirable answers.
/// Ethayarajh et al. 2024 (arXiv:2402.01306), equation 7, and TRL's `kto`. `kl` is z₀, through which no gradient
/// goes. With z₀ = 0 it is APO-zero on single answers, TRL's `apo_zero_unpaired`: D'Oosterlinck et al. 2024
/// (arXiv:2408.06266), equation 7.
pub fn kto(answers: &Judged<'_>, kl: f64, beta: f64) -> Result<Tensor> {
    let gain = (((answers.logps - answers.ref_logps)? - kl)? * answers.sign)?;
    // 1 - σ(x) = σ(-x).
    let loss = log_sigmoid(&(gain * -beta)?)?.exp()?;
    (loss * answers.weight)?.sum_all()
}

/// z₀, the estimate of KL(π ‖ π_ref) that a batch's answers are measured from: `max(0, mean of ρ)` over the batch's
/// prompts, each with an answer to another prompt. Ethayarajh et al. 2024, section 4; TRL's `kl`. It is 0 without any.
pub fn kl_estimate(logps: &[f32], ref_logps: &[f32]) -> f64 {
    let log_ratios = logps.iter().zip(ref_logps);
    let sum: f64 = log_ratios
        .map(|(logp, of)| f64::from(*logp) - f64::from(*of))
        .sum();
    (sum / logps.len().max(1) as f64).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_estimate_is_a_mean_that_is_not_below_zero() {
        assert_eq!(kl_estimate(&[-1.0, -4.0], &[-3.0, -3.0]), 0.5);
        assert_eq!(kl_estimate(&[-4.0, -4.0], &[-3.0, -3.0]), 0.0);
        assert_eq!(kl_estimate(&[], &[]), 0.0);
    }

    #[test]
    fn far_ratios_overflow_nothing() {
        let of = |x: f32, sign: f32| {
            let tensor = |x: f32| Tensor::new(&[x], &Device::Cpu).unwrap();
            let answers = Judged {
                logps: &tensor(x),
                ref_logps: &tensor(0.0),
                sign: &tensor(sign),
                weight: &tensor(1.0),
            };
            kto(&answers, 0.0, 1.0).unwrap().to_scalar::<f32>().unwrap()
        };
        assert_eq!([of(-500.0, 1.0), of(500.0, -1.0)], [1.0, 1.0]);
        assert_eq!([of(500.0, 1.0), of(-500.0, -1.0)], [0.0, 0.0]);
    }
}
