//! Blocks of a GGUF file to f32 in plain loops, which the compiler makes vector instructions where they are inlined into
//! code for them. The numbers are those of candle's own conversion, bit for bit; types without a loop here go through it.
//! The layouts are those of ggml's `ggml-common.h`.

use super::matrix::fill_of;
use candle_core::quantized::GgmlDType;

/// Numbers of a block of the simple types.
const BLOCK: usize = 32;
/// Numbers of a block of the K types.
const SUPER_BLOCK: usize = 256;

/// Writes whole blocks out.
#[inline(always)]
pub(super) fn fill(dtype: GgmlDType, bytes: &[u8], numbers: &mut [f32]) {
    match dtype {
        GgmlDType::Q4_0 => each::<18, BLOCK>(bytes, numbers, |block, numbers| {
            let d = half_number(block[0], block[1]);
            nibbles(&block[2..], numbers, |q| (f32::from(q) - 8.0) * d);
        }),
        GgmlDType::Q4_1 => each::<20, BLOCK>(bytes, numbers, |block, numbers| {
            let (d, m) = (half_number(block[0], block[1]), half_number(block[2], block[3]));
            nibbles(&block[4..], numbers, |q| f32::from(q) * d + m);
        }),
        GgmlDType::Q8_0 => each::<34, BLOCK>(bytes, numbers, |block, numbers| {
            let d = half_number(block[0], block[1]);
            for (number, &q) in numbers.iter_mut().zip(&block[2..]) {
                *number = f32::from(q as i8) * d;
            }
        }),
        GgmlDType::Q6K => each::<210, SUPER_BLOCK>(bytes, numbers, six_bits),
        _ => {
            let fill = fill_of(dtype).expect("the type was checked when the matrix was made");
            fill(bytes, numbers);
        }
    }
}

#[inline(always)]
fn each<const BYTES: usize, const NUMBERS: usize>(
    bytes: &[u8],
    numbers: &mut [f32],
    fill: impl Fn(&[u8; BYTES], &mut [f32; NUMBERS]),
) {
    let (blocks, numbers) = (bytes.as_chunks::<BYTES>().0, numbers.as_chunks_mut::<NUMBERS>().0);
    assert_eq!(blocks.len(), numbers.len(), "whole blocks");
    for (block, numbers) in blocks.iter().zip(numbers) {
        fill(block, numbers);
    }
}

/// 16 bytes: the lower halves are the first 16 numbers, the upper ones the others.
#[inline(always)]
fn nibbles(bytes: &[u8], numbers: &mut [f32; BLOCK], number: impl Fn(u8) -> f32) {
    let (low, high) = numbers.split_at_mut(BLOCK / 2);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = number(byte & 0x0f);
        *high = number(byte >> 4);
    }
}

/// Q6_K: four lower bits, then two upper bits a number, then a scale for each 16 numbers, then the scale of all.
#[inline(always)]
fn six_bits(block: &[u8; 210], numbers: &mut [f32; SUPER_BLOCK]) {
    let d = half_number(block[208], block[209]);
    for (part, numbers) in numbers.chunks_exact_mut(128).enumerate() {
        let low = &block[64 * part..][..64];
        let high = &block[128 + 32 * part..][..32];
        let scales = &block[192 + 8 * part..][..8];
        for (quarter, numbers) in numbers.chunks_exact_mut(32).enumerate() {
            let low = &low[32 * (quarter % 2)..][..32];
            for (half, numbers) in numbers.chunks_exact_mut(16).enumerate() {
                let scale = d * f32::from(scales[2 * quarter + half] as i8);
                let (low, high) = (&low[16 * half..][..16], &high[16 * half..][..16]);
                for ((number, low), high) in numbers.iter_mut().zip(low).zip(high) {
                    let low = if quarter < 2 { low & 0x0f } else { low >> 4 };
                    let q = low | ((high >> (2 * quarter)) & 3) << 4;
                    *number = scale * (f32::from(q) - 32.0);
                }
            }
        }
    }
}

/// A number of 16 bits, little-endian. The bits of exponent and fraction are moved to their places in f32 and the
/// exponent's offset is put right by a product, which is exact and takes care of the smallest numbers.
#[inline(always)]
fn half_number(low: u8, high: u8) -> f32 {
    let bits = u32::from(u16::from_le_bytes([low, high]));
    let moved = (bits & 0x7fff) << 13;
    // 2^112, the difference of the two offsets.
    let size = f32::from_bits(moved) * f32::from_bits((112 + 127) << 23);
    let is_finite = bits & 0x7c00 != 0x7c00;
    let size = if is_finite {
        size.to_bits()
    } else {
        moved | 0x7f80_0000
    };
    f32::from_bits(size | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{matrix_types, tape::check::numbers};
    use candle_core::{Device, quantized::QTensor};
    use half::f16;

    #[test]
    fn every_half_number_is_itself() {
        for bits in 0..=u16::MAX {
            let [low, high] = bits.to_le_bytes();
            let expected = f16::from_bits(bits).to_f32();
            let ours = half_number(low, high);
            assert!(
                ours == expected || (ours.is_nan() && expected.is_nan()),
                "{bits:x}"
            );
            assert_eq!(ours.is_sign_negative(), expected.is_sign_negative());
        }
    }

    #[test]
    fn blocks_of_every_type_have_candles_numbers_bit_for_bit() {
        let whole = numbers(&[6, 512], 1);
        for dtype in matrix_types() {
            let blocks = QTensor::quantize(&whole, dtype).unwrap();
            let expected = blocks.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap();
            let expected: Vec<u32> = expected
                .to_vec1::<f32>()
                .unwrap()
                .into_iter()
                .map(f32::to_bits)
                .collect();
            let mut ours = vec![0.0; 6 * 512];
            fill(dtype, &blocks.data().unwrap(), &mut ours);
            let ours: Vec<u32> = ours.into_iter().map(f32::to_bits).collect();
            assert!(ours == expected, "{dtype:?}");
        }
    }
}
