//! Linear layers of the same input: q, k and v, or gate and up. Most families keep them apart; in Phi-3 they are
//! one layer whose result is split. An adapter names the layers as the model has them.

use super::Linear;
use crate::{
    adapters::Adapter,
    ops::{Tape, Traced, split},
};
use candle_core::Result;

/// `L` is [`Linear`] here, and a layer with its adapter in it during generation.
#[derive(Clone)]
pub enum Bundle<L, const N: usize> {
    Apart([L; N]),
    /// One layer, and how many of its outputs belong to each part.
    Fused {
        layer: L,
        widths: [usize; N],
    },
}

impl<L, const N: usize> Bundle<L, N> {
    /// The layers as the model has them.
    pub fn layers(&self) -> &[L] {
        match self {
            Self::Apart(layers) => layers,
            Self::Fused { layer, .. } => std::slice::from_ref(layer),
        }
    }

    /// The same of other layers.
    pub fn try_map<M, E>(
        &self,
        mut change: impl FnMut(&L) -> std::result::Result<M, E>,
    ) -> std::result::Result<Bundle<M, N>, E> {
        Ok(match self {
            Self::Apart(layers) => Bundle::Apart(try_array(layers, change)?),
            Self::Fused { layer, widths } => Bundle::Fused {
                layer: change(layer)?,
                widths: *widths,
            },
        })
    }
}

impl<const N: usize> Bundle<Linear, N> {
    /// The parts' values, differentiable by their input and by the adapter's trainable weights.
    pub fn trace(&self, tape: &Tape, x: &Traced, adapter: Option<&Adapter>) -> Result<[Traced; N]> {
        match self {
            Self::Apart(layers) => try_array(layers, |layer| layer.trace(tape, x, adapter)),
            Self::Fused { layer, widths } => split(tape, &layer.trace(tape, x, adapter)?, *widths),
        }
    }
}

/// `change` of each element; the first error ends it.
pub fn try_array<L, M, E, const N: usize>(
    layers: &[L; N],
    change: impl FnMut(&L) -> std::result::Result<M, E>,
) -> std::result::Result<[M; N], E> {
    let changed: Vec<M> = layers.iter().map(change).collect::<std::result::Result<_, E>>()?;
    Ok(changed
        .try_into()
        .unwrap_or_else(|_| unreachable!("as many as there were")))
}
