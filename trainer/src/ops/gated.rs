//! The gated activation of the feed-forward part: `activation(gate) · up` (Shazeer 2020).
//!
//! With s the logistic function, silu is `x s(x)`, and GELU in its tanh form (Hendrycks and Gimpel 2016),
//! `x (1 + tanh u) / 2` with `u = √(2/π) (x + 0.044715 x³)`, is `x s(2u)`. So both are x times a gate.

use super::{
    elementwise::{CHUNK, Loop, vectorised},
    exp::sigmoid,
    fuses,
    tape::{Tape, Traced},
    with_slices,
};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// What is done to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Silu,
    /// `gelu_pytorch_tanh` in Hugging Face's words.
    GeluTanh,
}

/// 2 √(2/π)
const SLOPE: f32 = 1.595_769;
const CUBE: f32 = 0.044_715;

/// Both `(rows, inner)`.
pub fn gated(tape: &Tape, activation: Activation, gate: &Traced, up: &Traced) -> Result<Traced> {
    if !fuses(&[&gate.value, &up.value]) {
        return tape.composed(&[gate, up], move |t| composed(activation, &t[0], &t[1]));
    }
    let value = gated_value(activation, &gate.value, &up.value)?;
    let (gate_in, up_in) = (gate.clone(), up.clone());
    Ok(tape.record_from(value, &[gate, up], move |gradient, out| {
        let inputs = [&gate_in.value, &up_in.value, &gradient];
        let (d_gate, d_up) = match activation {
            Activation::Silu => backward(inputs, |x| (x, 1.0))?,
            Activation::GeluTanh => backward(inputs, gelu_gate)?,
        };
        out.add(&gate_in, d_gate)?;
        out.add(&up_in, d_up)
    }))
}

/// The value alone, for passes that need no gradient.
pub fn gated_value(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !fuses(&[gate, up]) {
        return composed(activation, gate, up);
    }
    match activation {
        Activation::Silu => forward(gate, up, |x| x),
        Activation::GeluTanh => forward(gate, up, |x| gelu_gate(x).0),
    }
}

/// The same for a step of sampling, written over the gate. On the calling thread.
pub(crate) fn gate_in_place(activation: Activation, gate: &mut [f32], up: &[f32]) {
    match activation {
        Activation::Silu => vectorised(InPlace {
            gate,
            up,
            inner: |x| x,
        }),
        Activation::GeluTanh => vectorised(InPlace {
            gate,
            up,
            inner: |x| gelu_gate(x).0,
        }),
    }
}

fn composed(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Silu => gate.silu()? * up,
        // Written out: the constants of candle's own derivative have six digits.
        Activation::GeluTanh => {
            let bend = ((gate.sqr()? * f64::from(CUBE))? + 1.0)?;
            let tanh = ((gate * bend)? * (f64::from(SLOPE) / 2.0))?.tanh()?;
            ((gate * (tanh + 1.0)?)? * 0.5)? * up
        }
    }
}

/// 2u, and its derivative by x.
#[inline(always)]
fn gelu_gate(x: f32) -> (f32, f32) {
    let square = x * x;
    (
        SLOPE * x * (1.0 + CUBE * square),
        SLOPE * (1.0 + 3.0 * CUBE * square),
    )
}

/// `gate · s(inner(gate)) · up`.
fn forward(gate: &Tensor, up: &Tensor, inner: impl Fn(f32) -> f32 + Sync) -> Result<Tensor> {
    let (gate, up) = (gate.contiguous()?, up.contiguous()?);
    let y = with_slices([&gate, &up], |[gate, up]| {
        let mut y = vec![0.0; gate.len()];
        y.par_chunks_mut(CHUNK)
            .zip(gate.par_chunks(CHUNK))
            .zip(up.par_chunks(CHUNK))
            .for_each(|((y, gate), up)| {
                vectorised(Forward {
                    y,
                    gate,
                    up,
                    inner: &inner,
                })
            });
        Ok(y)
    })?;
    Tensor::from_vec(y, gate.shape(), gate.device())
}

struct Forward<'a, F> {
    y: &'a mut [f32],
    gate: &'a [f32],
    up: &'a [f32],
    inner: &'a F,
}

impl<F: Fn(f32) -> f32> Loop for Forward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for ((y, &gate), up) in self.y.iter_mut().zip(self.gate).zip(self.up) {
            *y = gate * sigmoid((self.inner)(gate)) * up;
        }
    }
}

struct InPlace<'a, F> {
    gate: &'a mut [f32],
    up: &'a [f32],
    inner: F,
}

impl<F: Fn(f32) -> f32> Loop for InPlace<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (gate, up) in self.gate.iter_mut().zip(self.up) {
            *gate = *gate * sigmoid((self.inner)(*gate)) * up;
        }
    }
}

/// With s = sigmoid(inner): `d up = g · gate · s`, `d gate = g · up · s (1 + gate · inner' (1 - s))`. `inner`
/// gives its value and its derivative.
fn backward(
    [gate, up, gradient]: [&Tensor; 3],
    inner: impl Fn(f32) -> (f32, f32) + Sync,
) -> Result<(Tensor, Tensor)> {
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
                vectorised(Backward {
                    d_gate,
                    d_up,
                    gate,
                    up,
                    gradient,
                    inner: &inner,
                });
            });
        Ok((d_gate, d_up))
    })?;
    Ok((
        Tensor::from_vec(d_gate, gate.shape(), gate.device())?,
        Tensor::from_vec(d_up, gate.shape(), gate.device())?,
    ))
}

struct Backward<'a, F> {
    d_gate: &'a mut [f32],
    d_up: &'a mut [f32],
    gate: &'a [f32],
    up: &'a [f32],
    gradient: &'a [f32],
    inner: &'a F,
}

impl<F: Fn(f32) -> (f32, f32)> Loop for Backward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let inputs = self.gate.iter().zip(self.up).zip(self.gradient);
        for ((d_gate, d_up), ((&gate, up), g)) in self.d_gate.iter_mut().zip(self.d_up).zip(inputs) {
            let (inner, slope) = (self.inner)(gate);
            let s = sigmoid(inner);
            *d_up = g * gate * s;
            *d_gate = g * up * s * (1.0 + gate * slope * (1.0 - s));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tape::check::{finite_differences, numbers, same};

    #[test]
    fn fused_activations_equal_composed_ones_and_finite_differences() {
        let inputs = [numbers(&[5, 9], 1), numbers(&[5, 9], 2)];
        for activation in [Activation::Silu, Activation::GeluTanh] {
            let fused = move |tape: &Tape, x: &[Traced]| gated(tape, activation, &x[0], &x[1]);
            finite_differences(&inputs, &fused);
            same(&inputs, &fused, &move |tape, x| {
                tape.composed(&[&x[0], &x[1]], move |t| composed(activation, &t[0], &t[1]))
            });
        }
    }
}
