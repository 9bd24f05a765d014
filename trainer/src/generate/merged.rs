//! The linear layers of a block with an adapter in them, merged into an f32 copy of those that it changes or kept
//! beside them: what the engine computes with. Made once for each engine.

use crate::{
    adapters::{Adapter, Module, Weight},
    model::{Bundle, Layer, Linear, Matrix, try_array},
    ops::{few_rows_transposed, split_value},
};
use candle_core::{DType, Result, Tensor};

/// A linear layer with its adapter in it.
pub struct Merged {
    /// `(out, in)`
    weight: Matrix,
    /// `(out,)`
    bias: Option<Tensor>,
    beside: Beside,
}

/// What is left to compute beside the weight. Only a base in f32 is merged with: a sum with another would be an f32
/// copy of it, and small memory is why it is held so.
enum Beside {
    Nothing,
    LowRank {
        /// `(rank, in)`
        a: Matrix,
        /// `(out, rank)`, with the scaling in it.
        b: Matrix,
    },
    /// `(in,)`
    InputFactors(Tensor),
    /// `(out,)`
    OutputFactors(Tensor),
}

pub struct MergedLayer {
    pub qkv: Bundle<Merged, 3>,
    pub o: Merged,
    pub gate_up: Bundle<Merged, 2>,
    pub down: Merged,
}

impl MergedLayer {
    pub fn new(layer: &Layer, adapter: Option<&Adapter>) -> Result<Self> {
        let merge = |linear: &Linear| {
            let module = adapter.and_then(|adapter| adapter.modules.get(&linear.path));
            Merged::new(linear, module)
        };
        Ok(Self {
            qkv: layer.qkv.try_map(merge)?,
            o: merge(&layer.o)?,
            gate_up: layer.gate_up.try_map(merge)?,
            down: merge(&layer.down)?,
        })
    }
}

impl Merged {
    fn new(linear: &Linear, module: Option<&Module>) -> Result<Self> {
        match module {
            Some(module) if linear.weight.is_full() => Self::summed(linear, module),
            _ => Ok(Self {
                weight: linear.weight.clone(),
                bias: linear.bias.clone(),
                beside: match module {
                    None => Beside::Nothing,
                    Some(module) => Beside::new(module)?,
                },
            }),
        }
    }

    /// IA3's factors on outputs scale the bias as well.
    fn summed(linear: &Linear, module: &Module) -> Result<Self> {
        let weight = linear.weight.to_dtype(DType::F32)?;
        let mut bias = linear.bias.clone();
        let weight = match module {
            Module::Lora { a, b, scaling } => (weight + (tensor(b).matmul(&tensor(a))? * *scaling)?)?,
            Module::Ia3 {
                factors,
                feed_forward: true,
            } => weight.broadcast_mul(&tensor(factors))?,
            Module::Ia3 {
                factors,
                feed_forward: false,
            } => {
                bias = bias.map(|bias| bias * tensor(factors)).transpose()?;
                weight.broadcast_mul(&tensor(factors).unsqueeze(1)?)?
            }
        };
        Ok(Self {
            weight: weight.into(),
            bias,
            beside: Beside::Nothing,
        })
    }

    /// Shapes: `(rows, in)` to `(rows, out)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = match &self.beside {
            Beside::InputFactors(factors) => few_rows_transposed(&x.broadcast_mul(factors)?, &self.weight)?,
            _ => few_rows_transposed(x, &self.weight)?,
        };
        if let Beside::LowRank { a, b } = &self.beside {
            y = (y + few_rows_transposed(&few_rows_transposed(x, a)?, b)?)?;
        }
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(bias)?;
        }
        match &self.beside {
            Beside::OutputFactors(factors) => y.broadcast_mul(factors),
            _ => Ok(y),
        }
    }
}

impl Beside {
    fn new(module: &Module) -> Result<Self> {
        Ok(match module {
            Module::Lora { a, b, scaling } => Self::LowRank {
                a: tensor(a).into(),
                b: (tensor(b) * *scaling)?.into(),
            },
            Module::Ia3 {
                factors,
                feed_forward: true,
            } => Self::InputFactors(tensor(factors)),
            Module::Ia3 {
                factors,
                feed_forward: false,
            } => Self::OutputFactors(tensor(factors)),
        })
    }
}

fn tensor(weight: &Weight) -> Tensor {
    weight.tensor().detach()
}

impl<const N: usize> Bundle<Merged, N> {
    pub fn forward(&self, x: &Tensor) -> Result<[Tensor; N]> {
        match self {
            Self::Apart(layers) => try_array(layers, |layer| layer.forward(x)),
            Self::Fused { layer, widths } => split_value(&layer.forward(x)?, *widths),
        }
    }
}
