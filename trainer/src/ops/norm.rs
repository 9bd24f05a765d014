//! Root-mean-square normalisation (Zhang and Sennrich 2019): `x · w / sqrt(mean(x²) + eps)`. It takes stretches
//! as wide as the weight: whole rows, or each head of a row for itself (Qwen3, Gemma 3).

use super::{
    elementwise::{Loop, dot, vectorised},
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
            .for_each(|(y, x)| vectorised(Normalise { y, x, weight, eps }));
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
                vectorised(Differentiate {
                    dx,
                    x,
                    weight,
                    gradient,
                    eps,
                })
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

struct Normalise<'a> {
    y: &'a mut [f32],
    x: &'a [f32],
    weight: &'a [f32],
    eps: f64,
}

impl Loop for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let inverse = inverse_rms(self.x, self.eps);
        for ((y, x), w) in self.y.iter_mut().zip(self.x).zip(self.weight) {
            *y = x * inverse * w;
        }
    }
}

struct Differentiate<'a> {
    dx: &'a mut [f32],
    x: &'a [f32],
    weight: &'a [f32],
    gradient: &'a [f32],
    eps: f64,
}

impl Loop for Differentiate<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // h first, in the place of dx.
        for ((h, g), w) in self.dx.iter_mut().zip(self.gradient).zip(self.weight) {
            *h = g * w;
        }
        let inverse = inverse_rms(self.x, self.eps);
        let pull = inverse * inverse * inverse * dot(self.x, self.dx) / self.x.len() as f32;
        for (dx, x) in self.dx.iter_mut().zip(self.x) {
            *dx = inverse * *dx - x * pull;
        }
    }
}

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f64) -> f32 {
    let mean = dot(x, x) / x.len() as f32;
    (1.0 / (f64::from(mean) + eps).sqrt()) as f32
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
