//! Products with weights in the blocks of a GGUF file in whole numbers: for sampling, where the time is that of reading
//! the weights. The activations are rounded to two times 8 bits by pieces of 32 numbers of a row; products of 8-bit numbers
//! are summed exactly within a piece, and the pieces' sums in f32 with the scales of both. The weights stay as they are
//! stored: 16 rows at a time are turned in registers, so that each lane of a vector sums for one output. A row's result
//! does not depend on the other rows, and every kernel has the same bits.
//!
//! For CPUs with AVX2 or AVX-512 VNNI; elsewhere, and for training everywhere, the weights are de-quantised.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod rounded;

use super::matrix::{Blocks, Held, Matrix};
use candle_core::quantized::GgmlDType;
use rayon::prelude::*;
use rounded::Rounded;

/// Numbers of a piece: those of a block of the simple types.
const PIECE: usize = 32;
/// Outputs that are summed side by side: the rows of a panel of a weight.
const WIDTH: usize = 16;
/// Tasks for each thread: threads that begin late, or are slower, then get fewer.
const TASKS_A_THREAD: usize = 4;
/// Bytes of weights that are not worth a task.
const SMALL: usize = 1 << 15;

/// A weight in blocks, row-major.
#[derive(Clone, Copy)]
struct Weight<'a> {
    bytes: &'a [u8],
    /// Rows.
    out: usize,
    row_bytes: usize,
    kernel: Kernel,
}

/// Computes some outputs of all rows.
///
/// # Safety
/// The CPU has the kernel's instructions, the weight's blocks are of its type, and nobody else has the strip's outputs.
type Kernel = unsafe fn(&Strip<'_>);

/// Some panels of a weight and all rows.
struct Strip<'a> {
    x: &'a Rounded,
    w: Weight<'a>,
    panels: std::ops::Range<usize>,
    target: Target,
}

/// A result that tasks write by columns.
#[derive(Clone, Copy)]
struct Target(*mut f32);
// SAFETY: tasks write to different columns only.
unsafe impl Send for Target {}
unsafe impl Sync for Target {}

/// Whether there is a kernel for this weight on this machine.
pub(crate) fn multiplies(weight: &Matrix) -> bool {
    match &weight.held {
        Held::Blocks(blocks) => of_blocks(blocks).is_some(),
        Held::Tensor(_) => false,
    }
}

/// `x wᵀ` with each weight, where it [`multiplies`] them all. Shapes: x `(rows, in)`, w `(out, in)`, results
/// `(rows, out)`.
pub(crate) fn multiply<const N: usize>(x: &[f32], weights: [&Matrix; N]) -> Option<[Vec<f32>; N]> {
    let blocks = weights.map(|weight| match &weight.held {
        Held::Blocks(blocks) => of_blocks(blocks).map(|weight| (weight, blocks.columns)),
        Held::Tensor(_) => None,
    });
    let inner = blocks[0]?.1;
    if inner == 0
        || !x.len().is_multiple_of(inner)
        || blocks.iter().any(|it| it.is_none_or(|it| it.1 != inner))
    {
        return None;
    }
    let weights = blocks.map(|it| it.expect("there is none that is not there").0);
    Some(multiply_by(&Rounded::of(x, inner), weights))
}

fn of_blocks(blocks: &Blocks) -> Option<Weight<'_>> {
    let (dtype, bytes) = blocks.bytes()?;
    // A panel is whole; one that sticks out begins earlier.
    if blocks.rows < WIDTH || !blocks.columns.is_multiple_of(PIECE) {
        return None;
    }
    Some(Weight {
        bytes,
        out: blocks.rows,
        row_bytes: bytes.len() / blocks.rows,
        kernel: kernel(dtype)?,
    })
}

fn kernel(dtype: GgmlDType) -> Option<Kernel> {
    #[cfg(target_arch = "x86_64")]
    {
        if avx512::is_there() {
            return avx512::kernel(dtype);
        }
        if avx2::is_there() {
            return avx2::kernel(dtype);
        }
    }
    let _ = dtype;
    None
}

fn multiply_by<const N: usize>(x: &Rounded, weights: [Weight<'_>; N]) -> [Vec<f32>; N] {
    let mut products = weights.map(|w| vec![0.0; x.rows / 2 * w.out]);
    if x.rows == 0 {
        return products;
    }
    let n_bytes: usize = weights.iter().map(|w| w.bytes.len()).sum();
    let n_tasks = (TASKS_A_THREAD * rayon::current_num_threads())
        .min(n_bytes / SMALL)
        .max(1);
    let n_panels: usize = weights.iter().map(|w| w.out.div_ceil(WIDTH)).sum();
    let task_panels = n_panels.div_ceil(n_tasks);
    let mut strips = Vec::with_capacity(n_tasks + N);
    for (w, product) in weights.into_iter().zip(&mut products) {
        let n_panels = w.out.div_ceil(WIDTH);
        let target = Target(product.as_mut_ptr());
        strips.extend((0..n_panels).step_by(task_panels).map(|first| Strip {
            x,
            w,
            panels: first..(first + task_panels).min(n_panels),
            target,
        }));
    }
    // SAFETY: `kernel` chose by the CPU and the type; each panel is in one strip.
    let run = |strip: &Strip<'_>| unsafe { (strip.w.kernel)(strip) };
    match n_tasks {
        1 => strips.iter().for_each(run),
        _ => strips.par_iter().with_max_len(1).for_each(run),
    }
    products
}

impl Strip<'_> {
    /// For each panel its first output, how many of its outputs belong to the panel before, and its rows.
    fn panels(&self) -> impl Iterator<Item = (usize, usize, &[u8])> {
        self.panels.clone().map(|panel| {
            let first = (panel * WIDTH).min(self.w.out - WIDTH);
            let rows = &self.w.bytes[first * self.w.row_bytes..(first + WIDTH) * self.w.row_bytes];
            (first, panel * WIDTH - first, rows)
        })
    }

    /// Writes the sums of a panel, `(rows, WIDTH)`, those of a row's two parts together.
    ///
    /// # Safety
    /// Nobody else has these outputs.
    unsafe fn write(&self, first: usize, skipped: usize, sums: &[[f32; WIDTH]]) {
        for (row, [coarse, fine]) in sums.as_chunks::<2>().0.iter().enumerate() {
            let mut sums = *coarse;
            sums.iter_mut().zip(fine).for_each(|(sum, fine)| *sum += fine);
            let sums = &sums[skipped..];
            // SAFETY: the target is `(rows, out)`, and the panel's last output is one of the weight's.
            unsafe {
                let place = self.target.0.add(row * self.w.out + first + skipped);
                place.copy_from_nonoverlapping(sums.as_ptr(), sums.len());
            }
        }
    }
}

#[cfg(test)]
mod tests;
