//! What PPO, GRPO and RLOO compute: advantages on plain numbers, and the two clipped losses on tensors.
//!
//! An answer of n tokens is an episode of n steps. r_t is the reward of its token t, V_t the value of the state
//! before it, and the value behind the last token is 0: an answer ends there, by its end token or by the limit.

use candle_core::{Result, Tensor};
use laurel_protocol::KlEstimator;
use serde::{Deserialize, Serialize};

/// What whitening adds to the variance.
const WHITEN_EPS: f64 = 1e-8;
/// What GRPO adds to the deviation of a group.
const GROUP_EPS: f64 = 1e-4;
/// How far an adaptive KL coefficient follows an error at most (Ziegler et al. 2019, 2.2).
const KL_ERROR: f64 = 0.2;

/// Generalised advantage estimation of one answer: `A_t = Σ_l (γλ)^l δ_(t+l)`, `δ_t = r_t + γ V_(t+1) - V_t`.
/// Schulman et al. 2016 (arXiv:1506.02438), eq. 16. The returns are `A_t + V_t`.
pub fn gae(rewards: &[f64], values: &[f64], gamma: f64, lambda: f64) -> Vec<f64> {
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_value, mut behind) = (0.0, 0.0);
    for t in (0..rewards.len()).rev() {
        let delta = rewards[t] + gamma * next_value - values[t];
        behind = delta + gamma * lambda * behind;
        (advantages[t], next_value) = (behind, values[t]);
    }
    advantages
}

/// Mean 0 (or the mean that they have, unless `shift_mean`) and variance 1: `(x - mean) / √(variance + 1e-8)`. The
/// variance is the unbiased one, over all tokens of a step and no padding. OpenAI's lm-human-preferences; TRL's
/// `masked_whiten`.
pub fn whiten(numbers: &mut [f64], shift_mean: bool) {
    let (mean, variance) = moments(numbers);
    let scale = 1.0 / (variance + WHITEN_EPS).sqrt();
    let back = if shift_mean { 0.0 } else { mean };
    numbers.iter_mut().for_each(|x| *x = (*x - mean) * scale + back);
}

/// Mean and unbiased variance; of a single number the variance is 0.
pub fn moments(numbers: &[f64]) -> (f64, f64) {
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n.max(1.0);
    let squares = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    (mean, squares / (n - 1.0).max(1.0))
}

/// A token's share of the divergence from the reference. Schulman 2020, "Approximating KL divergence".
pub fn kl_of_token(estimator: KlEstimator, logp: f64, ref_logp: f64) -> f64 {
    let log_ratio = logp - ref_logp;
    match estimator {
        KlEstimator::K1 => log_ratio,
        KlEstimator::K3 => (-log_ratio).exp_m1() + log_ratio,
    }
}

/// The KL coefficient after a step of `n_answers` whose mean divergence was `kl`:
/// `β (1 + clip(kl / target - 1, ±0.2) n / horizon)`. Ziegler et al. 2019 (arXiv:1909.08593), 2.2.
pub fn adapt_kl_coefficient(beta: f64, kl: f64, n_answers: usize, target: f64, horizon: f64) -> f64 {
    let error = (kl / target - 1.0).clamp(-KL_ERROR, KL_ERROR);
    beta * (1.0 + error * n_answers as f64 / horizon)
}

/// GRPO's advantage of each answer to one prompt: `(R - mean) / (deviation + 1e-4)`. Shao et al. 2024
/// (arXiv:2402.03300), 4.1.2; the unbiased deviation and the 1e-4 are TRL's.
pub fn group_advantages(rewards: &[f64]) -> Vec<f64> {
    let (mean, variance) = moments(rewards);
    let scale = variance.sqrt() + GROUP_EPS;
    rewards.iter().map(|reward| (reward - mean) / scale).collect()
}

/// RLOO's advantage of each answer to one prompt: its lead over the mean of the others. Ahmadian et al. 2024
/// (arXiv:2402.14740), 3.2.
pub fn leave_one_out_advantages(rewards: &[f64]) -> Vec<f64> {
    let (sum, others) = (rewards.iter().sum::<f64>(), rewards.len() as f64 - 1.0);
    let lead = |reward: &f64| reward - (sum - reward) / others;
    rewards.iter().map(lead).collect()
}

/// `1 - Var(return - value) / Var(return)`: 1 where the values foretell the returns, 0 where they tell nothing, and
/// less where they mislead. 0 where all returns are the same.
pub fn explained_variance(values: &[f64], returns: &[f64]) -> f64 {
    let errors: Vec<f64> = returns.iter().zip(values).map(|(r, v)| r - v).collect();
    match moments(returns).1 {
        0.0 => 0.0,
        variance => 1.0 - moments(&errors).1 / variance,
    }
}

/// Mean and variance of all numbers so far (Chan et al. 1979): what scores are normalised by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunningMoments {
    n: u64,
    #[serde(with = "exact")]
    mean: f64,
    /// Sum of the squared distances from the mean.
    #[serde(with = "exact")]
    squares: f64,
}

impl RunningMoments {
    pub fn add(&mut self, numbers: &[f64]) {
        let (mean, variance) = moments(numbers);
        let (n, m) = (self.n as f64, numbers.len() as f64);
        if numbers.is_empty() {
            return;
        }
        let (all, distance) = (n + m, mean - self.mean);
        self.squares += variance * (m - 1.0) + distance.powi(2) * n * m / all;
        self.mean += distance * m / all;
        self.n += numbers.len() as u64;
    }

    /// Shifted and scaled to mean 0 and deviation 1.
    pub fn normalise(&self, number: f64) -> f64 {
        let variance = self.squares / (self.n as f64 - 1.0).max(1.0);
        (number - self.mean) / (variance + WHITEN_EPS).sqrt()
    }
}

/// A number to its last bit: JSON's decimal form may come back as its neighbour.
pub mod exact {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(number.to_bits())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}

/// Tokens of sampled answers, all `(tokens,)`. A mean over tokens gives each the weight 1 / n.
pub struct Steps<'a> {
    pub logps: &'a Tensor,
    /// When the answers were sampled.
    pub old_logps: &'a Tensor,
    pub advantages: &'a Tensor,
    pub weight: &'a Tensor,
}

/// PPO's clipped surrogate, negated: the weighted sum of `max(-A ρ, -A clip(ρ, 1 - ε, 1 + ε))`, ρ = π / π_old.
/// Schulman et al. 2017 (arXiv:1707.06347), eq. 7. Where the clipped side is the greater one, nothing is learnt.
pub fn policy_loss(steps: &Steps<'_>, clip: f64) -> Result<Tensor> {
    let ratio = (steps.logps - steps.old_logps)?.exp()?;
    let plain = (steps.advantages * &ratio)?.neg()?;
    let clipped = (steps.advantages * ratio.detach().clamp(1.0 - clip, 1.0 + clip)?)?.neg()?;
    (greater(&plain, &clipped)? * steps.weight)?.sum_all()
}

/// Values of sampled answers' states, all `(tokens,)`.
pub struct Values<'a> {
    pub values: &'a Tensor,
    /// When the answers were sampled.
    pub old_values: &'a Tensor,
    pub returns: &'a Tensor,
    pub weight: &'a Tensor,
}

/// The value loss: the weighted sum of `½ max((V - R)², (clip(V, V_old ± c) - R)²)`. OpenAI's baselines and
/// lm-human-preferences; TRL's `vf_loss`.
pub fn value_loss(it: &Values<'_>, clip: f64) -> Result<Tensor> {
    let plain = (it.values - it.returns)?.sqr()?;
    // Within the bounds the value itself, to the last bit.
    let (low, high) = ((it.old_values - clip)?, (it.old_values + clip)?);
    let held = it.values.detach().maximum(&low)?.minimum(&high)?;
    let clipped = (held - it.returns)?.sqr()?;
    (greater(&plain, &clipped)? * it.weight)?.sum_all()? * 0.5
}

/// GRPO's divergence from the reference as a term of the loss: the weighted sum of `e^d - 1 - d`,
/// d = log π_ref - log π. Shao et al. 2024, eq. 4.
pub fn kl_loss(logps: &Tensor, ref_logps: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let d = (ref_logps - logps)?;
    (((d.exp()? - 1.0)? - d)? * weight)?.sum_all()
}

/// `plain` where it is at least `fixed`, whose gradient does not count.
fn greater(plain: &Tensor, fixed: &Tensor) -> Result<Tensor> {
    let fixed = fixed.detach();
    plain.detach().ge(&fixed)?.where_cond(plain, &fixed)
}
