//! Entropy of the next token's distribution from hidden states, some rows at a time like the log-probabilities.
//!
//! With p = softmax(z), z = h Wᵀ: `H = -Σ p log p` has the gradient `-p (log p + H)` by z; where logits are capped, each
//! counts times the cap's derivative. The gradient by h is computed along with the value. Only rounds that weigh the
//! entropy ask for it: it takes the logits a second time.

use super::{
    logprob::{CHUNK, Head, log_softmax},
    matmul::{times, times_transposed},
    soft_cap,
    tape::{Tape, Traced},
};
use candle_core::{D, DType, Result, Tensor};

/// Shapes: `(rows, hidden)` to `(rows,)` in f32.
pub fn entropy(tape: &Tape, hidden: &Traced, head: Head<'_>) -> Result<Traced> {
    let n_rows = hidden.value.dim(0)?;
    let (mut values, mut slopes) = (Vec::new(), Vec::new());
    for at in (0..n_rows).step_by(CHUNK) {
        let rows = hidden.value.narrow(0, at, CHUNK.min(n_rows - at))?.contiguous()?;
        let mut logits = times_transposed(&rows, head.weight)?.to_dtype(DType::F32)?;
        if let Some(cap) = head.cap {
            logits = soft_cap::composed(&logits, cap)?;
        }
        let logps = log_softmax(&logits)?; // (rows, vocab)
        let probabilities = logps.exp()?;
        let value = (&probabilities * &logps)?.sum_keepdim(D::Minus1)?.neg()?; // (rows, 1)
        if tape.is_recording() && hidden.needs_gradient() {
            let mut slope = (probabilities * logps.broadcast_add(&value)?)?.neg()?;
            if let Some(cap) = head.cap {
                slope = (slope * (1.0 - (logits / cap)?.sqr()?)?)?;
            }
            slopes.push(times(&slope.to_dtype(rows.dtype())?, head.weight)?);
        }
        values.push(value.squeeze(1)?);
    }
    if values.is_empty() {
        let none = Tensor::zeros(0, DType::F32, hidden.value.device())?;
        return Ok(Traced::constant(none));
    }
    let value = Tensor::cat(&values, 0)?;
    if slopes.is_empty() {
        return Ok(Traced::constant(value));
    }
    let (input, slope) = (hidden.place(), Tensor::cat(&slopes, 0)?); // (rows, hidden)
    Ok(tape.record(value, move |gradient, out| {
        let gradient = gradient.to_dtype(slope.dtype())?.unsqueeze(1)?;
        out.add_at(input, slope.broadcast_mul(&gradient)?)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{
        Matrix,
        tape::check::{finite_differences, numbers, same},
    };

    #[test]
    fn chunked_entropy_equals_the_composed_one_and_finite_differences() {
        let weight = numbers(&[23, 6], 1);
        let inputs = [numbers(&[CHUNK + 3, 6], 2)];
        for cap in [None, Some(2.5)] {
            let matrix = Matrix::from(weight.clone());
            let fused = move |tape: &Tape, x: &[Traced]| {
                let head = Head { weight: &matrix, cap };
                entropy(tape, &x[0], head)
            };
            finite_differences(&inputs, &fused);
            let weight = weight.clone();
            same(&inputs, &fused, &move |tape, x| {
                let weight = weight.clone();
                tape.composed(&[&x[0]], move |t| {
                    let mut logits = t[0].matmul(&weight.t()?)?;
                    if let Some(cap) = cap {
                        logits = soft_cap::composed(&logits, cap)?;
                    }
                    let logps = log_softmax(&logits)?;
                    (logps.exp()? * logps)?.sum(D::Minus1)?.neg()
                })
            });
        }
    }

    #[test]
    fn the_entropy_of_equal_logits_is_the_logarithm_of_their_number() {
        let weight = Matrix::from(Tensor::zeros((7, 3), DType::F32, &candle_core::Device::Cpu).unwrap());
        let hidden = Traced::constant(numbers(&[2, 3], 1));
        let head = Head {
            weight: &weight,
            cap: None,
        };
        let value = entropy(&Tape::off(), &hidden, head).unwrap().value;
        for entropy in value.to_vec1::<f32>().unwrap() {
            assert!((entropy - 7f32.ln()).abs() < 1e-6);
        }
    }
}
