//! PPO (Schulman et al. 2017) on a language model as Ouyang et al. 2022, step 3, use it: the policy answers prompts,
//! the answers are scored, and the policy moves towards what scored better than expected, held to a reference. GRPO and
//! RLOO differ in the advantage alone.
//!
//! Policy, reference, reward model and value head are adapters and heads over the one base model.

pub(super) mod advantage;
mod endpoint;
mod evaluate;
pub(super) mod forward;
mod health;
mod prompts;
pub(super) mod rollout;
pub(super) mod score;
pub(super) mod update;

pub use endpoint::Endpoint;
pub use evaluate::ShownPrompt;
pub use prompts::prompts;
pub use score::Scorer;

use super::{accept::ENDING, session::Session, tally::Tally};
use crate::{
    data::Tokenizer,
    losses::{RunningMoments, adapt_kl_coefficient, exact, explained_variance},
    rng::Rng,
};
use advantage::{Known, figures, targets};
use anyhow::{Context, Result, ensure};
use evaluate::{Shown, evaluate};
use forward::of_tokens;
use health::{Alarms, check_same, check_sampling};
use laurel_protocol::{Hyper, Ppo};
use rollout::{Rollouts, sample};
use score::scores;
use serde::{Deserialize, Serialize};
use std::time::Instant;
use update::{Step, updates};

/// What a PPO round acts in: the words of its tokens, and what scores its answers.
pub struct Environment<'a> {
    pub tokenizer: &'a Tokenizer,
    pub scorer: Scorer<'a>,
    /// What stands behind an answer in the data: its end token, and what the template puts there.
    pub ending: Vec<u32>,
    /// Prompts whose answers are shown; some of the round's own where there are none.
    pub samples: Vec<ShownPrompt>,
    /// Asked while answers are sampled.
    pub stop: &'a dyn Fn() -> bool,
}

/// What a PPO round hands on from step to step beside weights and moments: part of its checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    #[serde(with = "exact")]
    pub kl_coefficient: f64,
    /// Of all scores so far, where scores are normalised.
    pub scores: RunningMoments,
}

impl Carried {
    pub fn new(hyper: &Hyper) -> Self {
        Self {
            kl_coefficient: hyper.ppo.as_ref().map_or(0.0, |ppo| ppo.kl_coefficient),
            scores: RunningMoments::default(),
        }
    }
}

pub fn run(session: &mut Session<'_>, environment: &Environment<'_>) -> Result<()> {
    let (spec, model) = (session.spec, session.model);
    let (hyper, rng) = (&spec.hyper, Rng::new(spec.seed));
    let ppo = hyper.ppo.as_ref().context("a PPO round has PPO's settings")?;
    ensure!(
        environment.ending.len() <= ENDING,
        "the template puts {} tokens behind an answer, more than the {ENDING} that there is room for",
        environment.ending.len()
    );

    // 1. The reference is a frozen copy of the adapter that the policy starts from; a fresh LoRA changes nothing, and
    //    then it is the base model.
    let reference = session
        .starting_adapter
        .map(|adapter| adapter.frozen_copy())
        .transpose()?;
    let reference = reference.as_ref();
    let mut alarms = Alarms::default();
    let mut shown = Shown::restore(session, environment, ppo)?;
    if session.step() == 0 && !evaluate(session, environment, ppo, reference, &mut shown)? {
        session.abandon();
    }

    // 2. For each batch of prompts:
    while let Some(batch) = session.next_batch()? {
        if let Some(reason) = health::end(&session.history, ppo, !session.held_out().is_empty()) {
            session.end_by(reason);
            break;
        }
        // 3. The policy answers them.
        let started = Instant::now();
        let prompts = batch.prompts(session);
        let draw = (
            ppo.samples_per_prompt,
            rng.stream("rollout", session.step()).next_u64(),
        );
        let Some(rollouts) = sample(model, &session.adapter, environment, ppo, prompts, draw)? else {
            session.stop();
            continue;
        };
        let sampled = started.elapsed();

        // 4. The answers are scored, where they did not end with a penalty.
        let raw = penalised(ppo, &rollouts, scores(model, environment, &rollouts)?);
        let scores = shaped(ppo, &raw, &mut session.carried);

        // 5. log π_old, log π_ref and V_old of their tokens.
        let policy = of_tokens(model, Some(&session.adapter), &rollouts, ppo.temperature)?;
        let ref_logps = of_tokens(model, reference, &rollouts, ppo.temperature)?.logps;
        if session.step() == 0 {
            check_start(session, &rollouts, &policy.logps, &ref_logps, ppo)?;
        }

        // 6. Rewards a token, −β kl and at the last one the score; advantages and returns.
        let known = Known {
            answers: &rollouts.answers,
            scores: &scores,
            logps: &policy.logps,
            ref_logps: &ref_logps,
            values: &policy.values,
        };
        let beta = session.carried.kl_coefficient;
        let targets = targets(hyper.loss, ppo, beta, &known);
        let scored = started.elapsed();

        // 7. Several updates on minibatches of the answers: clipped losses, AdamW.
        let step = Step {
            rollouts: &rollouts,
            known: &known,
            targets: &targets,
            device: &model.device,
        };
        let mut tally = Tally::default();
        let grad_norm = updates(session, ppo, &step, &mut tally)?;

        // 8. The figures; β follows the divergence where it is adaptive.
        for (name, value) in figures(&known, &raw, beta) {
            tally.add(name, value, 1);
        }
        let kl = advantage::mean_kl(&policy.logps, &ref_logps);
        tally.add("kl_coefficient", beta, 1);
        tally.add("non_score_reward", -beta * kl, 1);
        if !targets.returns.is_empty() {
            let values: Vec<f64> = policy
                .values
                .iter()
                .flatten()
                .map(|&value| f64::from(value))
                .collect();
            let explained = explained_variance(&values, &targets.returns.concat());
            tally.add("explained_variance", explained, 1);
        }
        tally.add("seconds_sampling", sampled.as_secs_f64(), 1);
        tally.add("seconds_scoring", (scored - sampled).as_secs_f64(), 1);
        tally.add("seconds_training", (started.elapsed() - scored).as_secs_f64(), 1);
        tally.n_tokens = policy.logps.iter().map(Vec::len).sum();
        if ppo.kl_target > 0.0 {
            let n = rollouts.answers.len();
            session.carried.kl_coefficient = adapt_kl_coefficient(beta, kl, n, ppo.kl_target, ppo.kl_horizon);
        }
        let is_due = session.end_step(&tally, grad_norm)?;
        for text in alarms.after_step(&session.history, ppo) {
            session.warn(&text);
        }
        let ends = health::end(&session.history, ppo, !session.held_out().is_empty()).is_some();
        if (is_due || ends) && !evaluate(session, environment, ppo, reference, &mut shown)? {
            session.abandon();
        }
    }
    Ok(())
}

/// Scores less the penalty for a missing end.
fn penalised(ppo: &Ppo, rollouts: &Rollouts, mut scores: Vec<f64>) -> Vec<f64> {
    for (score, answer) in scores.iter_mut().zip(&rollouts.answers) {
        if !answer.has_end {
            *score -= ppo.missing_eos_penalty;
        }
    }
    scores
}

/// Scores as the advantages take them: normalised by all so far, and clipped, where the settings say so.
fn shaped(ppo: &Ppo, raw: &[f64], carried: &mut Carried) -> Vec<f64> {
    let mut scores = raw.to_vec();
    if ppo.normalise_rewards {
        carried.scores.add(raw);
        scores
            .iter_mut()
            .for_each(|score| *score = carried.scores.normalise(*score));
    }
    if ppo.reward_clip > 0.0 {
        let limit = ppo.reward_clip;
        scores
            .iter_mut()
            .for_each(|score| *score = score.clamp(-limit, limit));
    }
    scores
}

/// What must hold before the first update: the policy is the reference, and sampling and training agree.
fn check_start(
    session: &Session<'_>,
    rollouts: &Rollouts,
    logps: &[Vec<f32>],
    ref_logps: &[Vec<f32>],
    ppo: &Ppo,
) -> Result<()> {
    check_same(
        "policy and reference",
        logps.iter().flatten(),
        ref_logps.iter().flatten(),
    )?;
    let precision = session.spec.hyper.precision;
    if ppo.temperature == 1.0 {
        return check_sampling(rollouts, logps, precision);
    }
    // The engine tells log-probabilities at temperature 1: a few answers are enough.
    let few = Rollouts {
        prompts: rollouts.prompts.clone(),
        answers: rollouts.answers.iter().take(4).cloned().collect(),
    };
    let plain = of_tokens(session.model, Some(&session.adapter), &few, 1.0)?;
    check_sampling(&few, &plain.logps, precision)
}
