//! Losses of preferences without a reference. They compare `m(y) = log π(y|x) / |y|`, a completion's mean
//! log-probability a token, which is below 0; all shapes are `(pairs,)`, those of the losses
//! too: a batch's is their mean ([`super::mean`]).

use super::{log_sigmoid, smoothed};
use candle_core::{Result, Tensor};

/// SimPO: `-log σ(β (m(y_w) - m(y_l)) - γ)`. Meng et al. 2024 (arXiv:2405.14734), equation 6; with
/// smoothing as in TRL's `CPOTrainer`, whose `simpo_gamma` is γ.
pub fn simpo(chosen: &Tensor, rejected: &Tensor, beta: f64, gamma: f64, smoothing: f64) -> Result<Tensor> {
    smoothed(&(((chosen - rejected)? * beta)? - gamma)?, smoothing)
}

/// ORPO's odds-ratio term: `-log σ(log odds(y_w) - log odds(y_l))` with
/// `odds(y) = P / (1 - P)`, `P = e^m(y)`. The whole loss is the chosen answer's NLL plus λ times this. Hong et al.
/// 2024 (arXiv:2403.07691), equations 4, 6 and 7.
pub fn orpo_odds_ratio(chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
    let log_odds = |mean_logps: &Tensor| mean_logps - log_complement(mean_logps)?;
    log_sigmoid(&(log_odds(chosen)? - log_odds(rejected)?)?)?.neg()
}

/// `log(1 - e^x)` for x below 0, through `1 - e^x = -2t / (1 - t)` with `t = tanh(x/2)`, which keeps its digits near
/// 0. From -1e-7 on it stays what it is there, so that a certain completion has finite odds.
fn log_complement(x: &Tensor) -> Result<Tensor> {
    let below = x.detach().lt(-1e-7)?;
    let x = below.where_cond(x, &(x.ones_like()? * -1e-7)?)?;
    let t = (x * 0.5)?.tanh()?;
    (&t * -2.0)?.log()? - (1.0 - t)?.log()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn the_complement_keeps_its_digits_near_zero_and_is_finite_at_zero() {
        for x in [-30f32, -2.0, -0.7, -1e-3, -1e-6] {
            let var = Var::new(&[x], &Device::Cpu).unwrap();
            let value = log_complement(&var).unwrap();
            let slope = value.sum_all().unwrap().backward().unwrap();
            let slope = slope.get(&var).unwrap().to_vec1::<f32>().unwrap()[0];
            let exact = (-f64::from(x).exp_m1()).ln();
            let exact_slope = f64::from(x).exp() / f64::from(x).exp_m1();
            let value = value.to_vec1::<f32>().unwrap()[0];
            assert!(
                (f64::from(value) - exact).abs() < 2e-6 * exact.abs().max(0.1),
                "{value} at {x}"
            );
            assert!(
                (f64::from(slope) / exact_slope - 1.0).abs() < 1e-4 || x < -20.0,
                "{slope} at {x}"
            );
        }
        let zero = Tensor::new(&[0f32], &Device::Cpu).unwrap();
        assert!(log_complement(&zero).unwrap().to_vec1::<f32>().unwrap()[0].is_finite());
    }
}
