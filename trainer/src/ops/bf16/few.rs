//! Few rows of activations with a weight as it is stored: a step of sampling. Nothing of the weight is packed; both are
//! rounded to bf16, as `panels.rs` does for many rows. On tiles where there is AMX, see `few_amx.rs`; here with `vdpbf16ps`, which
//! reads each weight once for eight rows.

use super::{
    few_amx::Turned,
    panels::{self, LANES},
};
use half::bf16;
use std::arch::x86_64::*;

/// Rows that share what is read of the weight.
const ROWS: usize = 8;
/// Numbers in a register.
const WIDE: usize = 2 * LANES;

/// Activations, rounded to bf16 and laid out for the CPU.
pub enum Rounded {
    Tiles(Turned),
    Pairs(Rows),
}

impl Rounded {
    /// `None` where the CPU does not multiply bf16. Shape: x `(rows, inner)`.
    pub fn new(x: &[f32], inner: usize) -> Option<Self> {
        let tiles = Turned::new(x, inner).map(Self::Tiles);
        tiles.or_else(|| Rows::round(x, inner).map(Self::Pairs))
    }

    /// Tells the product of each row with each row of `w`, a part of a weight, by their numbers. Each is summed in the same
    /// order whatever the other rows are.
    pub fn times(&self, w: &[bf16], tell: &mut impl FnMut(usize, usize, f32)) {
        match self {
            Self::Tiles(x) => x.times(w, tell),
            Self::Pairs(x) => x.times(w, tell),
        }
    }
}

/// Rows of activations in pairs; each is filled up with zeros to whole registers.
pub struct Rows {
    pairs: Vec<u32>,
    /// Pairs of a row.
    stride: usize,
    n: usize,
    inner: usize,
}

impl Rows {
    fn round(x: &[f32], inner: usize) -> Option<Self> {
        if !panels::is_there() || inner == 0 {
            return None;
        }
        let (n, stride) = (x.len() / inner, inner.next_multiple_of(WIDE) / 2);
        Some(Self {
            // SAFETY: the CPU has the instructions.
            pairs: unsafe { panels::rounded(x, inner, stride, n) },
            stride,
            n,
            inner,
        })
    }

    fn times(&self, w: &[bf16], tell: &mut impl FnMut(usize, usize, f32)) {
        assert!(w.len().is_multiple_of(self.inner), "whole rows");
        for first in (0..self.n).step_by(ROWS) {
            // SAFETY: the CPU has the instructions: it has rounded the rows.
            unsafe {
                match (self.n - first).min(ROWS) {
                    1 => self.rows::<1, 8>(first, w, tell),
                    2 => self.rows::<2, 8>(first, w, tell),
                    3 => self.rows::<3, 6>(first, w, tell),
                    4 => self.rows::<4, 6>(first, w, tell),
                    5 => self.rows::<5, 4>(first, w, tell),
                    6 => self.rows::<6, 4>(first, w, tell),
                    7 => self.rows::<7, 3>(first, w, tell),
                    _ => self.rows::<ROWS, 3>(first, w, tell),
                }
            }
        }
    }

    /// `R` rows, `O` outputs at a time: their sums fit the 32 registers.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn rows<const R: usize, const O: usize>(
        &self,
        first: usize,
        w: &[bf16],
        tell: &mut impl FnMut(usize, usize, f32),
    ) {
        let whole = O * self.inner;
        for (at, outputs) in w.chunks(whole).enumerate() {
            if outputs.len() == whole {
                self.tile::<R, O>((first, at * O), outputs, tell);
                continue;
            }
            for (out, w) in outputs.chunks_exact(self.inner).enumerate() {
                self.tile::<R, 1>((first, at * O + out), w, tell);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn tile<const R: usize, const O: usize>(
        &self,
        (row, output): (usize, usize),
        w: &[bf16],
        tell: &mut impl FnMut(usize, usize, f32),
    ) {
        let Self { stride, inner, .. } = *self;
        assert!(
            w.len() == O * inner && self.pairs.len() >= (row + R) * stride,
            "whole rows"
        );
        let mut sums = [[_mm512_setzero_ps(); R]; O];
        // SAFETY: checked above; the last numbers of a row of `w` are read under a mask.
        unsafe {
            let (mut x, mut w) = (self.pairs.as_ptr().add(row * stride), w.as_ptr());
            for _ in 0..inner / WIDE {
                let mut wide = [_mm512_setzero_si512(); O];
                for (out, wide) in wide.iter_mut().enumerate() {
                    *wide = _mm512_loadu_si512(w.add(out * inner).cast());
                }
                add_products(&mut sums, wide, x, stride);
                (x, w) = (x.add(LANES), w.add(WIDE));
            }
            if !inner.is_multiple_of(WIDE) {
                let mask = (1 << (inner % WIDE)) - 1;
                let mut wide = [_mm512_setzero_si512(); O];
                for (out, wide) in wide.iter_mut().enumerate() {
                    *wide = _mm512_maskz_loadu_epi16(mask, w.add(out * inner).cast());
                }
                add_products(&mut sums, wide, x, stride);
            }
        }
        for (out, sums) in sums.into_iter().enumerate() {
            for (at, sum) in sums.into_iter().enumerate() {
                tell(row + at, output + out, _mm512_reduce_add_ps(sum));
            }
        }
    }
}

/// Adds the products of a register of each output with one of each row.
///
/// # Safety
/// A register can be read from each row of `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn add_products<const R: usize, const O: usize>(
    sums: &mut [[__m512; R]; O],
    w: [__m512i; O],
    x: *const u32,
    stride: usize,
) {
    for row in 0..R {
        // SAFETY: the caller's.
        let x = in_pairs(unsafe { _mm512_loadu_si512(x.add(row * stride).cast()) });
        for (sums, w) in sums.iter_mut().zip(w) {
            sums[row] = _mm512_dpbf16_ps(sums[row], x, in_pairs(w));
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn in_pairs(register: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes, any of which are numbers.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(register) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn products(x: &Rounded, w: &[bf16], rows: usize, out: usize) -> Vec<f32> {
        let mut products = vec![f32::NAN; rows * out];
        x.times(w, &mut |row, output, product| {
            products[row * out + output] = product
        });
        products
    }

    /// Each way that this CPU has, with every remainder.
    fn check(round: fn(&[f32], usize) -> Option<Rounded>) {
        let mut stream = Rng::new(4).stream("bf16", 0);
        let mut numbers =
            |n: usize| -> Vec<bf16> { (0..n).map(|_| bf16::from_f64(stream.normal())).collect() };
        for (rows, out, inner) in [
            (1, 1, 1),
            (3, 17, 64),
            (8, 10, 33),
            (13, 7, 577),
            (21, 25, 31),
            (17, 70, 576),
            (16, 32, 32),
        ] {
            let (x, w) = (numbers(rows * inner), numbers(out * inner));
            let x: Vec<f32> = x.into_iter().map(bf16::to_f32).collect();
            let Some(all) = round(&x, inner) else {
                continue;
            };
            let together = products(&all, &w, rows, out);
            for row in 0..rows {
                let x = &x[row * inner..(row + 1) * inner];
                let alone = products(&round(x, inner).unwrap(), &w, 1, out);
                assert_eq!(alone, together[row * out..(row + 1) * out], "row {row} of {rows}");
                for (w, product) in w.chunks(inner).zip(alone) {
                    let exact: f64 = w.iter().zip(x).map(|(w, x)| w.to_f64() * f64::from(*x)).sum();
                    let error = (f64::from(product) - exact).abs();
                    assert!(error <= 1e-5 * inner as f64, "{product} {exact}");
                }
            }
        }
    }

    #[test]
    fn every_remainder_is_the_plain_sum_and_a_row_alone_has_the_same_bits() {
        check(|x, inner| Rows::round(x, inner).map(Rounded::Pairs));
        check(|x, inner| Turned::new(x, inner).map(Rounded::Tiles));
    }
}
