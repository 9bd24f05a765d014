//! The space in which a head is linear: scaled differences between the features of two completions.

use crate::rng::Rng;

/// Wider features are projected at random, which keeps lengths and angles nearly (Johnson and Lindenstrauss 1984): the
/// posterior's matrices grow with the square of the width.
const MAX_DIMENSIONS: usize = 1024;

/// What each feature is multiplied by, so that differences between two completions of a task have the same size in every
/// direction and a mean square of 1 in all; and behind that a projection where there are too many features.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    factors: Vec<f32>,
    /// `(dimensions, width)`.
    projection: Option<Vec<f32>>,
}

impl Space {
    /// From the pairs of completions that there are, judged or not.
    pub fn of<'a>(width: usize, pairs: impl IntoIterator<Item = (&'a [f32], &'a [f32])>) -> Self {
        Self::with_dimensions(width, MAX_DIMENSIONS, pairs)
    }

    fn with_dimensions<'a>(
        width: usize,
        most: usize,
        pairs: impl IntoIterator<Item = (&'a [f32], &'a [f32])>,
    ) -> Self {
        let (mut squares, mut n) = (vec![0.0_f64; width], 0.0);
        for (first, second) in pairs {
            for ((square, a), b) in squares.iter_mut().zip(first).zip(second) {
                *square += f64::from(a - b).powi(2);
            }
            n += 1.0;
        }
        let factor = |square: &f64| match *square > 0.0 {
            true => (n / (square * width as f64)).sqrt() as f32,
            false => 0.0, // nothing ever differs there
        };
        // The same for everyone: what is compared is compared in one space.
        let mut draws = Rng::new(0).stream("projection", 0);
        let mut draw = || (draws.normal() / (most as f64).sqrt()) as f32;
        Self {
            factors: squares.iter().map(factor).collect(),
            projection: (width > most).then(|| (0..most * width).map(|_| draw()).collect()),
        }
    }

    pub fn dimensions(&self) -> usize {
        match &self.projection {
            Some(projection) => projection.len() / self.factors.len(),
            None => self.factors.len(),
        }
    }

    /// Where the difference of two completions lies, put behind what `row` has.
    pub fn push_difference(&self, first: &[f32], second: &[f32], row: &mut Vec<f32>) {
        let sides = first.iter().zip(second).zip(&self.factors);
        let scaled = sides.map(|((a, b), factor)| (a - b) * factor);
        let Some(projection) = &self.projection else {
            return row.extend(scaled);
        };
        let scaled: Vec<f32> = scaled.collect();
        let along = |axis: &[f32]| axis.iter().zip(&scaled).map(|(p, x)| p * x).sum::<f32>();
        row.extend(projection.chunks_exact(scaled.len()).map(along));
    }

    /// A head of this space as weights of the features as they are.
    pub fn weights(&self, head: &[f64]) -> Vec<f64> {
        let width = self.factors.len();
        let mut weights = match &self.projection {
            None => head.to_vec(),
            Some(projection) => {
                let mut sums = vec![0.0; width];
                for (axis, share) in projection.chunks_exact(width).zip(head) {
                    for (sum, p) in sums.iter_mut().zip(axis) {
                        *sum += f64::from(*p) * share;
                    }
                }
                sums
            }
        };
        for (weight, factor) in weights.iter_mut().zip(&self.factors) {
            *weight *= f64::from(*factor);
        }
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::newton::dot;

    const WIDTH: usize = 300;

    fn pairs(n: usize) -> Vec<[Vec<f32>; 2]> {
        let mut draws = Rng::new(3).stream("pairs", 0);
        let mut side = || {
            let of = |at: usize| {
                if at == 7 {
                    0.5
                } else {
                    draws.normal() as f32 * (1 + at) as f32
                }
            };
            (0..WIDTH).map(of).collect::<Vec<f32>>()
        };
        (0..n).map(|_| [side(), side()]).collect()
    }

    fn sides(pairs: &[[Vec<f32>; 2]]) -> impl Iterator<Item = (&[f32], &[f32])> {
        pairs.iter().map(|[a, b]| (a.as_slice(), b.as_slice()))
    }

    fn rows(space: &Space, pairs: &[[Vec<f32>; 2]]) -> Vec<Vec<f32>> {
        let row = |(a, b)| {
            let mut row = Vec::new();
            space.push_difference(a, b, &mut row);
            row
        };
        sides(pairs).map(row).collect()
    }

    #[test]
    fn differences_have_a_mean_square_of_one_whatever_the_size_of_a_feature() {
        let pairs = pairs(200);
        let rows = rows(&Space::of(WIDTH, sides(&pairs)), &pairs);
        let square = |row: &Vec<f32>| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        let mean = rows.iter().map(square).sum::<f64>() / 200.0;
        // One of the features never differs.
        assert!((mean - (WIDTH - 1) as f64 / WIDTH as f64).abs() < 1e-4, "{mean}");
        assert!(rows.iter().all(|row| row[7] == 0.0));
    }

    #[test]
    fn a_projection_keeps_lengths_nearly_and_a_heads_margins_exactly() {
        let pairs = pairs(60);
        let whole = rows(&Space::of(WIDTH, sides(&pairs)), &pairs);
        let space = Space::with_dimensions(WIDTH, 128, sides(&pairs));
        assert_eq!(space.dimensions(), 128);
        let projected = rows(&space, &pairs);
        let square = |row: &Vec<f32>| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        for (whole, projected) in whole.iter().zip(&projected) {
            let ratio = square(projected) / square(whole);
            assert!((0.5..1.7).contains(&ratio), "{ratio}");
        }
        let head: Vec<f64> = (0..128).map(|at| f64::from(at).sin()).collect();
        let weights = space.weights(&head);
        for ([a, b], row) in pairs.iter().zip(&projected) {
            let gap = dot(a, &weights) - dot(b, &weights) - dot(row, &head);
            assert!(gap.abs() < 1e-4, "{gap}");
        }
    }
}
