//! The product of few rows with weights as stored: each step of sampling. A general product first packs the weight into
//! tiles, which for few rows costs more than the product itself; here each weight is read once, and becomes f32 a few
//! rows at a time, in the first cache. Several weights with the same input are one piece of parallel work. Where the CPU
//! multiplies bf16, weights in bf16 are not widened: the activations are rounded instead, as in products of many rows.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::bf16::few::Rounded;
use super::{
    blocks,
    matrix::{Blocks, Held, Matrix},
};
use candle_core::{CpuStorage, Result, Storage, bail, quantized::GgmlDType};
use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Up to so many rows this product beats the packed one.
pub(crate) const MOST_ROWS: usize = 48;
/// Rows of x whose products are summed side by side. With three outputs of each, 12 sums fit the registers of AVX2.
const ROWS: usize = 4;
/// Outputs that are summed side by side for one row, and for several.
const OUTPUTS_OF_ONE: usize = 6;
const OUTPUTS: usize = 3;
/// Outputs that one thread takes at a time.
const CHUNK: usize = 96;
/// Products of numbers that are not worth a second thread.
const SMALL: usize = 1 << 15;

/// `x wᵀ`, row-major. Shapes: x `(rows, inner)`, w `(out, inner)`, result `(rows, out)`. Each number's sum has
/// the same order whatever the other rows are, so that a row's result does not depend on its batch.
pub(crate) fn multiply<N: Number>(x: &[f32], w: &[N], inner: usize) -> Vec<f32> {
    if inner == 0 || x.is_empty() || w.is_empty() {
        return Vec::new();
    }
    let out = w.len() / inner;
    assert!(out * inner == w.len(), "whole rows");
    let [y] = together(x, inner, [(out, N::source(w))]);
    y
}

/// [`multiply`] with a weight of `out` rows that `fill` writes out in f32, some rows from a given one on.
pub(crate) fn multiply_filled(
    x: &[f32],
    out: usize,
    inner: usize,
    fill: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    if inner == 0 || x.is_empty() || out == 0 {
        return Vec::new();
    }
    let [y] = together(x, inner, [(out, Source::Filled(&fill))]);
    y
}

/// [`multiply`] with each of the weights, which are in main memory in f32, in bf16 or in blocks; a few rows of x.
pub(crate) fn multiply_each<const N: usize>(x: &[f32], weights: [&Matrix; N]) -> Result<[Vec<f32>; N]> {
    let inner = weights[0].dim(1)?;
    let guards = weights.map(|weight| match &weight.held {
        Held::Tensor(tensor) => Some(tensor.storage_and_layout()),
        Held::Blocks(_) => None,
    });
    let mut sources = [(0, Source::F32(&[])); N];
    for ((source, weight), guard) in sources.iter_mut().zip(weights).zip(&guards) {
        let (out, columns) = weight.dims2()?;
        if columns != inner || !x.len().is_multiple_of(inner.max(1)) {
            bail!("{} numbers meet a weight of {out} × {columns}", x.len());
        }
        let from = match (&weight.held, guard) {
            (Held::Blocks(blocks), _) => Source::of_blocks(blocks),
            (Held::Tensor(_), Some((storage, layout))) => match (&**storage, layout.contiguous_offsets()) {
                (Storage::Cpu(CpuStorage::F32(w)), Some((from, to))) => Some(Source::F32(&w[from..to])),
                (Storage::Cpu(CpuStorage::BF16(w)), Some((from, to))) => Some(Source::Bf16(&w[from..to])),
                _ => None,
            },
            _ => None,
        };
        let Some(from) = from else {
            bail!("a weight is neither in f32, bf16 nor blocks, or does not lie in main memory as a whole");
        };
        *source = (out, from);
    }
    if x.is_empty() || inner == 0 {
        return Ok([const { Vec::new() }; N]);
    }
    Ok(together(x, inner, sources))
}

/// Where the rows of a weight come from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    Blocks {
        dtype: GgmlDType,
        bytes: &'a [u8],
        row_bytes: usize,
    },
    Filled(&'a (dyn Fn(usize, &mut [f32]) + Sync)),
}

/// What a weight is stored in. bf16 halves what a step of sampling reads from memory.
pub(crate) trait Number: Sized {
    fn source(numbers: &[Self]) -> Source<'_>;
}

impl Number for f32 {
    fn source(numbers: &[f32]) -> Source<'_> {
        Source::F32(numbers)
    }
}

impl Number for bf16 {
    fn source(numbers: &[bf16]) -> Source<'_> {
        Source::Bf16(numbers)
    }
}

impl<'b> Source<'b> {
    fn of_blocks(blocks: &'b Blocks) -> Option<Self> {
        let (dtype, bytes) = blocks.bytes()?;
        let row_bytes = bytes.len() / blocks.rows.max(1);
        Some(Self::Blocks {
            dtype,
            bytes,
            row_bytes,
        })
    }

    /// Rows from `first` on in f32, in `scratch` where they are not so already.
    #[inline(always)]
    fn rows<'a>(&'a self, first: usize, n: usize, inner: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        let scratch = &mut scratch[..n * inner];
        match self {
            Self::F32(w) => return &w[first * inner..(first + n) * inner],
            Self::Bf16(w) => {
                let w = &w[first * inner..(first + n) * inner];
                for (wide, narrow) in scratch.iter_mut().zip(w) {
                    *wide = f32::from_bits(u32::from(narrow.to_bits()) << 16);
                }
            }
            Self::Blocks {
                dtype,
                bytes,
                row_bytes,
            } => {
                blocks::fill(
                    *dtype,
                    &bytes[first * row_bytes..(first + n) * row_bytes],
                    scratch,
                );
            }
            Self::Filled(fill) => fill(first, scratch),
        }
        scratch
    }
}

/// A result that tasks write by columns.
#[derive(Clone, Copy)]
struct Target {
    numbers: *mut f32,
    /// Numbers of a row.
    stride: usize,
}
// SAFETY: tasks write to different columns only.
unsafe impl Send for Target {}
unsafe impl Sync for Target {}

/// The products with all weights, each given with its number of rows.
fn together<const N: usize>(x: &[f32], inner: usize, weights: [(usize, Source<'_>); N]) -> [Vec<f32>; N] {
    let rows = x.len() / inner;
    assert!(rows * inner == x.len(), "whole rows");
    let mut products = weights.map(|(out, _)| vec![0.0; rows * out]);
    let mut tasks = Vec::new();
    for ((out, w), product) in weights.iter().zip(&mut products) {
        let (numbers, stride) = (product.as_mut_ptr(), *out);
        tasks.extend((0..*out).step_by(CHUNK).map(|first| Strip {
            x,
            w,
            inner,
            outputs: first..(first + CHUNK).min(*out),
            target: Target { numbers, stride },
        }));
    }
    #[cfg(target_arch = "x86_64")]
    let rounded = weights
        .iter()
        .any(|(_, w)| matches!(w, Source::Bf16(_)))
        .then(|| Rounded::new(x, inner))
        .flatten();
    let arch = Arch::new();
    let n_products: usize = weights.iter().map(|(out, _)| rows * out * inner).sum();
    let run = |scratch: &mut Vec<f32>, strip: Strip<'_>| {
        #[cfg(target_arch = "x86_64")]
        if let (Some(x), Source::Bf16(w)) = (&rounded, strip.w) {
            return strip.in_bf16(x, w);
        }
        scratch.resize(OUTPUTS_OF_ONE * inner, 0.0);
        arch.dispatch(Filling { strip, scratch });
    };
    if n_products <= SMALL {
        let mut scratch = Vec::new();
        tasks.into_iter().for_each(|strip| run(&mut scratch, strip));
    } else {
        tasks.into_par_iter().for_each_init(Vec::new, run);
    }
    products
}

/// Some outputs of all rows.
struct Strip<'a> {
    x: &'a [f32],
    w: &'a Source<'a>,
    inner: usize,
    outputs: std::ops::Range<usize>,
    target: Target,
}

struct Filling<'a> {
    strip: Strip<'a>,
    scratch: &'a mut [f32],
}

impl WithSimd for Filling<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { strip, scratch } = self;
        let is_one = strip.x.len() == strip.inner;
        let step = if is_one { OUTPUTS_OF_ONE } else { OUTPUTS };
        for first in strip.outputs.clone().step_by(step) {
            let n = step.min(strip.outputs.end - first);
            let w = strip.w.rows(first, n, strip.inner, scratch);
            match n {
                6 => strip.outputs_of::<S, 6>(simd, w, first),
                3 => strip.outputs_of::<S, 3>(simd, w, first),
                _ => {
                    for (at, w) in w.chunks_exact(strip.inner).enumerate() {
                        strip.outputs_of::<S, 1>(simd, w, first + at);
                    }
                }
            }
        }
    }
}

impl Strip<'_> {
    #[cfg(target_arch = "x86_64")]
    fn in_bf16(&self, x: &Rounded, w: &[bf16]) {
        let w = &w[self.outputs.start * self.inner..self.outputs.end * self.inner];
        x.times(w, &mut |row, output, sum| {
            self.write(row, self.outputs.start + output, sum)
        });
    }

    fn write(&self, row: usize, output: usize, sum: f32) {
        let Target { numbers, stride } = self.target;
        // SAFETY: the result has all rows of x and a column for each output of the weight, this task's among them, and
        // no other task writes there.
        unsafe { *numbers.add(row * stride + output) = sum };
    }

    #[inline(always)]
    fn outputs_of<S: Simd, const O: usize>(&self, simd: S, w: &[f32], output: usize) {
        for (at, x) in self.x.chunks(ROWS * self.inner).enumerate() {
            let place = (at * ROWS, output);
            match x.len() / self.inner {
                4 => self.tile::<S, O, 4>(simd, x, w, place),
                3 => self.tile::<S, O, 3>(simd, x, w, place),
                2 => self.tile::<S, O, 2>(simd, x, w, place),
                _ => self.tile::<S, O, 1>(simd, x, w, place),
            }
        }
    }

    /// `O` outputs of `R` rows.
    #[inline(always)]
    fn tile<S: Simd, const O: usize, const R: usize>(
        &self,
        simd: S,
        x: &[f32],
        w: &[f32],
        (first_row, first_output): (usize, usize),
    ) {
        let inner = self.inner;
        let x: [_; R] = std::array::from_fn(|row| S::as_simd_f32s(&x[row * inner..(row + 1) * inner]));
        let w: [_; O] = std::array::from_fn(|out| S::as_simd_f32s(&w[out * inner..(out + 1) * inner]));
        let n = w[0].0.len();
        let x_wide: [_; R] = std::array::from_fn(|row| &x[row].0[..n]);
        let w_wide: [_; O] = std::array::from_fn(|out| &w[out].0[..n]);
        let mut sums = [[simd.splat_f32s(0.0); R]; O];
        for k in 0..n {
            let w: [_; O] = std::array::from_fn(|out| w_wide[out][k]);
            for row in 0..R {
                let x = x_wide[row][k];
                for out in 0..O {
                    sums[out][row] = simd.mul_add_f32s(w[out], x, sums[out][row]);
                }
            }
        }
        for out in 0..O {
            for row in 0..R {
                let rest: f32 = w[out].1.iter().zip(x[row].1).map(|(w, x)| w * x).sum();
                let sum = simd.reduce_sum_f32s(sums[out][row]) + rest;
                self.write(first_row + row, first_output + out, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use candle_core::{DType, Device, Tensor, quantized::QTensor};

    #[test]
    fn every_remainder_of_rows_outputs_and_lengths_is_the_plain_sum() {
        let mut stream = Rng::new(1).stream("few rows", 0);
        let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| stream.normal() as f32).collect() };
        for (rows, out, inner) in [(1, 1, 1), (5, 7, 13), (6, 100, 64), (16, 98, 33), (3, 2, 8)] {
            let (x, w) = (numbers(rows * inner), numbers(out * inner));
            let y = multiply(&x, &w, inner);
            assert_eq!(y.len(), rows * out);
            for row in 0..rows {
                for column in 0..out {
                    let plain: f32 = (0..inner)
                        .map(|k| x[row * inner + k] * w[column * inner + k])
                        .sum();
                    assert!((y[row * out + column] - plain).abs() < 1e-4, "({row}, {column})");
                }
                let alone = multiply(&x[row * inner..(row + 1) * inner], &w, inner);
                assert_eq!(
                    alone,
                    y[row * out..(row + 1) * out],
                    "a row alone has the same bits"
                );
            }
            // Where the CPU multiplies bf16, the activations are rounded, too.
            let round =
                |numbers: &[f32]| -> Vec<bf16> { numbers.iter().copied().map(bf16::from_f32).collect() };
            let widen = |numbers: &[bf16]| -> Vec<f32> { numbers.iter().map(|w| w.to_f32()).collect() };
            let (x, rounded) = (widen(&round(&x)), round(&w));
            let (in_bf16, widened) = (
                multiply(&x, &rounded, inner),
                multiply(&x, &widen(&rounded), inner),
            );
            for (in_bf16, widened) in in_bf16.iter().zip(widened) {
                assert!((in_bf16 - widened).abs() < 1e-4, "{in_bf16} {widened}");
            }
        }
    }

    #[test]
    fn several_weights_at_once_give_what_each_gives_alone_however_they_are_held() {
        let mut stream = Rng::new(2).stream("few rows", 0);
        let mut numbers = |rows: usize| {
            let numbers: Vec<f32> = (0..rows * 256).map(|_| stream.normal() as f32).collect();
            Tensor::from_vec(numbers, (rows, 256), &Device::Cpu).unwrap()
        };
        let plain = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (first, second, third) = (numbers(101), numbers(7), numbers(50));
        let blocks = QTensor::quantize(&third, GgmlDType::Q4_1).unwrap();
        let weights = [
            Matrix::from(first.clone()),
            Matrix::from(second.to_dtype(DType::BF16).unwrap()),
            Matrix::from_blocks(blocks).unwrap(),
        ];
        let widened = weights
            .each_ref()
            .map(|weight| plain(&weight.to_dtype(DType::F32).unwrap()));
        for rows in [1, 2, 5] {
            let x = plain(&numbers(rows));
            let together = multiply_each(&x, weights.each_ref()).unwrap();
            for ((ours, weight), held) in together.iter().zip(&weights).zip(&widened) {
                let alone = match &weight.held {
                    Held::Tensor(w) if w.dtype() == DType::BF16 => {
                        let w: Vec<bf16> = w.flatten_all().unwrap().to_vec1().unwrap();
                        multiply(&x, &w, 256)
                    }
                    _ => multiply(&x, held, 256),
                };
                assert_eq!(*ours, alone);
            }
        }
        assert!(multiply_each(&[0.0; 255], [&weights[0]]).is_err());
    }
}
