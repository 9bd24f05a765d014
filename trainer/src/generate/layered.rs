//! The linear layers of a block with the adapters that a batch may ask for: what the engine computes with. One adapter
//! over a base in f32 is merged into a copy of the layers that it changes; otherwise rows of all adapters share the
//! product with the base, and each adapter's part is computed beside it for its own rows. Made once for each engine.

use crate::{
    adapters::{Adapter, Module, Weight, effective, low_rank},
    model::{Bundle, Layer, Linear, Matrix},
    ops::{MOST_ROWS, few_rows_transposed, integer, multiply_each, weight_norm},
};
use candle_core::{DType, Result, Tensor};
use std::ops::Range;

/// Rows that lie together and have the same adapter.
#[derive(Clone, Debug)]
pub struct Group {
    pub rows: Range<usize>,
    /// Among the engine's adapters; none for the base.
    pub adapter: Option<usize>,
}

/// A linear layer with what its adapters do.
pub struct Layered {
    /// `(out, in)`
    weight: Matrix,
    /// `(out,)`
    bias: Option<Vec<f32>>,
    /// Of each adapter.
    beside: Vec<Option<Beside>>,
}

/// What is computed beside the weight.
enum Beside {
    LowRank {
        /// `(rank, in)`
        a: Matrix,
        /// `(out, rank)`, with the scaling in it.
        b: Matrix,
        /// `(out,)`: DoRA's magnitudes over the rows' lengths.
        factors: Option<Vec<f32>>,
    },
    /// `(in,)`
    InputFactors(Vec<f32>),
    /// `(out,)`
    OutputFactors(Vec<f32>),
}

pub struct LayeredBlock {
    pub qkv: Bundle<Layered, 3>,
    pub o: Layered,
    pub gate_up: Bundle<Layered, 2>,
    pub down: Layered,
}

impl LayeredBlock {
    /// With each of `adapters` beside the base.
    pub fn new(layer: &Layer, adapters: &[&Adapter]) -> Result<Self> {
        Self::map(layer, &|linear| Layered::new(linear, adapters))
    }

    /// With one adapter, for all rows, in the base where that loses nothing.
    pub fn merged(layer: &Layer, adapter: &Adapter) -> Result<Self> {
        Self::map(layer, &|linear| match adapter.modules.get(&linear.path) {
            Some(module) if linear.weight.is_full() => {
                let weight = linear.weight.to_dtype(DType::F32)?;
                let (weight, bias) = effective(&weight, linear.bias.as_ref(), module)?;
                Ok(Layered {
                    weight: weight.into(),
                    bias: bias.as_ref().map(numbers).transpose()?,
                    beside: vec![None],
                })
            }
            _ => Layered::new(linear, &[adapter]),
        })
    }

    fn map(layer: &Layer, change: &dyn Fn(&Linear) -> Result<Layered>) -> Result<Self> {
        Ok(Self {
            qkv: layer.qkv.try_map(change)?,
            o: change(&layer.o)?,
            gate_up: layer.gate_up.try_map(change)?,
            down: change(&layer.down)?,
        })
    }
}

impl Layered {
    fn new(linear: &Linear, adapters: &[&Adapter]) -> Result<Self> {
        let beside = adapters.iter().map(|adapter| {
            let module = adapter.modules.get(&linear.path);
            module.map(|module| Beside::new(linear, module)).transpose()
        });
        Ok(Self {
            weight: linear.weight.clone(),
            bias: linear.bias.as_ref().map(numbers).transpose()?,
            beside: beside.collect::<Result<_>>()?,
        })
    }

    /// Shapes: `(rows, in)` to `(rows, out)`.
    pub fn forward(&self, x: &[f32], groups: &[Group]) -> Result<Vec<f32>> {
        let [y] = forward([self], x, groups)?;
        Ok(y)
    }

    fn of(&self, group: &Group) -> Option<&Beside> {
        group.adapter.and_then(|adapter| self.beside[adapter].as_ref())
    }

    /// What is left when the product with the weight is there.
    fn finish(&self, x: &[f32], groups: &[Group], y: &mut [f32]) -> Result<()> {
        let (out, inner) = self.weight.dims2()?;
        for group in groups {
            let Some(Beside::LowRank { a, b, factors }) = self.of(group) else {
                continue;
            };
            let x = &x[group.rows.start * inner..group.rows.end * inner];
            let y = &mut y[group.rows.start * out..group.rows.end * out];
            let [small] = products(x, [a])?;
            let [more] = products(&small, [b])?;
            y.iter_mut().zip(more).for_each(|(y, more)| *y += more);
            if let Some(factors) = factors {
                scale(y, factors);
            }
        }
        if let Some(bias) = &self.bias {
            for y in y.chunks_exact_mut(out) {
                y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        }
        for group in groups {
            if let Some(Beside::OutputFactors(factors)) = self.of(group) {
                scale(&mut y[group.rows.start * out..group.rows.end * out], factors);
            }
        }
        Ok(())
    }
}

/// Layers of the same input. Where no adapter changes it, their products are one piece of parallel work.
fn forward<const N: usize>(layers: [&Layered; N], x: &[f32], groups: &[Group]) -> Result<[Vec<f32>; N]> {
    let changes_input = |layer: &&Layered| {
        let mut found = groups.iter().map(|group| layer.of(group));
        found.any(|beside| matches!(beside, Some(Beside::InputFactors(_))))
    };
    let mut y = if layers.iter().any(changes_input) {
        let mut y = [const { Vec::new() }; N];
        for (y, layer) in y.iter_mut().zip(layers) {
            let mut x = x.to_vec();
            for group in groups {
                if let Some(Beside::InputFactors(factors)) = layer.of(group) {
                    let inner = factors.len();
                    scale(&mut x[group.rows.start * inner..group.rows.end * inner], factors);
                }
            }
            [*y] = products(&x, [&layer.weight])?;
        }
        y
    } else {
        products(x, layers.map(|layer| &layer.weight))?
    };
    for (y, layer) in y.iter_mut().zip(layers) {
        layer.finish(x, groups, y)?;
    }
    Ok(y)
}

/// `x wᵀ` with each weight. Shapes: `(rows, in)` to `(rows, out)`.
pub fn products<const N: usize>(x: &[f32], weights: [&Matrix; N]) -> Result<[Vec<f32>; N]> {
    let inner = weights[0].dim(1)?;
    let rows = x.len() / inner.max(1);
    let n_integer = weights
        .iter()
        .filter(|weight| integer::multiplies(weight))
        .count();
    if n_integer > 0 && n_integer < N {
        let mut y = [const { Vec::new() }; N];
        for (y, weight) in y.iter_mut().zip(weights) {
            [*y] = products(x, [weight])?;
        }
        return Ok(y);
    }
    if n_integer == N
        && let Some(y) = integer::multiply(x, weights)
    {
        return Ok(y);
    }
    if rows <= MOST_ROWS && weights.iter().all(|weight| weight.device().is_cpu()) {
        return multiply_each(x, weights);
    }
    let mut y = [const { Vec::new() }; N];
    for (y, weight) in y.iter_mut().zip(weights) {
        let x = Tensor::from_slice(x, (rows, inner), weight.device())?;
        *y = numbers(&few_rows_transposed(&x, weight)?)?;
    }
    Ok(y)
}

/// Each row times the factors.
fn scale(rows: &mut [f32], factors: &[f32]) {
    for row in rows.chunks_exact_mut(factors.len()) {
        row.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
    }
}

pub fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
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
                    Some(magnitude) => {
                        let lengths = weight_norm(&linear.weight, &low_rank)?;
                        Some(numbers(&(magnitude.tensor().detach() / lengths)?)?)
                    }
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
                feed_forward,
            } => {
                let factors = numbers(&Weight::tensor(factors).detach())?;
                match feed_forward {
                    true => Self::InputFactors(factors),
                    false => Self::OutputFactors(factors),
                }
            }
        })
    }
}

impl<const N: usize> Bundle<Layered, N> {
    pub fn forward(&self, x: &[f32], groups: &[Group]) -> Result<[Vec<f32>; N]> {
        match self {
            Self::Apart(layers) => forward(layers.each_ref(), x, groups),
            Self::Fused { layer, widths } => {
                let y = layer.forward(x, groups)?;
                let total: usize = widths.iter().sum();
                let mut parts = widths.map(|width| Vec::with_capacity(y.len() / total * width));
                for mut row in y.chunks_exact(total) {
                    for (part, width) in parts.iter_mut().zip(widths) {
                        let (here, rest) = row.split_at(*width);
                        part.extend_from_slice(here);
                        row = rest;
                    }
                }
                Ok(parts)
            }
        }
    }
}
