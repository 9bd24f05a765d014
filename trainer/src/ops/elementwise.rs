//! Work number by number on the CPU: sums of tensors, and plain loops compiled for the widest vector instructions
//! that this machine has (the crate itself is compiled for every x86-64).
//!
//! candle's own element-wise operations would do, but its threads and rayon's then wait for each other on the same
//! cores.

use super::{fuses, with_slices};
use candle_core::{Result, Tensor};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

/// Numbers that one thread takes at a time.
pub(super) const CHUNK: usize = 8192;
/// Partial sums that lie side by side, so that a sum in a fixed order is vector instructions too.
pub(crate) const LANES: usize = 16;

/// A loop that [`vectorised`] compiles for each kind of machine. A closure would not do: it is compiled for itself,
/// and so for every machine. `run` is marked `#[inline(always)]` for the same reason.
pub(crate) trait Loop {
    type Output;

    fn run(self) -> Self::Output;
}

/// Runs a loop with the widest vector instructions of this machine. Nothing but the speed depends on them.
#[inline(always)]
pub(crate) fn vectorised<L: Loop>(it: L) -> L::Output {
    Arch::new().dispatch(Whole(it))
}

struct Whole<L>(L);

impl<L: Loop> NullaryFnOnce for Whole<L> {
    type Output = L::Output;

    #[inline(always)]
    fn call(self) -> L::Output {
        self.0.run()
    }
}

/// The largest number; minus infinity of none. NaN is passed over.
#[inline(always)]
pub(crate) fn highest(numbers: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (wide, rest) = numbers.as_chunks::<LANES>();
    for chunk in wide {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    rest.iter().chain(&lanes).fold(
        f32::NEG_INFINITY,
        |highest, &x| if x > highest { x } else { highest },
    )
}

/// The sum, in a fixed order.
#[inline(always)]
pub(crate) fn sum(numbers: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (wide, rest) = numbers.as_chunks::<LANES>();
    for chunk in wide {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    rest.iter().chain(&lanes).sum()
}

/// The sum of products, in a fixed order.
#[inline(always)]
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
    for (left, right) in left.iter().zip(right) {
        for ((lane, x), y) in lanes.iter_mut().zip(left).zip(right) {
            *lane += x * y;
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(x, y)| x * y).sum();
    rest + lanes.iter().sum::<f32>()
}

/// `x + y` of the same shape; records nothing.
pub(crate) fn sum_of(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if !fuses(&[x, y]) || x.dims() != y.dims() {
        return x + y;
    }
    let (x, y) = (x.contiguous()?, y.contiguous()?);
    let sums = with_slices([&x, &y], |[x, y]| {
        let mut sums = vec![0.0; x.len()];
        sums.par_chunks_mut(CHUNK)
            .zip(x.par_chunks(CHUNK).zip(y.par_chunks(CHUNK)))
            .for_each(|(sums, (x, y))| vectorised(Add { sums, x, y }));
        Ok(sums)
    })?;
    Tensor::from_vec(sums, x.shape(), x.device())
}

struct Add<'a> {
    sums: &'a mut [f32],
    x: &'a [f32],
    y: &'a [f32],
}

impl Loop for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for ((sum, x), y) in self.sums.iter_mut().zip(self.x).zip(self.y) {
            *sum = x + y;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tape::check::{distance, numbers};

    #[test]
    fn sums_and_extremes_of_every_length_are_the_plain_ones() {
        for n in [0, 1, 15, 16, 17, 100] {
            let (x, y) = (numbers(&[n], 1), numbers(&[n], 2));
            let (x, y) = (x.to_vec1::<f32>().unwrap(), y.to_vec1::<f32>().unwrap());
            let plain = |numbers: &mut dyn Iterator<Item = f64>| numbers.sum::<f64>();
            let total = plain(&mut x.iter().map(|&x| f64::from(x)));
            assert!((f64::from(sum(&x)) - total).abs() < 1e-5);
            let product = plain(&mut x.iter().zip(&y).map(|(&x, &y)| f64::from(x) * f64::from(y)));
            assert!((f64::from(dot(&x, &y)) - product).abs() < 1e-5);
            assert_eq!(highest(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }

    #[test]
    fn fused_sum_is_candles() {
        let (x, y) = (numbers(&[3, 4000], 1), numbers(&[3, 4000], 2));
        assert_eq!(distance(&sum_of(&x, &y).unwrap(), &(&x + &y).unwrap()), 0.0);
        assert!(sum_of(&x, &numbers(&[2, 4000], 2)).is_err());
    }
}
