//! Rotary position embedding (Su et al. 2021) in Hugging Face's convention: component i of a head turns with
//! component i + head_dim / 2. GGUF files of Llama store q and k for the other convention; the loader puts
//! them back, since adapters are trained and stored for this one. In some models only the first components of a
//! head turn, and then i goes with i + rotary_dim / 2.

use super::{fuses, with_slices};
use candle_core::{DType, Device, Result, Tensor};
use std::sync::Arc;

/// The frequencies at which the first `rotary_dim` components of a head turn, two by two; before any scaling.
pub fn frequencies(theta: f64, rotary_dim: usize) -> Vec<f32> {
    // In f32, as the reference implementation computes them.
    (0..rotary_dim / 2)
        .map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / rotary_dim as f32))
        .collect()
}

/// Cosines and sines of every position. Where there are fewer frequencies than pairs of components, the last
/// components of a head stay as they are.
#[derive(Clone)]
pub struct Rope {
    pub head_dim: usize,
    /// `(positions, rotary_dim / 2)`
    pub cos: Tensor,
    pub sin: Tensor,
    /// The same numbers in main memory, for the fused forms: position by position, cosines then sines.
    table: Arc<[f32]>,
    /// Components of a head that turn.
    rotary_dim: usize,
}

impl Rope {
    pub fn new(
        frequencies: &[f32],
        head_dim: usize,
        n_positions: usize,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        let half = frequencies.len();
        let mut table = Vec::with_capacity(n_positions * 2 * half);
        for position in 0..n_positions {
            // Angles in f32 too.
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
            rotary_dim: 2 * half,
        })
    }

    pub fn n_positions(&self) -> usize {
        self.table.len() / self.rotary_dim
    }

    /// Turns one head's vector in place. `sign` is 1, or -1 for the inverse (the backward pass).
    #[inline]
    pub(crate) fn turn(&self, head: &mut [f32], position: usize, sign: f32) {
        let (rotary, half) = (self.rotary_dim, self.rotary_dim / 2);
        let row = &self.table[position * rotary..(position + 1) * rotary];
        let (cos, sin) = row.split_at(half);
        let (low, high) = head[..rotary].split_at_mut(half);
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
        let (rotary, half) = (self.rotary_dim, self.rotary_dim / 2);
        let heads = x.reshape((rows, width / self.head_dim, self.head_dim))?;
        let (low, high) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?);
        let cos = self.cos.index_select(positions, 0)?.unsqueeze(1)?; // (rows, 1, half)
        let sin = self.sin.index_select(positions, 0)?.unsqueeze(1)?;
        let turned_low = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
        let turned_high = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
        let mut parts = vec![turned_low, turned_high];
        if rotary < self.head_dim {
            parts.push(heads.narrow(2, rotary, self.head_dim - rotary)?);
        }
        Tensor::cat(&parts, 2)?.reshape((rows, width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tape::check::{distance, numbers};

    #[test]
    fn fused_turn_equals_the_composed_one_and_its_inverse_undoes_it() {
        for rotary_dim in [6, 4] {
            let frequencies = frequencies(1e4, rotary_dim);
            let rope = Rope::new(&frequencies, 6, 40, &Device::Cpu, DType::F32).unwrap();
            assert_eq!(rope.n_positions(), 40);
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
}
