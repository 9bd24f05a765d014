//! Dropout of an adapter's input (Srivastava et al. 2014), as torch's `nn.Dropout` computes it: x · m / (1 − p).
//!
//! A [`Tape`](super::Tape) for training carries the [`Dropout`] of its pass; each layer draws its own [`Mask`] from it.
//! Nothing of a mask is kept: the backward pass draws the same numbers again, and so does a resumed round.

use super::{fuses, with_slices};
use crate::rng::Rng;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Where a training pass stands among those of a round.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    pub rng: Rng,
    /// Steps done before.
    pub step: u64,
    /// Passes of the step done before.
    pub pass: u64,
}

/// Which inputs of one layer are kept in one pass.
#[derive(Clone, Debug)]
pub struct Mask {
    rng: Rng,
    stream: String,
    rate: f64,
}

impl Dropout {
    /// The mask of the layer at `path`; `rate` is the share of its inputs to drop, none at 0.
    pub fn mask(&self, path: &str, rate: f64) -> Option<Mask> {
        let stream = || format!("dropout {path} step {} pass {}", self.step, self.pass);
        (rate > 0.0).then(|| Mask {
            rng: self.rng,
            stream: stream(),
            rate,
        })
    }
}

impl Mask {
    /// `x · m / (1 − p)`. Also turns a gradient of the result into that of x. Shape: `(rows, width)`.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let mut factors = vec![0f32; rows * width];
        if width > 0 {
            let by_row = factors.par_chunks_mut(width).enumerate();
            by_row.for_each(|(row, factors)| self.fill(row as u64, factors));
        }
        if !fuses(&[x]) {
            let factors = Tensor::from_vec(factors, (rows, width), x.device())?;
            return x * factors.to_dtype(x.dtype())?;
        }
        with_slices([&x.contiguous()?], |[x]| {
            factors.iter_mut().zip(x).for_each(|(factor, x)| *factor *= x);
            Ok(())
        })?;
        Tensor::from_vec(factors, (rows, width), x.device())
    }

    /// Every row has its own stream, so that threads need not wait for one another; a draw is half a number of it.
    fn fill(&self, row: u64, factors: &mut [f32]) {
        let mut stream = self.rng.stream(&self.stream, row);
        let dropped_below = (self.rate * (1u64 << 32) as f64).round() as u64;
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        for pair in factors.chunks_mut(2) {
            let draws = stream.next_u64();
            for (factor, draw) in pair.iter_mut().zip([draws & 0xffff_ffff, draws >> 32]) {
                *factor = if draw < dropped_below { 0.0 } else { kept };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn dropout(step: u64, pass: u64) -> Dropout {
        let rng = Rng::new(3);
        Dropout { rng, step, pass }
    }

    fn masked(dropout: Dropout, path: &str, dtype: DType) -> Vec<f32> {
        let ones = Tensor::ones((64, 33), dtype, &Device::Cpu).unwrap();
        let masked = dropout.mask(path, 0.2).unwrap().apply(&ones).unwrap();
        let masked = masked.to_dtype(DType::F32).unwrap();
        masked.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_fifth_is_dropped_and_the_rest_makes_up_for_it() {
        let numbers = masked(dropout(1, 0), "q", DType::F32);
        assert!(numbers.iter().all(|&x| x == 0.0 || x == 1.25));
        let mean = numbers.iter().sum::<f32>() / numbers.len() as f32;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        assert!(dropout(1, 0).mask("q", 0.0).is_none());
    }

    #[test]
    fn masks_repeat_and_differ_by_step_pass_layer_and_row() {
        let first = masked(dropout(1, 0), "q", DType::F32);
        assert_eq!(first, masked(dropout(1, 0), "q", DType::F32));
        assert_eq!(first, masked(dropout(1, 0), "q", DType::F64));
        assert_ne!(first, masked(dropout(2, 0), "q", DType::F32));
        assert_ne!(first, masked(dropout(1, 1), "q", DType::F32));
        assert_ne!(first, masked(dropout(1, 0), "k", DType::F32));
        assert_ne!(first[..33], first[33..66]);
    }
}
