//! Soft-capping (Gemma 2): `cap · tanh(x / cap)` keeps attention scores and logits within ±cap. A step of
//! attention and of the log-probabilities; the value alone serves generation.

use super::{exp::tanh, fuses, with_slices};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// The capped tensor; records nothing.
pub fn soft_cap_value(x: &Tensor, cap: f64) -> Result<Tensor> {
    if !fuses(&[x]) {
        return composed(x, cap);
    }
    let x = x.contiguous()?;
    let width = x.dim(candle_core::D::Minus1)?.max(1);
    let mut capped = with_slices([&x], |[x]| Ok(x.to_vec()))?;
    capped
        .par_chunks_mut(width)
        .for_each(|row| cap_here(row, 1.0, cap as f32, None));
    Tensor::from_vec(capped, x.shape(), x.device())
}

/// The form in candle's operations, differentiable by candle.
pub(super) fn composed(x: &Tensor, cap: f64) -> Result<Tensor> {
    (x / cap)?.tanh()? * cap
}

/// Caps `factor · x` in place. `bends` gets the derivatives of the cap, `1 - tanh²`, in the order of the numbers.
pub(super) fn cap_here(numbers: &mut [f32], factor: f32, cap: f32, bends: Option<&mut Vec<f32>>) {
    let inner = factor / cap;
    numbers.iter_mut().for_each(|x| *x = tanh(*x * inner));
    if let Some(bends) = bends {
        bends.clear();
        bends.extend(numbers.iter().map(|t| 1.0 - t * t));
    }
    numbers.iter_mut().for_each(|t| *t *= cap);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tape::check::{distance, numbers};

    #[test]
    fn fused_cap_equals_the_composed_one_and_its_bends_are_its_slopes() {
        let x = (numbers(&[7, 9], 1) * 20.0).unwrap();
        let capped = soft_cap_value(&x, 12.0).unwrap();
        assert!(distance(&capped, &composed(&x, 12.0).unwrap()) < 1e-6);
        let (mut high, mut low, mut bends) = ([3.01_f32, -20.0], [2.99_f32, -20.0], Vec::new());
        cap_here(&mut high, 0.5, 12.0, Some(&mut bends));
        cap_here(&mut low, 0.5, 12.0, None);
        let slope = (high[0] - low[0]) / 0.01;
        assert!((slope - bends[0]).abs() < 1e-3, "{slope} against {}", bends[0]);
    }
}
