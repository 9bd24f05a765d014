//! From scores to advantages: the one thing in which PPO, GRPO and RLOO differ.

use super::rollout::Answer;
use crate::losses::{self, gae, group_advantages, kl_of_token, leave_one_out_advantages, whiten};
use laurel_protocol::{Loss, Ppo};

/// What is known of a step's answers before the policy learns from them; token by token where two lists are nested.
pub struct Known<'a> {
    pub answers: &'a [Answer],
    /// After normalising and clipping.
    pub scores: &'a [f64],
    pub logps: &'a [Vec<f32>],
    pub ref_logps: &'a [Vec<f32>],
    /// Of PPO alone.
    pub values: &'a [Vec<f32>],
}

/// What the losses take.
pub struct Targets {
    pub advantages: Vec<Vec<f64>>,
    /// Of PPO alone.
    pub returns: Vec<Vec<f64>>,
}

pub fn targets(loss: Loss, ppo: &Ppo, kl_coefficient: f64, known: &Known<'_>) -> Targets {
    match loss {
        Loss::Grpo => of_groups(known, known.scores, group_advantages),
        Loss::Rloo => {
            let rewards: Vec<f64> = kl_rewards(ppo, kl_coefficient, known)
                .iter()
                .zip(known.scores)
                .map(|(tokens, score)| tokens.iter().sum::<f64>() + score)
                .collect();
            of_groups(known, &rewards, leave_one_out_advantages)
        }
        _ => of_tokens(ppo, kl_coefficient, known),
    }
}

/// −β kl of each token.
fn kl_rewards(ppo: &Ppo, kl_coefficient: f64, known: &Known<'_>) -> Vec<Vec<f64>> {
    let of_answer = |(logps, ref_logps): (&Vec<f32>, &Vec<f32>)| {
        let kl = |(&logp, &ref_logp): (&f32, &f32)| {
            kl_of_token(ppo.kl_estimator, f64::from(logp), f64::from(ref_logp))
        };
        logps
            .iter()
            .zip(ref_logps)
            .map(kl)
            .map(|kl| -kl_coefficient * kl)
            .collect()
    };
    known.logps.iter().zip(known.ref_logps).map(of_answer).collect()
}

/// PPO: the score comes with the last token; generalised advantage estimation, whitened over the step's tokens.
fn of_tokens(ppo: &Ppo, kl_coefficient: f64, known: &Known<'_>) -> Targets {
    let mut rewards = kl_rewards(ppo, kl_coefficient, known);
    for (rewards, score) in rewards.iter_mut().zip(known.scores) {
        if let Some(last) = rewards.last_mut() {
            *last += score;
        }
    }
    if ppo.whiten_rewards {
        whiten_all(&mut rewards, false);
    }
    let mut targets = Targets {
        advantages: Vec::new(),
        returns: Vec::new(),
    };
    for (rewards, values) in rewards.iter().zip(known.values) {
        let values: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        let advantages = gae(rewards, &values, ppo.gamma, ppo.lambda);
        targets
            .returns
            .push(advantages.iter().zip(&values).map(|(a, v)| a + v).collect());
        targets.advantages.push(advantages);
    }
    whiten_all(&mut targets.advantages, true);
    targets
}

fn whiten_all(numbers: &mut [Vec<f64>], shift_mean: bool) {
    let mut flat = numbers.concat();
    whiten(&mut flat, shift_mean);
    let mut flat = flat.into_iter();
    for numbers in numbers {
        numbers
            .iter_mut()
            .zip(&mut flat)
            .for_each(|(to, from)| *to = from);
    }
}

/// GRPO and RLOO: all tokens of an answer have the answer's advantage among those to its prompt.
fn of_groups(known: &Known<'_>, rewards: &[f64], advantages: fn(&[f64]) -> Vec<f64>) -> Targets {
    let mut all = Vec::with_capacity(rewards.len());
    for group in known.answers.chunk_by(|left, right| left.prompt == right.prompt) {
        let rewards = &rewards[all.len()..all.len() + group.len()];
        let of_answer = advantages(rewards).into_iter().zip(group);
        all.extend(of_answer.map(|(advantage, answer)| vec![advantage; answer.tokens.len()]));
    }
    Targets {
        advantages: all,
        returns: Vec::new(),
    }
}

/// The figures of answers under their names in the metrics.
pub fn figures(known: &Known<'_>, raw_scores: &[f64], kl_coefficient: f64) -> Vec<(&'static str, f64)> {
    let n = known.answers.len() as f64;
    let n_tokens = known.logps.iter().map(Vec::len).sum::<usize>() as f64;
    let (reward, variance) = losses::moments(raw_scores);
    let kl = mean_kl(known.logps, known.ref_logps);
    let surprise: f64 = known.logps.iter().flatten().map(|&logp| -f64::from(logp)).sum();
    let words: usize = known.answers.iter().map(Answer::n_words).sum();
    let n_ended = known.answers.iter().filter(|answer| answer.has_end).count();
    vec![
        ("reward", reward),
        ("reward_deviation", variance.sqrt()),
        ("kl", kl),
        ("rlhf_reward", reward - kl_coefficient * kl),
        ("entropy", surprise / n_tokens),
        ("length", words as f64 / n),
        ("eos_rate", n_ended as f64 / n),
    ]
}

/// Mean over answers of Σ_t log π − log π_ref.
pub fn mean_kl(logps: &[Vec<f32>], ref_logps: &[Vec<f32>]) -> f64 {
    let tokens = logps.iter().flatten().zip(ref_logps.iter().flatten());
    let sum: f64 = tokens
        .map(|(&logp, &ref_logp)| f64::from(logp) - f64::from(ref_logp))
        .sum();
    sum / logps.len().max(1) as f64
}
