//! Products of many rows with a small square matrix, in candle, a part of the rows at a time.

use anyhow::Result;
use candle_core::{Device, Tensor};

/// Rows taken at once: bounds the memory.
const PART: usize = 4096;

/// Σ w x xᵀ over the rows x, `(width, width)`; weights are not negative.
pub(super) fn gram(rows: &[f32], width: usize, weights: &[f64]) -> Result<Vec<f64>> {
    let mut sums = vec![0.0; width * width];
    for (rows, weights) in rows.chunks(PART * width).zip(weights.chunks(PART)) {
        let mut scaled = rows.to_vec();
        for (row, weight) in scaled.chunks_exact_mut(width).zip(weights) {
            let root = weight.sqrt() as f32;
            row.iter_mut().for_each(|x| *x *= root);
        }
        let scaled = Tensor::from_vec(scaled, (weights.len(), width), &Device::Cpu)?;
        let part = scaled.t()?.matmul(&scaled)?.flatten_all()?.to_vec1::<f32>()?;
        for (sum, x) in sums.iter_mut().zip(part) {
            *sum += f64::from(x);
        }
    }
    Ok(sums)
}

/// xᵀ M x of every row x, for a symmetric M, `(width, width)`.
pub(super) fn quadratic(rows: &[f32], width: usize, matrix: &[f64]) -> Result<Vec<f64>> {
    let numbers: Vec<f32> = matrix.iter().map(|x| *x as f32).collect();
    let matrix = Tensor::from_vec(numbers, (width, width), &Device::Cpu)?;
    let mut values = Vec::with_capacity(rows.len() / width.max(1));
    for rows in rows.chunks(PART * width) {
        let rows = Tensor::from_slice(rows, (rows.len() / width, width), &Device::Cpu)?;
        let part = (rows.matmul(&matrix)? * rows)?.sum(1)?.to_vec1::<f32>()?;
        values.extend(part.into_iter().map(f64::from));
    }
    Ok(values)
}

/// A B of square matrices.
pub(super) fn product(a: &[f64], b: &[f64], width: usize) -> Result<Vec<f64>> {
    let square = |x: &[f64]| Tensor::from_slice(x, (width, width), &Device::Cpu);
    Ok(square(a)?.matmul(&square(b)?)?.flatten_all()?.to_vec1::<f64>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_products_are_what_the_equations_say() {
        let rows = [1.0, 2.0, 0.0, -1.0];
        assert_eq!(gram(&rows, 2, &[4.0, 1.0]).unwrap(), [4.0, 8.0, 8.0, 17.0]);
        assert_eq!(quadratic(&rows, 2, &[1.0, 0.5, 0.5, 3.0]).unwrap(), [15.0, 3.0]);
        let product = product(&[1.0, 2.0, 3.0, 4.0], &[0.0, 1.0, 1.0, 0.0], 2).unwrap();
        assert_eq!(product, [2.0, 1.0, 4.0, 3.0]);
    }

    #[test]
    fn parts_add_up() {
        let rows: Vec<f32> = (0..2 * (PART + 3)).map(|at| (at % 7) as f32).collect();
        let weights = vec![0.25; PART + 3];
        let sum: f64 = rows.chunks(2).map(|x| 0.25 * f64::from(x[0] * x[1])).sum();
        assert!((gram(&rows, 2, &weights).unwrap()[1] - sum).abs() < 0.5);
        assert_eq!(
            quadratic(&rows, 2, &[1.0, 0.0, 0.0, 1.0]).unwrap().len(),
            PART + 3
        );
    }
}
