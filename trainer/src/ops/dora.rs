//! A linear layer under DoRA (Liu et al. 2024, arXiv:2402.09353): LoRA turns the rows of the frozen weight, a learned
//! magnitude gives each its length.
//!
//! As in PEFT and in the paper's section 4.3 the rows' norm counts as a constant in the backward pass.

use super::{
    fuses,
    linear::{LowRank, add_product, matmul_parts},
    matmul::{matmul, matmul_transposed, times, times_transposed, transposed_matmul},
    matrix::Matrix,
    tape::{Tape, Traced},
    with_slices,
};
use candle_core::{DType, Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// A row of zeros has no direction: its length counts as this, so that it stays zero instead of becoming no number.
const SHORTEST: f64 = 1e-30;

/// `m / ‖V‖ ⊙ (x Vᵀ) + bias`, V = W + scaling · B A, the norm being that of each row. With dropout d, which PEFT
/// applies to all that the adapter adds: `x Wᵀ + bias + m / ‖V‖ ⊙ (d(x) Vᵀ) − d(x) Wᵀ`. `names` are those of A, B
/// and m where they are trained. Shapes: x `(rows, in)`, W `(out, in)`, m `(out,)` to `(rows, out)`.
pub fn dora(
    tape: &Tape,
    x: &Traced,
    weight: &Matrix,
    bias: Option<&Tensor>,
    (low_rank, magnitude): (&LowRank, &Tensor),
    names: Option<[String; 3]>,
) -> Result<Traced> {
    let LowRank { a, b, scaling, mask } = low_rank.clone();
    let norm = weight_norm(weight, low_rank)?;
    let factors = (magnitude / &norm)?; // (out,)
    let seen = low_rank.masked(&x.value)?;
    let inner = matmul_transposed(&seen, &a)?; // (rows, rank)
    let (turned, mut value) = match &mask {
        None => {
            let frozen = matmul_parts(&seen, weight, true)?;
            let turned = add_product(frozen, &inner, &b, true, scaling)?; // (rows, out)
            let value = scale_columns(&turned, &factors)?;
            (turned, value)
        }
        Some(_) => {
            let frozen = times_transposed(&seen, weight)?;
            let turned = (&frozen + (matmul_transposed(&inner, &b)? * scaling)?)?;
            let added = (scale_columns(&turned, &factors)? - frozen)?;
            let value = (times_transposed(&x.value, weight)? + added)?;
            (turned, value)
        }
    };
    if let Some(bias) = bias {
        value = value.broadcast_add(bias)?;
    }
    if !tape.is_recording() || (names.is_none() && !x.needs_gradient()) {
        return Ok(Traced::constant(value));
    }
    let (input, weight, low_rank) = (x.clone(), weight.clone(), low_rank.clone());
    Ok(tape.record(value, move |gradient, out| {
        let scaled = scale_columns(&gradient, &factors)?; // (rows, out)
        let inner_gradient = (matmul(&scaled, &b)? * scaling)?; // (rows, rank)
        if let Some([name_a, name_b, name_m]) = &names {
            let seen = low_rank.masked(&input.value)?;
            out.add_weight(name_a, transposed_matmul(&inner_gradient, &seen)?)?;
            out.add_weight(name_b, (transposed_matmul(&scaled, &inner)? * scaling)?)?;
            out.add_weight(name_m, (sum_of_products(&gradient, &turned)? / &norm)?)?;
        }
        if !input.needs_gradient() {
            return Ok(());
        }
        let Some(mask) = &mask else {
            let frozen = matmul_parts(&scaled, &weight, false)?;
            return out.add(&input, add_product(frozen, &inner_gradient, &a, false, 1.0)?);
        };
        let frozen = matmul_parts(&(scaled - &gradient)?, &weight, false)?;
        let seen = add_product(frozen, &inner_gradient, &a, false, 1.0)?;
        out.add(&input, mask.apply(&seen)?)?;
        out.add(&input, times(&gradient, &weight)?)
    }))
}

/// `‖W + scaling · B A‖` of each row, in the numbers of A, without the sum being made: ‖w‖² + 2 s · w Aᵀ bᵀ + s² · b A Aᵀ bᵀ.
/// Shape: `(out,)`.
pub fn weight_norm(weight: &Matrix, low_rank: &LowRank) -> Result<Tensor> {
    let LowRank { a, b, scaling, .. } = low_rank;
    let turned = (times_transposed(a, weight)?.t()? * b)?.sum(1)?; // (out,)
    let added = (b.matmul(&a.matmul(&a.t()?)?)? * b)?.sum(1)?; // (out,)
    let squares = (row_squares(weight, a.dtype())? + (turned * (2.0 * scaling))?)?;
    let squares = (squares + (added * (scaling * scaling))?)?;
    // Rounding may take a row that B A cancels below zero.
    squares.maximum(0.0)?.sqrt()?.maximum(SHORTEST)
}

/// The squared length of each row, `(out,)`. Weights may be in bf16 or quantised.
fn row_squares(weight: &Matrix, dtype: DType) -> Result<Tensor> {
    let Some(weight) = weight.as_tensor() else {
        return weight.to_dtype(dtype)?.sqr()?.sum(1);
    };
    let (rows, width) = weight.dims2()?;
    if !weight.device().is_cpu() || dtype != DType::F32 || width == 0 {
        return weight.to_dtype(dtype)?.sqr()?.sum(1);
    }
    let weight = weight.contiguous()?;
    let (storage, layout) = weight.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!("a weight on the CPU is in main memory");
    };
    let (from, to) = (layout.start_offset(), layout.start_offset() + rows * width);
    let squares: Vec<f32> = match weight.dtype() {
        DType::F32 => squares_of(&storage.as_slice::<f32>()?[from..to], width),
        DType::BF16 => squares_of(&storage.as_slice::<half::bf16>()?[from..to], width),
        other => bail!("the length of rows in {other:?} is not computed"),
    };
    Tensor::from_vec(squares, rows, weight.device())
}

/// Of each row, summed in f64 in eight parts, which the compiler turns into vector instructions.
fn squares_of<T: Copy + Into<f32> + Sync>(numbers: &[T], width: usize) -> Vec<f32> {
    let square = |x: T| f64::from(x.into()).powi(2);
    let of_row = |row: &[T]| {
        let (parts, rest) = row.as_chunks::<8>();
        let mut sums = [0f64; 8];
        for part in parts {
            for (sum, x) in sums.iter_mut().zip(part) {
                *sum += square(*x);
            }
        }
        sums.iter().sum::<f64>() + rest.iter().map(|x| square(*x)).sum::<f64>()
    };
    numbers.par_chunks(width).map(|row| of_row(row) as f32).collect()
}

/// Each column times its factor. Shapes: `(rows, width)`, `(width,)`.
fn scale_columns(x: &Tensor, factors: &Tensor) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    if !fuses(&[x, factors]) || width == 0 {
        return x.broadcast_mul(factors);
    }
    let scaled = with_slices([&x.contiguous()?, factors], |[x, factors]| {
        let mut scaled = x.to_vec();
        scaled.par_chunks_mut(width).for_each(|row| {
            row.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
        });
        Ok(scaled)
    })?;
    Tensor::from_vec(scaled, (rows, width), x.device())
}

/// The sum over all rows of `x · y`, `(width,)`. Always in the same order, so that a resumed round repeats it.
fn sum_of_products(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    if !fuses(&[x, y]) || width == 0 {
        return (x * y)?.sum(0);
    }
    let sums = with_slices([&x.contiguous()?, &y.contiguous()?], |[x, y]| {
        let mut sums = vec![0f32; width];
        for (x, y) in x.chunks(width).zip(y.chunks(width)) {
            let products = x.iter().zip(y).map(|(x, y)| x * y);
            sums.iter_mut()
                .zip(products)
                .for_each(|(sum, product)| *sum += product);
        }
        Ok(sums)
    })?;
    Tensor::from_vec(sums, width, x.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ops::{
            Dropout, Mask, linear,
            tape::{
                Gradients,
                check::{distance, finite_differences, numbers, run},
            },
        },
        rng::Rng,
    };

    const SCALING: f64 = 1.7;

    /// x, A, B and m; W and the bias.
    fn inputs() -> ([Tensor; 4], Tensor, Tensor) {
        let inputs = [
            numbers(&[7, 10], 3),
            numbers(&[3, 10], 4),
            numbers(&[5, 3], 5),
            numbers(&[5], 6),
        ];
        (inputs, numbers(&[5, 10], 1), numbers(&[5], 2))
    }

    fn low_rank(inputs: &[Tensor; 4], mask: Option<Mask>) -> LowRank {
        LowRank {
            a: inputs[1].clone(),
            b: inputs[2].clone(),
            scaling: SCALING,
            mask,
        }
    }

    fn norm(inputs: &[Tensor; 4], w: &Tensor) -> Tensor {
        let v = (w + (inputs[2].matmul(&inputs[1]).unwrap() * SCALING).unwrap()).unwrap();
        v.sqr().unwrap().sum(1).unwrap().sqrt().unwrap()
    }

    #[test]
    fn the_norm_is_that_of_the_rows_of_the_sum() {
        let (inputs, w, _) = inputs();
        let norm = norm(&inputs, &w);
        let low_rank = low_rank(&inputs, None);
        assert!(distance(&weight_norm(&w.clone().into(), &low_rank).unwrap(), &norm) < 1e-6);
        let rounded = w.to_dtype(DType::BF16).unwrap();
        assert!(distance(&weight_norm(&rounded.into(), &low_rank).unwrap(), &norm) < 1e-2);
        // B A that takes the weight away leaves nothing, which is no number only if it is divided by.
        let gone = LowRank {
            a: Tensor::eye(10, DType::F32, w.device()).unwrap(),
            b: (&w * -1.0).unwrap(),
            scaling: 1.0,
            mask: None,
        };
        let shortest = weight_norm(&w.clone().into(), &gone)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert!(
            shortest
                .iter()
                .all(|norm| (0.0..1e-3).contains(norm) && *norm > 0.0)
        );
    }

    /// The norm is no part of what is differentiated.
    fn equals_its_composed_form(mask: Option<Mask>) {
        let (inputs, w, bias) = inputs();
        let upstream = numbers(&[7, 5], 99);
        let norm = norm(&inputs, &w);
        let ones = inputs[0].ones_like().unwrap();
        let keep = mask
            .clone()
            .map_or(ones.clone(), |mask| mask.apply(&ones).unwrap());
        let (w2, bias2) = (w.clone(), bias.clone());
        let composed = move |tape: &Tape, inputs: &[Traced]| {
            let (w, bias, keep, norm) = (w2.clone(), bias2.clone(), keep.clone(), norm.clone());
            tape.composed(&inputs.iter().collect::<Vec<_>>(), move |t| {
                let seen = (&t[0] * &keep)?;
                let frozen = seen.matmul(&w.t()?)?;
                let low = (seen.matmul(&t[1].t()?)?.matmul(&t[2].t()?)? * SCALING)?;
                let factors = (&t[3] / &norm)?;
                // As PEFT has it: what is added to the frozen layer's own result.
                let added = (frozen.broadcast_mul(&(&factors - 1.0)?)? + low.broadcast_mul(&factors)?)?;
                t[0].matmul(&w.t()?)?.broadcast_add(&bias)? + added
            })
        };
        finite_differences(&inputs, &composed);
        let (value, _, expected) = run(&inputs, &composed);
        for dtype in [DType::F32, DType::F64] {
            let cast = |tensor: &Tensor| tensor.to_dtype(dtype).unwrap();
            let inputs = inputs.each_ref().map(cast);
            let tape = Tape::recording();
            let x = tape.variable(inputs[0].clone(), "x");
            let names = Some(["a", "b", "m"].map(str::to_owned));
            let low_rank = low_rank(&inputs, mask.clone());
            let y = dora(
                &tape,
                &x,
                &cast(&w).into(),
                Some(&cast(&bias)),
                (&low_rank, &inputs[3]),
                names,
            )
            .unwrap();
            let mut gradients = Gradients::default();
            tape.backward(&y, cast(&upstream), &mut gradients).unwrap();
            let close = |ours: &Tensor, theirs: &Tensor, what: &str| {
                let distance = distance(&ours.to_dtype(DType::F32).unwrap(), theirs);
                assert!(distance < 1e-5, "{what} in {dtype:?}: {distance}");
            };
            close(&y.value, &value, "value");
            for (name, expected) in ["x", "a", "b", "m"].iter().zip(&expected) {
                close(&gradients.0[*name], expected, name);
            }
        }
    }

    #[test]
    fn dora_equals_its_composed_form_and_finite_differences() {
        equals_its_composed_form(None);
        let dropout = Dropout {
            rng: Rng::new(4),
            step: 2,
            pass: 1,
        };
        equals_its_composed_form(dropout.mask("path", 0.3));
    }

    #[test]
    fn the_rows_own_length_as_magnitude_changes_nothing() {
        let (mut inputs, w, bias) = inputs();
        inputs[2] = inputs[2].zeros_like().unwrap();
        let low_rank = low_rank(&inputs, None);
        let magnitude = weight_norm(&w.clone().into(), &low_rank).unwrap();
        let (tape, x) = (Tape::off(), Traced::constant(inputs[0].clone()));
        let value = dora(
            &tape,
            &x,
            &w.clone().into(),
            Some(&bias),
            (&low_rank, &magnitude),
            None,
        )
        .unwrap();
        let frozen = linear(&tape, &x, &w.clone().into(), Some(&bias)).unwrap();
        let numbers = |x: Traced| x.value.to_vec2::<f32>().unwrap();
        assert_eq!(numbers(value), numbers(frozen));
    }
}
