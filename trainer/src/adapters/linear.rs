//! A linear layer of the base model, with what an adapter adds to it.

use super::{Adapter, Module, Weight, ia3, lora_a, lora_b, lora_magnitude, low_rank};
use crate::ops::{self, Matrix, Tape, Traced};
use candle_core::{Result, Tensor};

/// A frozen linear layer. Its path is the one in the Hugging Face model, by which adapters name it.
#[derive(Clone)]
pub struct Linear {
    /// For example `model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// `(out, in)`
    pub weight: Matrix,
    /// `(out,)`
    pub bias: Option<Tensor>,
}

impl Linear {
    /// The last part of the path, for example `q_proj`.
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    /// The layer's value; records nothing. Shapes: `(rows, in)` to `(rows, out)`.
    pub fn forward(&self, x: &Tensor, adapter: Option<&Adapter>) -> Result<Tensor> {
        let x = Traced::constant(x.clone());
        Ok(self.trace(&Tape::off(), &x, adapter)?.value)
    }

    /// The layer's value, differentiable by its input and by the adapter's trainable weights.
    pub fn trace(&self, tape: &Tape, x: &Traced, adapter: Option<&Adapter>) -> Result<Traced> {
        let (weight, bias) = (&self.weight, self.bias.as_ref());
        let Some(adapter) = adapter else {
            return ops::linear(tape, x, weight, bias);
        };
        match adapter.modules.get(&self.path) {
            Some(Module::Lora {
                a,
                b,
                magnitude,
                scaling,
            }) => {
                let trained = matches!(a, Weight::Trainable(_));
                let mask = trained.then(|| tape.mask(&self.path, adapter.config.dropout()));
                let low_rank = low_rank((a, b), *scaling, mask.flatten());
                let (name_a, name_b) = (lora_a(&self.path), lora_b(&self.path));
                let Some(magnitude) = magnitude else {
                    let names = trained.then_some((name_a, name_b));
                    return ops::lora(tape, x, weight, bias, &low_rank, names);
                };
                let names = trained.then(|| [name_a, name_b, lora_magnitude(&self.path)]);
                let magnitude = magnitude.tensor().detach();
                ops::dora(tape, x, weight, bias, (&low_rank, &magnitude), names)
            }
            Some(Module::Ia3 {
                factors,
                feed_forward,
            }) => {
                let name = matches!(factors, Weight::Trainable(_)).then(|| ia3(&self.path));
                let factors = factors.tensor().detach();
                if *feed_forward {
                    return ops::linear(tape, &ops::scale(tape, x, &factors, name)?, weight, bias);
                }
                ops::scale(tape, &ops::linear(tape, x, weight, bias)?, &factors, name)
            }
            None => ops::linear(tape, x, weight, bias),
        }
    }
}
