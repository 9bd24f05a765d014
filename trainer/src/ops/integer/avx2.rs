//! The kernel for AVX2: `vpmaddubsw` adds two products of 8-bit numbers to 16 bits, of which two more are added to 32.

use super::{PIECE, Strip, WIDTH};
use candle_core::quantized::GgmlDType;
use std::arch::x86_64::*;

/// Rows in a vector; a panel is two times as many.
const LANES: usize = 8;

/// Four weights of each of 8 rows.
type Fours = [__m256i; PIECE / 4];

pub fn is_there() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
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

/// One piece of 8 rows: a weight is (stored − OFFSET) · scale + minimum.
struct Read {
    stored: Fours,
    scale: __m256,
    minimum: __m256,
    factors: [__m256i; 2],
}

/// How a type's blocks are read.
trait Type {
    const OFFSET: i32;
    const HAS_MINIMUM: bool;
    /// Whether both halves of a piece have a whole number more as a factor.
    const HAS_FACTORS: bool = false;
    /// Whether what is stored has a sign.
    const IS_SIGNED: bool;
    /// Whether it is below 16.
    const IS_NARROW: bool = !Self::IS_SIGNED;
    const BYTES: usize;
    /// Pieces of a block.
    const PIECES: usize;

    /// The piece at `place` of 8 rows, `stride` bytes apart.
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
    const IS_SIGNED: bool = false;
    const BYTES: usize = 18;
    const PIECES: usize = 1;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn read(rows: *const u8, stride: usize, place: usize) -> Read {
        // SAFETY: the caller's.
        unsafe {
            let block = rows.add(place * Self::BYTES);
            let [head, ..] = turned(lines(block, stride));
            Read {
                stored: nibbles(turned(lines(block.add(2), stride))),
                scale: halves(head),
                minimum: _mm256_setzero_ps(),
                factors: [_mm256_setzero_si256(); 2],
            }
        }
    }
}

impl Type for Q4_1 {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const IS_SIGNED: bool = false;
    const BYTES: usize = 20;
    const PIECES: usize = 1;

    #[target_feature(enable = "avx2,fma,f16c")]
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
                minimum: halves(_mm256_srli_epi32::<16>(head)),
                factors: [_mm256_setzero_si256(); 2],
            }
        }
    }
}

impl Type for Q8_0 {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = false;
    const IS_SIGNED: bool = true;
    const BYTES: usize = 34;
    const PIECES: usize = 1;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn read(rows: *const u8, stride: usize, place: usize) -> Read {
        // SAFETY: the caller's.
        unsafe {
            let block = rows.add(place * Self::BYTES);
            let [head, ..] = turned(lines(block, stride));
            let low = turned(lines(block.add(2), stride));
            let high = turned(lines(block.add(18), stride));
            Read {
                stored: joined(low, high),
                scale: halves(head),
                minimum: _mm256_setzero_ps(),
                factors: [_mm256_setzero_si256(); 2],
            }
        }
    }
}

/// Two scales of 16 bits for all of a block; eight scales and eight minimums of 6 bits in 12 bytes; then the numbers, of
/// each 32 bytes the lower halves first.
impl Type for Q4K {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const IS_SIGNED: bool = false;
    const BYTES: usize = 144;
    const PIECES: usize = 8;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn read(rows: *const u8, stride: usize, place: usize) -> Read {
        let piece = place % Self::PIECES;
        // SAFETY: the caller's.
        unsafe {
            let block = rows.add(place / Self::PIECES * Self::BYTES);
            let [head, scales, minimums, ends] = turned(lines(block, stride));
            let at = _mm_cvtsi32_si128(8 * (piece as i32 % 4));
            let scales = _mm256_srl_epi32(scales, at);
            let minimums = _mm256_srl_epi32(minimums, at);
            let ends = _mm256_srl_epi32(ends, at);
            let (four, six) = (_mm256_set1_epi32(0x0f), _mm256_set1_epi32(0x3f));
            // The later ones have their two upper bits behind the earlier ones.
            let upper = _mm256_set1_epi32(0x30);
            let (scale, minimum) = match piece < 4 {
                true => (_mm256_and_si256(scales, six), _mm256_and_si256(minimums, six)),
                false => (
                    _mm256_or_si256(
                        _mm256_and_si256(ends, four),
                        _mm256_and_si256(_mm256_srli_epi32::<2>(scales), upper),
                    ),
                    _mm256_or_si256(
                        _mm256_and_si256(_mm256_srli_epi32::<4>(ends), four),
                        _mm256_and_si256(_mm256_srli_epi32::<2>(minimums), upper),
                    ),
                ),
            };
            let numbers = block.add(16 + piece / 2 * PIECE);
            let mut stored = joined(
                turned(lines(numbers, stride)),
                turned(lines(numbers.add(PIECE / 2), stride)),
            );
            let (half, mask) = (_mm_cvtsi32_si128(4 * (piece as i32 % 2)), _mm256_set1_epi8(0x0f));
            for stored in &mut stored {
                *stored = _mm256_and_si256(_mm256_srl_epi16(*stored, half), mask);
            }
            let less = _mm256_mul_ps(halves(_mm256_srli_epi32::<16>(head)), _mm256_cvtepi32_ps(minimum));
            Read {
                stored,
                scale: _mm256_mul_ps(halves(head), _mm256_cvtepi32_ps(scale)),
                minimum: _mm256_sub_ps(_mm256_setzero_ps(), less),
                factors: [_mm256_setzero_si256(); 2],
            }
        }
    }
}

/// Four lower bits, then two upper ones of each number; 16 factors; a scale of 16 bits for all.
impl Type for Q6K {
    const OFFSET: i32 = 32;
    const HAS_MINIMUM: bool = false;
    const HAS_FACTORS: bool = true;
    const IS_SIGNED: bool = false;
    const IS_NARROW: bool = false;
    const BYTES: usize = 210;
    const PIECES: usize = 8;

    #[target_feature(enable = "avx2,fma,f16c")]
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
            let (four, two) = (_mm256_set1_epi8(0x0f), _mm256_set1_epi8(0x03));
            for (stored, upper) in stored.iter_mut().zip(upper) {
                let low = _mm256_and_si256(_mm256_srl_epi16(*stored, half), four);
                let high = _mm256_and_si256(_mm256_srl_epi16(upper, pair), two);
                *stored = _mm256_or_si256(low, _mm256_slli_epi16::<4>(high));
            }
            // Four factors of each row; with a sign.
            let factors = turned(lines(block.add(192), stride))[piece / 2];
            let at = 16 * (piece as i32 % 2);
            let first = _mm256_sll_epi32(factors, _mm_cvtsi32_si128(24 - at));
            let second = _mm256_sll_epi32(factors, _mm_cvtsi32_si128(16 - at));
            let [.., end] = turned(lines(block.add(Self::BYTES - 16), stride));
            Read {
                stored,
                scale: halves(_mm256_srli_epi32::<16>(end)),
                minimum: _mm256_setzero_ps(),
                factors: [_mm256_srai_epi32::<24>(first), _mm256_srai_epi32::<24>(second)],
            }
        }
    }
}

/// The strip's part of the product.
///
/// # Safety
/// See [`super::Kernel`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn strip<T: Type>(strip: &Strip<'_>) {
    let (rows, stride) = (strip.x.rows, strip.w.row_bytes);
    let n_places = strip.x.pieces.len() / rows;
    assert!(n_places / T::PIECES * T::BYTES == stride, "whole rows of blocks");
    let mut sums = vec![[0.0_f32; WIDTH]; rows];
    for (first, skipped, panel) in strip.panels() {
        sums.fill([0.0; WIDTH]);
        for first in (0..WIDTH).step_by(LANES) {
            for (place, pieces) in strip.x.pieces.chunks_exact(rows).enumerate() {
                // SAFETY: the panel is 16 rows `stride` apart, each of as many pieces as there are places.
                unsafe {
                    let weights = T::read(panel.as_ptr().add(first * stride), stride, place);
                    for (x, sums) in pieces.iter().zip(&mut sums) {
                        let dots = if T::HAS_FACTORS {
                            let (first, second) = x.numbers.split_at(PIECE / 2);
                            let first = dots::<T>(&weights.stored[..4], first, x.half);
                            let second = dots::<T>(&weights.stored[4..], second, x.sum - x.half);
                            _mm256_add_epi32(
                                _mm256_mullo_epi32(first, weights.factors[0]),
                                _mm256_mullo_epi32(second, weights.factors[1]),
                            )
                        } else {
                            dots::<T>(&weights.stored, &x.numbers, x.sum)
                        };
                        let scale = _mm256_mul_ps(weights.scale, _mm256_set1_ps(x.scale));
                        let place = sums.as_mut_ptr().add(first);
                        let mut sum = _mm256_loadu_ps(place);
                        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), scale, sum);
                        if T::HAS_MINIMUM {
                            sum = _mm256_fmadd_ps(weights.minimum, _mm256_set1_ps(x.total), sum);
                        }
                        _mm256_storeu_ps(place, sum);
                    }
                }
            }
        }
        // SAFETY: the caller's.
        unsafe { strip.write(first, skipped, &sums) };
    }
}

/// The sums of weights, without their scale, times `x`, one of each row. `sum` is that of x.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn dots<T: Type>(stored: &[__m256i], x: &[i8], sum: i32) -> __m256i {
    let ones = _mm256_set1_epi16(1);
    let mut sums = _mm256_setzero_si256();
    for (&stored, &x) in stored.iter().zip(x.as_chunks::<4>().0) {
        // SAFETY: both are 32 bits, of which every pattern is a number.
        let x = _mm256_set1_epi32(unsafe { std::mem::transmute::<[i8; 4], i32>(x) });
        let products = match T::IS_SIGNED {
            // |w| · (x with the sign of w): two products of at most 128 · 127 fit 16 bits.
            true => _mm256_maddubs_epi16(_mm256_abs_epi8(stored), _mm256_sign_epi8(x, stored)),
            false => _mm256_maddubs_epi16(stored, x),
        };
        sums = match T::IS_NARROW {
            // So do sixteen of at most 15 · 127.
            true => _mm256_add_epi16(sums, products),
            false => _mm256_add_epi32(sums, _mm256_madd_epi16(products, ones)),
        };
    }
    if T::IS_NARROW {
        sums = _mm256_madd_epi16(sums, ones);
    }
    _mm256_sub_epi32(sums, _mm256_set1_epi32(T::OFFSET * sum))
}

/// 16 bytes of each of 8 rows: row i and row 4 + i are the halves of vector i.
///
/// # Safety
/// They can be read.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn lines(first: *const u8, stride: usize) -> [__m256i; 4] {
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

/// 16 bytes of the first and of the fifth row.
///
/// # Safety
/// They can be read.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn lines_from(first: *const u8, stride: usize) -> __m256i {
    // SAFETY: the caller's.
    unsafe {
        let low = _mm_loadu_si128(first.cast());
        let high = _mm_loadu_si128(first.add(4 * stride).cast());
        _mm256_set_m128i(high, low)
    }
}

/// Of [`lines`] the first four bytes of each row, the second, the third and the fourth.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn turned([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(ab, cd),
        _mm256_unpackhi_epi64(ab, cd),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// The lower halves of the bytes are the first 16 numbers, the upper ones the others.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn nibbles(bytes: [__m256i; 4]) -> Fours {
    let mask = _mm256_set1_epi8(0x0f);
    let (mut low, mut high) = (bytes, bytes);
    for (low, high) in low.iter_mut().zip(&mut high) {
        *high = _mm256_and_si256(_mm256_srli_epi16::<4>(*high), mask);
        *low = _mm256_and_si256(*low, mask);
    }
    joined(low, high)
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn joined([a, b, c, d]: [__m256i; 4], [e, f, g, h]: [__m256i; 4]) -> Fours {
    [a, b, c, d, e, f, g, h]
}

/// The numbers of 16 bits in the lower halves of the lanes.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn halves(lanes: __m256i) -> __m256 {
    let low = _mm256_and_si256(lanes, _mm256_set1_epi32(0xffff));
    let (first, second) = (_mm256_castsi256_si128(low), _mm256_extracti128_si256::<1>(low));
    _mm256_cvtph_ps(_mm_packus_epi32(first, second))
}
