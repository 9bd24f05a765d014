//! Root-mean-square normalisation (Zhang and Sennrich 2019): `x · w / sqrt(mean(x²) + eps)`. It takes stretches
//! as wide as the weight: whole rows, or each head of a row for itself (Qwen3, Gemma 3).

use super::{
    fuses,
    tape::{Tape, Traced},
    with_slices,
};
use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

/// Shapes: `(rows, n · width)`, `(width,)`.
pub fn rms_norm(tape: &Tape, x: &Traced, weight: &Tensor, eps: f64) -> Result<Traced> {
    if !fuses(&[&x.value, weight]) {
        let weight = weight.clone();
        return tape.composed(&[x], move |t| composed(&t[0], &weight, eps));
    }
    let value = rms_norm_value(&x.value, weight, eps)?;
    let (input, weight) = (x.clone(), weight.clone());
    Ok(tape.record_from(value, &[x], move |gradient, out| {
        out.add(&input, backward(&input.value, &weight, &gradient, eps)?)
    }))
}

/// The value alone, for passes that need no gradient.
pub fn rms_norm_value(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if !fuses(&[x, weight]) {
        return composed(x, weight, eps);
    }
    let x = x.contiguous()?;
    let width = width_of(&x, weight)?;
    let y = with_slices([&x, weight], |[x, weight]| {
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(width)
            .zip(x.par_chunks(width))
            .for_each(|(y, x)| {
                let inverse = inverse_rms(x, eps);
                for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                    *y = x * inverse * w;
                }
            });
        Ok(y)
    })?;
    Tensor::from_vec(y, x.shape(), x.device())
}

/// With r = 1 / rms and h = w · gradient: `dx = r h - x r³ mean(x · h)`.
fn backward(x: &Tensor, weight: &Tensor, gradient: &Tensor, eps: f64) -> Result<Tensor> {
    let (x, gradient) = (x.contiguous()?, gradient.contiguous()?);
    let width = width_of(&x, weight)?;
    let dx = with_slices([&x, weight, &gradient], |[x, weight, gradient]| {
        let mut dx = vec![0.0; x.len()];
        dx.par_chunks_mut(width)
            .zip(x.par_chunks(width))
            .zip(gradient.par_chunks(width))
            .for_each(|((dx, x), gradient)| {
                let inverse = inverse_rms(x, eps);
                let dot = sum(x.iter().zip(gradient).zip(weight).map(|((x, g), w)| x * g * w));
                let pull = inverse * inverse * inverse * dot / width as f32;
                for (((dx, x), g), w) in dx.iter_mut().zip(x).zip(gradient).zip(weight) {
                    *dx = inverse * g * w - x * pull;
                }
            });
        Ok(dx)
    })?;
    Tensor::from_vec(dx, x.shape(), x.device())
}

fn width_of(x: &Tensor, weight: &Tensor) -> Result<usize> {
    let (row, width) = (x.dim(1)?, weight.dim(0)?);
    if width == 0 || !row.is_multiple_of(width) {
        candle_core::bail!("a norm of {width} numbers does not fit rows of {row}");
    }
    Ok(width)
}

fn inverse_rms(x: &[f32], eps: f64) -> f32 {
    let mean = sum(x.iter().map(|x| x * x)) / x.len() as f32;
    (1.0 / (f64::from(mean) + eps).sqrt()) as f32
}

/// A sum in a fixed order over eight lanes, which the compiler turns into vector instructions.
fn sum(values: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0f32; 8];
    for (at, value) in values.enumerate() {
        lanes[at % 8] += value;
    }
    lanes.iter().sum()
}

fn composed(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let stretches = x.reshape(((), width_of(x, weight)?))?; // (rows · n, width)
    let wide = match x.dtype() {
        DType::F64 => stretches,
        _ => stretches.to_dtype(DType::F32)?,
    };
    let rms = (wide.sqr()?.mean_keepdim(1)? + eps)?.sqrt()?;
    wide.broadcast_div(&rms)?
        .to_dtype(x.dtype())?
        .broadcast_mul(weight)?
        .reshape(x.shape())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tape::check::{finite_differences, numbers, same};

    #[test]
    fn fused_norm_equals_composed_norm_and_finite_differences() {
        // Whole rows, and three heads a row.
        for width in [12, 4] {
            let weight = numbers(&[width], 1);
            let fused = {
                let weight = weight.clone();
                move |tape: &Tape, x: &[Traced]| rms_norm(tape, &x[0], &weight, 1e-5)
            };
            let inputs = [numbers(&[3, 12], 2)];
            finite_differences(&inputs, &fused);
            same(&inputs, &fused, &move |tape, x| {
                let weight = weight.clone();
                tape.composed(&[&x[0]], move |t| composed(&t[0], &weight, 1e-5))
            });
        }
    }

    #[test]
    fn a_norm_that_fits_no_whole_number_of_times_is_refused() {
        assert!(rms_norm_value(&numbers(&[2, 10], 1), &numbers(&[4], 2), 1e-5).is_err());
    }
}
