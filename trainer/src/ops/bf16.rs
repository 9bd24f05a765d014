//! Products of f32 activations with frozen weights in bf16, summed in f32.
//!
//! Weights in bf16 take half the memory of f32 and, where the CPU multiplies pairs of bf16 (AVX-512 BF16), half
//! the time. Both operands are rounded to bf16 there, as PyTorch's autocast does; on other CPUs the activations
//! stay f32. The blocking is that of BLIS (Van Zee and van de Geijn 2015): A and B are packed into panels that
//! stay in the caches, a tile of the result stays in registers. The inner dimension goes in pairs.
#![allow(unsafe_code)]

use half::bf16;
use rayon::prelude::*;

/// Inner dimension of one block, in pairs: a panel of B then fills half of the first cache.
const MOST_PAIRS: usize = 128;
/// Columns of the result that one task takes: its block of B stays in the second cache.
const COLUMNS: usize = 192;

/// A frozen weight, row-major.
#[derive(Clone, Copy)]
pub(crate) struct Weight<'a> {
    pub data: &'a [bf16],
    pub rows: usize,
    pub columns: usize,
}

/// `x wᵀ` (`transposed`) or `x w`, row-major. Each number is summed in the same order whatever the number of
/// threads. Shapes: x `(rows, inner)`.
pub(crate) fn multiply(x: &[f32], rows: usize, w: Weight<'_>, transposed: bool) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512f") {
            return blocked::<x86::Avx512Bf16>(x, rows, w, transposed);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return blocked::<x86::Avx2>(x, rows, w, transposed);
        }
    }
    blocked::<Plain>(x, rows, w, transposed)
}

/// What one kind of CPU does differently. A tile has `ROWS` rows and `WIDTH` columns.
trait Kernel {
    const ROWS: usize;
    const WIDTH: usize;
    /// Two numbers of A, one after the other in the inner dimension.
    type Pair: Copy + Send + Sync + Default;

    fn pair(first: f32, second: f32) -> Self::Pair;

    /// Adds the product of a panel of A, `(pairs, ROWS)`, and one of B, `(pairs, WIDTH)`, to a tile, or writes
    /// it there where `add` is false. The tile's rows lie `stride` apart.
    ///
    /// # Safety
    /// The CPU has the kernel's instructions; `c` may be written as described.
    unsafe fn tile(a: &[Self::Pair], b: &[u32], c: *mut f32, stride: usize, add: bool);
}

struct Blocks {
    /// Pairs of the inner dimension in all, and in a block.
    pairs: usize,
    block: usize,
}

impl Blocks {
    fn of(inner: usize) -> Self {
        let pairs = inner.div_ceil(2);
        let n_blocks = pairs.div_ceil(MOST_PAIRS).max(1);
        Self {
            pairs,
            block: pairs.div_ceil(n_blocks),
        }
    }

    /// Start and length of each block.
    fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.pairs)
            .step_by(self.block.max(1))
            .map(|from| (from, self.block.min(self.pairs - from)))
    }
}

/// A result that tasks write by columns.
#[derive(Clone, Copy)]
struct Target(*mut f32);
// SAFETY: tasks write to different columns only.
unsafe impl Send for Target {}
unsafe impl Sync for Target {}

fn blocked<K: Kernel>(x: &[f32], rows: usize, w: Weight<'_>, transposed: bool) -> Vec<f32> {
    let (inner, out) = match transposed {
        true => (w.columns, w.rows),
        false => (w.rows, w.columns),
    };
    assert!(
        x.len() == rows * inner && w.data.len() == w.rows * w.columns,
        "whole matrices"
    );
    if inner == 0 || rows == 0 || out == 0 {
        return vec![0.0; rows * out];
    }
    let blocks = Blocks::of(inner);
    let a = pack_a::<K>(x, inner, &blocks);
    let mut y: Vec<f32> = Vec::with_capacity(rows * out);
    let target = Target(y.as_mut_ptr());
    (0..out.div_ceil(COLUMNS)).into_par_iter().for_each(|chunk| {
        let from = chunk * COLUMNS;
        let task = Task {
            a: &a,
            w,
            transposed,
            rows,
            out,
            from,
            n: COLUMNS.min(out - from),
            blocks: &blocks,
        };
        // SAFETY: `multiply` checked the instructions; the target holds `rows * out` numbers, and no other task
        // has these columns.
        unsafe { task.run::<K>(target) }
    });
    // SAFETY: every task wrote its columns of all rows.
    unsafe { y.set_len(rows * out) };
    y
}

/// All rows and some columns of a product.
struct Task<'a, P> {
    a: &'a [P],
    w: Weight<'a>,
    transposed: bool,
    rows: usize,
    out: usize,
    from: usize,
    n: usize,
    blocks: &'a Blocks,
}

impl<P: Copy> Task<'_, P> {
    unsafe fn run<K: Kernel<Pair = P>>(&self, target: Target) {
        let n_panels = self.n.div_ceil(K::WIDTH);
        let mut b = vec![0u32; n_panels * K::WIDTH * self.blocks.block];
        let mut edge = vec![0.0f32; K::ROWS * K::WIDTH];
        let padded_rows = self.rows.div_ceil(K::ROWS) * K::ROWS;
        for (first_pair, n_pairs) in self.blocks.iter() {
            self.pack_b(first_pair, n_pairs, K::WIDTH, &mut b);
            let add = first_pair > 0;
            let a = &self.a[first_pair * padded_rows..(first_pair + n_pairs) * padded_rows];
            for (panel, b) in b.chunks_exact(n_pairs * K::WIDTH).take(n_panels).enumerate() {
                let column = self.from + panel * K::WIDTH;
                let width = K::WIDTH.min(self.from + self.n - column);
                for (at, a) in a.chunks_exact(n_pairs * K::ROWS).enumerate() {
                    let row = at * K::ROWS;
                    let height = K::ROWS.min(self.rows - row);
                    // SAFETY: the caller's; a tile that sticks out goes through `edge`.
                    unsafe {
                        let c = target.0.add(row * self.out + column);
                        if width == K::WIDTH && height == K::ROWS {
                            K::tile(a, b, c, self.out, add);
                        } else {
                            K::tile(a, b, edge.as_mut_ptr(), K::WIDTH, false);
                            for row in 0..height {
                                for column in 0..width {
                                    let c = c.add(row * self.out + column);
                                    let sum = edge[row * K::WIDTH + column];
                                    *c = if add { *c + sum } else { sum };
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Panels of `width` columns of the result, each `(pairs, width)`: the numbers of a pair side by side in 32
    /// bits, zero beyond the edges.
    fn pack_b(&self, first_pair: usize, n_pairs: usize, width: usize, packed: &mut [u32]) {
        let Weight { data, rows, columns } = self.w;
        let both = |low: bf16, high: bf16| u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16;
        let panels = packed
            .chunks_exact_mut(n_pairs * width)
            .take(self.n.div_ceil(width));
        for (panel, packed) in panels.enumerate() {
            let first = self.from + panel * width;
            let n = width.min(self.from + self.n - first);
            if n < width {
                packed.fill(0);
            }
            if self.transposed {
                // A column of the result is a row of the weight.
                for column in 0..n {
                    let row = &data[(first + column) * columns..][..columns];
                    let row = &row[2 * first_pair..columns.min(2 * (first_pair + n_pairs))];
                    let targets = packed[column..].iter_mut().step_by(width);
                    let (pairs, rest) = row.as_chunks::<2>();
                    let last = rest.first().map(|&last| both(last, bf16::ZERO));
                    let values = pairs.iter().map(|&[low, high]| both(low, high)).chain(last);
                    targets.zip(values).for_each(|(target, value)| *target = value);
                }
            } else {
                for (pair, packed) in packed.chunks_exact_mut(width).enumerate() {
                    let row = 2 * (first_pair + pair);
                    let low = &data[row * columns + first..][..n];
                    if row + 1 < rows {
                        let high = &data[(row + 1) * columns + first..][..n];
                        for ((target, &low), &high) in packed.iter_mut().zip(low).zip(high) {
                            *target = both(low, high);
                        }
                    } else {
                        packed
                            .iter_mut()
                            .zip(low)
                            .for_each(|(target, &low)| *target = both(low, bf16::ZERO));
                    }
                }
            }
        }
    }
}

/// Block by block of the inner dimension, panels of `ROWS` rows, each `(pairs, ROWS)`; zero beyond the edges.
fn pack_a<K: Kernel>(x: &[f32], inner: usize, blocks: &Blocks) -> Vec<K::Pair> {
    let rows = x.len() / inner;
    let padded_rows = rows.div_ceil(K::ROWS) * K::ROWS;
    let mut packed = vec![K::Pair::default(); padded_rows * blocks.pairs];
    let mut rest = packed.as_mut_slice();
    for (first_pair, n_pairs) in blocks.iter() {
        let (block, after) = rest.split_at_mut(n_pairs * padded_rows);
        rest = after;
        block
            .par_chunks_exact_mut(n_pairs * K::ROWS)
            .enumerate()
            .for_each(|(panel, packed)| {
                let mut line = [K::Pair::default(); MOST_PAIRS];
                for row in 0..K::ROWS.min(rows - panel * K::ROWS) {
                    let x = &x[(panel * K::ROWS + row) * inner..][..inner];
                    let x = &x[2 * first_pair..inner.min(2 * (first_pair + n_pairs))];
                    // First side by side, in vector instructions, then to their places.
                    let (pairs, rest) = x.as_chunks::<2>();
                    for (target, &[first, second]) in line.iter_mut().zip(pairs) {
                        *target = K::pair(first, second);
                    }
                    if let Some(&last) = rest.first() {
                        line[pairs.len()] = K::pair(last, 0.0);
                    }
                    let targets = packed[row..].iter_mut().step_by(K::ROWS);
                    targets.zip(&line).for_each(|(target, pair)| *target = *pair);
                }
            });
    }
    packed
}

/// The bits of a number whose upper half is its nearest bf16, of two equally near ones the even one.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // Carrying over would turn some that are no numbers into numbers.
    if x.is_nan() { bits | 0x0040_0000 } else { nearest }
}

fn low(pair: u32) -> f32 {
    f32::from_bits(pair << 16)
}

fn high(pair: u32) -> f32 {
    f32::from_bits(pair & 0xffff_0000)
}

/// For CPUs without the instructions below, and for the tests.
struct Plain;

impl Kernel for Plain {
    const ROWS: usize = 4;
    const WIDTH: usize = 8;
    type Pair = [f32; 2];

    fn pair(first: f32, second: f32) -> [f32; 2] {
        [first, second]
    }

    unsafe fn tile(a: &[[f32; 2]], b: &[u32], c: *mut f32, stride: usize, add: bool) {
        let mut sums = [[0.0f32; 8]; 4];
        for (a, b) in a.chunks_exact(4).zip(b.chunks_exact(8)) {
            for (sums, a) in sums.iter_mut().zip(a) {
                for (sum, &b) in sums.iter_mut().zip(b) {
                    *sum += a[0] * low(b) + a[1] * high(b);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (column, sum) in sums.iter().enumerate() {
                // SAFETY: the caller's tile.
                unsafe {
                    let c = c.add(row * stride + column);
                    *c = if add { *c + sum } else { *sum };
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, rounded};
    use std::arch::x86_64::*;

    /// `vdpbf16ps`: 16 sums of two products each. 24 sums of 16 lanes fit the 32 registers.
    pub struct Avx512Bf16;

    impl Kernel for Avx512Bf16 {
        const ROWS: usize = 12;
        const WIDTH: usize = 32;
        type Pair = u32;

        #[inline(always)]
        fn pair(first: f32, second: f32) -> u32 {
            rounded(first) >> 16 | rounded(second) & 0xffff_0000
        }

        unsafe fn tile(a: &[u32], b: &[u32], c: *mut f32, stride: usize, add: bool) {
            // SAFETY: the caller's.
            unsafe { tile_512(a, b, c, stride, add) }
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn tile_512(a: &[u32], b: &[u32], c: *mut f32, stride: usize, add: bool) {
        // SAFETY: both panels are whole; the caller's tile.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); 2]; 12];
            let n_pairs = b.len() / 32;
            assert!(a.len() == n_pairs * 12);
            let (mut a, mut b) = (a.as_ptr(), b.as_ptr());
            for _ in 0..n_pairs {
                let wide: [__m512bh; 2] = [
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.cast())),
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.add(16).cast())),
                ];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let a = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(*a.add(row) as i32));
                    sums[0] = _mm512_dpbf16_ps(sums[0], a, wide[0]);
                    sums[1] = _mm512_dpbf16_ps(sums[1], a, wide[1]);
                }
                a = a.add(12);
                b = b.add(32);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (half, sum) in sums.into_iter().enumerate() {
                    let c = c.add(row * stride + 16 * half);
                    let sum = if add {
                        _mm512_add_ps(_mm512_loadu_ps(c), sum)
                    } else {
                        sum
                    };
                    _mm512_storeu_ps(c, sum);
                }
            }
        }
    }

    /// f32 arithmetic: a pair of B is widened to two f32 by a shift and a mask. 12 sums of 8 lanes.
    pub struct Avx2;

    impl Kernel for Avx2 {
        const ROWS: usize = 6;
        const WIDTH: usize = 16;
        type Pair = [f32; 2];

        #[inline(always)]
        fn pair(first: f32, second: f32) -> [f32; 2] {
            [first, second]
        }

        unsafe fn tile(a: &[[f32; 2]], b: &[u32], c: *mut f32, stride: usize, add: bool) {
            // SAFETY: the caller's.
            unsafe { tile_256(a, b, c, stride, add) }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile_256(a: &[[f32; 2]], b: &[u32], c: *mut f32, stride: usize, add: bool) {
        // SAFETY: both panels are whole; the caller's tile.
        unsafe {
            let mut sums = [[_mm256_setzero_ps(); 2]; 6];
            let n_pairs = b.len() / 16;
            assert!(a.len() == n_pairs * 6);
            let mask = _mm256_set1_epi32(0xffff_0000u32 as i32);
            let (mut a, mut b) = (a.as_ptr().cast::<f32>(), b.as_ptr());
            for _ in 0..n_pairs {
                let pairs = [_mm256_loadu_si256(b.cast()), _mm256_loadu_si256(b.add(8).cast())];
                let low = pairs.map(|pair| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pair)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let a = _mm256_broadcast_ss(&*a.add(2 * row));
                    sums[0] = _mm256_fmadd_ps(a, low[0], sums[0]);
                    sums[1] = _mm256_fmadd_ps(a, low[1], sums[1]);
                }
                let high = pairs.map(|pair| _mm256_castsi256_ps(_mm256_and_si256(pair, mask)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let a = _mm256_broadcast_ss(&*a.add(2 * row + 1));
                    sums[0] = _mm256_fmadd_ps(a, high[0], sums[0]);
                    sums[1] = _mm256_fmadd_ps(a, high[1], sums[1]);
                }
                a = a.add(12);
                b = b.add(16);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (half, sum) in sums.into_iter().enumerate() {
                    let c = c.add(row * stride + 8 * half);
                    let sum = if add {
                        _mm256_add_ps(_mm256_loadu_ps(c), sum)
                    } else {
                        sum
                    };
                    _mm256_storeu_ps(c, sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Every remainder of rows, columns, pairs and blocks, in both orientations. `rounds_x` tells whether the kernel
    /// rounds the activations as well: then they are numbers that bf16 holds exactly.
    fn check<K: Kernel>(rounds_x: bool) {
        let mut stream = Rng::new(1).stream("bf16", 0);
        let mut numbers =
            |n: usize| -> Vec<bf16> { (0..n).map(|_| bf16::from_f64(stream.normal())).collect() };
        for (rows, inner, out) in [
            (1, 1, 1),
            (5, 7, 33),
            (13, 64, 16),
            (12, 256, 192),
            (25, 577, 391),
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
                let y = blocked::<K>(&x, rows, weight, transposed);
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
        check::<Plain>(false);
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                check::<x86::Avx2>(false);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
                check::<x86::Avx512Bf16>(true);
            }
        }
    }

    #[test]
    fn a_row_alone_has_the_same_bits_as_among_others() {
        let mut stream = Rng::new(2).stream("bf16", 0);
        let x: Vec<f32> = (0..30 * 70).map(|_| stream.normal() as f32).collect();
        let w: Vec<bf16> = (0..50 * 70).map(|_| bf16::from_f64(stream.normal())).collect();
        let weight = Weight {
            data: &w,
            rows: 50,
            columns: 70,
        };
        let together = multiply(&x, 30, weight, true);
        for row in 0..30 {
            let alone = multiply(&x[row * 70..(row + 1) * 70], 1, weight, true);
            assert_eq!(alone, together[row * 50..(row + 1) * 50]);
        }
    }

    #[test]
    fn rounding_is_that_of_the_library() {
        let mut stream = Rng::new(3).stream("bf16", 0);
        let special = [
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NAN,
            f32::MAX,
            f32::MIN_POSITIVE,
            f32::from_bits(0x7f80_0001),
        ];
        let halfway = (0..64).map(|i| f32::from_bits(0x3f80_8000 + (i << 16)));
        let random = (0..10_000).map(|_| (stream.normal() * 3.0) as f32);
        for x in special.into_iter().chain(halfway).chain(random) {
            assert_eq!((rounded(x) >> 16) as u16, bf16::from_f32(x).to_bits(), "{x}");
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
