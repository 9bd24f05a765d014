//! A reward model: an adapter and a score head that rate chosen answers above rejected ones (Ouyang et al.
//! 2022, step 2).

mod health;
mod probes;

pub use self::probes::Probes;

use self::{health::Health, probes::take_chosen};
use super::{
    logps::{Pass, head_scores},
    rankings::{Ranking, ranking_passes},
    session::Session,
    tally::Tally,
};
use crate::{
    adapters::{SCORE, Weight},
    data::Label,
    losses::{self, Pairs, Stages},
    ops::{Gradients, Tape},
};
use anyhow::{Result, bail};
use candle_core::{Device, Tensor, Var};
use laurel_protocol::{Hyper, Loss, Margin, round::Split};

pub fn run(session: &mut Session<'_>) -> Result<()> {
    // 1. r(x, y) is a linear head on the last token's state.
    let Some(Weight::Trainable(head)) = session.adapter.score.clone() else {
        bail!("a reward round trains a score head");
    };
    // 2. For each batch of rankings (a pair is a ranking of two):
    while let Some(batch) = session.next_batch()? {
        let rankings = batch.rankings(session);
        let mut gradients = Gradients::default();
        let mut tally = Tally::default();
        for pass in ranking_passes(&rankings) {
            train_pass(session, &head, pass, rankings.len(), &mut gradients, &mut tally)?;
        }
        // 5. One step of AdamW; evaluation when it is due.
        if session.take_step(&gradients, &tally)? {
            evaluate(session, &head)?;
        }
    }
    Ok(())
}

/// Adds a pass's gradient and figures to those of its batch of `n_rankings`.
pub(super) fn train_pass(
    session: &Session<'_>,
    head: &Var,
    pass: &[Ranking<'_>],
    n_rankings: usize,
    gradients: &mut Gradients,
    tally: &mut Tally,
) -> Result<()> {
    // 3. The scores of all completions, each computed once.
    let states = Pass::last_states(session.model, Some(&session.adapter), pass, session.tape())?;
    // 4. L, such as -log σ(r(x, y_w) - r(x, y_l)) averaged over the pairs of each ranking.
    let scores = head_scores(&states.values, head)?;
    let loss = pass_loss(&session.spec.hyper, &scores, pass, n_rankings, tally)?;
    states.backward(&loss, &[(SCORE, head)], gradients)
}

/// What a pass adds to the loss of the whole, which is the mean over its `n_rankings`, and its figures into the
/// tally. `scores` are those of all completions, ranking by ranking.
fn pass_loss(
    hyper: &Hyper,
    scores: &Tensor,
    pass: &[Ranking<'_>],
    n_rankings: usize,
    tally: &mut Tally,
) -> Result<Tensor> {
    let columns = Columns::of(hyper, pass, n_rankings);
    let device = scores.device();
    let n_pairs = columns.chosen.len();
    let numbers = |values: Vec<f32>| Tensor::from_vec(values, n_pairs, device);
    let chosen = scores.index_select(&Tensor::new(columns.chosen.as_slice(), device)?, 0)?; // (pairs,)
    let rejected = scores.index_select(&Tensor::new(columns.rejected.as_slice(), device)?, 0)?; // (pairs,)
    let (margin, tie, weight) = (
        numbers(columns.margin)?,
        numbers(columns.tie.clone())?,
        numbers(columns.weight)?,
    );
    let pairs = Pairs {
        chosen: &chosen,
        rejected: &rejected,
        margin: &margin,
        tie: &tie,
        weight: &weight,
    };
    let mut loss = match hyper.loss {
        Loss::BradleyTerry => losses::bradley_terry(&pairs, hyper.label_smoothing)?,
        Loss::RaoKupper => losses::rao_kupper(&pairs, losses::rao_kupper_threshold(hyper.tie_share))?,
        Loss::Davidson => losses::davidson(&pairs, losses::davidson_nu(hyper.tie_share))?,
        Loss::PlackettLuce => plackett_luce(scores, pass, n_rankings, device)?,
        other => bail!("{} is no loss of a reward round", other.as_str()),
    };
    if hyper.center_rewards > 0.0 {
        loss = (loss + (losses::center_rewards(&pairs)? * hyper.center_rewards)?)?;
    }
    let share = pass.len() as f64 / n_rankings as f64;
    tally.add("loss", f64::from(loss.to_scalar::<f32>()?) / share, pass.len());
    let scored = chosen
        .to_vec1::<f32>()?
        .into_iter()
        .zip(rejected.to_vec1::<f32>()?);
    for ((chosen, rejected), tie) in scored.zip(columns.tie) {
        match tie > 0.0 {
            true => tally.add("tie_distance", f64::from((chosen - rejected).abs()), 1),
            false => tally.add_rewards(f64::from(chosen), f64::from(rejected)),
        }
    }
    tally.n_tokens += pass.iter().map(Ranking::n_tokens).sum::<usize>();
    Ok(loss)
}

/// The pairs of a pass, column by column; completions by their place among all of the pass.
#[derive(Default)]
struct Columns {
    chosen: Vec<u32>,
    rejected: Vec<u32>,
    margin: Vec<f32>,
    tie: Vec<f32>,
    weight: Vec<f32>,
}

impl Columns {
    fn of(hyper: &Hyper, pass: &[Ranking<'_>], n_rankings: usize) -> Self {
        let mut columns = Self::default();
        let mut first = 0;
        for ranking in pass {
            let weight = 1.0 / (n_rankings * ranking.pairs.len()) as f32;
            for pair in &ranking.pairs {
                columns.chosen.push((first + pair.chosen) as u32);
                columns.rejected.push((first + pair.rejected) as u32);
                columns.margin.push(margin(hyper, pair.label));
                columns.tie.push(f32::from(u8::from(pair.label.tie)));
                columns.weight.push(weight * pair.label.weight());
            }
            first += ranking.completions.len();
        }
        columns
    }
}

fn margin(hyper: &Hyper, label: Label) -> f32 {
    let margin = match hyper.margin {
        _ if label.tie => 0.0,
        Margin::None => 0.0,
        Margin::Column => label.margin.unwrap_or(0.0),
        Margin::Strength => f32::from(label.strength.saturating_sub(1)),
    };
    margin * hyper.margin_scale as f32
}

/// Every choice that the rankings of a pass make: a completion among itself and those below it.
fn plackett_luce(
    scores: &Tensor,
    pass: &[Ranking<'_>],
    n_rankings: usize,
    device: &Device,
) -> Result<Tensor> {
    let mut choices: Vec<Vec<u32>> = Vec::new();
    let mut weights: Vec<f32> = Vec::new();
    let mut first = 0;
    for ranking in pass {
        for (best, below) in ranking.below()?.into_iter().enumerate() {
            if !below.is_empty() {
                let among = std::iter::once(best).chain(below);
                choices.push(among.map(|at| (first + at) as u32).collect());
                // The pairs of a ranking are one annotation's: they weigh the same.
                weights.push(ranking.pairs[0].label.weight() / n_rankings as f32);
            }
        }
        first += ranking.completions.len();
    }
    let n = choices.len();
    let width = choices.iter().map(Vec::len).max().unwrap_or(0);
    let mut present = Vec::with_capacity(n * width);
    for choice in &mut choices {
        present.extend((0..width).map(|at| if at < choice.len() { 1f32 } else { 0.0 }));
        // Filled up with a score that does not count.
        choice.resize(width, choice[0]);
    }
    let places = Tensor::from_vec(choices.concat(), n * width, device)?;
    Ok(losses::plackett_luce(&Stages {
        scores: &scores.index_select(&places, 0)?.reshape((n, width))?, // (choices, width)
        present: &Tensor::from_vec(present, (n, width), device)?,
        weight: &Tensor::from_vec(weights, n, device)?,
    })?)
}

fn evaluate(session: &mut Session<'_>, head: &Var) -> Result<()> {
    let (mut tally, mut health, mut chosen) = (Tally::default(), Health::default(), Vec::new());
    let rankings = session.held_out_rankings();
    for pass in ranking_passes(&rankings) {
        let states = Pass::last_states(session.model, Some(&session.adapter), pass, Tape::off())?;
        let scores = head_scores(&states.values, head)?;
        pass_loss(&session.spec.hyper, &scores, pass, rankings.len(), &mut tally)?;
        let scores = scores.to_vec1::<f32>()?;
        health.add(pass, &scores);
        take_chosen(pass, &scores, &mut chosen);
    }
    let mut figures = health.figures();
    if let Some(probes) = &session.probes {
        figures.extend(probes.figures(session, head, &chosen)?);
    }
    for (name, figure) in figures {
        tally.add(name, figure, 1);
    }
    session.report(Split::Eval, &tally)
}
