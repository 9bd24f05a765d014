//! The product of few rows with a weight as stored: each step of sampling. A general product first packs the
//! weight into tiles, which for few rows costs more than the product itself; here each weight is read once.

use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Up to so many rows this product beats the packed one.
pub(crate) const MOST_ROWS: usize = 48;
/// Rows of the weight and of x whose products are summed side by side: 12 sums fit the registers of AVX2.
const OUTPUTS: usize = 3;
const ROWS: usize = 4;
/// Outputs that one thread takes at a time.
const CHUNK: usize = 96;

/// `x wᵀ`, row-major. Shapes: x `(rows, inner)`, w `(out, inner)`, result `(rows, out)`. Each number's sum has
/// the same order whatever the other rows are, so that a row's result does not depend on its batch.
pub(crate) fn multiply<N: Number>(x: &[f32], w: &[N], inner: usize) -> Vec<f32> {
    if inner == 0 || x.is_empty() || w.is_empty() {
        return Vec::new();
    }
    let (rows, out) = (x.len() / inner, w.len() / inner);
    assert!(rows * inner == x.len() && out * inner == w.len(), "whole rows");
    let arch = Arch::new();
    // First with a row for each output, so that each thread has its own part of the target.
    let mut columns = vec![0.0; out * rows];
    columns
        .par_chunks_mut(CHUNK * rows)
        .zip(w.par_chunks(CHUNK * inner))
        .for_each(|(target, w)| arch.dispatch(Strip { x, w, inner, target }));
    by_rows(&columns, rows)
}

/// [`multiply`] with a weight of `out` rows that `fill` writes out in f32, some rows from a given one on.
pub(crate) fn multiply_filled(
    x: &[f32],
    out: usize,
    inner: usize,
    fill: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    if inner == 0 || x.is_empty() || out == 0 {
        return Vec::new();
    }
    let rows = x.len() / inner;
    assert!(rows * inner == x.len(), "whole rows");
    let arch = Arch::new();
    let mut columns = vec![0.0; out * rows];
    columns.par_chunks_mut(CHUNK * rows).enumerate().for_each_init(
        Vec::new,
        |scratch: &mut Vec<f32>, (chunk, target)| {
            scratch.resize(target.len() / rows * inner, 0.0);
            fill(chunk * CHUNK, scratch);
            let w = scratch.as_slice();
            arch.dispatch(Strip { x, w, inner, target });
        },
    );
    by_rows(&columns, rows)
}

/// `(out, rows)` to `(rows, out)`.
fn by_rows(columns: &[f32], rows: usize) -> Vec<f32> {
    let out = columns.len() / rows;
    let mut y = vec![0.0; columns.len()];
    for (row, y) in y.chunks_exact_mut(out).enumerate() {
        for (y, column) in y.iter_mut().zip(columns.chunks_exact(rows)) {
            *y = column[row];
        }
    }
    y
}

/// What a weight is stored in. bf16 halves what a step of sampling reads from memory.
pub(crate) trait Number: Copy + Sync {
    /// The numbers in f32, in `scratch` where they are not so already.
    fn widen<'a>(numbers: &'a [Self], scratch: &'a mut Vec<f32>) -> &'a [f32];
}

impl Number for f32 {
    #[inline(always)]
    fn widen<'a>(numbers: &'a [f32], _: &'a mut Vec<f32>) -> &'a [f32] {
        numbers
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn widen<'a>(numbers: &'a [bf16], scratch: &'a mut Vec<f32>) -> &'a [f32] {
        scratch.clear();
        scratch.extend(
            numbers
                .iter()
                .map(|x| f32::from_bits(u32::from(x.to_bits()) << 16)),
        );
        scratch
    }
}

/// Some outputs of all rows.
struct Strip<'a, N> {
    x: &'a [f32],
    w: &'a [N],
    inner: usize,
    /// `(out, rows)`
    target: &'a mut [f32],
}

impl<N: Number> WithSimd for Strip<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.x.len() / self.inner;
        let outputs = self.w.chunks(OUTPUTS * self.inner);
        let mut scratch = Vec::new();
        for (w, target) in outputs.zip(self.target.chunks_mut(OUTPUTS * rows)) {
            let w = N::widen(w, &mut scratch);
            match w.len() / self.inner {
                3 => outputs_of::<S, 3>(simd, self.x, w, self.inner, target),
                2 => outputs_of::<S, 2>(simd, self.x, w, self.inner, target),
                _ => outputs_of::<S, 1>(simd, self.x, w, self.inner, target),
            }
        }
    }
}

#[inline(always)]
fn outputs_of<S: Simd, const O: usize>(simd: S, x: &[f32], w: &[f32], inner: usize, target: &mut [f32]) {
    let rows = x.len() / inner;
    for (at, x) in x.chunks(ROWS * inner).enumerate() {
        let target = (&mut *target, at * ROWS, rows);
        match x.len() / inner {
            4 => tile::<S, O, 4>(simd, x, w, inner, target),
            3 => tile::<S, O, 3>(simd, x, w, inner, target),
            2 => tile::<S, O, 2>(simd, x, w, inner, target),
            _ => tile::<S, O, 1>(simd, x, w, inner, target),
        }
    }
}

/// `O` outputs of `R` rows, the first of them row `first` of `rows`.
#[inline(always)]
fn tile<S: Simd, const O: usize, const R: usize>(
    simd: S,
    x: &[f32],
    w: &[f32],
    inner: usize,
    (target, first, rows): (&mut [f32], usize, usize),
) {
    let x: [_; R] = std::array::from_fn(|row| S::as_simd_f32s(&x[row * inner..(row + 1) * inner]));
    let w: [_; O] = std::array::from_fn(|out| S::as_simd_f32s(&w[out * inner..(out + 1) * inner]));
    let n = w[0].0.len();
    let x_wide: [_; R] = std::array::from_fn(|row| &x[row].0[..n]);
    let w_wide: [_; O] = std::array::from_fn(|out| &w[out].0[..n]);
    let mut sums = [[simd.splat_f32s(0.0); R]; O];
    for k in 0..n {
        let w: [_; O] = std::array::from_fn(|out| w_wide[out][k]);
        for row in 0..R {
            let x = x_wide[row][k];
            for out in 0..O {
                sums[out][row] = simd.mul_add_f32s(w[out], x, sums[out][row]);
            }
        }
    }
    for out in 0..O {
        for row in 0..R {
            let rest: f32 = w[out].1.iter().zip(x[row].1).map(|(w, x)| w * x).sum();
            target[out * rows + first + row] = simd.reduce_sum_f32s(sums[out][row]) + rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn every_remainder_of_rows_outputs_and_lengths_is_the_plain_sum() {
        let mut stream = Rng::new(1).stream("few rows", 0);
        let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| stream.normal() as f32).collect() };
        for (rows, out, inner) in [(1, 1, 1), (5, 7, 13), (6, 100, 64), (16, 98, 33), (3, 2, 8)] {
            let (x, w) = (numbers(rows * inner), numbers(out * inner));
            let y = multiply(&x, &w, inner);
            assert_eq!(y.len(), rows * out);
            for row in 0..rows {
                for column in 0..out {
                    let plain: f32 = (0..inner)
                        .map(|k| x[row * inner + k] * w[column * inner + k])
                        .sum();
                    assert!((y[row * out + column] - plain).abs() < 1e-4, "({row}, {column})");
                }
                let alone = multiply(&x[row * inner..(row + 1) * inner], &w, inner);
                assert_eq!(
                    alone,
                    y[row * out..(row + 1) * out],
                    "a row alone has the same bits"
                );
            }
            let rounded: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
            let widened: Vec<f32> = rounded.iter().map(|w| w.to_f32()).collect();
            assert_eq!(multiply(&x, &rounded, inner), multiply(&x, &widened, inner));
        }
    }
}
