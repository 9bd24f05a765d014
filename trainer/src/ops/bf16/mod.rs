//! Products of f32 activations with frozen weights in bf16, summed in f32.
//!
//! Weights in bf16 take half the memory of f32 and, where the CPU multiplies pairs (AVX-512 BF16) or tiles (AMX) of
//! bf16, half the time or less. Both operands are rounded to bf16 there, as PyTorch's autocast does; on other CPUs the activations
//! stay f32. The blocking is that of BLIS (Van Zee and van de Geijn 2015): operands are packed into panels that
//! stay in the caches, a tile of the result stays in registers. The inner dimension goes in pairs.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocked;
#[cfg(target_arch = "x86_64")]
pub(crate) mod few;
#[cfg(target_arch = "x86_64")]
mod few_amx;
#[cfg(target_arch = "x86_64")]
mod panels;

use half::bf16;

/// A frozen weight, row-major.
#[derive(Clone, Copy)]
pub(crate) struct Weight<'a> {
    pub data: &'a [bf16],
    pub rows: usize,
    pub columns: usize,
}

impl Weight<'_> {
    /// The inner dimension of a product with it, and how many columns the result has.
    fn inner_and_out(&self, transposed: bool) -> (usize, usize) {
        match transposed {
            true => (self.columns, self.rows),
            false => (self.rows, self.columns),
        }
    }
}

type Kernel = fn(&[f32], usize, Weight<'_>, bool) -> Vec<f32>;

/// `x wᵀ` (`transposed`) or `x w`, row-major. Each number is summed in the same order whatever the number of
/// threads and of rows. Shapes: x `(rows, inner)`.
pub(crate) fn multiply(x: &[f32], rows: usize, w: Weight<'_>, transposed: bool) -> Vec<f32> {
    multiply_by(kernel(), x, rows, w, transposed)
}

fn multiply_by(kernel: Kernel, x: &[f32], rows: usize, w: Weight<'_>, transposed: bool) -> Vec<f32> {
    let (inner, out) = w.inner_and_out(transposed);
    assert!(
        x.len() == rows * inner && w.data.len() == w.rows * w.columns,
        "whole matrices"
    );
    match inner == 0 || rows == 0 || out == 0 {
        true => vec![0.0; rows * out],
        false => kernel(x, rows, w, transposed),
    }
}

fn kernel() -> Kernel {
    #[cfg(target_arch = "x86_64")]
    {
        if amx::is_there() {
            return panels::multiply::<amx::Amx>;
        }
        if avx512::is_there() {
            return panels::multiply::<avx512::Avx512>;
        }
        if blocked::x86::is_there() {
            return blocked::multiply::<blocked::x86::Avx2>;
        }
    }
    blocked::multiply::<blocked::Plain>
}

/// A result that tasks write by parts.
#[derive(Clone, Copy)]
struct Target(*mut f32);
// SAFETY: tasks write to different parts only.
unsafe impl Send for Target {}
unsafe impl Sync for Target {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Every remainder of rows, columns, pairs and blocks, in both orientations. `rounds_x` tells whether the kernel
    /// rounds the activations as well: then they are numbers that bf16 holds exactly.
    fn check(kernel: Kernel, rounds_x: bool) {
        let mut stream = Rng::new(1).stream("bf16", 0);
        let mut numbers =
            |n: usize| -> Vec<bf16> { (0..n).map(|_| bf16::from_f64(stream.normal())).collect() };
        for (rows, inner, out) in [
            (1, 1, 1),
            (5, 7, 33),
            (13, 64, 16),
            (12, 256, 192),
            (25, 577, 391),
            (130, 1400, 97),
            (6, 3, 7),
        ] {
            for transposed in [true, false] {
                let finer = if rounds_x { 0.0 } else { 1e-3 };
                let x: Vec<f32> = numbers(rows * inner).iter().map(|x| x.to_f32() + finer).collect();
                let w = numbers(inner * out);
                let (w_rows, w_columns) = if transposed { (out, inner) } else { (inner, out) };
                let weight = Weight {
                    data: &w,
                    rows: w_rows,
                    columns: w_columns,
                };
                let y = multiply_by(kernel, &x, rows, weight, transposed);
                for (at, y) in y.iter().enumerate() {
                    let (row, column) = (at / out, at % out);
                    let exact: f64 = (0..inner)
                        .map(|k| {
                            let w = if transposed {
                                w[column * inner + k]
                            } else {
                                w[k * out + column]
                            };
                            f64::from(x[row * inner + k]) * w.to_f64()
                        })
                        .sum();
                    assert!(
                        (f64::from(*y) - exact).abs() <= 1e-5 * inner as f64,
                        "({row}, {column}): {y} {exact}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_kernel_of_this_cpu_gives_the_plain_sum() {
        check(blocked::multiply::<blocked::Plain>, false);
        #[cfg(target_arch = "x86_64")]
        {
            if blocked::x86::is_there() {
                check(blocked::multiply::<blocked::x86::Avx2>, false);
            }
            if avx512::is_there() {
                check(panels::multiply::<avx512::Avx512>, true);
            }
            if amx::is_there() {
                check(panels::multiply::<amx::Amx>, true);
            }
        }
    }

    #[test]
    fn a_row_alone_has_the_same_bits_as_among_others() {
        same_alone(70, 50);
        // More than one block of the inner dimension.
        same_alone(1500, 40);
    }

    fn same_alone(inner: usize, out: usize) {
        let mut stream = Rng::new(2).stream("bf16", 0);
        let x: Vec<f32> = (0..70 * inner).map(|_| stream.normal() as f32).collect();
        let w: Vec<bf16> = (0..out * inner)
            .map(|_| bf16::from_f64(stream.normal()))
            .collect();
        let weight = Weight {
            data: &w,
            rows: out,
            columns: inner,
        };
        let together = multiply(&x, 70, weight, true);
        for row in 0..70 {
            let alone = multiply(&x[row * inner..(row + 1) * inner], 1, weight, true);
            assert_eq!(alone, together[row * out..(row + 1) * out]);
        }
    }

    #[test]
    fn numbers_that_are_none_stay_none() {
        let w = [bf16::ONE; 2];
        let weight = Weight {
            data: &w,
            rows: 1,
            columns: 2,
        };
        assert!(multiply(&[f32::NAN, 1.0], 1, weight, true)[0].is_nan());
    }
}
