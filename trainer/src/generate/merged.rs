//! The linear layers of a block with an adapter in them, merged into an f32 copy of those that it changes or kept
//! beside them: what the engine computes with. Made once for each engine.

use crate::{
    adapters::{Adapter, Module, Weight, effective, low_rank},
    model::{Bundle, Layer, Linear, Matrix, try_array},
    ops::{few_rows_transposed, split_value, weight_norm},
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
        /// `(out,)`: DoRA's magnitudes over the rows' lengths.
        factors: Option<Tensor>,
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
            Some(module) if linear.weight.is_full() => {
                let weight = linear.weight.to_dtype(DType::F32)?;
                let (weight, bias) = effective(&weight, linear.bias.as_ref(), module)?;
                Ok(Self {
                    weight: weight.into(),
                    bias,
                    beside: Beside::Nothing,
                })
            }
            _ => Ok(Self {
                weight: linear.weight.clone(),
                bias: linear.bias.clone(),
                beside: match module {
                    None => Beside::Nothing,
                    Some(module) => Beside::new(linear, module)?,
                },
            }),
        }
    }

    /// Shapes: `(rows, in)` to `(rows, out)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = match &self.beside {
            Beside::InputFactors(factors) => few_rows_transposed(&x.broadcast_mul(factors)?, &self.weight)?,
            _ => few_rows_transposed(x, &self.weight)?,
        };
        if let Beside::LowRank { a, b, factors } = &self.beside {
            y = (y + few_rows_transposed(&few_rows_transposed(x, a)?, b)?)?;
            if let Some(factors) = factors {
                y = y.broadcast_mul(factors)?;
            }
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
    fn new(linear: &Linear, module: &Module) -> Result<Self> {
        Ok(match module {
            Module::Lora {
                a,
                b,
                magnitude,
                scaling,
            } => {
                let low_rank = low_rank((a, b), *scaling, None);
                let factors = match magnitude {
                    Some(magnitude) => Some((tensor(magnitude) / weight_norm(&linear.weight, &low_rank)?)?),
                    None => None,
                };
                Self::LowRank {
                    a: low_rank.a.into(),
                    b: (low_rank.b * *scaling)?.into(),
                    factors,
                }
            }
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
