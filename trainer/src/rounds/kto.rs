//! KTO (Ethayarajh et al. 2024): raise the probability of desirable answers and lower that of undesirable ones, each
//! judged by itself, measured from a reference and from how far the policy as a whole has moved away from it.
//!
//! A row is one answer: it stands in `chosen`, its judgement in `label.desirable`.

use super::{
    accept::pair_hash,
    logps::{Completions, Pass, answer_logps, passes},
    references::{References, check_same, reference_logps},
    session::Session,
    tally::Tally,
};
use crate::{
    data::{Label, PreferencePair},
    losses::{self, Judged},
    ops::{Gradients, Tape},
    rng::Rng,
};
use anyhow::Result;
use candle_core::Tensor;
use laurel_protocol::{Hyper, Loss, round::Split};
use std::collections::HashSet;

pub fn run(session: &mut Session<'_>) -> Result<()> {
    if let Some(text) = imbalance(&session.spec.hyper, session.trained()) {
        session.warn(&text);
    }
    // 1. The reference is a frozen copy of the adapter that the policy starts from. Its log-probabilities never
    //    change, those of the mismatched answers included: compute them once, and keep them for a resumed round.
    let Some(references) = reference_logps(session, rows_in_use)? else {
        return Ok(());
    };

    // 2. At the start policy and reference are the same, so every log-ratio is 0 up to rounding.
    if session.step() == 0 {
        check_start(session, &references)?;
    }

    // 3. For each batch of answers:
    while let Some(batch) = session.next_batch()? {
        let rows = batch.pairs(session);
        let mut gradients = Gradients::default();
        let mut tally = Tally::default();
        // 4. z₀ of the batch, from its prompts with answers to others of its prompts.
        let kl = kl(session, &rows, &references)?;
        for pass in passes(&rows) {
            train_pass(
                session,
                &pass,
                rows.len(),
                kl,
                &references,
                &mut gradients,
                &mut tally,
            )?;
        }
        add_figures(session, &mut tally, kl, rows.len());
        // 7. One step of AdamW; metrics, checkpoint; evaluation when it is due.
        if session.take_step(&gradients, &tally)? {
            evaluate(session, &references)?;
        }
    }
    Ok(())
}

/// Adds a pass's gradient and figures to those of its batch of `n_rows`.
pub(super) fn train_pass(
    session: &Session<'_>,
    pass: &[&PreferencePair],
    n_rows: usize,
    kl: f64,
    references: &References,
    gradients: &mut Gradients,
    tally: &mut Tally,
) -> Result<()> {
    // 5. log π(y | x) of the answers.
    let logps = Pass::logps(
        session.model,
        Some(&session.adapter),
        pass,
        Completions::Chosen,
        session.tape(),
    )?;
    // 6. L, and its gradient by the adapter alone; passes add up to the batch's.
    let loss = pass_loss(session, &logps, pass, n_rows, kl, references, tally)?;
    logps.backward(&loss, &[], gradients)
}

/// What a pass adds to the loss of the whole, which is the mean over its `n_rows`, and its figures into the tally.
fn pass_loss(
    session: &Session<'_>,
    logps: &Pass,
    rows: &[&PreferencePair],
    n_rows: usize,
    kl: f64,
    references: &References,
    tally: &mut Tally,
) -> Result<Tensor> {
    let hyper = &session.spec.hyper;
    let sums = logps.each_sum()?;
    let numbers = |values: Vec<f32>| Tensor::from_vec(values, rows.len(), sums.device());
    let ref_logps = rows
        .iter()
        .map(|row| Ok(references.get(row)?.0))
        .collect::<Result<Vec<f32>>>()?;
    let weight = |row: &&PreferencePair| match is_desirable(row) {
        true => hyper.desirable_weight,
        false => hyper.undesirable_weight,
    };
    let sign = |row: &&PreferencePair| if is_desirable(row) { 1.0 } else { -1.0 };
    let answers = Judged {
        logps: &sums,
        ref_logps: &numbers(ref_logps.clone())?,
        sign: &numbers(rows.iter().map(sign).collect())?,
        weight: &numbers(
            rows.iter()
                .map(|row| (weight(row) / n_rows as f64) as f32 * row.label.weight())
                .collect(),
        )?,
    };
    let loss = losses::kto(&answers, kl, hyper.beta)?;
    let share = rows.len() as f64 / n_rows as f64;
    // A mean over rows whose sum is the whole's loss.
    tally.add("loss", f64::from(loss.to_scalar::<f32>()?) / share, rows.len());
    for ((row, logp), ref_logp) in rows.iter().zip(sums.to_vec1::<f32>()?).zip(ref_logps) {
        let reward = hyper.beta * f64::from(logp - ref_logp);
        let (logp_name, reward_name) = match is_desirable(row) {
            true => ("chosen_logp", "chosen_reward"),
            false => ("rejected_logp", "rejected_reward"),
        };
        tally.add(logp_name, f64::from(logp), 1);
        tally.add(reward_name, reward, 1);
    }
    tally.n_tokens += rows
        .iter()
        .map(|row| row.prompt.len() + row.chosen.len())
        .sum::<usize>();
    Ok(loss)
}

fn is_desirable(row: &PreferencePair) -> bool {
    row.label.desirable == Some(true)
}

/// z₀ of a batch; 0 for a loss that measures from nothing else than the reference.
pub(super) fn kl(session: &Session<'_>, rows: &[&PreferencePair], references: &References) -> Result<f64> {
    if session.spec.hyper.loss != Loss::Kto {
        return Ok(0.0);
    }
    let mismatched = mismatched(rows, longest(session));
    let mismatched: Vec<&PreferencePair> = mismatched.iter().collect();
    let logps = answer_logps(session.model, Some(&session.adapter), &mismatched)?;
    let ref_logps = mismatched
        .iter()
        .map(|row| Ok(references.get(row)?.0))
        .collect::<Result<Vec<f32>>>()?;
    Ok(losses::kl_estimate(&logps, &ref_logps))
}

/// Each prompt of a batch with an answer that belongs to another one: as in TRL the answer of the row before it, the
/// first row's being the last one's; but rows of the same prompt are passed over, which TRL does not. A batch of one
/// prompt has none. As in TRL a sequence that grows too long is cut off.
pub(super) fn mismatched(rows: &[&PreferencePair], longest: usize) -> Vec<PreferencePair> {
    let n = rows.len();
    let mut mismatched = Vec::with_capacity(n);
    for (at, row) in rows.iter().enumerate() {
        let mut before = (1..n).map(|back| rows[(at + n - back) % n]);
        if let Some(other) = before.find(|other| other.prompt != row.prompt) {
            let n_tokens = other.chosen.len().min(longest - row.prompt.len());
            mismatched.push(PreferencePair {
                prompt: row.prompt.clone(),
                chosen: other.chosen[..n_tokens].to_vec(),
                rejected: Vec::new(),
                group: row.group,
                label: Label::default(),
            });
        }
    }
    mismatched
}

/// The longest sequence in tokens, which every row keeps to.
fn longest(session: &Session<'_>) -> usize {
    let positions = session.model.config.max_positions;
    (session.spec.hyper.max_length as usize).min(positions)
}

/// The held-out answers in batches, as in training: in an order that puts answers to one prompt apart.
fn held_out_batches<'s>(session: &'s Session<'_>) -> Vec<Vec<&'s PreferencePair>> {
    let mut rows = session.held_out();
    let rng = Rng::new(session.spec.seed);
    rng.stream("held-out batches", 0).shuffle(&mut rows);
    let n = session.spec.hyper.batch_size as usize;
    rows.chunks(n).map(<[_]>::to_vec).collect()
}

/// All that the reference has to rate: the answers, and the mismatched ones of every batch; each once.
pub(super) fn rows_in_use(session: &Session<'_>) -> Vec<PreferencePair> {
    let mut rows: Vec<PreferencePair> = session.rows_in_use().into_iter().cloned().collect();
    if session.spec.hyper.loss == Loss::Kto {
        let longest = longest(session);
        for batch in session.batches() {
            rows.extend(mismatched(&batch.pairs(session), longest));
        }
        for batch in held_out_batches(session) {
            rows.extend(mismatched(&batch, longest));
        }
    }
    let mut known = HashSet::new();
    rows.retain(|row| known.insert(pair_hash(row)));
    rows
}

/// The figures of a whole batch: z₀, and how far apart both sides' rewards are where it has both.
fn add_figures(session: &Session<'_>, tally: &mut Tally, kl: f64, n_rows: usize) {
    if session.spec.hyper.loss == Loss::Kto {
        tally.add("kl", kl, n_rows);
    }
    let means = tally.means();
    if let (Some(chosen), Some(rejected)) = (means.get("chosen_reward"), means.get("rejected_reward")) {
        tally.add("margin", chosen - rejected, n_rows);
    }
}

fn evaluate(session: &mut Session<'_>, references: &References) -> Result<()> {
    let mut tally = Tally::default();
    let n_all = session.held_out().len();
    let mut mean_kl = 0.0;
    for rows in held_out_batches(session) {
        let kl = kl(session, &rows, references)?;
        mean_kl += kl * rows.len() as f64 / n_all as f64;
        for pass in passes(&rows) {
            let logps = Pass::logps(
                session.model,
                Some(&session.adapter),
                &pass,
                Completions::Chosen,
                Tape::off(),
            )?;
            pass_loss(session, &logps, &pass, n_all, kl, references, &mut tally)?;
        }
    }
    add_figures(session, &mut tally, mean_kl, n_all);
    session.report(Split::Eval, &tally)
}

fn check_start(session: &Session<'_>, references: &References) -> Result<()> {
    let first: Vec<&PreferencePair> = session.rows_in_use().into_iter().take(2).collect();
    let policy = answer_logps(session.model, Some(&session.adapter), &first)?;
    for (row, policy) in first.iter().zip(policy) {
        check_same(policy, references.get(row)?.0, row.chosen.len())?;
    }
    Ok(())
}

/// What to say where one side outweighs the other: the paper wants λ_D n_D : λ_U n_U between 1:1 and 4:3 (equation 8), and
/// TRL warns outside of it.
fn imbalance(hyper: &Hyper, rows: &[PreferencePair]) -> Option<String> {
    let n_desirable = rows.iter().filter(|row| is_desirable(row)).count();
    let n_undesirable = rows.len() - n_desirable;
    let counts = format!("{n_desirable} answers to train on are desirable and {n_undesirable} undesirable");
    if n_desirable == 0 || n_undesirable == 0 {
        return Some(format!(
            "{counts}: with one side alone the model learns no difference"
        ));
    }
    let odds = n_undesirable as f64 / n_desirable as f64;
    let round = |x: f64| (x * 100.0).round() / 100.0;
    let desirable = [1.0, 4.0 / 3.0].map(|ratio| round(ratio * odds * hyper.undesirable_weight));
    let undesirable = [0.75, 1.0].map(|ratio| round(ratio / odds * hyper.desirable_weight));
    let fits = |range: [f64; 2], weight: f64| (range[0]..=range[1]).contains(&weight);
    if fits(desirable, hyper.desirable_weight) || fits(undesirable, hyper.undesirable_weight) {
        return None;
    }
    Some(format!(
        "{counts}: KTO does best where the desirable side weighs between 1 and 4/3 times the other; set either \
         desirable_weight to {} to {} or undesirable_weight to {} to {}",
        desirable[0], desirable[1], undesirable[0], undesirable[1]
    ))
}
