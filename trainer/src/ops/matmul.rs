//! Matrix products. On the CPU in f32 they call the `gemm` crate (the kernels of candle's own CPU backend)
//! directly: a product can then add to its target, and the frozen weights are read as stored.
//!
//! A frozen weight may be in bf16: then the kernels of [`bf16`] multiply; or quantised: then it becomes f32 panel by
//! panel. `unsafe` here and there: kernels take pointers.
#![allow(unsafe_code)]

use super::{
    bf16, few_rows, fuses, fuses_with_weight,
    matrix::{Blocks, Held, Matrix},
    with_slices,
};
use candle_core::{DType, Result, Storage, Tensor};
use gemm::Parallelism;

/// A matrix in a slice: element (i, j) is `data[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// A row-major matrix.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert!(data.len() >= rows * columns, "the slice holds the matrix");
        Self {
            data,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// A block of columns of a row-major matrix whose rows lie `row_stride` apart.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(columns <= row_stride && (rows == 0 || data.len() >= (rows - 1) * row_stride + columns));
        Self {
            data,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `target = keep · target + factor · left × right`; `keep` false does not read the target. The target's rows
/// lie `target_stride` apart.
fn product(
    target: *mut f32,
    target_stride: usize,
    keep: bool,
    factor: f32,
    (left, right): (View<'_>, View<'_>),
    threads: Parallelism,
) {
    assert_eq!(left.columns, right.rows, "inner dimensions agree");
    if left.rows == 0 || right.columns == 0 {
        return;
    }
    // SAFETY: the views were checked against their slices when made, every caller checks or allocates the
    // target for `left.rows` rows of `right.columns` numbers, and the target is borrowed for writing, so it
    // overlaps neither operand. With `read_dst` false, `gemm` writes each number without reading it.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            target,
            1,
            target_stride as isize,
            keep,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            if keep { 1.0 } else { 0.0 },
            factor,
            false,
            false,
            false,
            threads,
        );
    }
}

/// `factor · left × right` on all threads, into a new row-major matrix.
pub(crate) fn multiply(factor: f32, left: View<'_>, right: View<'_>) -> Vec<f32> {
    let n = left.rows * right.columns;
    if left.columns == 0 {
        return vec![0.0; n];
    }
    let mut target = Vec::with_capacity(n);
    product(
        target.as_mut_ptr(),
        right.columns,
        false,
        factor,
        (left, right),
        Parallelism::Rayon(0),
    );
    // SAFETY: the product wrote all `n` numbers.
    unsafe { target.set_len(n) };
    target
}

/// `target += factor · left × right` on all threads.
pub(crate) fn multiply_add(target: &mut [f32], factor: f32, left: View<'_>, right: View<'_>) {
    assert_eq!(target.len(), left.rows * right.columns);
    product(
        target.as_mut_ptr(),
        right.columns,
        true,
        factor,
        (left, right),
        Parallelism::Rayon(0),
    );
}

/// `target = keep · target + factor · left × right` on the calling thread, into rows `stride` apart.
pub(crate) fn multiply_here(
    target: &mut [f32],
    stride: usize,
    keep: bool,
    factor: f32,
    left: View<'_>,
    right: View<'_>,
) {
    let (rows, columns) = (left.rows, right.columns);
    assert!(columns <= stride && (rows == 0 || target.len() >= (rows - 1) * stride + columns));
    product(
        target.as_mut_ptr(),
        stride,
        keep,
        factor,
        (left, right),
        Parallelism::None,
    );
}

/// `x wᵀ` (`transposed`) or `x w`, as numbers. w is a frozen weight in main memory, in f32, bf16 or quantised.
pub(crate) fn multiply_weight(x: &Tensor, w: &Matrix, transposed: bool) -> Result<Vec<f32>> {
    let (_, inner) = x.dims2()?;
    let (w_rows, w_columns) = w.dims2()?;
    check(inner, if transposed { w_columns } else { w_rows }, x, w.dims())?;
    match &w.held {
        Held::Tensor(w) => multiply_tensor(x, w, transposed),
        Held::Blocks(w) => with_slices([&x.contiguous()?], |[x]| {
            Ok(multiply_blocks(x, x.len() / inner.max(1), w, transposed))
        }),
    }
}

/// [`multiply_weight`] of a quantised weight. A panel of its rows gives columns of `x wᵀ`, and adds to all of `x w`.
fn multiply_blocks(x: &[f32], rows: usize, w: &Blocks, transposed: bool) -> Vec<f32> {
    let out = if transposed { w.rows } else { w.columns };
    let mut y = vec![0.0; rows * out];
    if y.is_empty() {
        return y;
    }
    w.panels(|first, panel| {
        let panel = View::new(panel, panel.len() / w.columns, w.columns);
        let (target, keep, operands) = if transposed {
            (first, false, (View::new(x, rows, w.columns), panel.transposed()))
        } else {
            (
                0,
                first > 0,
                (View::strided(&x[first..], rows, panel.rows, w.rows), panel),
            )
        };
        product(
            y[target..].as_mut_ptr(),
            out,
            keep,
            1.0,
            operands,
            Parallelism::Rayon(0),
        );
    });
    y
}

fn multiply_tensor(x: &Tensor, w: &Tensor, transposed: bool) -> Result<Vec<f32>> {
    let ((rows, inner), (w_rows, w_columns)) = (x.dims2()?, w.dims2()?);
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    if w.dtype() == DType::BF16 {
        return with_slices([&x], |[x]| {
            with_bf16(&w, |data| {
                let w = bf16::Weight {
                    data,
                    rows: w_rows,
                    columns: w_columns,
                };
                Ok(bf16::multiply(x, rows, w, transposed))
            })
        });
    }
    with_slices([&x, &w], |[x, w]| {
        let w = View::new(w, w_rows, w_columns);
        let w = if transposed { w.transposed() } else { w };
        Ok(multiply(1.0, View::new(x, rows, inner), w))
    })
}

/// Runs `body` on the numbers of a contiguous bf16 tensor in main memory.
fn with_bf16<T>(tensor: &Tensor, body: impl FnOnce(&[half::bf16]) -> Result<T>) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((from, to))) => body(&storage.as_slice::<half::bf16>()?[from..to]),
        _ => candle_core::bail!("a weight in bf16 is not contiguous in main memory"),
    }
}

/// `x wᵀ` with a frozen weight. Shapes: `(rows, in)`, `(out, in)` to `(rows, out)`.
pub fn times_transposed(x: &Tensor, w: &Matrix) -> Result<Tensor> {
    if !fuses_with_weight(x, w) {
        return x.matmul(&w.to_dtype(x.dtype())?.t()?);
    }
    Tensor::from_vec(multiply_weight(x, w, true)?, (x.dim(0)?, w.dim(0)?), x.device())
}

/// `x w` with a frozen weight. Shapes: `(rows, out)`, `(out, in)` to `(rows, in)`.
pub fn times(x: &Tensor, w: &Matrix) -> Result<Tensor> {
    if !fuses_with_weight(x, w) {
        return x.matmul(&w.to_dtype(x.dtype())?);
    }
    Tensor::from_vec(multiply_weight(x, w, false)?, (x.dim(0)?, w.dim(1)?), x.device())
}

/// `x wᵀ`. Shapes: `(rows, in)`, `(out, in)` to `(rows, out)`.
pub fn matmul_transposed(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if !fuses(&[x, w]) {
        return x.matmul(&w.t()?);
    }
    check(x.dim(1)?, w.dim(1)?, x, w.dims())?;
    Tensor::from_vec(multiply_tensor(x, w, true)?, (x.dim(0)?, w.dim(0)?), x.device())
}

/// [`matmul_transposed`] for a step of sampling. A row's result does not depend on the other rows while there
/// are few of them.
pub fn few_rows_transposed(x: &Tensor, w: &Matrix) -> Result<Tensor> {
    let ((rows, inner), (out, columns)) = (x.dims2()?, w.dims2()?);
    if !fuses_with_weight(x, w) || rows > few_rows::MOST_ROWS || inner == 0 {
        return times_transposed(x, w);
    }
    check(inner, columns, x, w.dims())?;
    let x = x.contiguous()?;
    let y = match &w.held {
        Held::Blocks(w) => with_slices([&x], |[x]| {
            let fill = |first: usize, numbers: &mut [f32]| w.fill(first, numbers);
            Ok(few_rows::multiply_filled(x, out, inner, fill))
        })?,
        Held::Tensor(w) if w.dtype() == DType::BF16 => {
            let w = w.contiguous()?;
            with_slices([&x], |[x]| with_bf16(&w, |w| Ok(few_rows::multiply(x, w, inner))))?
        }
        Held::Tensor(w) => {
            let w = w.contiguous()?;
            with_slices([&x, &w], |[x, w]| Ok(few_rows::multiply(x, w, inner)))?
        }
    };
    Tensor::from_vec(y, (rows, out), x.device())
}

/// `x w`. Shapes: `(rows, inner)`, `(inner, columns)` to `(rows, columns)`.
pub fn matmul(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if !fuses(&[x, w]) {
        return x.matmul(w);
    }
    check(x.dim(1)?, w.dim(0)?, x, w.dims())?;
    Tensor::from_vec(multiply_tensor(x, w, false)?, (x.dim(0)?, w.dim(1)?), x.device())
}

/// `aᵀ b`. Shapes: `(rows, m)`, `(rows, n)` to `(m, n)`.
pub fn transposed_matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let ((rows, m), (_, n)) = (a.dims2()?, b.dims2()?);
    if !fuses(&[a, b]) {
        return a.t()?.matmul(b);
    }
    check(rows, b.dim(0)?, a, b.dims())?;
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let y = with_slices([&a, &b], |[a, b]| {
        Ok(multiply(
            1.0,
            View::new(a, rows, m).transposed(),
            View::new(b, rows, n),
        ))
    })?;
    Tensor::from_vec(y, (m, n), a.device())
}

fn check(left: usize, right: usize, a: &Tensor, b: &[usize]) -> Result<()> {
    if left != right {
        candle_core::bail!(
            "matrix product of {:?} and {:?}: inner dimensions differ",
            a.dims(),
            b
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tape::check::{distance, numbers};

    #[test]
    fn products_equal_candles_in_all_three_orientations() {
        let (x, w, g) = (numbers(&[5, 7], 0), numbers(&[3, 7], 1), numbers(&[5, 3], 2));
        let y = matmul_transposed(&x, &w).unwrap();
        assert!(distance(&y, &x.matmul(&w.t().unwrap()).unwrap()) < 1e-6);
        assert!(distance(&matmul(&g, &w).unwrap(), &g.matmul(&w).unwrap()) < 1e-6);
        let t = transposed_matmul(&g, &x).unwrap();
        assert!(distance(&t, &g.t().unwrap().matmul(&x).unwrap()) < 1e-6);
        assert!(matmul(&x, &w).is_err());
    }

    #[test]
    fn products_add_to_a_block_of_their_target() {
        let mut target = vec![1.0; 8];
        let (left, right) = ([2.0, 3.0], [5.0, 7.0]);
        multiply_here(
            &mut target[1..],
            4,
            true,
            0.5,
            View::new(&left, 2, 1),
            View::new(&right, 1, 2),
        );
        assert_eq!(target, [1.0, 6.0, 8.0, 1.0, 1.0, 8.5, 11.5, 1.0]);
    }
}
