//! A product on a CPU with AVX-512, whatever instructions multiply: how it is cut into tasks and how the operands are
//! laid out.
//!
//! Both operands are rounded to bf16. The activations stay row-major. Of the weight a task packs its columns, block by
//! block of the inner dimension, into panels of 32 columns that stay in the second cache, pairs side by side; a few rows
//! of the activations stay in the first cache meanwhile.

use super::{Target, Weight};
use half::bf16;
use rayon::prelude::*;
use std::{arch::x86_64::*, cell::Cell};

/// Columns of a panel and of a tile.
pub const WIDTH: usize = 32;
pub const LANES: usize = 16;
/// Panels of one task.
const PANELS: usize = 3;
/// Inner dimension of one block at most, in pairs.
const MOST_PAIRS: usize = 320;
/// Tasks for each thread, where there is enough work: the last ones then end at about the same time.
const TASKS_A_THREAD: usize = 3;

thread_local! {
    static PACKED: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// What multiplies.
pub trait Unit {
    /// Rows of a tile.
    const ROWS: usize;
    /// It takes so many rows and so many pairs of the inner dimension at once: operands are filled up with zeros.
    const WHOLE_ROWS: usize;
    const WHOLE_PAIRS: usize;

    /// Makes the thread ready for tiles, until [`Unit::end`].
    fn begin() {}
    fn end() {}

    /// # Safety
    /// The CPU has the unit, the thread is ready for it, and `n_rows` rows of the target `y` may be written.
    unsafe fn tile(tile: &Tile<'_>, n_rows: usize, y: *mut f32);
}

/// Up to [`Unit::ROWS`] rows and 32 columns of a product, over a block of the inner dimension.
pub struct Tile<'a> {
    /// Rows `stride` apart.
    pub x: &'a [u32],
    pub stride: usize,
    /// `(pairs, WIDTH)`
    pub packed: &'a [u32],
    /// The target's rows lie so far apart.
    pub out: usize,
    pub width: usize,
    /// Whether to add to the target, else it is overwritten.
    pub add: bool,
}

/// Whether the operands can be laid out here.
pub fn is_there() -> bool {
    is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
}

/// See [`super::multiply`]; only where this [`is_there`] and the unit.
pub fn multiply<U: Unit>(x: &[f32], rows: usize, w: Weight<'_>, transposed: bool) -> Vec<f32> {
    assert!(is_there(), "the CPU has AVX-512 BF16");
    let (inner, out) = w.inner_and_out(transposed);
    let pairs = inner.div_ceil(2);
    let stride = pairs.next_multiple_of(U::WHOLE_PAIRS);
    // SAFETY: the CPU has the instructions.
    let x = unsafe { rounded(x, inner, stride, rows.next_multiple_of(U::WHOLE_ROWS)) };
    let mut y: Vec<f32> = Vec::with_capacity(rows * out);
    let target = Target(y.as_mut_ptr());
    let n_chunks = out.div_ceil(PANELS * WIDTH);
    let n_parts = (TASKS_A_THREAD * rayon::current_num_threads())
        .div_ceil(n_chunks)
        .min(rows.div_ceil(4 * U::ROWS));
    let part = rows.div_ceil(n_parts).next_multiple_of(U::ROWS);
    (0..n_chunks * n_parts).into_par_iter().for_each(|task| {
        let (chunk, first_row) = (task / n_parts, task % n_parts * part);
        let first = chunk * PANELS * WIDTH;
        let task = Task {
            x: &x,
            pairs,
            stride,
            w,
            transposed,
            out,
            rows: first_row.min(rows)..(first_row + part).min(rows),
            columns: first..(first + PANELS * WIDTH).min(out),
        };
        // SAFETY: the CPU has the instructions, the target holds `rows * out` numbers, and no other task has this
        // part of them.
        unsafe { task.run::<U>(target) }
    });
    // SAFETY: the tasks wrote their parts, which make up the whole.
    unsafe { y.set_len(rows * out) };
    y
}

/// So many rows of `stride` pairs, filled up with zero.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn rounded(x: &[f32], inner: usize, stride: usize, rows: usize) -> Vec<u32> {
    /// Rows that one task rounds.
    const AT_ONCE: usize = 12;
    let mut y = vec![0u32; rows * stride];
    y.par_chunks_mut(stride * AT_ONCE)
        .zip(x.par_chunks(inner * AT_ONCE))
        .for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(stride).zip(x.chunks_exact(inner)) {
                round(x, &mut y[..inner.div_ceil(2)]);
            }
        });
    y
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn round(x: &[f32], y: &mut [u32]) {
    assert!(y.len() == x.len().div_ceil(2), "a pair for each two numbers");
    let (wide, rest) = x.as_chunks::<LANES>();
    let (wide_y, rest_y) = y.split_at_mut(wide.len() * LANES / 2);
    for (x, y) in wide.iter().zip(wide_y.chunks_exact_mut(LANES / 2)) {
        // SAFETY: both hold 16 numbers.
        unsafe {
            let x = _mm512_cvtneps_pbh(_mm512_loadu_ps(x.as_ptr()));
            _mm256_storeu_si256(y.as_mut_ptr().cast(), std::mem::transmute::<__m256bh, __m256i>(x));
        }
    }
    for (x, y) in rest.chunks(2).zip(rest_y) {
        let second = x.get(1).map_or(bf16::ZERO, |&x| bf16::from_f32(x));
        *y = pair(bf16::from_f32(x[0]), second);
    }
}

fn pair(low: bf16, high: bf16) -> u32 {
    u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16
}

/// Some rows and some columns of a product.
struct Task<'a> {
    /// `(rows, stride)`
    x: &'a [u32],
    pairs: usize,
    stride: usize,
    w: Weight<'a>,
    transposed: bool,
    out: usize,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
}

impl Task<'_> {
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn run<U: Unit>(&self, target: Target) {
        let n_panels = self.columns.len().div_ceil(WIDTH);
        let n_blocks = self.pairs.div_ceil(MOST_PAIRS).max(1);
        let block = self.pairs.div_ceil(n_blocks).next_multiple_of(LANES);
        // Kept from task to task; whatever is read of it is written first.
        let mut packed = PACKED.take();
        packed.resize(packed.len().max(n_panels * block * WIDTH), 0);
        U::begin();
        for first_pair in (0..self.pairs).step_by(block) {
            let n_pairs = block.min(self.pairs - first_pair);
            let n_whole = n_pairs.next_multiple_of(U::WHOLE_PAIRS);
            for (panel, packed) in packed.chunks_exact_mut(block * WIDTH).take(n_panels).enumerate() {
                self.pack(first_pair, panel, &mut packed[..n_pairs * WIDTH]);
                packed[n_pairs * WIDTH..n_whole * WIDTH].fill(0);
            }
            for row in self.rows.clone().step_by(U::ROWS) {
                let x = &self.x[row * self.stride + first_pair..];
                for (panel, packed) in packed.chunks_exact(block * WIDTH).take(n_panels).enumerate() {
                    let column = self.columns.start + panel * WIDTH;
                    let width = WIDTH.min(self.columns.end - column);
                    let tile = Tile {
                        x,
                        stride: self.stride,
                        packed: &packed[..n_whole * WIDTH],
                        out: self.out,
                        width,
                        add: first_pair > 0,
                    };
                    // SAFETY: the tile lies in the task's part of the target, and its rows of `x` are whole.
                    unsafe {
                        let y = target.0.add(row * self.out + column);
                        U::tile(&tile, U::ROWS.min(self.rows.end - row), y);
                    }
                }
            }
        }
        U::end();
        PACKED.set(packed);
    }

    /// A panel: `(pairs, WIDTH)`, the two weights of a pair side by side in 32 bits, zero beyond the edge.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack(&self, first_pair: usize, panel: usize, packed: &mut [u32]) {
        let first = self.columns.start + panel * WIDTH;
        let n = WIDTH.min(self.columns.end - first);
        if n < WIDTH {
            packed.fill(0);
        }
        if self.transposed {
            self.pack_rows(first_pair, first..first + n, packed);
        } else {
            self.pack_columns(first_pair, first..first + n, packed);
        }
    }

    /// A column of the result is a row of the weight: 16 rows of 16 pairs are turned at once.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_rows(&self, first_pair: usize, rows: std::ops::Range<usize>, packed: &mut [u32]) {
        let columns = self.w.columns;
        let n_pairs = packed.len() / WIDTH;
        // Pairs that lie whole in the weight's rows.
        let whole = n_pairs.min((columns - 2 * first_pair) / 2);
        let row = |row: usize| &self.w.data[row * columns + 2 * first_pair..(row + 1) * columns];
        for (half, rows) in [rows.start, rows.start + LANES]
            .into_iter()
            .map(|start| start..rows.end.min(start + LANES))
            .enumerate()
        {
            let n_turned = if rows.len() == LANES {
                whole / LANES * LANES
            } else {
                0
            };
            for at in (0..n_turned).step_by(LANES) {
                // SAFETY: 16 rows have 16 whole pairs from `at` on, and so has the panel.
                unsafe {
                    let mut lines = [_mm512_setzero_si512(); LANES];
                    for (line, row) in lines.iter_mut().zip(rows.clone()) {
                        let row = &self.w.data[row * columns + 2 * (first_pair + at)..][..2 * LANES];
                        *line = _mm512_loadu_si512(row.as_ptr().cast());
                    }
                    turn(&mut lines);
                    for (pair, line) in lines.into_iter().enumerate() {
                        let place = packed[(at + pair) * WIDTH + half * LANES..][..LANES].as_mut_ptr();
                        _mm512_storeu_si512(place.cast(), line);
                    }
                }
            }
            for (column, line) in rows.enumerate() {
                let line = &row(line)[2 * n_turned..];
                let places = packed[n_turned * WIDTH..].iter_mut();
                let places = places.skip(half * LANES + column).step_by(WIDTH);
                for (place, numbers) in places.zip(line.chunks(2)) {
                    *place = pair(numbers[0], numbers.get(1).copied().unwrap_or(bf16::ZERO));
                }
            }
        }
    }

    /// A pair is made of a column's numbers in two rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_columns(&self, first_pair: usize, columns: std::ops::Range<usize>, packed: &mut [u32]) {
        const ZEROS: [bf16; WIDTH] = [bf16::ZERO; WIDTH];
        for (at, packed) in packed.chunks_exact_mut(WIDTH).enumerate() {
            let first = 2 * (first_pair + at);
            let row = |row: usize| &self.w.data[row * self.w.columns..][columns.clone()];
            let low = row(first);
            let high = if first + 1 < self.w.rows {
                row(first + 1)
            } else {
                &ZEROS[..low.len()]
            };
            if low.len() < WIDTH {
                for ((place, &low), &high) in packed.iter_mut().zip(low).zip(high) {
                    *place = pair(low, high);
                }
                continue;
            }
            for half in [0, LANES] {
                // SAFETY: both rows and the panel have 32 numbers.
                unsafe {
                    let wide = |numbers: &[bf16]| {
                        _mm512_cvtepu16_epi32(_mm256_loadu_si256(numbers[half..].as_ptr().cast()))
                    };
                    let both = _mm512_or_si512(wide(low), _mm512_slli_epi32::<16>(wide(high)));
                    _mm512_storeu_si512(packed[half..].as_mut_ptr().cast(), both);
                }
            }
        }
    }
}

/// Rows become columns. Loops, not closures: in those the compiler would call a function for each instruction.
#[inline]
#[target_feature(enable = "avx512f")]
fn turn(r: &mut [__m512i; LANES]) {
    let mut by_two = *r;
    for i in 0..8 {
        by_two[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        by_two[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    // Register 4 i + c: column 4 l + c of the rows 4 i to 4 i + 3 in its quarter l.
    let mut by_four = *r;
    for i in 0..4 {
        by_four[4 * i] = _mm512_unpacklo_epi64(by_two[4 * i], by_two[4 * i + 2]);
        by_four[4 * i + 1] = _mm512_unpackhi_epi64(by_two[4 * i], by_two[4 * i + 2]);
        by_four[4 * i + 2] = _mm512_unpacklo_epi64(by_two[4 * i + 1], by_two[4 * i + 3]);
        by_four[4 * i + 3] = _mm512_unpackhi_epi64(by_two[4 * i + 1], by_two[4 * i + 3]);
    }
    for c in 0..4 {
        let (even, odd) = (
            _mm512_shuffle_i32x4::<0x88>(by_four[c], by_four[4 + c]),
            _mm512_shuffle_i32x4::<0xdd>(by_four[c], by_four[4 + c]),
        );
        let (more_even, more_odd) = (
            _mm512_shuffle_i32x4::<0x88>(by_four[8 + c], by_four[12 + c]),
            _mm512_shuffle_i32x4::<0xdd>(by_four[8 + c], by_four[12 + c]),
        );
        r[c] = _mm512_shuffle_i32x4::<0x88>(even, more_even);
        r[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even, more_even);
        r[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd, more_odd);
        r[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd, more_odd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn rounding_is_that_of_the_library() {
        if !is_there() {
            return;
        }
        let mut stream = Rng::new(3).stream("bf16", 0);
        let special = [
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN_POSITIVE,
        ];
        let halfway = (0..64).map(|i| f32::from_bits(0x3f80_8000 + (i << 16)));
        let random = (0..10_001).map(|_| (stream.normal() * 3.0) as f32);
        let x: Vec<f32> = special.into_iter().chain(halfway).chain(random).collect();
        // SAFETY: the CPU has the instructions.
        let y = unsafe { rounded(&x, x.len(), x.len().div_ceil(2), 1) };
        for (at, &x) in x.iter().enumerate() {
            let bits = (y[at / 2] >> (16 * (at % 2))) as u16;
            assert_eq!(bits, bf16::from_f32(x).to_bits(), "{x}");
        }
        assert_eq!(x.len() % 2, 1, "the last pair is filled up");
        assert_eq!(y[y.len() - 1] >> 16, 0);
    }
}
