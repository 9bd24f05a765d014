//! Supervised fine-tuning: imitate the chosen answers (Ouyang et al. 2022, step 1).

use super::{
    logps::{Completions, Pass, passes},
    session::Session,
    tally::Tally,
};
use crate::{
    data::PreferencePair,
    losses,
    ops::{Gradients, Tape},
};
use anyhow::Result;
use laurel_protocol::round::Split;

pub fn run(session: &mut Session<'_>) -> Result<()> {
    // 1. For each batch of demonstrations:
    while let Some(batch) = session.next_batch()? {
        let pairs = batch.pairs(session);
        let n_trained: usize = pairs.iter().map(|pair| pair.chosen.len()).sum();
        let mut gradients = Gradients::default();
        let mut tally = Tally::default();
        for pass in passes(&pairs) {
            // 2. log π of the answer's tokens; the prompt's are not trained.
            let logps = Pass::logps(
                session.model,
                Some(&session.adapter),
                &pass,
                Completions::Chosen,
                session.tape(),
            )?;
            // 3. L = mean negative log-likelihood over the batch's trained tokens.
            let n_tokens: usize = logps.counts.iter().sum();
            let loss = losses::cross_entropy(&logps.values)?;
            tally_pass(&mut tally, &loss, &pass, n_tokens)?;
            let loss = (loss * (n_tokens as f64 / n_trained as f64))?;
            logps.backward(&loss, &[], &mut gradients)?;
        }
        // 4. One step of AdamW; evaluation when it is due.
        if session.take_step(&gradients, &tally)? {
            evaluate(session)?;
        }
    }
    Ok(())
}

fn tally_pass(
    tally: &mut Tally,
    loss: &candle_core::Tensor,
    pass: &[&PreferencePair],
    n_tokens: usize,
) -> Result<()> {
    tally.add("loss", f64::from(loss.to_scalar::<f32>()?), n_tokens);
    tally.n_tokens += pass
        .iter()
        .map(|pair| pair.prompt.len() + pair.chosen.len())
        .sum::<usize>();
    Ok(())
}

fn evaluate(session: &mut Session<'_>) -> Result<()> {
    let mut tally = Tally::default();
    for pass in passes(&session.held_out()) {
        let logps = Pass::logps(
            session.model,
            Some(&session.adapter),
            &pass,
            Completions::Chosen,
            Tape::off(),
        )?;
        let loss = losses::cross_entropy(&logps.values)?;
        tally_pass(&mut tally, &loss, &pass, logps.counts.iter().sum())?;
    }
    session.report(Split::Eval, &tally)
}
