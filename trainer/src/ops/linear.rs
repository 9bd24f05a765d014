//! Linear layers over frozen weights, with or without LoRA, and the two element-wise operations of a block.
//!
//! The backward pass computes gradients of the input and of A and B, never of the frozen weight.

use super::{
    dropout::Mask,
    elementwise::sum_of,
    fuses_with_weight,
    matmul::{
        View, matmul, matmul_transposed, multiply_add, multiply_weight, times, times_transposed,
        transposed_matmul,
    },
    matrix::Matrix,
    tape::{Tape, Traced},
    with_slices,
};
use candle_core::{Result, Tensor};

/// `x Wᵀ (+ bias)`. Shapes: `(rows, in)`, `(out, in)`, `(out,)` to `(rows, out)`.
pub fn linear(tape: &Tape, x: &Traced, weight: &Matrix, bias: Option<&Tensor>) -> Result<Traced> {
    let mut value = times_transposed(&x.value, weight)?;
    if let Some(bias) = bias {
        value = value.broadcast_add(bias)?;
    }
    let (input, weight) = (x.place(), weight.clone());
    Ok(tape.record_from(value, &[x], move |gradient, out| {
        out.add_at(input, times(&gradient, &weight)?)
    }))
}

/// A low-rank addition to a linear layer.
#[derive(Clone)]
pub struct LowRank {
    /// `(rank, in)`
    pub a: Tensor,
    /// `(out, rank)`
    pub b: Tensor,
    /// alpha / rank, or alpha / √rank
    pub scaling: f64,
    /// Of the input of A, while training with dropout.
    pub mask: Option<Mask>,
}

impl LowRank {
    /// What A sees of the layer's input, or of a gradient what the input gets of it.
    pub(super) fn masked(&self, x: &Tensor) -> Result<Tensor> {
        match &self.mask {
            Some(mask) => mask.apply(x),
            None => Ok(x.clone()),
        }
    }
}

/// `x Wᵀ + scaling · (d(x) Aᵀ) Bᵀ` (Hu et al. 2021, eq. 3), d being dropout. `names` are those of A and B where they
/// are trained. Shapes: `(rows, in)`, `(out, in)` to `(rows, out)`.
pub fn lora(
    tape: &Tape,
    x: &Traced,
    weight: &Matrix,
    bias: Option<&Tensor>,
    low_rank: &LowRank,
    names: Option<(String, String)>,
) -> Result<Traced> {
    let inner = matmul_transposed(&low_rank.masked(&x.value)?, &low_rank.a)?; // (rows, rank)
    let mut value = add_product(
        matmul_parts(&x.value, weight, true)?,
        &inner,
        &low_rank.b,
        true,
        low_rank.scaling,
    )?;
    if let Some(bias) = bias {
        value = value.broadcast_add(bias)?;
    }
    if !tape.is_recording() || (names.is_none() && !x.needs_gradient()) {
        return Ok(Traced::constant(value));
    }
    let (input, weight, low_rank) = (x.clone(), weight.clone(), low_rank.clone());
    Ok(tape.record(value, move |gradient, out| {
        let LowRank { a, b, scaling, mask } = &low_rank;
        let inner_gradient = (matmul(&gradient, b)? * *scaling)?; // (rows, rank)
        if let Some((name_a, name_b)) = &names {
            let seen = low_rank.masked(&input.value)?;
            out.add_weight(name_a, transposed_matmul(&inner_gradient, &seen)?)?;
            out.add_weight(name_b, (transposed_matmul(&gradient, &inner)? * *scaling)?)?;
        }
        if !input.needs_gradient() {
            return Ok(());
        }
        if let Some(mask) = mask {
            out.add(&input, mask.apply(&matmul(&inner_gradient, a)?)?)?;
            return out.add(&input, times(&gradient, &weight)?);
        }
        let frozen = matmul_parts(&gradient, &weight, false)?;
        out.add(&input, add_product(frozen, &inner_gradient, a, false, 1.0)?)?;
        Ok(())
    }))
}

/// A product that another one will be added to: numbers on the CPU, a tensor elsewhere.
pub(super) enum Partial {
    Numbers(Vec<f32>),
    Tensor(Tensor),
}

pub(super) fn matmul_parts(x: &Tensor, w: &Matrix, transpose: bool) -> Result<Partial> {
    if !fuses_with_weight(x, w) {
        let product = if transpose {
            times_transposed(x, w)?
        } else {
            times(x, w)?
        };
        return Ok(Partial::Tensor(product));
    }
    Ok(Partial::Numbers(multiply_weight(x, w, transpose)?))
}

/// `sum + scaling · x w` or `sum + scaling · x wᵀ`.
pub(super) fn add_product(
    sum: Partial,
    x: &Tensor,
    w: &Tensor,
    transpose: bool,
    scaling: f64,
) -> Result<Tensor> {
    let ((rows, inner), (w_rows, w_columns)) = (x.dims2()?, w.dims2()?);
    match sum {
        Partial::Tensor(sum) => {
            let product = if transpose {
                x.matmul(&w.t()?)?
            } else {
                x.matmul(w)?
            };
            sum + (product * scaling)?
        }
        Partial::Numbers(mut sum) => {
            let columns = if transpose { w_rows } else { w_columns };
            with_slices([x, w], |[x, w]| {
                let w = View::new(w, w_rows, w_columns);
                let w = if transpose { w.transposed() } else { w };
                multiply_add(&mut sum, scaling as f32, View::new(x, rows, inner), w);
                Ok(())
            })?;
            Tensor::from_vec(sum, (rows, columns), x.device())
        }
    }
}

/// `x + y`, a residual connection.
pub fn add(tape: &Tape, x: &Traced, y: &Traced) -> Result<Traced> {
    let value = sum_of(&x.value, &y.value)?;
    let (left, right) = (x.place(), y.place());
    Ok(tape.record_from(value, &[x, y], move |gradient, out| {
        out.add_at(left, gradient.clone())?;
        out.add_at(right, gradient)
    }))
}

/// `x · s`, each column by its own factor: IA3 (Liu et al. 2022). Shapes: `(rows, width)`, `(width,)`.
pub fn scale(tape: &Tape, x: &Traced, factors: &Tensor, name: Option<String>) -> Result<Traced> {
    let value = x.value.broadcast_mul(factors)?;
    if !tape.is_recording() || (name.is_none() && !x.needs_gradient()) {
        return Ok(Traced::constant(value));
    }
    let (input, factors) = (x.clone(), factors.clone());
    Ok(tape.record(value, move |gradient, out| {
        if let Some(name) = &name {
            out.add_weight(name, (&gradient * &input.value)?.sum(0)?)?;
        }
        out.add(&input, gradient.broadcast_mul(&factors)?)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ops::{
            Dropout,
            tape::{
                Gradients,
                check::{distance, finite_differences, numbers, run, same},
            },
        },
        rng::Rng,
    };

    fn lora_equals_its_composed_form(mask: Option<Mask>) {
        let (w, bias) = (numbers(&[5, 6], 1), numbers(&[5], 2));
        let inputs = [numbers(&[7, 6], 3), numbers(&[4, 6], 4), numbers(&[5, 4], 5)];
        let (tape, upstream) = (Tape::recording(), numbers(&[7, 5], 99));
        let x = tape.variable(inputs[0].clone(), "x");
        let low_rank = LowRank {
            a: inputs[1].clone(),
            b: inputs[2].clone(),
            scaling: 4.0,
            mask: mask.clone(),
        };
        let names = Some(("a".into(), "b".into()));
        let y = lora(&tape, &x, &w.clone().into(), Some(&bias), &low_rank, names).unwrap();
        let mut gradients = Gradients::default();
        tape.backward(&y, upstream, &mut gradients).unwrap();

        let ones = inputs[0].ones_like().unwrap();
        let keep = mask.map_or(ones.clone(), |mask| mask.apply(&ones).unwrap());
        let composed = move |tape: &Tape, inputs: &[Traced]| {
            let (w, bias, keep) = (w.clone(), bias.clone(), keep.clone());
            tape.composed(&inputs.iter().collect::<Vec<_>>(), move |t| {
                let low = (&t[0] * &keep)?.matmul(&t[1].t()?)?.matmul(&t[2].t()?)?;
                (t[0].matmul(&w.t()?)? + (low * 4.0)?)?.broadcast_add(&bias)
            })
        };
        finite_differences(&inputs, &composed);
        let (value, _, expected) = run(&inputs, &composed);
        assert!(distance(&y.value, &value) < 1e-5);
        for (name, expected) in ["x", "a", "b"].iter().zip(&expected) {
            assert!(distance(&gradients.0[*name], expected) < 1e-5, "{name}");
        }
    }

    #[test]
    fn lora_gradients_of_input_a_and_b_equal_candles_and_finite_differences() {
        lora_equals_its_composed_form(None);
        let dropout = Dropout {
            rng: Rng::new(4),
            step: 2,
            pass: 1,
        };
        lora_equals_its_composed_form(dropout.mask("path", 0.4));
    }

    #[test]
    fn frozen_linear_scale_and_add_equal_their_composed_forms() {
        let (w, factors) = (numbers(&[5, 6], 1), numbers(&[5], 2));
        let inputs = [numbers(&[7, 6], 3), numbers(&[7, 5], 4)];
        let (w2, factors2) = (w.clone(), factors.clone());
        let w = Matrix::from(w);
        same(
            &inputs,
            &move |tape, x| {
                let y = scale(tape, &linear(tape, &x[0], &w, None)?, &factors, None)?;
                add(tape, &y, &x[1])
            },
            &move |tape, x| {
                let (w, factors) = (w2.clone(), factors2.clone());
                tape.composed(&[&x[0], &x[1]], move |t| {
                    t[0].matmul(&w.t()?)?.broadcast_mul(&factors)? + &t[1]
                })
            },
        );
    }
}
