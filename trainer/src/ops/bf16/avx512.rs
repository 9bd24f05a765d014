//! The unit of CPUs with AVX-512 BF16: `vdpbf16ps` adds two products of bf16 to each of 16 sums in f32. A pair of
//! activations is read and goes to all lanes.

use super::panels::{self, LANES, Tile, Unit, WIDTH};
use std::arch::x86_64::*;

/// Rows of a tile: 24 sums of 16 lanes fit the 32 registers.
const ROWS: usize = 12;

pub use panels::is_there;

pub struct Avx512;

impl Unit for Avx512 {
    const ROWS: usize = ROWS;
    const WHOLE_ROWS: usize = 1;
    const WHOLE_PAIRS: usize = 1;

    unsafe fn tile(tile: &Tile<'_>, n_rows: usize, y: *mut f32) {
        // SAFETY: the caller's.
        unsafe { tile.run(n_rows, y) }
    }
}

impl Tile<'_> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn run(&self, n_rows: usize, y: *mut f32) {
        // SAFETY: the caller's.
        unsafe {
            match n_rows {
                1 => self.rows::<1>(y),
                2 => self.rows::<2>(y),
                3 => self.rows::<3>(y),
                4 => self.rows::<4>(y),
                5 => self.rows::<5>(y),
                6 => self.rows::<6>(y),
                7 => self.rows::<7>(y),
                8 => self.rows::<8>(y),
                9 => self.rows::<9>(y),
                10 => self.rows::<10>(y),
                11 => self.rows::<11>(y),
                _ => self.rows::<ROWS>(y),
            }
        }
    }

    /// # Safety
    /// `N` rows of the target may be written as described.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn rows<const N: usize>(&self, y: *mut f32) {
        let n_pairs = self.packed.len() / WIDTH;
        assert!(self.x.len() >= (N - 1) * self.stride + n_pairs, "whole rows");
        let mut sums = [[_mm512_setzero_ps(); 2]; N];
        // SAFETY: checked above; the caller's target.
        unsafe {
            let (mut x, mut b) = (self.x.as_ptr(), self.packed.as_ptr());
            for _ in 0..n_pairs {
                let wide = [
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.cast())),
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.add(LANES).cast())),
                ];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_epi32(*x.add(row * self.stride) as i32);
                    let x = std::mem::transmute::<__m512i, __m512bh>(x);
                    sums[0] = _mm512_dpbf16_ps(sums[0], x, wide[0]);
                    sums[1] = _mm512_dpbf16_ps(sums[1], x, wide[1]);
                }
                x = x.add(1);
                b = b.add(WIDTH);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (half, sum) in sums.into_iter().enumerate() {
                    let y = y.add(row * self.out + LANES * half);
                    let n = self.width.saturating_sub(LANES * half).min(LANES);
                    if n == LANES {
                        let before = if self.add {
                            _mm512_loadu_ps(y)
                        } else {
                            _mm512_setzero_ps()
                        };
                        _mm512_storeu_ps(y, _mm512_add_ps(before, sum));
                    } else if n > 0 {
                        let mask = (1u16 << n) - 1;
                        let before = if self.add {
                            _mm512_maskz_loadu_ps(mask, y)
                        } else {
                            _mm512_setzero_ps()
                        };
                        _mm512_mask_storeu_ps(y, mask, _mm512_add_ps(before, sum));
                    }
                }
            }
        }
    }
}
