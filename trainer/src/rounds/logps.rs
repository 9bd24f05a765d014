//! What the rounds ask of the model: summed log-probabilities of completions, and scores, for pairs that are
//! packed pass by pass. With a tape the caller can turn the gradients of those numbers into the adapter's.

use super::{
    PASS_TOKENS,
    rankings::{Ranking, ranking_passes},
};
use crate::{
    adapters::Adapter,
    data::PreferencePair,
    model::{Model, Pack, TokenAt},
    ops::{Gradients, Tape, Traced},
};
use anyhow::{Context, Result};
use candle_core::{Tensor, Var};

/// Consecutive pairs that fit into one pass; a longer one goes alone.
pub(super) fn passes<'a>(pairs: &[&'a PreferencePair]) -> Vec<Vec<&'a PreferencePair>> {
    let mut passes: Vec<Vec<&PreferencePair>> = Vec::new();
    let mut n_tokens = 0;
    for &pair in pairs {
        let size = pair.prompt.len() + pair.chosen.len() + pair.rejected.len();
        match passes.last_mut() {
            Some(pass) if n_tokens + size <= PASS_TOKENS => {
                pass.push(pair);
                n_tokens += size;
            }
            _ => {
                passes.push(vec![pair]);
                n_tokens = size;
            }
        }
    }
    passes
}

/// The completions of a pass: each pair's chosen and, where wanted, its rejected one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Completions {
    Both,
    Chosen,
}

/// A pass through the model with its tape.
pub(super) struct Pass {
    tape: Tape,
    traced: Traced,
    /// What the model says, as a leaf of candle's graph: `(tokens,)` log-probabilities of all chosen, then all
    /// rejected completions; or `(completions, hidden)` states of the last tokens, ranking by ranking.
    pub values: Var,
    /// For each completion, how many of the tokens are its own.
    pub counts: Vec<usize>,
}

impl Pass {
    pub fn logps(
        model: &Model,
        adapter: Option<&Adapter>,
        pairs: &[&PreferencePair],
        which: Completions,
        tape: Tape,
    ) -> Result<Self> {
        let pack = pack(pairs, which);
        let hidden = model.forward(&tape, &pack, adapter)?;
        let mut tokens: Vec<TokenAt> = Vec::new();
        let mut counts = Vec::new();
        for branch in 0..if which == Completions::Both { 2 } else { 1 } {
            for group in 0..pairs.len() {
                let before = tokens.len();
                tokens.extend(pack.completion(group, branch));
                counts.push(tokens.len() - before);
            }
        }
        let traced = model.logprobs(&tape, &hidden, &tokens)?;
        let values = Var::from_tensor(&traced.value)?;
        Ok(Self {
            tape,
            traced,
            values,
            counts,
        })
    }

    pub fn last_states(
        model: &Model,
        adapter: Option<&Adapter>,
        rankings: &[Ranking<'_>],
        tape: Tape,
    ) -> Result<Self> {
        let mut pack = Pack::default();
        let mut rows: Vec<u32> = Vec::new();
        for (group, ranking) in rankings.iter().enumerate() {
            pack.push(ranking.prompt, &ranking.completions);
            rows.extend((0..ranking.completions.len()).map(|branch| pack.last_row(group, branch)));
        }
        let hidden = model.forward(&tape, &pack, adapter)?;
        let traced = model.states(&tape, &hidden, &rows)?;
        let values = Var::from_tensor(&traced.value)?;
        Ok(Self {
            tape,
            traced,
            values,
            counts: Vec::new(),
        })
    }

    /// Sums of each completion's log-probabilities, on candle's graph: chosen and rejected, both `(pairs,)`.
    pub fn sums(&self) -> Result<(Tensor, Tensor)> {
        let sums = self.each_sum()?;
        let n_pairs = sums.dim(0)? / 2;
        Ok((sums.narrow(0, 0, n_pairs)?, sums.narrow(0, n_pairs, n_pairs)?))
    }

    /// The same, all in one, `(completions,)`.
    pub fn each_sum(&self) -> Result<Tensor> {
        let mut sums = Vec::with_capacity(self.counts.len());
        let mut at = 0;
        for &n in &self.counts {
            sums.push(self.values.narrow(0, at, n)?.sum_all()?);
            at += n;
        }
        Ok(Tensor::stack(&sums, 0)?)
    }

    /// Runs `loss` back through candle's graph to [`Pass::values`] and from there through the tape. Other
    /// trainable weights of the loss are given by name.
    pub fn backward(self, loss: &Tensor, others: &[(&str, &Var)], gradients: &mut Gradients) -> Result<()> {
        let store = loss.backward()?;
        for (name, var) in others {
            let gradient = store
                .get(var)
                .with_context(|| format!("the loss does not depend on {name:?}"))?;
            gradients.add(name, gradient.clone())?;
        }
        let gradient = store
            .get(&self.values)
            .context("the loss does not depend on the model")?;
        Ok(self.tape.backward(&self.traced, gradient.clone(), gradients)?)
    }
}

fn pack(pairs: &[&PreferencePair], which: Completions) -> Pack {
    let mut pack = Pack::default();
    for pair in pairs {
        match which {
            Completions::Both => pack.push(&pair.prompt, &[&pair.chosen, &pair.rejected]),
            Completions::Chosen => pack.push(&pair.prompt, &[&pair.chosen]),
        };
    }
    pack
}

/// Summed log-probabilities of chosen and rejected, pair by pair.
pub fn completion_logps(
    model: &Model,
    adapter: Option<&Adapter>,
    pairs: &[&PreferencePair],
) -> Result<Vec<(f32, f32)>> {
    let mut logps = Vec::with_capacity(pairs.len());
    for pass in passes(pairs) {
        let (chosen, rejected) =
            Pass::logps(model, adapter, &pass, Completions::Both, Tape::off())?.sums()?;
        logps.extend(
            chosen
                .to_vec1::<f32>()?
                .into_iter()
                .zip(rejected.to_vec1::<f32>()?),
        );
    }
    Ok(logps)
}

/// Summed log-probabilities of the chosen side alone: of answers that are judged one by one.
pub fn answer_logps(model: &Model, adapter: Option<&Adapter>, rows: &[&PreferencePair]) -> Result<Vec<f32>> {
    let mut logps = Vec::with_capacity(rows.len());
    for pass in passes(rows) {
        let pass = Pass::logps(model, adapter, &pass, Completions::Chosen, Tape::off())?;
        logps.extend(pass.each_sum()?.to_vec1::<f32>()?);
    }
    Ok(logps)
}

/// A reward model's scores of chosen and rejected, pair by pair.
pub fn scores(model: &Model, adapter: &Adapter, pairs: &[&PreferencePair]) -> Result<Vec<(f32, f32)>> {
    let head = adapter
        .score
        .as_ref()
        .context("this adapter has no score head: it is no reward model")?;
    let rankings: Vec<Ranking<'_>> = pairs.iter().map(|&pair| Ranking::of(&[pair])).collect();
    let mut sides = Vec::with_capacity(pairs.len());
    for pass in ranking_passes(&rankings) {
        let states = Pass::last_states(model, Some(adapter), pass, Tape::off())?.values;
        let scores = head_scores(&states, head.tensor())?.to_vec1::<f32>()?;
        let mut first = 0;
        for ranking in pass {
            let pair = &ranking.pairs[0];
            sides.push((scores[first + pair.chosen], scores[first + pair.rejected]));
            first += ranking.completions.len();
        }
    }
    Ok(sides)
}

/// States `(completions, hidden)` and the head `(1, hidden)` to scores, `(completions,)`.
pub(super) fn head_scores(states: &Tensor, head: &Tensor) -> Result<Tensor> {
    Ok(states.matmul(&head.t()?)?.squeeze(1)?)
}
