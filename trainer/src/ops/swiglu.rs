//! The gated activation of the feed-forward part: `silu(gate) · up` (Shazeer 2020).

use super::{
    exp::sigmoid,
    fuses,
    tape::{Tape, Traced},
    with_slices,
};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Numbers that one thread takes at a time.
const CHUNK: usize = 8192;

/// Both `(rows, inner)`.
pub fn swiglu(tape: &Tape, gate: &Traced, up: &Traced) -> Result<Traced> {
    if !fuses(&[&gate.value, &up.value]) {
        return tape.composed(&[gate, up], |t| t[0].silu()? * &t[1]);
    }
    let value = swiglu_value(&gate.value, &up.value)?;
    let (gate_in, up_in) = (gate.clone(), up.clone());
    Ok(tape.record_from(value, &[gate, up], move |gradient, out| {
        let (d_gate, d_up) = backward(&gate_in.value, &up_in.value, &gradient)?;
        out.add(&gate_in, d_gate)?;
        out.add(&up_in, d_up)
    }))
}

/// The value alone, for passes that need no gradient.
pub fn swiglu_value(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !fuses(&[gate, up]) {
        return gate.silu()? * up;
    }
    let (gate, up) = (gate.contiguous()?, up.contiguous()?);
    let y = with_slices([&gate, &up], |[gate, up]| {
        let mut y = vec![0.0; gate.len()];
        y.par_chunks_mut(CHUNK)
            .zip(gate.par_chunks(CHUNK))
            .zip(up.par_chunks(CHUNK))
            .for_each(|((y, gate), up)| {
                for ((y, &gate), up) in y.iter_mut().zip(gate).zip(up) {
                    *y = gate * sigmoid(gate) * up;
                }
            });
        Ok(y)
    })?;
    Tensor::from_vec(y, gate.shape(), gate.device())
}

/// With s = sigmoid(gate): `d up = g · gate · s`, `d gate = g · up · s (1 + gate (1 - s))`.
fn backward(gate: &Tensor, up: &Tensor, gradient: &Tensor) -> Result<(Tensor, Tensor)> {
    let (gate, up, gradient) = (gate.contiguous()?, up.contiguous()?, gradient.contiguous()?);
    let (d_gate, d_up) = with_slices([&gate, &up, &gradient], |[gate, up, gradient]| {
        let (mut d_gate, mut d_up) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
        d_gate
            .par_chunks_mut(CHUNK)
            .zip(d_up.par_chunks_mut(CHUNK))
            .zip(
                gate.par_chunks(CHUNK)
                    .zip(up.par_chunks(CHUNK))
                    .zip(gradient.par_chunks(CHUNK)),
            )
            .for_each(|((d_gate, d_up), ((gate, up), gradient))| {
                for ((((d_gate, d_up), &gate), up), g) in d_gate
                    .iter_mut()
                    .zip(d_up.iter_mut())
                    .zip(gate)
                    .zip(up)
                    .zip(gradient)
                {
                    let s = sigmoid(gate);
                    *d_up = g * gate * s;
                    *d_gate = g * up * s * (1.0 + gate * (1.0 - s));
                }
            });
        Ok((d_gate, d_up))
    })?;
    Ok((
        Tensor::from_vec(d_gate, gate.shape(), gate.device())?,
        Tensor::from_vec(d_up, gate.shape(), gate.device())?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tape::check::{finite_differences, numbers, same};

    #[test]
    fn fused_swiglu_equals_composed_swiglu_and_finite_differences() {
        let inputs = [numbers(&[5, 9], 1), numbers(&[5, 9], 2)];
        let fused = |tape: &Tape, x: &[Traced]| swiglu(tape, &x[0], &x[1]);
        finite_differences(&inputs, &fused);
        same(&inputs, &fused, &|tape, x| {
            tape.composed(&[&x[0], &x[1]], |t| t[0].silu()? * &t[1])
        });
    }
}
