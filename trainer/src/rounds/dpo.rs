//! Direct preference optimisation (Rafailov et al. 2023): raise the probability of chosen answers against
//! rejected ones, measured from a reference.

use super::{
    completion_logps,
    logps::{Completions, Pass, passes},
    session::{Session, Tally},
};
use crate::{
    checkpoint,
    data::PreferencePair,
    losses::{self, PairLogps},
    ops::{Gradients, Tape},
};
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use laurel_protocol::round::Split;
use std::fs;

pub fn run(session: &mut Session<'_>) -> Result<()> {
    // 1. The reference is a frozen copy of the adapter that the policy starts from. Its log-probabilities never
    //    change: compute them once, and keep them for a resumed round.
    let Some(references) = reference_logps(session)? else {
        return Ok(());
    };

    // 2. At the start policy and reference are the same, so the loss is ln 2 up to rounding.
    if session.step() == 0 {
        check_start(session, &references)?;
    }

    // 3. For each batch of pairs:
    while let Some(batch) = session.next_batch()? {
        let pairs = batch.pairs(session);
        let whole = Whole::of(&pairs);
        let mut gradients = Gradients::default();
        let mut tally = Tally::default();
        for pass in passes(&pairs) {
            // 4. log π(y | x) of chosen and rejected, the prompt computed once for both.
            let pass_logps = Pass::logps(
                session.model,
                Some(&session.adapter),
                &pass,
                Completions::Both,
                Tape::recording(),
            )?;
            // 5. L = -log σ(β (chosen log-ratio - rejected log-ratio)) (+ weight · NLL of the chosen answer).
            let loss = pass_loss(session, &pass_logps, &pass, &whole, &references, &mut tally)?;
            // 6. The gradient by the adapter alone; passes add up to the batch's.
            pass_logps.backward(&loss, &[], &mut gradients)?;
        }
        // 7. One step of AdamW; metrics, checkpoint; evaluation when it is due.
        if session.take_step(&gradients, &tally)? {
            evaluate(session, &references)?;
        }
    }
    Ok(())
}

/// What the means of a loss are taken over: a batch, or all held-out rows.
struct Whole {
    n_pairs: usize,
    /// Tokens of the chosen completions.
    n_chosen: usize,
}

impl Whole {
    fn of(pairs: &[&PreferencePair]) -> Self {
        Self {
            n_pairs: pairs.len(),
            n_chosen: pairs.iter().map(|pair| pair.chosen.len()).sum(),
        }
    }
}

/// What a pass adds to the loss of the whole, and its figures into the tally. Passes add up: the DPO loss is the
/// mean over the whole's pairs, the NLL (TRL's `rpo_alpha`) the mean over its chosen tokens.
fn pass_loss(
    session: &Session<'_>,
    logps: &Pass,
    pairs: &[&PreferencePair],
    whole: &Whole,
    references: &References,
    tally: &mut Tally,
) -> Result<Tensor> {
    let hyper = &session.spec.hyper;
    let (chosen, rejected) = logps.sums()?;
    let (ref_chosen, ref_rejected) = references.of(pairs, chosen.device())?;
    let pair_logps = PairLogps {
        chosen: &chosen,
        rejected: &rejected,
        ref_chosen: &ref_chosen,
        ref_rejected: &ref_rejected,
    };
    let share = pairs.len() as f64 / whole.n_pairs as f64;
    let mut loss = (losses::dpo_sigmoid(&pair_logps, hyper.beta)? * share)?;
    if hyper.nll_weight > 0.0 {
        // The chosen completions' tokens come first.
        let n_tokens: usize = logps.counts[..pairs.len()].iter().sum();
        let nll = losses::cross_entropy(&logps.values.narrow(0, 0, n_tokens)?)?;
        let nll_share = n_tokens as f64 / whole.n_chosen as f64;
        loss = (loss + (nll * (hyper.nll_weight * nll_share))?)?;
    }
    // A mean over pairs whose sum is the whole's loss.
    tally.add("loss", f64::from(loss.to_scalar::<f32>()?) / share, pairs.len());
    let numbers = [&chosen, &rejected, &ref_chosen, &ref_rejected].map(Tensor::to_vec1::<f32>);
    let [chosen, rejected, ref_chosen, ref_rejected] = numbers;
    let (chosen, rejected, ref_chosen, ref_rejected) = (chosen?, rejected?, ref_chosen?, ref_rejected?);
    for i in 0..pairs.len() {
        let chosen_reward = hyper.beta * f64::from(chosen[i] - ref_chosen[i]);
        let rejected_reward = hyper.beta * f64::from(rejected[i] - ref_rejected[i]);
        tally.add("chosen_logp", f64::from(chosen[i]), 1);
        tally.add("rejected_logp", f64::from(rejected[i]), 1);
        tally.add_rewards(chosen_reward, rejected_reward);
    }
    tally.n_tokens += pairs.iter().map(|pair| n_tokens(pair)).sum::<usize>();
    Ok(loss)
}

fn evaluate(session: &mut Session<'_>, references: &References) -> Result<()> {
    let mut tally = Tally::default();
    let pairs = session.held_out();
    let whole = Whole::of(&pairs);
    for pass in passes(&pairs) {
        let logps = Pass::logps(
            session.model,
            Some(&session.adapter),
            &pass,
            Completions::Both,
            Tape::off(),
        )?;
        pass_loss(session, &logps, &pass, &whole, references, &mut tally)?;
    }
    session.report(Split::Eval, &tally)
}

/// How far policy and reference may lie apart at the start, in nats a token. The same weights in another packing
/// differ by rounding, about a hundredth of this; the bound does not depend on β, which only scales it.
const ROUNDING: f32 = 1e-4;

fn check_start(session: &Session<'_>, references: &References) -> Result<()> {
    let first: Vec<&PreferencePair> = session.rows_in_use().into_iter().take(2).collect();
    let policy = completion_logps(session.model, Some(&session.adapter), &first)?;
    for (pair, policy) in first.iter().zip(policy) {
        let reference = references.get(pair)?;
        let sides = [
            (policy.0, reference.0, pair.chosen.len()),
            (policy.1, reference.1, pair.rejected.len()),
        ];
        for (policy, reference, n_tokens) in sides {
            ensure!(
                (policy - reference).abs() <= ROUNDING * n_tokens as f32,
                "before the first step policy and reference differ: they give a completion of {n_tokens} tokens \
                 the log-probabilities {policy} and {reference}"
            );
        }
    }
    Ok(())
}

/// Tokens as TRL counts them: the prompt once for each completion.
pub(super) fn n_tokens(pair: &PreferencePair) -> usize {
    2 * pair.prompt.len() + pair.chosen.len() + pair.rejected.len()
}

/// The reference's log-probabilities, by the tokens of the pair.
pub struct References(std::collections::HashMap<String, (f32, f32)>);

impl References {
    fn get(&self, pair: &PreferencePair) -> Result<(f32, f32)> {
        self.0
            .get(&super::accept::pair_hash(pair))
            .copied()
            .context("a reference for every pair")
    }

    fn of(&self, pairs: &[&PreferencePair], device: &candle_core::Device) -> Result<(Tensor, Tensor)> {
        let logps = pairs
            .iter()
            .map(|pair| self.get(pair))
            .collect::<Result<Vec<_>>>()?;
        let (chosen, rejected): (Vec<f32>, Vec<f32>) = logps.into_iter().unzip();
        let n = pairs.len();
        Ok((
            Tensor::from_vec(chosen, n, device)?,
            Tensor::from_vec(rejected, n, device)?,
        ))
    }
}

/// `None` when the round was asked to stop meanwhile.
fn reference_logps(session: &mut Session<'_>) -> Result<Option<References>> {
    let path = session
        .checkpoints()
        .join(format!("reference-{}.json", session.fingerprint()));
    if let Ok(bytes) = fs::read(&path) {
        let saved = serde_json::from_slice(&bytes).with_context(|| format!("read {path:?}"))?;
        session.info("The reference's log-probabilities come from the earlier attempt");
        return Ok(Some(References(saved)));
    }
    // A fresh LoRA changes nothing (B is zero): then the reference is the base model.
    let reference = session
        .starting_adapter
        .map(|adapter| adapter.frozen_copy())
        .transpose()?;
    let rows: Vec<PreferencePair> = session.rows_in_use().into_iter().cloned().collect();
    let mut logps = std::collections::HashMap::new();
    for pass in passes(&rows.iter().collect::<Vec<_>>()) {
        for (pair, logp) in pass
            .iter()
            .zip(completion_logps(session.model, reference.as_ref(), &pass)?)
        {
            logps.insert(super::accept::pair_hash(pair), logp);
        }
        if !session.heartbeat() {
            return Ok(None);
        }
    }
    fs::create_dir_all(session.checkpoints())?;
    checkpoint::write_file(&path, &serde_json::to_vec(&logps)?)?;
    Ok(Some(References(logps)))
}
