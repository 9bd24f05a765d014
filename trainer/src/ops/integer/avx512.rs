//! The kernel for AVX-512 VNNI: `vpdpbusd` adds four products of 8-bit numbers to each of 16 sums.

use super::{PIECE, Strip, WIDTH};
use candle_core::quantized::GgmlDType;
use std::arch::x86_64::*;

/// Four weights of each of 16 rows.
type Fours = [__m512i; PIECE / 4];

pub fn is_there() -> bool {
    is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
}

pub fn kernel(dtype: GgmlDType) -> Option<super::Kernel> {
    Some(match dtype {
        GgmlDType::Q4_0 => strip::<Q4_0>,
        GgmlDType::Q4_1 => strip::<Q4_1>,
        GgmlDType::Q8_0 => strip::<Q8_0>,
        GgmlDType::Q4K => strip::<Q4K>,
        GgmlDType::Q6K => strip::<Q6K>,
        _ => return None,
    })
}

/// One piece of 16 rows: a weight is (stored − OFFSET) · scale + minimum.
struct Read {
    stored: Fours,
    scale: __m512,
    minimum: __m512,
    factors: [__m512i; 2],
}

/// How a type's blocks are read.
trait Type {
    const OFFSET: i32;
    const HAS_MINIMUM: bool;
    /// Whether both halves of a piece have a whole number more as a factor.
    const HAS_FACTORS: bool = false;
    const BYTES: usize;
    /// Pieces of a block.
    const PIECES: usize;

    /// The piece at `place` of 16 rows, `stride` bytes apart.
    ///
    /// # Safety
    /// The CPU has the instructions; the rows have that piece.
    unsafe fn read(rows: *const u8, stride: usize, place: usize) -> Read;
}

struct Q4_0;
struct Q4_1;
struct Q8_0;
struct Q4K;
struct Q6K;

impl Type for Q4_0 {
    const OFFSET: i32 = 8;
    const HAS_MINIMUM: bool = false;
    const BYTES: usize = 18;
    const PIECES: usize = 1;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn read(rows: *const u8, stride: usize, place: usize) -> Read {
        // SAFETY: the caller's.
        unsafe {
            let block = rows.add(place * Self::BYTES);
            let [head, ..] = turned(lines(block, stride));
            Read {
                stored: nibbles(turned(lines(block.add(2), stride))),
                scale: halves(head),
                minimum: _mm512_setzero_ps(),
                factors: [_mm512_setzero_si512(); 2],
            }
        }
    }
}

impl Type for Q4_1 {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const BYTES: usize = 20;
    const PIECES: usize = 1;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn read(rows: *const u8, stride: usize, place: usize) -> Read {
        // SAFETY: the caller's.
        unsafe {
            let block = rows.add(place * Self::BYTES);
            let [head, first, second, third] = turned(lines(block, stride));
            let [.., fourth] = turned(lines(block.add(4), stride));
            Read {
                stored: nibbles([first, second, third, fourth]),
                scale: halves(head),
                minimum: halves(_mm512_srli_epi32::<16>(head)),
                factors: [_mm512_setzero_si512(); 2],
            }
        }
    }
}

impl Type for Q8_0 {
    const OFFSET: i32 = 128;
    const HAS_MINIMUM: bool = false;
    const BYTES: usize = 34;
    const PIECES: usize = 1;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn read(rows: *const u8, stride: usize, place: usize) -> Read {
        // SAFETY: the caller's.
        unsafe {
            let block = rows.add(place * Self::BYTES);
            let [head, ..] = turned(lines(block, stride));
            let low = turned(lines(block.add(2), stride));
            let high = turned(lines(block.add(18), stride));
            // From −128…127 to 0…255.
            let sign = _mm512_set1_epi8(-128);
            let mut stored = joined(low, high);
            for stored in &mut stored {
                *stored = _mm512_xor_si512(*stored, sign);
            }
            Read {
                stored,
                scale: halves(head),
                minimum: _mm512_setzero_ps(),
                factors: [_mm512_setzero_si512(); 2],
            }
        }
    }
}

/// Two scales of 16 bits for all of a block; eight scales and eight minimums of 6 bits in 12 bytes; then the numbers, of
/// each 32 bytes the lower halves first.
impl Type for Q4K {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const BYTES: usize = 144;
    const PIECES: usize = 8;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn read(rows: *const u8, stride: usize, place: usize) -> Read {
        let piece = place % Self::PIECES;
        // SAFETY: the caller's.
        unsafe {
            let block = rows.add(place / Self::PIECES * Self::BYTES);
            let [head, scales, minimums, ends] = turned(lines(block, stride));
            let at = _mm_cvtsi32_si128(8 * (piece as i32 % 4));
            let scales = _mm512_srl_epi32(scales, at);
            let minimums = _mm512_srl_epi32(minimums, at);
            let ends = _mm512_srl_epi32(ends, at);
            let (four, six) = (_mm512_set1_epi32(0x0f), _mm512_set1_epi32(0x3f));
            // The later ones have their two upper bits behind the earlier ones.
            let upper = _mm512_set1_epi32(0x30);
            let (scale, minimum) = match piece < 4 {
                true => (_mm512_and_si512(scales, six), _mm512_and_si512(minimums, six)),
                false => (
                    _mm512_or_si512(
                        _mm512_and_si512(ends, four),
                        _mm512_and_si512(_mm512_srli_epi32::<2>(scales), upper),
                    ),
                    _mm512_or_si512(
                        _mm512_and_si512(_mm512_srli_epi32::<4>(ends), four),
                        _mm512_and_si512(_mm512_srli_epi32::<2>(minimums), upper),
                    ),
                ),
            };
            let numbers = block.add(16 + piece / 2 * PIECE);
            let mut stored = joined(
                turned(lines(numbers, stride)),
                turned(lines(numbers.add(PIECE / 2), stride)),
            );
            let (half, mask) = (_mm_cvtsi32_si128(4 * (piece as i32 % 2)), _mm512_set1_epi8(0x0f));
            for stored in &mut stored {
                *stored = _mm512_and_si512(_mm512_srl_epi16(*stored, half), mask);
            }
            let less = _mm512_mul_ps(halves(_mm512_srli_epi32::<16>(head)), _mm512_cvtepi32_ps(minimum));
            Read {
                stored,
                scale: _mm512_mul_ps(halves(head), _mm512_cvtepi32_ps(scale)),
                minimum: _mm512_sub_ps(_mm512_setzero_ps(), less),
                factors: [_mm512_setzero_si512(); 2],
            }
        }
    }
}

/// Four lower bits, then two upper ones of each number; 16 factors; a scale of 16 bits for all.
impl Type for Q6K {
    const OFFSET: i32 = 32;
    const HAS_MINIMUM: bool = false;
    const HAS_FACTORS: bool = true;
    const BYTES: usize = 210;
    const PIECES: usize = 8;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn read(rows: *const u8, stride: usize, place: usize) -> Read {
        let piece = place % Self::PIECES;
        let (part, quarter) = (piece / 4, piece % 4);
        // SAFETY: the caller's; the last 16 bytes of a block end with it.
        unsafe {
            let block = rows.add(place / Self::PIECES * Self::BYTES);
            let (low, high) = (
                block.add(64 * part + PIECE * (quarter % 2)),
                block.add(128 + PIECE * part),
            );
            let mut stored = joined(
                turned(lines(low, stride)),
                turned(lines(low.add(PIECE / 2), stride)),
            );
            let upper = joined(
                turned(lines(high, stride)),
                turned(lines(high.add(PIECE / 2), stride)),
            );
            let half = _mm_cvtsi32_si128(4 * (quarter as i32 / 2));
            let pair = _mm_cvtsi32_si128(2 * quarter as i32);
            let (four, two) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi8(0x03));
            for (stored, upper) in stored.iter_mut().zip(upper) {
                let low = _mm512_and_si512(_mm512_srl_epi16(*stored, half), four);
                let high = _mm512_and_si512(_mm512_srl_epi16(upper, pair), two);
                *stored = _mm512_or_si512(low, _mm512_slli_epi16::<4>(high));
            }
            // Four factors of each row; with a sign.
            let factors = turned(lines(block.add(192), stride))[piece / 2];
            let at = 16 * (piece as i32 % 2);
            let first = _mm512_sll_epi32(factors, _mm_cvtsi32_si128(24 - at));
            let second = _mm512_sll_epi32(factors, _mm_cvtsi32_si128(16 - at));
            let [.., end] = turned(lines(block.add(Self::BYTES - 16), stride));
            Read {
                stored,
                scale: halves(_mm512_srli_epi32::<16>(end)),
                minimum: _mm512_setzero_ps(),
                factors: [_mm512_srai_epi32::<24>(first), _mm512_srai_epi32::<24>(second)],
            }
        }
    }
}

/// The strip's part of the product.
///
/// # Safety
/// See [`super::Kernel`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn strip<T: Type>(strip: &Strip<'_>) {
    let (rows, stride) = (strip.x.rows, strip.w.row_bytes);
    let n_places = strip.x.pieces.len() / rows;
    assert!(n_places / T::PIECES * T::BYTES == stride, "whole rows of blocks");
    let mut sums = vec![[0.0_f32; WIDTH]; rows];
    for (first, skipped, panel) in strip.panels() {
        sums.fill([0.0; WIDTH]);
        for (place, pieces) in strip.x.pieces.chunks_exact(rows).enumerate() {
            prefetch(panel, place, n_places);
            // SAFETY: the panel is 16 rows `stride` apart, each of as many pieces as there are places.
            unsafe {
                let weights = T::read(panel.as_ptr(), stride, place);
                for (x, sums) in pieces.iter().zip(&mut sums) {
                    let (numbers, _) = x.numbers.as_chunks::<4>();
                    let mut dots = _mm512_set1_epi32(-T::OFFSET * x.sum);
                    if T::HAS_FACTORS {
                        let halves = [-T::OFFSET * x.half, -T::OFFSET * (x.sum - x.half)];
                        dots = _mm512_setzero_si512();
                        for (half, first) in halves.into_iter().zip([0, 4]) {
                            let mut sums = _mm512_set1_epi32(half);
                            for (stored, x) in weights.stored[first..first + 4].iter().zip(&numbers[first..])
                            {
                                sums = _mm512_dpbusd_epi32(sums, *stored, four(*x));
                            }
                            let factor = weights.factors[first / 4];
                            dots = _mm512_add_epi32(dots, _mm512_mullo_epi32(sums, factor));
                        }
                    } else {
                        for (stored, x) in weights.stored.iter().zip(numbers) {
                            dots = _mm512_dpbusd_epi32(dots, *stored, four(*x));
                        }
                    }
                    let scale = _mm512_mul_ps(weights.scale, _mm512_set1_ps(x.scale));
                    let mut sum = _mm512_loadu_ps(sums.as_ptr());
                    sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), scale, sum);
                    if T::HAS_MINIMUM {
                        sum = _mm512_fmadd_ps(weights.minimum, _mm512_set1_ps(x.total), sum);
                    }
                    _mm512_storeu_ps(sums.as_mut_ptr(), sum);
                }
            }
        }
        // SAFETY: the caller's.
        unsafe { strip.write(first, skipped, &sums) };
    }
}

/// Four numbers, for every row.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn four(numbers: [i8; 4]) -> __m512i {
    // SAFETY: both are 32 bits, of which every pattern is a number.
    _mm512_set1_epi32(unsafe { std::mem::transmute::<[i8; 4], i32>(numbers) })
}

/// As much of the next panel as this piece is of this one.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn prefetch(panel: &[u8], place: usize, n_places: usize) {
    const LINE: usize = 64;
    let share = panel.len() / n_places;
    let next = panel.as_ptr().wrapping_add(panel.len() + place * share);
    for line in (0..share).step_by(LINE) {
        _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(line).cast());
    }
}

/// 16 bytes of each of 16 rows: the rows 4 l + i are the parts l of vector i.
///
/// # Safety
/// They can be read.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn lines(first: *const u8, stride: usize) -> [__m512i; 4] {
    // SAFETY: the caller's.
    unsafe {
        [
            lines_from(first, stride),
            lines_from(first.add(stride), stride),
            lines_from(first.add(2 * stride), stride),
            lines_from(first.add(3 * stride), stride),
        ]
    }
}

/// 16 bytes of every fourth of the rows.
///
/// # Safety
/// They can be read.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn lines_from(first: *const u8, stride: usize) -> __m512i {
    // SAFETY: the caller's.
    unsafe {
        let lines = _mm512_castsi128_si512(_mm_loadu_si128(first.cast()));
        let lines = _mm512_inserti32x4::<1>(lines, _mm_loadu_si128(first.add(4 * stride).cast()));
        let lines = _mm512_inserti32x4::<2>(lines, _mm_loadu_si128(first.add(8 * stride).cast()));
        _mm512_inserti32x4::<3>(lines, _mm_loadu_si128(first.add(12 * stride).cast()))
    }
}

/// Of [`lines`] the first four bytes of each row, the second, the third and the fourth.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn turned([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// The lower halves of the bytes are the first 16 numbers, the upper ones the others.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn nibbles(bytes: [__m512i; 4]) -> Fours {
    let mask = _mm512_set1_epi8(0x0f);
    let (mut low, mut high) = (bytes, bytes);
    for (low, high) in low.iter_mut().zip(&mut high) {
        *high = _mm512_and_si512(_mm512_srli_epi16::<4>(*high), mask);
        *low = _mm512_and_si512(*low, mask);
    }
    joined(low, high)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn joined([a, b, c, d]: [__m512i; 4], [e, f, g, h]: [__m512i; 4]) -> Fours {
    [a, b, c, d, e, f, g, h]
}

/// The numbers of 16 bits in the lower halves of the lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn halves(lanes: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(lanes))
}
