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
        _ => return None,
    })
}

/// How a type's blocks are read. A weight is (stored − OFFSET) · scale + minimum.
trait Type {
    const OFFSET: i32;
    const HAS_MINIMUM: bool;
    const BYTES: usize;

    /// The stored numbers of one piece of 16 rows, `stride` bytes apart; and what scales and minimums are made of.
    ///
    /// # Safety
    /// The CPU has the instructions; the blocks at `piece` can be read.
    unsafe fn read(piece: *const u8, stride: usize) -> (Fours, __m512i);
}

struct Q4_0;
struct Q4_1;
struct Q8_0;

impl Type for Q4_0 {
    const OFFSET: i32 = 8;
    const HAS_MINIMUM: bool = false;
    const BYTES: usize = 18;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn read(piece: *const u8, stride: usize) -> (Fours, __m512i) {
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
    const BYTES: usize = 20;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn read(piece: *const u8, stride: usize) -> (Fours, __m512i) {
        // SAFETY: the caller's.
        unsafe {
            let [head, first, second, third] = turned(lines(piece, stride));
            let [.., fourth] = turned(lines(piece.add(4), stride));
            (nibbles([first, second, third, fourth]), head)
        }
    }
}

impl Type for Q8_0 {
    const OFFSET: i32 = 128;
    const HAS_MINIMUM: bool = false;
    const BYTES: usize = 34;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn read(piece: *const u8, stride: usize) -> (Fours, __m512i) {
        // SAFETY: the caller's.
        unsafe {
            let [head, ..] = turned(lines(piece, stride));
            let low = turned(lines(piece.add(2), stride));
            let high = turned(lines(piece.add(18), stride));
            // From −128…127 to 0…255.
            let sign = _mm512_set1_epi8(-128);
            let stored = std::array::from_fn(|at| {
                let signed = if at < 4 { low[at] } else { high[at - 4] };
                _mm512_xor_si512(signed, sign)
            });
            (stored, head)
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
    assert!(
        strip.x.pieces.len() / rows * T::BYTES == stride,
        "whole rows of blocks"
    );
    let mut sums = vec![[0.0_f32; WIDTH]; rows];
    for (first, skipped, panel) in strip.panels() {
        sums.fill([0.0; WIDTH]);
        for (place, pieces) in strip.x.pieces.chunks_exact(rows).enumerate() {
            // SAFETY: the panel is 16 rows `stride` apart, each of as many blocks as there are places.
            unsafe {
                prefetch::<T>(panel, place);
                let (weights, head) = T::read(panel.as_ptr().add(place * T::BYTES), stride);
                let scale = halves(head);
                let minimum = halves(_mm512_srli_epi32::<16>(head));
                for (x, sums) in pieces.iter().zip(&mut sums) {
                    let numbers = x.numbers.as_ptr().cast::<i32>();
                    let mut dots = _mm512_set1_epi32(-T::OFFSET * x.sum);
                    for (at, weights) in weights.into_iter().enumerate() {
                        let x = _mm512_set1_epi32(numbers.add(at).read_unaligned());
                        dots = _mm512_dpbusd_epi32(dots, weights, x);
                    }
                    let scale = _mm512_mul_ps(scale, _mm512_set1_ps(x.scale));
                    let mut sum = _mm512_loadu_ps(sums.as_ptr());
                    sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), scale, sum);
                    if T::HAS_MINIMUM {
                        sum = _mm512_fmadd_ps(minimum, _mm512_set1_ps(x.total), sum);
                    }
                    _mm512_storeu_ps(sums.as_mut_ptr(), sum);
                }
            }
        }
        // SAFETY: the caller's.
        unsafe { strip.write(first, skipped, &sums) };
    }
}

/// The part of the next panel that has the same place in it.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn prefetch<T: Type>(panel: &[u8], place: usize) {
    const LINE: usize = 64;
    let next = panel
        .as_ptr()
        .wrapping_add(panel.len() + place * T::BYTES * WIDTH);
    for line in (0..T::BYTES * WIDTH).step_by(LINE) {
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
    std::array::from_fn(|at| {
        // SAFETY: the caller's.
        let line = |part: usize| unsafe { _mm_loadu_si128(first.add((4 * part + at) * stride).cast()) };
        let lines = _mm512_castsi128_si512(line(0));
        let lines = _mm512_inserti32x4::<1>(lines, line(1));
        let lines = _mm512_inserti32x4::<2>(lines, line(2));
        _mm512_inserti32x4::<3>(lines, line(3))
    })
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
    let low = _mm512_set1_epi8(0x0f);
    std::array::from_fn(|at| match at {
        0..4 => _mm512_and_si512(bytes[at], low),
        _ => _mm512_and_si512(_mm512_srli_epi16::<4>(bytes[at - 4]), low),
    })
}

/// The numbers of 16 bits in the lower halves of the lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn halves(lanes: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(lanes))
}
