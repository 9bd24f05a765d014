//! Direct preference optimisation (Rafailov et al. 2023) and its relatives: raise the probability of chosen answers
//! against rejected ones, measured from a reference, or (SimPO, ORPO) as they are.

use super::{
    completion_logps,
    logps::{Completions, Pass, passes},
    references::{References, check_same, reference_logps},
    session::Session,
    tally::Tally,
};
use crate::{
    data::PreferencePair,
    losses::{self, PairLogps, PairTokens},
    ops::{Gradients, Tape},
};
use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use laurel_protocol::{Loss, RowWeights, round::Split};

pub fn run(session: &mut Session<'_>) -> Result<()> {
    // 1. The reference is a frozen copy of the adapter that the policy starts from. Its log-probabilities never
    //    change: compute them once, and keep them for a resumed round.
    let references = match session.spec.hyper.loss.needs_reference() {
        true => reference_logps(session, |session| {
            session.rows_in_use().into_iter().cloned().collect()
        })?,
        false => Some(References::None),
    };
    let Some(references) = references else {
        return Ok(());
    };

    // 2. At the start policy and reference are the same, so every margin is 0 up to rounding.
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
            train_pass(session, &pass, &whole, &references, &mut gradients, &mut tally)?;
        }
        // 7. One step of AdamW; metrics, checkpoint; evaluation when it is due.
        if session.take_step(&gradients, &tally)? {
            evaluate(session, &references)?;
        }
    }
    Ok(())
}

/// Adds a pass's gradient and figures to those of its batch.
pub(super) fn train_pass(
    session: &Session<'_>,
    pass: &[&PreferencePair],
    whole: &Whole,
    references: &References,
    gradients: &mut Gradients,
    tally: &mut Tally,
) -> Result<()> {
    // 4. log π(y | x) of chosen and rejected, the prompt computed once for both.
    let logps = Pass::logps(
        session.model,
        Some(&session.adapter),
        pass,
        Completions::Both,
        session.tape(),
    )?;
    // 5. L of the pairs (+ weight · NLL of the chosen answers).
    let loss = pass_loss(session, &logps, pass, whole, references, tally)?;
    // 6. The gradient by the adapter alone; passes add up to the batch's.
    logps.backward(&loss, &[], gradients)
}

/// What the means of a loss are taken over: a batch, or all held-out rows.
pub(super) struct Whole {
    n_pairs: usize,
    /// Tokens of the chosen completions.
    n_chosen: usize,
}

impl Whole {
    pub fn of(pairs: &[&PreferencePair]) -> Self {
        Self {
            n_pairs: pairs.len(),
            n_chosen: pairs.iter().map(|pair| pair.chosen.len()).sum(),
        }
    }
}

/// What a pass adds to the loss of the whole, and its figures into the tally. Passes add up: the pairs' loss is the
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
    let device = chosen.device();
    let (ref_chosen, ref_rejected) = references.of(pairs, device)?;
    let (chosen_tokens, rejected_tokens) = n_completion_tokens(pairs, device)?;
    let pair_logps = PairLogps {
        chosen: &chosen,
        rejected: &rejected,
        ref_chosen: &ref_chosen,
        ref_rejected: &ref_rejected,
    };
    let n_tokens = PairTokens {
        chosen: &chosen_tokens,
        rejected: &rejected_tokens,
    };
    let means = || Ok::<_, anyhow::Error>(((&chosen / &chosen_tokens)?, (&rejected / &rejected_tokens)?));
    let (beta, smoothing) = (hyper.beta, hyper.label_smoothing);
    let pair_loss = match hyper.loss {
        Loss::Sigmoid => losses::dpo_sigmoid(&pair_logps, beta, smoothing)?,
        Loss::SigmoidNorm => losses::dpo_sigmoid_norm(&pair_logps, &n_tokens, beta, smoothing)?,
        Loss::Hinge => losses::dpo_hinge(&pair_logps, beta)?,
        Loss::Ipo => losses::dpo_ipo(&pair_logps, &n_tokens, beta)?,
        Loss::Robust => losses::dpo_robust(&pair_logps, beta, smoothing)?,
        Loss::Simpo => {
            let (chosen, rejected) = means()?;
            losses::simpo(&chosen, &rejected, beta, hyper.gamma, smoothing)?
        }
        Loss::Orpo => {
            let (chosen, rejected) = means()?;
            (losses::orpo_odds_ratio(&chosen, &rejected)? * beta)?
        }
        other => bail!("{} is no loss of a DPO round", other.as_str()),
    };
    let weights: Vec<f32> = pairs.iter().map(|pair| pair.label.weight()).collect();
    let weight = match hyper.row_weights {
        RowWeights::None => None,
        RowWeights::Column | RowWeights::Reliability => {
            Some(Tensor::from_slice(&weights, weights.len(), device)?)
        }
    };
    let share = pairs.len() as f64 / whole.n_pairs as f64;
    let mut loss = (losses::mean(&pair_loss, weight.as_ref())? * share)?;
    // ORPO is the chosen answer's NLL with the odds ratio as its companion.
    let nll_weight = match hyper.loss {
        Loss::Orpo => 1.0,
        _ => hyper.nll_weight,
    };
    if nll_weight > 0.0 {
        // The chosen completions' tokens come first.
        let counts = &logps.counts[..pairs.len()];
        let n_tokens: usize = counts.iter().sum();
        let chosen = logps.values.narrow(0, 0, n_tokens)?;
        let nll = match weight {
            None => losses::cross_entropy(&chosen)?,
            Some(_) => {
                let each = weights.iter().zip(counts);
                let each: Vec<f32> = each.flat_map(|(weight, n)| vec![*weight; *n]).collect();
                losses::mean(&chosen.neg()?, Some(&Tensor::from_vec(each, n_tokens, device)?))?
            }
        };
        let nll_share = n_tokens as f64 / whole.n_chosen as f64;
        loss = (loss + (nll * (nll_weight * nll_share))?)?;
    }
    // A mean over pairs whose sum is the whole's loss.
    tally.add("loss", f64::from(loss.to_scalar::<f32>()?) / share, pairs.len());
    let numbers = [&chosen, &rejected, &ref_chosen, &ref_rejected].map(Tensor::to_vec1::<f32>);
    let [chosen, rejected, ref_chosen, ref_rejected] = numbers;
    let (chosen, rejected, ref_chosen, ref_rejected) = (chosen?, rejected?, ref_chosen?, ref_rejected?);
    for (i, pair) in pairs.iter().enumerate() {
        let chosen_reward = reward(hyper.loss, beta, chosen[i] - ref_chosen[i], pair.chosen.len());
        let rejected_reward = reward(
            hyper.loss,
            beta,
            rejected[i] - ref_rejected[i],
            pair.rejected.len(),
        );
        tally.add("chosen_logp", f64::from(chosen[i]), 1);
        tally.add("rejected_logp", f64::from(rejected[i]), 1);
        tally.add_rewards(chosen_reward, rejected_reward);
    }
    tally.n_tokens += pairs.iter().map(|pair| n_tokens_of(pair)).sum::<usize>();
    Ok(loss)
}

/// The implicit reward that the loss compares: of the log-ratio (without a reference the log-probability) or, where
/// the loss averages over tokens, of its mean.
fn reward(loss: Loss, beta: f64, log_ratio: f32, n_tokens: usize) -> f64 {
    let averages = matches!(loss, Loss::SigmoidNorm | Loss::Ipo | Loss::Simpo | Loss::Orpo);
    let n = if averages { n_tokens as f64 } else { 1.0 };
    beta * f64::from(log_ratio) / n
}

/// Tokens of each chosen and each rejected completion, both `(pairs,)`.
fn n_completion_tokens(pairs: &[&PreferencePair], device: &Device) -> Result<(Tensor, Tensor)> {
    let count = |side: fn(&PreferencePair) -> &Vec<u32>| {
        let counts: Vec<f32> = pairs.iter().map(|pair| side(pair).len() as f32).collect();
        Tensor::from_vec(counts, pairs.len(), device)
    };
    Ok((count(|pair| &pair.chosen)?, count(|pair| &pair.rejected)?))
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

fn check_start(session: &Session<'_>, references: &References) -> Result<()> {
    if matches!(references, References::None) {
        return Ok(());
    }
    let first: Vec<&PreferencePair> = session.rows_in_use().into_iter().take(2).collect();
    let policy = completion_logps(session.model, Some(&session.adapter), &first)?;
    for (pair, policy) in first.iter().zip(policy) {
        let reference = references.get(pair)?;
        check_same(policy.0, reference.0, pair.chosen.len())?;
        check_same(policy.1, reference.1, pair.rejected.len())?;
    }
    Ok(())
}

/// Tokens as TRL counts them: the prompt once for each completion.
pub(super) fn n_tokens_of(pair: &PreferencePair) -> usize {
    2 * pair.prompt.len() + pair.chosen.len() + pair.rejected.len()
}
