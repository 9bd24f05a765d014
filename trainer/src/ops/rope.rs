//! Rotary position embedding (Su et al. 2021) in Hugging Face's convention: component i of a head turns with
//! component i + head_dim / 2. GGUF files of Llama store q and k for the other convention; the loader puts
//! them back, since adapters are trained and stored for this one.

use super::{fuses, with_slices};
use candle_core::{DType, Device, Result, Tensor};
use std::sync::Arc;

/// Cosines and sines of every position.
#[derive(Clone)]
pub struct Rope {
    pub head_dim: usize,
    /// `(positions, head_dim / 2)`
    pub cos: Tensor,
    pub sin: Tensor,
    /// The same numbers in main memory, for the fused forms: position by position, cosines then sines.
    table: Arc<[f32]>,
}

impl Rope {
    pub fn new(
        theta: f64,
        head_dim: usize,
        n_positions: usize,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        let half = head_dim / 2;
        // Frequencies and angles in f32, as the reference implementation computes them.
        let frequencies: Vec<f32> = (0..half)
            .map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / head_dim as f32))
            .collect();
        let mut table = Vec::with_capacity(n_positions * head_dim);
        for position in 0..n_positions {
            let angles = frequencies.iter().map(|f| f64::from(position as f32 * f));
            table.extend(angles.clone().map(|angle| angle.cos() as f32));
            table.extend(angles.map(|angle| angle.sin() as f32));
        }
        let both = Tensor::from_slice(&table, (n_positions, 2, half), device)?.to_dtype(dtype)?;
        Ok(Self {
            head_dim,
            cos: both.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?,
            sin: both.narrow(1, 1, 1)?.squeeze(1)?.contiguous()?,
            table: table.into(),
        })
    }

    pub fn n_positions(&self) -> usize {
        self.table.len() / self.head_dim
    }

    /// Turns one head's vector in place. `sign` is 1, or -1 for the inverse (the backward pass).
    #[inline]
    pub(crate) fn turn(&self, head: &mut [f32], position: usize, sign: f32) {
        let half = self.head_dim / 2;
        let row = &self.table[position * self.head_dim..(position + 1) * self.head_dim];
        let (cos, sin) = row.split_at(half);
        let (low, high) = head.split_at_mut(half);
        for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            let (x, y, sin) = (*low, *high, sin * sign);
            *low = x * cos - y * sin;
            *high = y * cos + x * sin;
        }
    }

    /// Turns every head of every row. Shape: `(rows, heads · head_dim)`; records nothing.
    pub fn apply(&self, x: &Tensor, positions: &[u32]) -> Result<Tensor> {
        if !fuses(&[x]) {
            return self.composed(x, &Tensor::new(positions, x.device())?);
        }
        let x = x.contiguous()?;
        let width = x.dim(1)?;
        let mut turned = with_slices([&x], |[x]| Ok(x.to_vec()))?;
        for (row, &position) in turned.chunks_exact_mut(width).zip(positions) {
            for head in row.chunks_exact_mut(self.head_dim) {
                self.turn(head, position as usize, 1.0);
            }
        }
        Tensor::from_vec(turned, x.shape(), x.device())
    }

    /// The composed form. Shapes: `(rows, heads · head_dim)`, `(rows,)`.
    pub(crate) fn composed(&self, x: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let half = self.head_dim / 2;
        let heads = x.reshape((rows, width / self.head_dim, self.head_dim))?;
        let (low, high) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?);
        let cos = self.cos.index_select(positions, 0)?.unsqueeze(1)?; // (rows, 1, half)
        let sin = self.sin.index_select(positions, 0)?.unsqueeze(1)?;
        let turned_low = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
        let turned_high = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
        Tensor::cat(&[turned_low, turned_high], 2)?.reshape((rows, width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tape::check::{distance, numbers};

    #[test]
    fn fused_turn_equals_the_composed_one_and_its_inverse_undoes_it() {
        let rope = Rope::new(1e4, 6, 40, &Device::Cpu, DType::F32).unwrap();
        let x = numbers(&[3, 12], 1);
        let positions = [0, 5, 39];
        let turned = rope.apply(&x, &positions).unwrap();
        let composed = rope
            .composed(&x, &Tensor::new(&positions, &Device::Cpu).unwrap())
            .unwrap();
        assert!(distance(&turned, &composed) < 1e-6);
        let mut back = turned.get(2).unwrap().to_vec1::<f32>().unwrap();
        back.chunks_exact_mut(6)
            .for_each(|head| rope.turn(head, 39, -1.0));
        let back = Tensor::new(back, &Device::Cpu).unwrap();
        assert!(distance(&back, &x.get(2).unwrap()) < 1e-6);
    }
}
