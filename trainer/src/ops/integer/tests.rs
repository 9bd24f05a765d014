//! Every kernel of this machine against the plain sum.

use super::*;
use crate::ops::tape::check::{distance, numbers};
use candle_core::{Device, Tensor, quantized::QTensor};

const TYPES: [GgmlDType; 5] = [
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q8_0,
    GgmlDType::Q4K,
    GgmlDType::Q6K,
];

type Choose = fn(GgmlDType) -> Option<Kernel>;

fn kernels() -> Vec<(&'static str, Choose)> {
    let mut found: Vec<(&str, Choose)> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if avx2::is_there() {
            found.push(("AVX2", avx2::kernel));
        }
        if avx512::is_there() {
            found.push(("AVX-512 VNNI", avx512::kernel));
        }
    }
    found
}

fn numbers_of(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn by(kernel: Kernel, blocks: &QTensor, x: &[f32]) -> Vec<f32> {
    let bytes = blocks.data().unwrap();
    let (out, inner) = blocks.shape().dims2().unwrap();
    let weight = Weight {
        bytes: &bytes,
        out,
        row_bytes: bytes.len() / out,
        kernel,
    };
    let [y] = multiply_by(&Rounded::of(x, inner), [weight]);
    y
}

/// What the rounded activations stand for.
fn widened(x: &Rounded, inner: usize) -> Vec<f32> {
    let place = |row: usize, at: usize| {
        let parts = &x.pieces[at / PIECE * x.rows + 2 * row..][..2];
        let part = |piece: &rounded::Piece| f32::from(piece.numbers[at % PIECE]) * piece.scale;
        part(&parts[0]) + part(&parts[1])
    };
    (0..x.rows / 2)
        .flat_map(|row| (0..inner).map(move |at| place(row, at)))
        .collect()
}

#[test]
fn every_kernel_gives_the_plain_sum_of_what_is_stored_and_all_the_same_bits() {
    // Outputs of whole panels and not; enough for several tasks.
    for (rows, inner, out) in [
        (1, 32, 16),
        (3, 96, 17),
        (5, 576, 100),
        (2, 512, 2000),
        (130, 64, 31),
    ] {
        let x = numbers_of(&numbers(&[rows, inner], 1));
        let stored = Tensor::from_vec(
            widened(&Rounded::of(&x, inner), inner),
            (rows, inner),
            &Device::Cpu,
        )
        .unwrap();
        for dtype in TYPES {
            if !inner.is_multiple_of(dtype.block_size()) {
                continue;
            }
            let blocks = QTensor::quantize(&numbers(&[out, inner], 2), dtype).unwrap();
            let plain = stored
                .matmul(&blocks.dequantize(&Device::Cpu).unwrap().t().unwrap())
                .unwrap();
            let mut bits: Vec<Vec<u32>> = Vec::new();
            for (name, choose) in kernels() {
                let y = by(choose(dtype).unwrap(), &blocks, &x);
                bits.push(y.iter().map(|y| y.to_bits()).collect());
                let y = Tensor::from_vec(y, (rows, out), &Device::Cpu).unwrap();
                let far = distance(&y, &plain);
                assert!(
                    far < 1e-4 * (inner as f64).sqrt(),
                    "{name}, {dtype:?}, {rows} × {inner} × {out}: {far}"
                );
            }
            bits.dedup();
            assert!(bits.len() <= 1, "{dtype:?}: the kernels differ");
        }
    }
}

#[test]
fn the_largest_numbers_overflow_nothing() {
    for dtype in TYPES {
        for (x_sign, w_sign) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
            const INNER: usize = 256;
            let x = vec![x_sign; INNER];
            // Both ends of the type's range in each block.
            let w: Vec<f32> = (0..16 * INNER)
                .map(|at| if at % 32 == 0 { -w_sign } else { w_sign })
                .collect();
            let w = Tensor::from_vec(w, (16, INNER), &Device::Cpu).unwrap();
            let blocks = QTensor::quantize(&w, dtype).unwrap();
            let whole = numbers_of(&blocks.dequantize(&Device::Cpu).unwrap());
            let plain: f32 = whole[..INNER].iter().map(|w| w * x_sign).sum();
            for (name, choose) in kernels() {
                let y = by(choose(dtype).unwrap(), &blocks, &x);
                assert!(
                    y.iter().all(|y| (y - plain).abs() < 1e-3),
                    "{name}, {dtype:?}: {y:?}, {plain}"
                );
            }
        }
    }
}

#[test]
fn a_row_alone_has_the_same_bits_as_among_others_and_weights_together_as_apart() {
    let (rows, inner) = (9, 576);
    let x = numbers_of(&numbers(&[rows, inner], 1));
    let weights = [
        (64, 2, GgmlDType::Q4_1),
        (640, 3, GgmlDType::Q8_0),
        (40, 4, GgmlDType::Q4_0),
    ];
    let weights = weights.map(|(out, seed, dtype)| {
        Matrix::from_blocks(QTensor::quantize(&numbers(&[out, inner], seed), dtype).unwrap()).unwrap()
    });
    let Some(together) = multiply(&x, weights.each_ref()) else {
        return assert!(kernels().is_empty());
    };
    for (weight, together) in weights.iter().zip(together) {
        let out = weight.dim(0).unwrap();
        for row in 0..rows {
            let [alone] = multiply(&x[row * inner..(row + 1) * inner], [weight]).unwrap();
            assert_eq!(alone, together[row * out..(row + 1) * out]);
        }
    }
}

#[test]
fn rounding_is_to_the_nearest_of_two_times_127_steps_and_what_is_no_number_stays_none() {
    let mut x = numbers_of(&numbers(&[3, 64], 1));
    x[..32].fill(0.0);
    let rounded = Rounded::of(&x, 64);
    for (at, (x, stored)) in x.iter().zip(widened(&rounded, 64)).enumerate() {
        let [coarse, piece] = &rounded.pieces.as_chunks::<2>().0[at % 64 / PIECE * 3 + at / 64];
        assert!(piece.scale <= 0.5001 / 127.0 * coarse.scale);
        assert!(
            (x - stored).abs() <= 0.501 * piece.scale + 1e-7 * x.abs(),
            "{x} {stored}"
        );
        assert_eq!(
            piece.sum,
            piece.numbers.iter().map(|&x| i32::from(x)).sum::<i32>()
        );
    }
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        x[40] = broken;
        let blocks = QTensor::quantize(&numbers(&[16, 64], 2), GgmlDType::Q4_1).unwrap();
        for (_, choose) in kernels() {
            let y = by(choose(GgmlDType::Q4_1).unwrap(), &blocks, &x);
            assert!(y[..16].iter().all(|y| !y.is_finite()) && y[16..].iter().all(|y| y.is_finite()));
        }
    }
}

#[test]
fn what_has_no_kernel_is_left_to_others() {
    let x = numbers_of(&numbers(&[1, 32], 1));
    let narrow = Matrix::from(numbers(&[15, 32], 2))
        .quantise(GgmlDType::Q8_0)
        .unwrap();
    let other = Matrix::from(numbers(&[16, 32], 2))
        .quantise(GgmlDType::F16)
        .unwrap();
    for weight in [narrow, other, Matrix::from(numbers(&[16, 32], 2))] {
        assert!(!multiplies(&weight) && multiply(&x, [&weight]).is_none());
    }
}
