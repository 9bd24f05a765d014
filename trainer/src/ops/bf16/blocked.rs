//! The kernels for CPUs that do not multiply bf16: the weights are widened to f32 on the way, the activations stay f32.

use super::{Target, Weight};
use half::bf16;
use rayon::prelude::*;

/// Inner dimension of one block, in pairs: a panel of B then fills half of the first cache.
const MOST_PAIRS: usize = 128;
/// Columns of the result that one task takes: its block of B stays in the second cache.
const COLUMNS: usize = 192;

/// Two numbers of A, one after the other in the inner dimension.
type Pair = [f32; 2];

/// What one kind of CPU does differently. A tile has `ROWS` rows and `WIDTH` columns.
pub trait Kernel {
    const ROWS: usize;
    const WIDTH: usize;
    /// Adds the product of a panel of A, `(pairs, ROWS)`, and one of B, `(pairs, WIDTH)`, to a tile, or writes
    /// it there where `add` is false. The tile's rows lie `stride` apart.
    ///
    /// # Safety
    /// The CPU has the kernel's instructions; `c` may be written as described.
    unsafe fn tile(a: &[Pair], b: &[u32], c: *mut f32, stride: usize, add: bool);
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

/// See [`super::multiply`]; only where the CPU has the kernel's instructions.
pub fn multiply<K: Kernel>(x: &[f32], rows: usize, w: Weight<'_>, transposed: bool) -> Vec<f32> {
    let (inner, out) = w.inner_and_out(transposed);
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
        // SAFETY: the caller has checked the instructions; the target holds `rows * out` numbers, and no other task
        // has these columns.
        unsafe { task.run::<K>(target) }
    });
    // SAFETY: every task wrote its columns of all rows.
    unsafe { y.set_len(rows * out) };
    y
}

/// All rows and some columns of a product.
struct Task<'a> {
    a: &'a [Pair],
    w: Weight<'a>,
    transposed: bool,
    rows: usize,
    out: usize,
    from: usize,
    n: usize,
    blocks: &'a Blocks,
}

impl Task<'_> {
    unsafe fn run<K: Kernel>(&self, target: Target) {
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
fn pack_a<K: Kernel>(x: &[f32], inner: usize, blocks: &Blocks) -> Vec<Pair> {
    let rows = x.len() / inner;
    let padded_rows = rows.div_ceil(K::ROWS) * K::ROWS;
    let mut packed = vec![Pair::default(); padded_rows * blocks.pairs];
    let mut rest = packed.as_mut_slice();
    for (first_pair, n_pairs) in blocks.iter() {
        let (block, after) = rest.split_at_mut(n_pairs * padded_rows);
        rest = after;
        block
            .par_chunks_exact_mut(n_pairs * K::ROWS)
            .enumerate()
            .for_each(|(panel, packed)| {
                let mut line = [Pair::default(); MOST_PAIRS];
                for row in 0..K::ROWS.min(rows - panel * K::ROWS) {
                    let x = &x[(panel * K::ROWS + row) * inner..][..inner];
                    let x = &x[2 * first_pair..inner.min(2 * (first_pair + n_pairs))];
                    // First side by side, in vector instructions, then to their places.
                    let (pairs, rest) = x.as_chunks::<2>();
                    for (target, &[first, second]) in line.iter_mut().zip(pairs) {
                        *target = [first, second];
                    }
                    if let Some(&last) = rest.first() {
                        line[pairs.len()] = [last, 0.0];
                    }
                    let targets = packed[row..].iter_mut().step_by(K::ROWS);
                    targets.zip(&line).for_each(|(target, pair)| *target = *pair);
                }
            });
    }
    packed
}

fn low(pair: u32) -> f32 {
    f32::from_bits(pair << 16)
}

fn high(pair: u32) -> f32 {
    f32::from_bits(pair & 0xffff_0000)
}

/// For CPUs without the instructions below, and for the tests.
pub struct Plain;

impl Kernel for Plain {
    const ROWS: usize = 4;
    const WIDTH: usize = 8;
    unsafe fn tile(a: &[Pair], b: &[u32], c: *mut f32, stride: usize, add: bool) {
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
pub mod x86 {
    use super::{Kernel, Pair};
    use std::arch::x86_64::*;

    pub fn is_there() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }

    /// f32 arithmetic: a pair of B is widened to two f32 by a shift and a mask. 12 sums of 8 lanes.
    pub struct Avx2;

    impl Kernel for Avx2 {
        const ROWS: usize = 6;
        const WIDTH: usize = 16;
        unsafe fn tile(a: &[Pair], b: &[u32], c: *mut f32, stride: usize, add: bool) {
            // SAFETY: the caller's.
            unsafe { tile_256(a, b, c, stride, add) }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile_256(a: &[Pair], b: &[u32], c: *mut f32, stride: usize, add: bool) {
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
