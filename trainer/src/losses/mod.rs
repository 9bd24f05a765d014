//! Losses: pure functions, tensors in, scalar tensor out, each with its equation and paper. They run on
//! candle's own graph: their inputs are a handful of numbers for each sequence.

use candle_core::{Result, Tensor};

/// Mean negative log-likelihood of the trained tokens: `-(1/n) Σ log p(token)`. Shape: `(tokens,)`.
pub fn cross_entropy(logps: &Tensor) -> Result<Tensor> {
    logps.mean_all()?.neg()
}

/// Bradley-Terry loss, the mean of `-log sigmoid(r_w - r_l)`. Shapes: both `(pairs,)`.
/// Christiano et al. 2017, section 2.2.3; Stiennon et al. 2020, section 3.4.
pub fn bradley_terry(chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
    log_sigmoid(&(chosen - rejected)?)?.mean_all()?.neg()
}

/// Summed log-probabilities of the completions of a batch, all `(pairs,)`.
pub struct PairLogps<'a> {
    pub chosen: &'a Tensor,
    pub rejected: &'a Tensor,
    pub ref_chosen: &'a Tensor,
    pub ref_rejected: &'a Tensor,
}

/// DPO with the sigmoid loss: the mean of
/// `-log sigmoid(β ((log π(y_w) - log π_ref(y_w)) - (log π(y_l) - log π_ref(y_l))))`.
/// Rafailov et al. 2023, equation 7.
pub fn dpo_sigmoid(logps: &PairLogps<'_>, beta: f64) -> Result<Tensor> {
    let chosen = (logps.chosen - logps.ref_chosen)?;
    let rejected = (logps.rejected - logps.ref_rejected)?;
    let margin = ((chosen - rejected)? * beta)?;
    log_sigmoid(&margin)?.mean_all()?.neg()
}

/// `log sigmoid(x) = min(x, 0) - log(1 + e^-|x|)`: no overflow on either side. Any shape.
pub fn log_sigmoid(x: &Tensor) -> Result<Tensor> {
    // By a constant mask instead of relu and abs, whose slopes at 0 in candle do not add up to 1/2.
    let below = x.detach().lt(0.0)?.to_dtype(x.dtype())?;
    let size = (x * (1.0 - (&below * 2.0)?)?)?;
    (x * below)? - (size.neg()?.exp()? + 1.0)?.log()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn scalar(tensor: &Tensor) -> f32 {
        tensor.to_scalar().unwrap()
    }

    #[test]
    fn log_sigmoid_and_its_slope_are_right_far_from_zero_and_at_zero() {
        for x in [-200f32, -3.0, -1e-3, 0.0, 1e-3, 3.0, 200.0] {
            let var = Var::new(&[x], &Device::Cpu).unwrap();
            let value = log_sigmoid(&var).unwrap().sum_all().unwrap();
            let gradients = value.backward().unwrap();
            let slope = gradients.get(&var).unwrap().to_vec1::<f32>().unwrap()[0];
            let exact = -(1.0 + (-f64::from(x)).exp()).ln();
            let exact_slope = 1.0 / (1.0 + f64::from(x).exp());
            if x > -100.0 {
                assert!((f64::from(scalar(&value)) - exact).abs() < 1e-6, "at {x}");
            } else {
                assert_eq!(scalar(&value), x);
            }
            assert!(
                (f64::from(slope) - exact_slope).abs() < 1e-6,
                "slope at {x}: {slope}"
            );
        }
    }

    #[test]
    fn losses_agree_with_pytorch_on_worked_numbers() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        // -F.logsigmoid(torch.tensor([1.5, -0.25])).mean()
        let loss = bradley_terry(&tensor(&[2.0, 0.25]), &tensor(&[0.5, 0.5])).unwrap();
        assert!((scalar(&loss) - 0.513_676_35).abs() < 1e-6, "{}", scalar(&loss));
        let logps = PairLogps {
            chosen: &tensor(&[-10.0, -20.0]),
            rejected: &tensor(&[-12.0, -15.0]),
            ref_chosen: &tensor(&[-11.0, -20.0]),
            ref_rejected: &tensor(&[-11.0, -16.0]),
        };
        // Margins 0.1 · [2, -1].
        let loss = scalar(&dpo_sigmoid(&logps, 0.1).unwrap());
        let exact = ((1.0 + (-0.2f64).exp()).ln() + (1.0 + 0.1f64.exp()).ln()) / 2.0;
        assert!((f64::from(loss) - exact).abs() < 1e-6);
        assert!((scalar(&cross_entropy(&tensor(&[-1.0, -3.0])).unwrap()) - 2.0).abs() < 1e-7);
    }
}
