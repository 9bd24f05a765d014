//! The linear layers of a block with the adapters that a batch may ask for: what the engine computes with. One adapter
//! over a base in f32 is merged into a copy of the layers that it changes; otherwise rows of all adapters share the
//! product with the base, and each adapter's part is computed beside it for its own rows. Made once for each engine.

use crate::{
    adapters::{Adapter, Module, Weight, effective, low_rank},
    model::{Bundle, Layer, Linear, Matrix},
    ops::{
        MOST_ROWS,
        elementwise::{Loop, dot, vectorised},
        few_rows_transposed, integer, multiply_each, weight_norm,
    },
};
use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// Rows whose adapters' parts one thread computes.
const ROWS: usize = 8;
/// Outputs that are summed side by side.
const LANES: usize = 64;

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
        a: Vec<f32>,
        /// `(rank, out)`, with the scaling in it.
        b: Vec<f32>,
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

    fn is_adapted(&self, groups: &[Group]) -> bool {
        groups.iter().any(|group| self.of(group).is_some())
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
            y.par_chunks_mut(ROWS * out)
                .zip(x.par_chunks(ROWS * inner))
                .for_each(|(y, x)| {
                    vectorised(AddLowRank {
                        x,
                        y,
                        a,
                        b,
                        inner,
                        out,
                    })
                });
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
    if N > 1 && layers.iter().any(|layer| layer.is_adapted(groups)) {
        y.par_iter_mut()
            .zip(layers)
            .try_for_each(|(y, layer)| layer.finish(x, groups, y))?;
    } else {
        for (y, layer) in y.iter_mut().zip(layers) {
            layer.finish(x, groups, y)?;
        }
    }
    Ok(y)
}

/// `y += x aᵀ b`. Shapes: x `(rows, in)`, y `(rows, out)`, a `(rank, in)`, b `(rank, out)`.
struct AddLowRank<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    a: &'a [f32],
    b: &'a [f32],
    inner: usize,
    out: usize,
}

impl Loop for AddLowRank<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rows = self
            .y
            .chunks_exact_mut(self.out)
            .zip(self.x.chunks_exact(self.inner));
        let mut small = vec![0.0; self.a.len() / self.inner];
        for (y, x) in rows {
            for (small, a) in small.iter_mut().zip(self.a.chunks_exact(self.inner)) {
                *small = dot(x, a);
            }
            let (wide, rest) = y.as_chunks_mut::<LANES>();
            let n_wide = wide.len() * LANES;
            for (at, y) in wide.iter_mut().enumerate() {
                let mut sums = [0.0; LANES];
                for (small, b) in small.iter().zip(self.b.chunks_exact(self.out)) {
                    let b: &[f32] = &b[at * LANES..][..LANES];
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum += small * b;
                    }
                }
                y.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum);
            }
            for (at, y) in rest.iter_mut().enumerate() {
                let b = self.b.chunks_exact(self.out).map(|b| b[n_wide + at]);
                *y += small.iter().zip(b).map(|(small, b)| small * b).sum::<f32>();
            }
        }
    }
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
                    a: numbers(&low_rank.a)?,
                    b: numbers(&(low_rank.b * *scaling)?.t()?)?,
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
