//! The linear layers of a block with an adapter merged into a copy of those that it changes: what the engine
//! computes with. Made once for each engine.

use crate::{
    adapters::{Adapter, Module, effective},
    model::{Bundle, Layer, Linear, try_array},
    ops::{few_rows_transposed, split_value},
};
use candle_core::{Result, Tensor};

/// A linear layer with its adapter in it.
pub struct Merged {
    /// `(out, in)`
    weight: Tensor,
    /// `(out,)`
    bias: Option<Tensor>,
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
        let (weight, bias) = match module {
            None => (linear.weight.clone(), linear.bias.clone()),
            Some(module) => effective(&linear.weight, linear.bias.as_ref(), module)?,
        };
        Ok(Self { weight, bias })
    }

    /// Shapes: `(rows, in)` to `(rows, out)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = few_rows_transposed(x, &self.weight)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

impl<const N: usize> Bundle<Merged, N> {
    pub fn forward(&self, x: &Tensor) -> Result<[Tensor; N]> {
        match self {
            Self::Apart(layers) => try_array(layers, |layer| layer.forward(x)),
            Self::Fused { layer, widths } => split_value(&layer.forward(x)?, *widths),
        }
    }
}
