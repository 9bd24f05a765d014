//! Losses: pure functions, tensors in, scalar tensor out, each with its equation and paper. They run on
//! candle's own graph: their inputs are a handful of numbers for each sequence.
//!
//! σ is the logistic function, log the natural logarithm. `tests/parity/losses.py` computes the same numbers and
//! gradients with PyTorch and TRL.

mod dpo;
mod kto;
mod ppo;
mod reference_free;
mod reward;

pub use dpo::{PairLogps, PairTokens, dpo_hinge, dpo_ipo, dpo_robust, dpo_sigmoid, dpo_sigmoid_norm};
pub use kto::{Judged, kl_estimate, kto};
pub use ppo::{
    RunningMoments, Steps, Values, adapt_kl_coefficient, exact, explained_variance, gae, group_advantages,
    kl_loss, kl_of_token, leave_one_out_advantages, moments, policy_loss, value_loss, whiten,
};
pub use reference_free::{orpo_odds_ratio, simpo};
pub use reward::{
    Pairs, Stages, bradley_terry, center_rewards, davidson, davidson_nu, plackett_luce, rao_kupper,
    rao_kupper_threshold,
};

use candle_core::{Result, Tensor};

/// `(1/n) Σ wᵢ lᵢ`: the mean of a batch's losses, all alike or by weights whose mean over the data is 1. Both `(n,)`.
pub fn mean(each: &Tensor, weight: Option<&Tensor>) -> Result<Tensor> {
    match weight {
        None => each.mean_all(),
        Some(weight) => (each * weight)?.mean_all(),
    }
}

/// Mean negative log-likelihood of the trained tokens: `-(1/n) Σ log p(token)`. Shape: `(tokens,)`.
pub fn cross_entropy(logps: &Tensor) -> Result<Tensor> {
    logps.mean_all()?.neg()
}

/// `log sigmoid(x) = min(x, 0) - log(1 + e^-|x|)`: no overflow on either side. Any shape.
pub fn log_sigmoid(x: &Tensor) -> Result<Tensor> {
    // By a constant mask instead of relu and abs, whose slopes at 0 in candle do not add up to 1/2.
    let below = x.detach().lt(0.0)?.to_dtype(x.dtype())?;
    let size = (x * (1.0 - (&below * 2.0)?)?)?;
    (x * below)? - (size.neg()?.exp()? + 1.0)?.log()?
}

/// `-log σ(x)` where labels are wrong with probability `smoothing` (ε): `-(1 - ε) log σ(x) - ε log σ(-x)`. Any shape.
fn smoothed(x: &Tensor, smoothing: f64) -> Result<Tensor> {
    let right = log_sigmoid(x)?.neg()?;
    if smoothing == 0.0 {
        return Ok(right);
    }
    let wrong = log_sigmoid(&x.neg()?)?.neg()?;
    (right * (1.0 - smoothing))? + (wrong * smoothing)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn log_sigmoid_and_its_slope_are_right_far_from_zero_and_at_zero() {
        for x in [-200f32, -3.0, -1e-3, 0.0, 1e-3, 3.0, 200.0] {
            let var = Var::new(&[x], &Device::Cpu).unwrap();
            let value = log_sigmoid(&var).unwrap().sum_all().unwrap();
            let gradients = value.backward().unwrap();
            let slope = gradients.get(&var).unwrap().to_vec1::<f32>().unwrap()[0];
            let value = value.to_scalar::<f32>().unwrap();
            let exact = -(1.0 + (-f64::from(x)).exp()).ln();
            let exact_slope = 1.0 / (1.0 + f64::from(x).exp());
            if x > -100.0 {
                assert!((f64::from(value) - exact).abs() < 1e-6, "at {x}");
            } else {
                assert_eq!(value, x);
            }
            assert!(
                (f64::from(slope) - exact_slope).abs() < 1e-6,
                "slope at {x}: {slope}"
            );
        }
    }
}
