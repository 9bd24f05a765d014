//! The maximum of a head's penalised likelihood, by Newton's method with conjugate gradients inside: no matrix is ever
//! formed, so that wide features cost no more than a pass over the comparisons.

/// Steps of Newton's method and of conjugate gradients within one, at most.
const MAX_STEPS: usize = 40;
const MAX_INNER: usize = 250;
/// The gradient at the end, as a share of that at the start.
const TOLERANCE: f64 = 1e-3;

/// The loss of a head w: Σ (softplus(m) − y m) + λ/2 ‖w‖², with the margins m = X w. It is strictly convex.
pub(super) struct Problem<'a> {
    /// X, row by row: `(comparisons, width)`.
    pub rows: &'a [f32],
    pub width: usize,
    /// y: 1 where the first side is better, ½ for a tie.
    pub targets: &'a [f64],
    /// λ.
    pub precision: f64,
}

impl Problem<'_> {
    pub fn solve(&self) -> Vec<f64> {
        let mut weights = vec![0.0; self.width];
        let mut margins = self.margins(&weights);
        let mut first = None;
        for _ in 0..MAX_STEPS {
            let gradient = self.gradient(&weights, &margins);
            let size = norm(&gradient);
            let first = *first.get_or_insert(size);
            if size <= TOLERANCE * first || size == 0.0 {
                break;
            }
            let step = self.newton_step(&gradient, &margins);
            let change = self.margins(&step);
            let slope = product(&gradient, &step);
            let before = self.loss(&weights, &margins);
            let mut length = 1.0;
            let taken = loop {
                let tried = moved(&weights, &step, length);
                let tried_margins = moved(&margins, &change, length);
                // Armijo's condition: a fair part of what the slope promises.
                if self.loss(&tried, &tried_margins) <= before + 1e-4 * length * slope {
                    break Some((tried, tried_margins));
                }
                length /= 2.0;
                if length < 1e-8 {
                    break None; // no better point can be told from this one
                }
            };
            let Some(taken) = taken else { break };
            (weights, margins) = taken;
        }
        weights
    }

    fn row(&self, at: usize) -> &[f32] {
        &self.rows[at * self.width..][..self.width]
    }

    fn margins(&self, weights: &[f64]) -> Vec<f64> {
        let of = |at: usize| dot(self.row(at), weights);
        (0..self.targets.len()).map(of).collect()
    }

    /// The loss at a head.
    pub fn loss_at(&self, weights: &[f64]) -> f64 {
        self.loss(weights, &self.margins(weights))
    }

    fn loss(&self, weights: &[f64], margins: &[f64]) -> f64 {
        let of = |(margin, target): (&f64, &f64)| softplus(*margin) - target * margin;
        let likelihood: f64 = margins.iter().zip(self.targets).map(of).sum();
        likelihood + self.precision / 2.0 * product(weights, weights)
    }

    /// Xᵀ (σ(m) − y) + λ w
    fn gradient(&self, weights: &[f64], margins: &[f64]) -> Vec<f64> {
        let mut gradient: Vec<f64> = weights.iter().map(|w| self.precision * w).collect();
        for (at, margin) in margins.iter().enumerate() {
            let residual = sigmoid(*margin) - self.targets[at];
            add(&mut gradient, residual, self.row(at));
        }
        gradient
    }

    /// (Xᵀ σ' X + λ) v
    fn curvature(&self, direction: &[f64], margins: &[f64]) -> Vec<f64> {
        let mut product: Vec<f64> = direction.iter().map(|x| self.precision * x).collect();
        for (at, margin) in margins.iter().enumerate() {
            let share = sigmoid(*margin);
            let factor = share * (1.0 - share);
            add(&mut product, factor * dot(self.row(at), direction), self.row(at));
        }
        product
    }

    /// Solves H d = −g, as exactly as the gradient is small.
    fn newton_step(&self, gradient: &[f64], margins: &[f64]) -> Vec<f64> {
        let mut step = vec![0.0; self.width];
        let mut residual: Vec<f64> = gradient.iter().map(|x| -x).collect();
        let mut direction = residual.clone();
        let mut square = product(&residual, &residual);
        let size = square.sqrt();
        let enough = size * size.sqrt().min(0.1);
        for _ in 0..MAX_INNER {
            if square.sqrt() <= enough {
                break;
            }
            let curved = self.curvature(&direction, margins);
            let length = square / product(&direction, &curved);
            step = moved(&step, &direction, length);
            residual = moved(&residual, &curved, -length);
            let next = product(&residual, &residual);
            direction = moved(&residual, &direction, next / square);
            square = next;
        }
        step
    }
}

pub(super) fn sigmoid(x: f64) -> f64 {
    match x >= 0.0 {
        true => 1.0 / (1.0 + (-x).exp()),
        false => x.exp() / (1.0 + x.exp()),
    }
}

/// log(1 + eˣ)
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// In eight sums side by side, which the processor takes at once.
pub(super) fn dot(features: &[f32], weights: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (blocks, weight_blocks) = (features.chunks_exact(8), weights.chunks_exact(8));
    let rest = blocks.remainder().iter().zip(weight_blocks.remainder());
    let rest: f64 = rest.map(|(x, w)| f64::from(*x) * w).sum();
    for (x, w) in blocks.zip(weight_blocks) {
        for at in 0..8 {
            sums[at] += f64::from(x[at]) * w[at];
        }
    }
    sums.iter().sum::<f64>() + rest
}

fn add(to: &mut [f64], factor: f64, row: &[f32]) {
    for (sum, x) in to.iter_mut().zip(row) {
        *sum += factor * f64::from(*x);
    }
}

fn moved(from: &[f64], direction: &[f64], length: f64) -> Vec<f64> {
    from.iter().zip(direction).map(|(x, d)| x + length * d).collect()
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(vector: &[f64]) -> f64 {
    product(vector, vector).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const WIDTH: usize = 11;

    struct Numbers {
        rows: Vec<f32>,
        targets: Vec<f64>,
    }

    impl Numbers {
        fn new(n: usize) -> Self {
            let mut draws = Rng::new(9).stream("numbers", 0);
            Self {
                rows: (0..n * WIDTH).map(|_| draws.normal() as f32).collect(),
                targets: (0..n).map(|at| [1.0, 1.0, 0.5][at % 3]).collect(),
            }
        }

        fn problem(&self, precision: f64) -> Problem<'_> {
            Problem {
                rows: &self.rows,
                width: WIDTH,
                targets: &self.targets,
                precision,
            }
        }
    }

    #[test]
    fn gradient_and_curvature_are_those_of_finite_differences() {
        let numbers = Numbers::new(23);
        let problem = numbers.problem(0.3);
        let mut draws = Rng::new(2).stream("point", 0);
        let point: Vec<f64> = (0..WIDTH).map(|_| draws.normal()).collect();
        let loss = |point: &[f64]| problem.loss(point, &problem.margins(point));
        let gradient = |point: &[f64]| problem.gradient(point, &problem.margins(point));
        let here = gradient(&point);
        for at in 0..WIDTH {
            let mut unit = vec![0.0; WIDTH];
            unit[at] = 1.0;
            let (up, down) = (moved(&point, &unit, 1e-5), moved(&point, &unit, -1e-5));
            let slope = (loss(&up) - loss(&down)) / 2e-5;
            assert!((slope - here[at]).abs() < 1e-6, "{slope} {}", here[at]);
            let curved = problem.curvature(&unit, &problem.margins(&point));
            for (of_loss, (up, down)) in curved.iter().zip(gradient(&up).iter().zip(gradient(&down))) {
                assert!((of_loss - (up - down) / 2e-5).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn nothing_pulls_at_the_solution() {
        let numbers = Numbers::new(40);
        for precision in [1e-3, 0.1, 4.0] {
            let problem = numbers.problem(precision);
            let solution = problem.solve();
            let zero = vec![0.0; WIDTH];
            let start = norm(&problem.gradient(&zero, &problem.margins(&zero)));
            let pull = norm(&problem.gradient(&solution, &problem.margins(&solution)));
            assert!(pull <= TOLERANCE * start, "{precision}: {pull} of {start}");
        }
    }

    #[test]
    fn one_comparison_moves_a_head_as_the_equation_says() {
        // w = λ⁻¹ σ(−w) for one row of 1 and a prior at 0.
        let problem = Problem {
            rows: &[1.0],
            width: 1,
            targets: &[1.0],
            precision: 0.25,
        };
        let weight = problem.solve()[0];
        assert!((weight - 4.0 * sigmoid(-weight)).abs() < 1e-2, "{weight}");
    }
}
