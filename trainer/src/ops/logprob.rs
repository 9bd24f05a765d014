//! Log-probabilities of given tokens from hidden states, some rows at a time: the (rows × vocabulary) logits
//! never exist whole, and neither does their gradient.
//!
//! With p = softmax(h Wᵀ): `log p[y]` has the gradient `W[y] - p W` by h; where logits are capped, each of them
//! counts times the cap's derivative. Where a gradient is wanted it is computed along with the value, while the
//! chunk's probabilities are at hand; the backward pass only scales it.

use super::{
    elementwise::{Loop, highest, sum, vectorised},
    exp::exp,
    fuses_with_weight,
    matmul::{multiply_weight, times},
    matrix::Matrix,
    soft_cap::{self, cap_here},
    tape::{Tape, Traced},
};
use candle_core::{D, DType, Result, Tensor};
use rayon::prelude::*;

/// Rows whose logits exist at once.
pub const CHUNK: usize = 128;
/// Numbers that are summed in f32 before they count in f64.
const STRETCH: usize = 512;

/// The layer from hidden states to logits.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// `(vocab, hidden)`
    pub weight: &'a Matrix,
    /// Logits become `cap · tanh(logit / cap)`.
    pub cap: Option<f64>,
}

/// Shapes: `(rows, hidden)`, one token for each row, to `(rows,)` in f32.
pub fn token_logprobs(tape: &Tape, hidden: &Traced, head: Head<'_>, tokens: &[u32]) -> Result<Traced> {
    let wants_gradient = tape.is_recording() && hidden.needs_gradient();
    let fused = fuses_with_weight(&hidden.value, head.weight);
    let (mut values, mut slopes) = (Vec::new(), Vec::new());
    for (at, tokens) in tokens.chunks(CHUNK).enumerate() {
        let rows = hidden.value.narrow(0, at * CHUNK, tokens.len())?.contiguous()?;
        let (value, slope) = if fused {
            fused_chunk(&rows, head, tokens, wants_gradient)?
        } else {
            composed_chunk(&rows, head, tokens, wants_gradient)?
        };
        values.push(value);
        slopes.extend(slope);
    }
    if values.is_empty() {
        return Ok(Traced::constant(Tensor::zeros(
            0,
            DType::F32,
            hidden.value.device(),
        )?));
    }
    let value = Tensor::cat(&values, 0)?;
    if !wants_gradient {
        return Ok(Traced::constant(value));
    }
    let (input, slope) = (hidden.place(), Tensor::cat(&slopes, 0)?); // (rows, hidden)
    Ok(tape.record(value, move |gradient, out| {
        let gradient = gradient.to_dtype(slope.dtype())?.unsqueeze(1)?;
        out.add_at(input, slope.broadcast_mul(&gradient)?)
    }))
}

fn fused_chunk(
    rows: &Tensor,
    head: Head<'_>,
    tokens: &[u32],
    wants_gradient: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let (n_rows, vocab) = (rows.dim(0)?, head.weight.dim(0)?);
    if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocab) {
        candle_core::bail!("token {token} is outside the vocabulary of {vocab}");
    }
    let mut logits = multiply_weight(rows, head.weight, true)?; // (rows, vocab)
    let values: Vec<f32> = logits
        .par_chunks_mut(vocab)
        .zip(tokens)
        .map_init(Vec::new, |bends, (row, &token)| {
            let Some(cap) = head.cap else {
                return value_and_slope(row, token as usize, wants_gradient);
            };
            cap_here(row, 1.0, cap as f32, wants_gradient.then_some(&mut *bends));
            let value = value_and_slope(row, token as usize, wants_gradient);
            if wants_gradient {
                row.iter_mut()
                    .zip(bends)
                    .for_each(|(slope, bend)| *slope *= *bend);
            }
            value
        })
        .collect();
    let slopes = match wants_gradient {
        false => None,
        true => {
            let slopes = Tensor::from_vec(logits, (n_rows, vocab), rows.device())?;
            Some(times(&slopes, head.weight)?) // (rows, hidden)
        }
    };
    Ok((Tensor::from_vec(values, n_rows, rows.device())?, slopes))
}

/// The log-probability of `token`; leaves its gradient by the logits (one-hot minus softmax) in `row`.
fn value_and_slope(row: &mut [f32], token: usize, wants_gradient: bool) -> f32 {
    let (logit, total) = vectorised(Exponentials { row, token });
    if wants_gradient {
        vectorised(Multiply {
            numbers: row,
            factor: -(1.0 / total) as f32,
        });
        row[token] += 1.0;
    }
    (f64::from(logit) - total.ln()) as f32
}

/// e to the numbers less the highest of them, in their place; returns number `token` less the highest, and the sum.
struct Exponentials<'a> {
    row: &'a mut [f32],
    token: usize,
}

impl Loop for Exponentials<'_> {
    type Output = (f32, f64);

    #[inline(always)]
    fn run(self) -> (f32, f64) {
        let highest = highest(self.row);
        let logit = self.row[self.token] - highest;
        let mut total = 0.0;
        for stretch in self.row.chunks_mut(STRETCH) {
            for x in stretch.iter_mut() {
                *x = exp(*x - highest);
            }
            total += f64::from(sum(stretch));
        }
        (logit, total)
    }
}

struct Multiply<'a> {
    numbers: &'a mut [f32],
    factor: f32,
}

impl Loop for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for x in self.numbers {
            *x *= self.factor;
        }
    }
}

fn composed_chunk(
    rows: &Tensor,
    head: Head<'_>,
    tokens: &[u32],
    wants_gradient: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let index = Tensor::new(tokens, rows.device())?.unsqueeze(1)?; // (rows, 1)
    let weight = head.weight.to_dtype(rows.dtype())?;
    let mut logits = rows.matmul(&weight.t()?)?.to_dtype(DType::F32)?;
    if let Some(cap) = head.cap {
        logits = soft_cap::composed(&logits, cap)?;
    }
    let logps = log_softmax(&logits)?;
    let value = logps.gather(&index, 1)?.squeeze(1)?;
    if !wants_gradient {
        return Ok((value, None));
    }
    let (mut weights, mut picked) = (logps.exp()?, weight.index_select(&index.squeeze(1)?, 0)?);
    if let Some(cap) = head.cap {
        let bends = (1.0 - (logits / cap)?.sqr()?)?; // (rows, vocab)
        weights = (weights * &bends)?;
        picked = picked.broadcast_mul(&bends.gather(&index, 1)?.to_dtype(picked.dtype())?)?;
    }
    let slope = (picked - weights.to_dtype(weight.dtype())?.matmul(&weight)?)?;
    Ok((value, Some(slope)))
}

/// Differentiable, along the last dimension, without overflow.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    let total = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    shifted.broadcast_sub(&total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tape::check::{distance, finite_differences, numbers, same};

    #[test]
    fn chunked_logprobs_equal_the_composed_ones_and_finite_differences() {
        let (n_rows, vocab) = (CHUNK + 3, 23);
        let whole = numbers(&[vocab, 6], 1);
        let weight = Matrix::from(whole.clone());
        let tokens: Vec<u32> = (0..n_rows as u32).map(|i| i * 7 % vocab as u32).collect();
        let inputs = [numbers(&[n_rows, 6], 2)];
        for cap in [None, Some(2.5)] {
            let fused = {
                let (weight, tokens) = (weight.clone(), tokens.clone());
                move |tape: &Tape, x: &[Traced]| {
                    let head = Head { weight: &weight, cap };
                    token_logprobs(tape, &x[0], head, &tokens)
                }
            };
            finite_differences(&inputs, &fused);
            let head = Head { weight: &weight, cap };
            let (value, slope) = composed_chunk(&inputs[0], head, &tokens, true).unwrap();
            let (fused_value, fused_slope) = fused_chunk(&inputs[0], head, &tokens, true).unwrap();
            assert!(distance(&fused_value, &value) < 1e-6);
            assert!(distance(&fused_slope.unwrap(), &slope.unwrap()) < 1e-5);
            let (weight, tokens) = (whole.clone(), tokens.clone());
            same(&inputs, &fused, &move |tape, x| {
                let (weight, tokens) = (weight.clone(), Tensor::new(tokens.as_slice(), weight.device())?);
                tape.composed(&[&x[0]], move |t| {
                    let mut logits = t[0].matmul(&weight.t()?)?;
                    if let Some(cap) = cap {
                        logits = soft_cap::composed(&logits, cap)?;
                    }
                    log_softmax(&logits)?.gather(&tokens.unsqueeze(1)?, 1)?.squeeze(1)
                })
            });
        }
    }
}
