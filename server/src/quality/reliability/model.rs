//! The model behind the reliabilities, and a step of EM: which verdicts followed the strengths, and how far strengths lie
//! apart, is told by the present model; the next one follows from that.

use super::{Contest, Vote};

/// The prior of η, Beta(4, 2): worth four verdicts, three of them reliable. It also tells reliable people from people who
/// always say the opposite, which the verdicts alone cannot.
const PRIOR: (f64, f64) = (4.0, 2.0);
/// The prior of the differences' variance: so many pairs of completions with strengths of variance 1.
const PRIOR_PAIRS: f64 = 10.0;
const PRIOR_VARIANCE: f64 = 2.0;
/// Differences are summed over so many points up to so many standard deviations.
const N_POINTS: usize = 21;
const MAX_DEVIATIONS: f64 = 4.0;

#[derive(Clone, Debug)]
pub struct Model {
    pub eta: Vec<f64>,
    /// Of the differences of strengths.
    deviation: f64,
}

impl Model {
    pub fn new(n_people: usize) -> Self {
        let (a, b) = PRIOR;
        Self {
            eta: vec![(a - 1.0) / (a + b - 2.0); n_people],
            deviation: PRIOR_VARIANCE.sqrt(),
        }
    }

    /// One step of EM, over contests with how often each occurs.
    pub fn step<'a>(&self, contests: impl Iterator<Item = (&'a Contest, f64)>) -> Self {
        let grid = Grid::of(self);
        let (a, b) = PRIOR;
        let (mut honest, mut n) = (vec![a - 1.0; self.eta.len()], vec![a + b - 2.0; self.eta.len()]);
        let (mut squares, mut n_pairs) = (PRIOR_PAIRS * PRIOR_VARIANCE, PRIOR_PAIRS);
        for (contest, weight) in contests.filter(|(_, weight)| *weight > 0.0) {
            let posterior = grid.posterior(contest);
            for vote in &contest.0 {
                honest[vote.who] += weight * grid.honest(vote, &posterior, self.eta[vote.who]);
                n[vote.who] += weight;
            }
            let square: f64 = (0..N_POINTS)
                .map(|at| posterior[at] * grid.points[at] * grid.points[at])
                .sum();
            squares += weight * square;
            n_pairs += weight;
        }
        Self {
            eta: honest.iter().zip(&n).map(|(honest, n)| honest / n).collect(),
            deviation: (squares / n_pairs).sqrt(),
        }
    }
}

type OnGrid = [f64; N_POINTS];

/// The differences of strengths, with all that a step needs at each.
struct Grid {
    points: OnGrid,
    prior: OnGrid,
    /// By person: the probability of the verdict that the first is better. The opposite one's are the same, read from the
    /// end, for the points lie evenly about 0.
    says_first: Vec<OnGrid>,
    /// By person: of that, the part that follows the strengths, over η.
    follows: Vec<OnGrid>,
}

impl Grid {
    fn of(model: &Model) -> Self {
        let middle = (N_POINTS - 1) as f64 / 2.0;
        let standard: OnGrid = std::array::from_fn(|at| (at as f64 - middle) / middle * MAX_DEVIATIONS);
        let points = standard.map(|z| z * model.deviation);
        let better = points.map(|difference| 1.0 / (1.0 + (-difference).exp()));
        let says_first = |eta: &f64| better.map(|better| eta * better + (1.0 - eta) * (1.0 - better));
        let says_first: Vec<OnGrid> = model.eta.iter().map(says_first).collect();
        let follows = |says: &OnGrid| std::array::from_fn(|at| better[at] / says[at]);
        Self {
            points,
            prior: standard.map(|z| (-z * z / 2.0).exp()),
            follows: says_first.iter().map(follows).collect(),
            says_first,
        }
    }

    /// How likely each difference is after the verdicts.
    fn posterior(&self, contest: &Contest) -> OnGrid {
        let mut posterior = self.prior;
        for vote in &contest.0 {
            let says_first = &self.says_first[vote.who];
            for at in 0..N_POINTS {
                posterior[at] *= says_first[seen(vote, at)];
            }
        }
        let sum: f64 = posterior.iter().sum();
        posterior.map(|likely| likely / sum)
    }

    /// How likely the verdict followed the strengths.
    fn honest(&self, vote: &Vote, posterior: &OnGrid, eta: f64) -> f64 {
        let follows = &self.follows[vote.who];
        let at_point = |at: usize| posterior[at] * follows[seen(vote, at)];
        eta * (0..N_POINTS).map(at_point).sum::<f64>()
    }
}

/// The point of the difference, as the winner sees it.
fn seen(vote: &Vote, at: usize) -> usize {
    match vote.first_is_better {
        true => at,
        false => N_POINTS - 1 - at,
    }
}
