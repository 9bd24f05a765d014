//! Cholesky's decomposition of a symmetric positive definite matrix. Matrices are square, row by row.

use rayon::prelude::*;

/// L of H = L Lᵀ.
pub(super) struct Cholesky {
    lower: Vec<f64>,
    n: usize,
}

impl Cholesky {
    /// Of a matrix of `n` rows. `None` where it is not positive definite.
    pub fn of(matrix: &[f64], n: usize) -> Option<Self> {
        let mut lower = vec![0.0; n * n];
        for row in 0..n {
            for column in 0..=row {
                let (a, b) = (&lower[row * n..][..column], &lower[column * n..][..column]);
                let rest = matrix[row * n + column] - dot(a, b);
                lower[row * n + column] = match row == column {
                    true if rest > 0.0 => rest.sqrt(),
                    true => return None,
                    false => rest / lower[column * n + column],
                };
            }
        }
        Some(Self { lower, n })
    }

    /// log |H|
    pub fn log_determinant(&self) -> f64 {
        let diagonal = self.lower.iter().step_by(self.n + 1);
        2.0 * diagonal.map(|x| x.ln()).sum::<f64>()
    }

    /// H⁻¹
    pub fn inverse(&self) -> Vec<f64> {
        let (lower, n) = (&self.lower, self.n);
        // Its columns one by one: L y = e, then Lᵀ x = y. It is symmetric, so that a column is a row.
        let columns = (0..n).into_par_iter().map(|column| {
            let mut x = vec![0.0; n];
            for row in column..n {
                let known: f64 = dot(&lower[row * n + column..row * n + row], &x[column..row]);
                let unit = if row == column { 1.0 } else { 0.0 };
                x[row] = (unit - known) / lower[row * n + row];
            }
            for row in (0..n).rev() {
                x[row] /= lower[row * n + row];
                let done = x[row];
                for (rest, l) in x[..row].iter_mut().zip(&lower[row * n..row * n + row]) {
                    *rest -= l * done;
                }
            }
            x
        });
        columns.collect::<Vec<_>>().concat()
    }
}

/// In eight sums side by side, which the processor takes at once.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (left, right) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = left
        .remainder()
        .iter()
        .zip(right.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in left.zip(right) {
        for at in 0..8 {
            sums[at] += x[at] * y[at];
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_matrix_times_its_inverse_is_the_unit() {
        const N: usize = 37;
        let mut draws = Rng::new(1).stream("matrix", 0);
        let factor: Vec<f64> = (0..N * N).map(|_| draws.normal()).collect();
        let row = |of: &[f64], at: usize| of[at * N..][..N].to_vec();
        let mut matrix = vec![0.0; N * N];
        for a in 0..N {
            for b in 0..N {
                let unit = if a == b { 0.1 } else { 0.0 };
                matrix[a * N + b] = dot(&row(&factor, a), &row(&factor, b)) + unit;
            }
        }
        let inverse = Cholesky::of(&matrix, N).unwrap().inverse();
        for a in 0..N {
            for b in 0..N {
                let product = dot(&row(&matrix, a), &row(&inverse, b));
                let unit = if a == b { 1.0 } else { 0.0 };
                assert!((product - unit).abs() < 1e-8, "{a} {b}: {product}");
            }
        }
    }

    #[test]
    fn the_logarithm_of_a_determinant() {
        let matrix = [4.0, 2.0, 2.0, 3.0];
        let told = Cholesky::of(&matrix, 2).unwrap().log_determinant();
        assert!((told - 8f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_positive_definite_has_none() {
        assert!(Cholesky::of(&[1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(Cholesky::of(&[f64::NAN], 1).is_none());
    }
}
