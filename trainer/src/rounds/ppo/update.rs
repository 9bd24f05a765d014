//! The updates of a PPO step: minibatches of the answers, several times over.

use super::{
    advantage::{Known, Targets},
    forward::TrainPass,
    health::check_same,
    rollout::{Answer, Rollouts, passes},
};
use crate::{
    data::PreferencePair,
    losses::{self, Steps, Values},
    ops::Gradients,
    rng::Rng,
    rounds::{
        accept::is_example,
        logps::{self, Completions, Pass},
        session::Session,
        tally::{Tally, check_finite},
    },
};
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use laurel_protocol::{Loss, Ppo};

/// What the updates of a step learn from.
pub struct Step<'a> {
    pub rollouts: &'a Rollouts,
    pub known: &'a Known<'a>,
    pub targets: &'a Targets,
    pub device: &'a Device,
}

/// All updates of the step in hand; gives the mean of their gradients' norms.
pub fn updates(session: &mut Session<'_>, ppo: &Ppo, step: &Step<'_>, tally: &mut Tally) -> Result<f64> {
    let (n_answers, rng) = (step.rollouts.answers.len(), Rng::new(session.spec.seed));
    let examples = examples(session, ppo)?;
    let (mut ratios, mut norms) = (Vec::new(), Vec::new());
    let mut is_first = session.step() == 0;
    for epoch in 0..ppo.inner_epochs {
        let number = session.step() * u64::from(ppo.inner_epochs) + u64::from(epoch);
        let mut order: Vec<usize> = (0..n_answers).collect();
        rng.stream("minibatches", number).shuffle(&mut order);
        for minibatch in split(&order, ppo.minibatches as usize) {
            let mut gradients = Gradients::default();
            let update_ratios = minibatch_gradient(session, ppo, step, &minibatch, &mut gradients, tally)?;
            if is_first {
                let ones = vec![0f32; update_ratios.len()];
                check_same("the policy and itself", update_ratios.iter(), ones.iter())?;
                is_first = false;
            }
            ratios.extend(update_ratios.iter().map(|log_ratio| f64::from(*log_ratio).exp()));
            if ppo.sft_weight > 0.0 {
                add_examples(session, ppo, &examples, &mut gradients, tally)?;
            }
            check_finite(&tally.means(), &format!("step {}: ", session.step() + 1))?;
            norms.push(session.update(&gradients)?);
        }
    }
    let (ratio, variance) = losses::moments(&ratios);
    tally.add("ratio", ratio, 1);
    tally.add("ratio_variance", variance, 1);
    Ok(losses::moments(&norms).0)
}

/// Parts of nearly equal size, each in the order of the answers, so that answers to one prompt share it.
fn split(order: &[usize], n: usize) -> Vec<Vec<usize>> {
    let n = n.clamp(1, order.len().max(1));
    let bound = |part: usize| part * order.len() / n;
    let part = |part: usize| {
        let mut answers = order[bound(part)..bound(part + 1)].to_vec();
        answers.sort_unstable();
        answers
    };
    (0..n).map(part).collect()
}

/// Adds a minibatch's gradient and figures; gives the log-ratios π/π_old of its tokens.
pub fn minibatch_gradient(
    session: &Session<'_>,
    ppo: &Ppo,
    step: &Step<'_>,
    minibatch: &[usize],
    gradients: &mut Gradients,
    tally: &mut Tally,
) -> Result<Vec<f32>> {
    let answers: Vec<&Answer> = minibatch.iter().map(|&at| &step.rollouts.answers[at]).collect();
    let n_tokens: usize = answers.iter().map(|answer| answer.tokens.len()).sum();
    let mut log_ratios = Vec::with_capacity(n_tokens);
    let mut from = 0;
    for pass in passes(&answers, &step.rollouts.prompts, 0) {
        let places = &minibatch[from..from + pass.len()];
        from += pass.len();
        let outputs = TrainPass::new(
            session.model,
            &session.adapter,
            session.tape(),
            &pass,
            &step.rollouts.prompts,
            (ppo.temperature, ppo.entropy_weight > 0.0),
        )?;
        let loss = pass_loss(session, ppo, step, places, n_tokens, &outputs, tally)?;
        let old = step.column(places, step.known.logps)?;
        log_ratios.extend(difference(&outputs.logps()?, &old)?);
        outputs.backward(&loss, gradients)?;
    }
    Ok(log_ratios)
}

/// What a pass adds to the loss of its minibatch, whose means are over `n_tokens` tokens, and its figures.
fn pass_loss(
    session: &Session<'_>,
    ppo: &Ppo,
    step: &Step<'_>,
    places: &[usize],
    n_tokens: usize,
    outputs: &TrainPass,
    tally: &mut Tally,
) -> Result<Tensor> {
    let (logps, loss_name) = (outputs.logps()?, session.spec.hyper.loss);
    let n = logps.dim(0)?;
    let weight = Tensor::full(1.0 / n_tokens as f32, n, logps.device())?;
    let (old_logps, advantages) = (
        step.column(places, step.known.logps)?,
        step.column64(places, &step.targets.advantages)?,
    );
    // A mean over tokens whose sum is the minibatch's.
    let share = n as f64 / n_tokens as f64;
    let number = |loss: &Tensor| Ok::<_, anyhow::Error>(f64::from(loss.to_scalar::<f32>()?) / share);

    let policy_loss = losses::policy_loss(
        &Steps {
            logps: &logps,
            old_logps: &old_logps,
            advantages: &advantages,
            weight: &weight,
        },
        ppo.clip,
    )?;
    tally.add("policy_loss", number(&policy_loss)?, n);
    let mut loss = policy_loss;
    if loss_name == Loss::Ppo {
        let (values, old_values) = (outputs.values()?, step.column(places, step.known.values)?);
        let value_loss = losses::value_loss(
            &Values {
                values: &values,
                old_values: &old_values,
                returns: &step.column64(places, &step.targets.returns)?,
                weight: &weight,
            },
            ppo.value_clip,
        )?;
        tally.add("value_loss", number(&value_loss)?, n);
        let moves = difference(&values, &old_values)?;
        let clipped = moves.iter().filter(|x| f64::from(x.abs()) > ppo.value_clip);
        tally.add("value_clip_fraction", clipped.count() as f64 / n as f64, n);
        loss = (loss + (value_loss * ppo.value_weight)?)?;
    }
    if loss_name == Loss::Grpo && session.carried.kl_coefficient > 0.0 {
        let ref_logps = step.column(places, step.known.ref_logps)?;
        let kl_loss = losses::kl_loss(&logps, &ref_logps, &weight)?;
        loss = (loss + (kl_loss * session.carried.kl_coefficient)?)?;
    }
    if ppo.entropy_weight > 0.0 {
        let entropy = (outputs.entropies()? * &weight)?.sum_all()?;
        loss = (loss - (entropy * ppo.entropy_weight)?)?;
    }
    tally.add("loss", number(&loss)?, n);
    let log_ratios = difference(&logps, &old_logps)?;
    let squares: f64 = log_ratios.iter().map(|x| f64::from(*x).powi(2)).sum();
    tally.add("approximate_kl", 0.5 * squares / n as f64, n);
    let advantages = advantages.to_vec1::<f32>()?;
    let is_clipped = |(log_ratio, advantage): (&f32, f32)| {
        let ratio = f64::from(*log_ratio).exp();
        (advantage > 0.0 && ratio > 1.0 + ppo.clip) || (advantage < 0.0 && ratio < 1.0 - ppo.clip)
    };
    let n_clipped = log_ratios
        .iter()
        .zip(advantages)
        .filter(|it| is_clipped(*it))
        .count();
    tally.add("clip_fraction", n_clipped as f64 / n as f64, n);
    Ok(loss)
}

impl Step<'_> {
    /// The numbers of some answers' tokens, `(tokens,)`.
    fn column(&self, places: &[usize], of_tokens: &[Vec<f32>]) -> Result<Tensor> {
        let numbers: Vec<f32> = places
            .iter()
            .flat_map(|&at| of_tokens[at].iter().copied())
            .collect();
        let n = numbers.len();
        Ok(Tensor::from_vec(numbers, n, self.device)?)
    }

    fn column64(&self, places: &[usize], of_tokens: &[Vec<f64>]) -> Result<Tensor> {
        let numbers = places
            .iter()
            .flat_map(|&at| of_tokens[at].iter().map(|&x| x as f32));
        let numbers: Vec<f32> = numbers.collect();
        let n = numbers.len();
        Ok(Tensor::from_vec(numbers, n, self.device)?)
    }
}

fn difference(left: &Tensor, right: &Tensor) -> Result<Vec<f32>> {
    Ok((left.detach() - right)?.to_vec1::<f32>()?)
}

/// The data's own answers that are mixed in.
fn examples(session: &Session<'_>, ppo: &Ppo) -> Result<Vec<PreferencePair>> {
    if ppo.sft_weight == 0.0 {
        return Ok(Vec::new());
    }
    let rows = session.trained().iter();
    let examples: Vec<PreferencePair> = rows
        .filter(|row| is_example(row, session.spec, &session.model.config))
        .cloned()
        .collect();
    ensure!(
        !examples.is_empty(),
        "sft_weight needs rows with an answer to imitate, and the data has none"
    );
    Ok(examples)
}

/// Adds the gradient of `sft_weight` times the mean token NLL of as many examples as the step has prompts.
fn add_examples(
    session: &Session<'_>,
    ppo: &Ppo,
    examples: &[PreferencePair],
    gradients: &mut Gradients,
    tally: &mut Tally,
) -> Result<()> {
    let mut stream = Rng::new(session.spec.seed).stream("examples", session.n_updates());
    let n = (session.spec.hyper.batch_size as usize).min(examples.len());
    let rows: Vec<&PreferencePair> = (0..n).map(|_| &examples[stream.below(examples.len())]).collect();
    let n_trained: usize = rows.iter().map(|row| row.chosen.len()).sum();
    for pass in logps::passes(&rows) {
        let logps = Pass::logps(
            session.model,
            Some(&session.adapter),
            &pass,
            Completions::Chosen,
            session.tape(),
        )?;
        let n_tokens: usize = logps.counts.iter().sum();
        let loss = losses::cross_entropy(&logps.values)?;
        tally.add("sft_loss", f64::from(loss.to_scalar::<f32>()?), n_tokens);
        let share = n_tokens as f64 / n_trained as f64;
        logps.backward(&(loss * (ppo.sft_weight * share))?, &[], gradients)?;
    }
    Ok(())
}
