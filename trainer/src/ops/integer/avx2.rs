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
        _ => return None,
    })
}

/// How a type's blocks are read. A weight is (stored − OFFSET) · scale + minimum.
trait Type {
    const OFFSET: i32;
    const HAS_MINIMUM: bool;
    /// Whether what is stored has a sign; else it is below 16.
    const IS_SIGNED: bool;
    const BYTES: usize;

    /// The stored numbers of one piece of 8 rows, `stride` bytes apart; and what scales and minimums are made of.
    ///
    /// # Safety
    /// The CPU has the instructions; the blocks at `piece` can be read.
    unsafe fn read(piece: *const u8, stride: usize) -> (Fours, __m256i);
}

struct Q4_0;
struct Q4_1;
struct Q8_0;

impl Type for Q4_0 {
    const OFFSET: i32 = 8;
    const HAS_MINIMUM: bool = false;
    const IS_SIGNED: bool = false;
    const BYTES: usize = 18;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn read(piece: *const u8, stride: usize) -> (Fours, __m256i) {
        // SAFETY: the caller's.
        unsafe {
            let [head, ..] = turned(lines(piece, stride));
            (nibbles(turned(lines(piece.add(2), stride))), head)
        }
    }
}

impl Type for Q4_1 {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const IS_SIGNED: bool = false;
    const BYTES: usize = 20;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn read(piece: *const u8, stride: usize) -> (Fours, __m256i) {
        // SAFETY: the caller's.
        unsafe {
            let [head, first, second, third] = turned(lines(piece, stride));
            let [.., fourth] = turned(lines(piece.add(4), stride));
            (nibbles([first, second, third, fourth]), head)
        }
    }
}

impl Type for Q8_0 {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = false;
    const IS_SIGNED: bool = true;
    const BYTES: usize = 34;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn read(piece: *const u8, stride: usize) -> (Fours, __m256i) {
        // SAFETY: the caller's.
        unsafe {
            let [head, ..] = turned(lines(piece, stride));
            let low = turned(lines(piece.add(2), stride));
            let high = turned(lines(piece.add(18), stride));
            let stored = std::array::from_fn(|at| if at < 4 { low[at] } else { high[at - 4] });
            (stored, head)
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
    assert!(
        strip.x.pieces.len() / rows * T::BYTES == stride,
        "whole rows of blocks"
    );
    let mut sums = vec![[0.0_f32; WIDTH]; rows];
    for (first, skipped, panel) in strip.panels() {
        sums.fill([0.0; WIDTH]);
        for half in 0..WIDTH / LANES {
            for (place, pieces) in strip.x.pieces.chunks_exact(rows).enumerate() {
                // SAFETY: the panel is 16 rows `stride` apart, each of as many blocks as there are places.
                unsafe {
                    let piece = panel.as_ptr().add(half * LANES * stride + place * T::BYTES);
                    let (weights, head) = T::read(piece, stride);
                    let scale = halves(head);
                    let minimum = halves(_mm256_srli_epi32::<16>(head));
                    for (x, sums) in pieces.iter().zip(&mut sums) {
                        let mut dots = dots::<T>(&weights, &x.numbers);
                        if T::OFFSET != 0 {
                            dots = _mm256_sub_epi32(dots, _mm256_set1_epi32(T::OFFSET * x.sum));
                        }
                        let scale = _mm256_mul_ps(scale, _mm256_set1_ps(x.scale));
                        let place = sums.as_mut_ptr().add(half * LANES);
                        let mut sum = _mm256_loadu_ps(place);
                        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), scale, sum);
                        if T::HAS_MINIMUM {
                            sum = _mm256_fmadd_ps(minimum, _mm256_set1_ps(x.total), sum);
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

/// The sums of stored numbers times `x`, one of each row.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn dots<T: Type>(weights: &Fours, x: &[i8; PIECE]) -> __m256i {
    let ones = _mm256_set1_epi16(1);
    let (fours, _) = x.as_chunks::<4>();
    let mut sums = _mm256_setzero_si256();
    for (&weights, &x) in weights.iter().zip(fours) {
        let x = _mm256_set1_epi32(i32::from_le_bytes(x.map(|x| x as u8)));
        if T::IS_SIGNED {
            // |w| · (x with the sign of w): two products of at most 128 · 127 fit 16 bits.
            let products = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
            sums = _mm256_add_epi32(sums, _mm256_madd_epi16(products, ones));
        } else {
            // So do sixteen of at most 15 · 127.
            sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(weights, x));
        }
    }
    match T::IS_SIGNED {
        true => sums,
        false => _mm256_madd_epi16(sums, ones),
    }
}

/// 16 bytes of each of 8 rows: row i and row 4 + i are the halves of vector i.
///
/// # Safety
/// They can be read.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn lines(first: *const u8, stride: usize) -> [__m256i; 4] {
    std::array::from_fn(|at| {
        // SAFETY: the caller's.
        let line = |row: usize| unsafe { _mm_loadu_si128(first.add(row * stride).cast()) };
        _mm256_set_m128i(line(4 + at), line(at))
    })
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
    let low = _mm256_set1_epi8(0x0f);
    std::array::from_fn(|at| match at {
        0..4 => _mm256_and_si256(bytes[at], low),
        _ => _mm256_and_si256(_mm256_srli_epi16::<4>(bytes[at - 4]), low),
    })
}

/// The numbers of 16 bits in the lower halves of the lanes.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn halves(lanes: __m256i) -> __m256 {
    let low = _mm256_and_si256(lanes, _mm256_set1_epi32(0xffff));
    let (first, second) = (_mm256_castsi256_si128(low), _mm256_extracti128_si256::<1>(low));
    _mm256_cvtph_ps(_mm_packus_epi32(first, second))
}
