//! Drawing a token from a row of logits: penalties, temperature, then what is kept of the vocabulary (the likeliest k,
//! Fan et al. 2018; the nucleus, Holtzman et al. 2020; min-p, Nguyen et al. 2024), in the order and with the
//! definitions of transformers. The stream of random numbers is the sequence's own.

use crate::{
    ops::{
        elementwise::{Loop, highest, vectorised},
        exp::exp,
    },
    rng::Stream,
};
use anyhow::{Result, ensure};
use laurel_protocol::Sampling;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A token with its log-probability under the model at temperature 1, without penalties.
pub type Scored = (u32, f32);

/// A drawn token.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    pub token: u32,
    /// Under the model at temperature 1, without penalties.
    pub logprob: f32,
    /// The likeliest tokens in the same terms, as many as were asked for.
    pub top: Vec<Scored>,
}

/// The tokens that a sequence has, for penalties.
#[derive(Clone, Default)]
pub struct History {
    prompt: Arc<BTreeSet<u32>>,
    /// Tokens of the completion, and how often it has each.
    drawn: BTreeMap<u32, u32>,
}

impl History {
    pub fn of(prompt: &[u32]) -> Self {
        Self {
            prompt: Arc::new(prompt.iter().copied().collect()),
            drawn: BTreeMap::new(),
        }
    }

    pub fn push(&mut self, token: u32) {
        *self.drawn.entry(token).or_default() += 1;
    }

    /// Whether `sampling` asks for one.
    pub fn matters(sampling: &Sampling) -> bool {
        sampling.repetition_penalty != 1.0
            || sampling.presence_penalty != 0.0
            || sampling.frequency_penalty != 0.0
    }

    fn penalise(&self, logits: &mut [f32], sampling: &Sampling) {
        let penalty = sampling.repetition_penalty as f32;
        if penalty != 1.0 {
            let new = self.drawn.keys().filter(|token| !self.prompt.contains(token));
            for &token in self.prompt.iter().chain(new) {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = if *logit < 0.0 {
                        *logit * penalty
                    } else {
                        *logit / penalty
                    };
                }
            }
        }
        for (&token, &n) in &self.drawn {
            let less = sampling.presence_penalty + sampling.frequency_penalty * f64::from(n);
            logits[token as usize] -= less as f32;
        }
    }
}

/// Draws a token. Penalties count the tokens of `history`; `n_top` likeliest tokens are told as well.
pub fn draw(
    logits: &[f32],
    sampling: &Sampling,
    history: Option<&History>,
    n_top: usize,
    stream: &mut Stream,
) -> Result<Drawn> {
    let (top, weights) = exponentials(logits, 1.0);
    let total = sum(&weights);
    ensure!(
        total.is_finite() && total > 0.0,
        "the model's output is no number: its weights, or the adapter's, are broken"
    );
    let log_total = total.ln();
    let logprob = |token: usize| (f64::from(logits[token] - top) - log_total) as f32;
    let likeliest = heaviest(&weights, n_top);
    let likeliest = likeliest.into_iter().map(|token| (token as u32, logprob(token)));
    let likeliest = likeliest.collect();
    let token = match history {
        Some(history) => {
            let mut penalised = logits.to_vec();
            history.penalise(&mut penalised, sampling);
            choose(&penalised, None, sampling, stream)
        }
        None => choose(logits, Some(weights), sampling, stream),
    };
    Ok(Drawn {
        token: token as u32,
        logprob: logprob(token),
        top: likeliest,
    })
}

/// `weights` are those of temperature 1, where they are known already.
fn choose(logits: &[f32], weights: Option<Vec<f32>>, sampling: &Sampling, stream: &mut Stream) -> usize {
    if sampling.temperature == 0.0 {
        let top = highest(logits);
        return logits.iter().position(|&logit| logit == top).unwrap_or(0);
    }
    let weights = match weights {
        Some(weights) if sampling.temperature == 1.0 => weights,
        _ => exponentials(logits, (1.0 / sampling.temperature) as f32).1,
    };
    draw_kept(&weights, sampling, stream.uniform())
}

/// One of the tokens that top-k, the nucleus and min-p leave, drawn by weight. What each leaves is the beginning of the
/// same order, from the heaviest down.
fn draw_kept(weights: &[f32], sampling: &Sampling, uniform: f64) -> usize {
    let total = sum(weights);
    let is_cut = (1..weights.len()).contains(&(sampling.top_k as usize));
    if !is_cut && sampling.top_p >= 1.0 && sampling.min_p <= 0.0 {
        return draw_any(weights, uniform * total);
    }
    let (mut order, mass) = if is_cut {
        let kept = heaviest(weights, sampling.top_k as usize);
        let mass = kept.iter().map(|&at| f64::from(weights[at])).sum();
        (kept, mass)
    } else {
        // Tokens too light for the nucleus, or for min-p, are left out before anything is put in order.
        let nucleus = ((1.0 - sampling.top_p) * total / weights.len() as f64) as f32;
        let floor = nucleus.max(least(weights, sampling.min_p));
        let kept = (0..weights.len()).filter(|&at| weights[at] >= floor);
        (kept.collect(), total)
    };
    let (mut n_sorted, mut n_kept, mut kept) = (0, 0, 0.0);
    'order: while n_sorted < order.len() {
        // A nucleus is mostly small: no more is put in order than it reaches.
        let next = (n_sorted.max(16) * 8).min(order.len());
        let rest = &mut order[n_sorted..];
        if next - n_sorted < rest.len() {
            rest.select_nth_unstable_by(next - n_sorted, |&a, &b| by_weight(weights, a, b));
        }
        order[n_sorted..next].sort_unstable_by(|&a, &b| by_weight(weights, a, b));
        let floor = least(weights, sampling.min_p);
        for &at in &order[n_sorted..next] {
            if n_kept > 0 && weights[at] < floor {
                break 'order;
            }
            kept += f64::from(weights[at]);
            n_kept += 1;
            if kept >= sampling.top_p * mass {
                break 'order;
            }
        }
        n_sorted = next;
    }
    let mut left = uniform * kept;
    for &at in &order[..n_kept] {
        left -= f64::from(weights[at]);
        if left < 0.0 {
            return at;
        }
    }
    order[n_kept - 1]
}

/// The least weight that min-p keeps.
fn least(weights: &[f32], min_p: f64) -> f32 {
    match min_p > 0.0 {
        true => highest(weights) * min_p as f32,
        false => 0.0,
    }
}

/// Any token by weight: the one at which the sum of weights passes `left`.
fn draw_any(weights: &[f32], mut left: f64) -> usize {
    const STRIDE: usize = 256;
    let mut last = 0;
    for (chunk, weights) in weights.chunks(STRIDE).enumerate() {
        let here = sum(weights);
        if left >= here {
            left -= here;
            continue;
        }
        for (at, &weight) in weights.iter().enumerate() {
            if weight > 0.0 {
                last = chunk * STRIDE + at;
            }
            left -= f64::from(weight);
            if left < 0.0 {
                return last;
            }
        }
    }
    // Rounding may leave a little behind the last one.
    weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(last)
}

/// The `n` heaviest, in order; of equally heavy ones the first come first.
fn heaviest(weights: &[f32], n: usize) -> Vec<usize> {
    let n = n.min(weights.len());
    if n == 0 {
        return Vec::new();
    }
    let room = (4 * n).max(256);
    let mut best: Vec<usize> = Vec::with_capacity(room);
    let mut floor = f32::NEG_INFINITY;
    for (at, &weight) in weights.iter().enumerate() {
        if weight <= floor {
            continue;
        }
        best.push(at);
        if best.len() == room {
            best.select_nth_unstable_by(n - 1, |&a, &b| by_weight(weights, a, b));
            best.truncate(n);
            floor = weights[best[n - 1]];
        }
    }
    best.sort_unstable_by(|&a, &b| by_weight(weights, a, b));
    best.truncate(n);
    best
}

fn by_weight(weights: &[f32], a: usize, b: usize) -> std::cmp::Ordering {
    weights[b].total_cmp(&weights[a]).then(a.cmp(&b))
}

/// The highest logit, and exp((logit - highest) · sharpness) of each.
fn exponentials(logits: &[f32], sharpness: f32) -> (f32, Vec<f32>) {
    let mut weights = vec![0.0; logits.len()];
    let top = vectorised(Exponentials {
        logits,
        weights: &mut weights,
        sharpness,
    });
    (top, weights)
}

struct Exponentials<'a> {
    logits: &'a [f32],
    weights: &'a mut [f32],
    sharpness: f32,
}

impl Loop for Exponentials<'_> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let top = highest(self.logits);
        for (weight, logit) in self.weights.iter_mut().zip(self.logits) {
            *weight = exp((logit - top) * self.sharpness);
        }
        top
    }
}

/// In f64, eight sums side by side: a fixed order that the compiler can vectorise.
fn sum(numbers: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    for chunk in numbers.chunks(8) {
        for (sum, &number) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(number);
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn all() -> Sampling {
        Sampling {
            temperature: 1.0,
            top_p: 1.0,
            ..Sampling::default()
        }
    }

    fn drawn(logits: &[f32], sampling: &Sampling, n: usize) -> BTreeMap<u32, usize> {
        let mut stream = Rng::new(7).stream("test", 0);
        let mut counts = BTreeMap::new();
        for _ in 0..n {
            let drawn = draw(logits, sampling, None, 0, &mut stream).unwrap();
            *counts.entry(drawn.token).or_default() += 1;
        }
        counts
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0, 1.0, 2.0, -3.0];
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let counts = drawn(&logits, &all(), 20_000);
        for (token, logit) in logits.into_iter().enumerate() {
            let share = counts[&(token as u32)] as f64 / 20_000.0;
            assert!(
                (share - f64::from(logit).exp() / total).abs() < 0.015,
                "{counts:?}"
            );
        }
    }

    #[test]
    fn each_setting_keeps_what_its_definition_says() {
        // Shares 0.66, 0.24, 0.09 and 0.004 of tokens 2, 1, 0 and 3.
        let logits = [0.0, 1.0, 2.0, -3.0];
        let kept = |change: &dyn Fn(&mut Sampling)| {
            let mut sampling = all();
            change(&mut sampling);
            drawn(&logits, &sampling, 2_000).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(kept(&|it| it.top_p = 0.8), [1, 2]);
        assert_eq!(kept(&|it| it.top_p = 0.6), [2]);
        assert_eq!(kept(&|it| it.top_k = 3), [0, 1, 2]);
        assert_eq!(kept(&|it| it.top_k = 400), [0, 1, 2, 3]);
        // e^-1 = 0.37 and e^-2 = 0.14 of the likeliest one's probability.
        assert_eq!(kept(&|it| it.min_p = 0.3), [1, 2]);
        assert_eq!(kept(&|it| it.min_p = 0.1), [0, 1, 2]);
        assert_eq!(kept(&|it| it.min_p = 1.0), [2]);
        // Among the first two, the likelier has 0.73: with 0.7 of their mass it stands alone.
        assert_eq!(kept(&|it| (it.top_k, it.top_p) = (2, 0.7)), [2]);
        assert_eq!(kept(&|it| (it.top_k, it.top_p) = (2, 0.75)), [1, 2]);
        assert_eq!(kept(&|it| it.temperature = 0.0), [2]);
        // The temperature comes before: at 0.1 the second has e^-10.
        assert_eq!(kept(&|it| (it.temperature, it.min_p) = (0.1, 0.001)), [2]);
    }

    #[test]
    fn a_wide_vocabulary_keeps_what_sorting_all_of_it_would() {
        let mut numbers = Rng::new(3).stream("logits", 0);
        let logits: Vec<f32> = (0..3_000).map(|_| (2.0 * numbers.normal()) as f32).collect();
        let (_, weights) = exponentials(&logits, 1.0);
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by(|&a, &b| by_weight(&weights, a, b));
        let total = sum(&weights);
        let mut stream = Rng::new(1).stream("test", 0);
        for top_p in [0.1, 0.5, 0.9, 0.99] {
            let mut kept = 0.0;
            let n = 1 + order
                .iter()
                .position(|&at| {
                    kept += f64::from(weights[at]);
                    kept >= top_p * total
                })
                .unwrap();
            let sampling = Sampling { top_p, ..all() };
            for _ in 0..300 {
                let token = draw_kept(&weights, &sampling, stream.uniform());
                assert!(order[..n].contains(&token), "{top_p}");
            }
            // The last of the nucleus is what the last random number gives.
            assert_eq!(draw_kept(&weights, &sampling, 1.0 - 1e-12), order[n - 1]);
        }
        assert_eq!(heaviest(&weights, 700), order[..700]);
    }

    #[test]
    fn penalties_are_those_of_transformers_and_openai() {
        let mut history = History::of(&[0, 1, 9]);
        for token in [1, 3, 3] {
            history.push(token);
        }
        let penalised = |change: &dyn Fn(&mut Sampling)| {
            let (mut logits, mut sampling) = ([2.0, -1.0, 0.5, 3.0, 0.0], all());
            change(&mut sampling);
            assert!(History::matters(&sampling));
            history.penalise(&mut logits, &sampling);
            logits
        };
        // Once for each token that is there, however often; a token outside the vocabulary is passed over.
        assert_eq!(
            penalised(&|it| it.repetition_penalty = 2.0),
            [1.0, -2.0, 0.5, 1.5, 0.0]
        );
        // Those of the completion alone.
        assert_eq!(
            penalised(&|it| it.presence_penalty = 0.5),
            [2.0, -1.5, 0.5, 2.5, 0.0]
        );
        assert_eq!(
            penalised(&|it| it.frequency_penalty = 0.5),
            [2.0, -1.5, 0.5, 2.0, 0.0]
        );
    }

    #[test]
    fn log_probabilities_are_the_models_own_whatever_is_drawn_by() {
        let logits = [2.0, 1.0, 0.0];
        let mut history = History::of(&[0]);
        history.push(0);
        let sampling = Sampling {
            temperature: 0.0,
            repetition_penalty: 10.0,
            ..all()
        };
        let mut stream = Rng::new(7).stream("test", 0);
        let drawn = draw(&logits, &sampling, Some(&history), 2, &mut stream).unwrap();
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let logprob = |token: usize| (f64::from(logits[token]) - total.ln()) as f32;
        assert_eq!(drawn.token, 1, "the first one is punished");
        assert!((drawn.logprob - logprob(1)).abs() < 1e-6);
        assert_eq!(drawn.top.len(), 2);
        for (at, (token, found)) in drawn.top.into_iter().enumerate() {
            assert_eq!(token as usize, at);
            assert!((found - logprob(at)).abs() < 1e-6);
        }
    }

    #[test]
    fn an_output_that_is_no_number_is_an_error() {
        let mut stream = Rng::new(7).stream("test", 0);
        for logits in [[f32::NAN, 1.0], [f32::INFINITY, 1.0], [f32::NEG_INFINITY; 2]] {
            assert!(
                draw(&logits, &Sampling::default(), None, 0, &mut stream).is_err(),
                "{logits:?}"
            );
        }
    }
}
