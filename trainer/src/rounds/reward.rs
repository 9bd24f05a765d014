//! A reward model: an adapter and a score head that rate chosen answers above rejected ones (Ouyang et al.
//! 2022, step 2).

use super::{
    dpo::n_tokens,
    logps::{Pass, head_scores, passes},
    session::{Session, Tally},
};
use crate::{
    adapters::{SCORE, Weight},
    data::PreferencePair,
    losses,
    ops::{Gradients, Tape},
};
use anyhow::{Result, bail};
use candle_core::{Tensor, Var};
use laurel_protocol::round::Split;

pub fn run(session: &mut Session<'_>) -> Result<()> {
    // 1. r(x, y) is a linear head on the last token's state.
    let Some(Weight::Trainable(head)) = session.adapter.score.clone() else {
        bail!("a reward round trains a score head");
    };
    // 2. For each batch of pairs:
    while let Some(batch) = session.next_batch()? {
        let mut gradients = Gradients::default();
        let mut tally = Tally::default();
        for pass in passes(&batch.pairs(session)) {
            let states = Pass::last_states(session.model, Some(&session.adapter), &pass, Tape::recording())?;
            // 3. L = -log σ(r(x, y_w) - r(x, y_l)).
            let loss = pass_loss(&states, &head, &pass, &mut tally)?;
            let loss = (loss * (pass.len() as f64 / batch.len() as f64))?;
            states.backward(&loss, &[(SCORE, &head)], &mut gradients)?;
        }
        // 4. One step of AdamW; evaluation when it is due.
        if session.take_step(&gradients, &tally)? {
            evaluate(session, &head)?;
        }
    }
    Ok(())
}

fn pass_loss(states: &Pass, head: &Var, pairs: &[&PreferencePair], tally: &mut Tally) -> Result<Tensor> {
    let (chosen, rejected) = head_scores(&states.values, head)?;
    let loss = losses::bradley_terry(&chosen, &rejected)?;
    tally.add("loss", f64::from(loss.to_scalar::<f32>()?), pairs.len());
    for (chosen, rejected) in chosen
        .to_vec1::<f32>()?
        .into_iter()
        .zip(rejected.to_vec1::<f32>()?)
    {
        tally.add_rewards(f64::from(chosen), f64::from(rejected));
    }
    tally.n_tokens += pairs.iter().map(|pair| n_tokens(pair)).sum::<usize>();
    Ok(loss)
}

fn evaluate(session: &mut Session<'_>, head: &Var) -> Result<()> {
    let mut tally = Tally::default();
    for pass in passes(&session.held_out()) {
        let states = Pass::last_states(session.model, Some(&session.adapter), &pass, Tape::off())?;
        pass_loss(&states, head, &pass, &mut tally)?;
    }
    session.report(Split::Eval, &tally)
}
