//! What scores the answers of a PPO round: a reward model over the same base weights, a rule, or a service.

use super::{
    Environment,
    endpoint::Endpoint,
    rollout::{Answer, Rollouts, passes},
};
use crate::{
    adapters::Adapter,
    model::{Model, Pack},
    ops::Tape,
    rounds::logps::head_scores,
};
use anyhow::{Context, Result, ensure};
use laurel_protocol::RewardSource;

pub enum Scorer<'a> {
    /// A reward model.
    Adapter(&'a Adapter),
    Length {
        target: u32,
    },
    Regex(fancy_regex::Regex),
    Http(Endpoint),
}

impl<'a> Scorer<'a> {
    /// `adapter` is the reward adapter, where the source is one.
    pub fn new(source: &RewardSource, adapter: Option<&'a Adapter>) -> Result<Self> {
        Ok(match source {
            RewardSource::Adapter => {
                let adapter = adapter.context("the round's reward is an adapter, and none is named")?;
                ensure!(
                    adapter.score.is_some(),
                    "the reward adapter has no score head: it is no reward model"
                );
                Self::Adapter(adapter)
            }
            RewardSource::Length { target } => Self::Length { target: *target },
            RewardSource::Regex { pattern } => {
                let regex = fancy_regex::Regex::new(pattern)
                    .with_context(|| format!("the reward's expression {pattern:?} cannot be read"))?;
                Self::Regex(regex)
            }
            RewardSource::Http { url, timeout_seconds } => Self::Http(Endpoint::new(url, *timeout_seconds)),
        })
    }

    /// The reward model, where there is one.
    pub fn adapter(&self) -> Option<&'a Adapter> {
        match self {
            Self::Adapter(adapter) => Some(adapter),
            _ => None,
        }
    }
}

/// A finite score for each answer, in their order, without the penalty for a missing end.
pub fn scores(model: &Model, environment: &Environment<'_>, rollouts: &Rollouts) -> Result<Vec<f64>> {
    let answers = &rollouts.answers;
    let tokenizer = environment.tokenizer;
    let text = |answer: &Answer| tokenizer.decode(&answer.tokens);
    let scores: Vec<f64> = match &environment.scorer {
        Scorer::Adapter(adapter) => adapter_scores(model, adapter, environment, rollouts)?,
        Scorer::Length { target } => {
            let target = f64::from(*target);
            let score = |answer: &Answer| -(answer.n_words() as f64 - target).abs() / target;
            answers.iter().map(score).collect()
        }
        Scorer::Regex(regex) => {
            let score = |answer: &Answer| {
                let matches = regex
                    .is_match(&text(answer)?)
                    .context("the reward's expression gave up on an answer")?;
                Ok(f64::from(u8::from(matches)))
            };
            answers.iter().map(score).collect::<Result<_>>()?
        }
        Scorer::Http(endpoint) => {
            let prompts = answers
                .iter()
                .map(|answer| tokenizer.decode_all(&rollouts.prompts[answer.prompt]))
                .collect::<Result<Vec<_>>>()?;
            let texts = answers.iter().map(text).collect::<Result<Vec<_>>>()?;
            endpoint.scores(&prompts, &texts)?
        }
    };
    let n_odd = scores.iter().filter(|score| !score.is_finite()).count();
    ensure!(
        n_odd == 0,
        "the reward scored {n_odd} of {} answers with something that is no finite number",
        answers.len()
    );
    Ok(scores)
}

/// r(x, y), read where the reward model learnt to be read: behind an answer that is closed as the answers of its data
/// were, one that the token limit cut off included.
fn adapter_scores(
    model: &Model,
    adapter: &Adapter,
    environment: &Environment<'_>,
    rollouts: &Rollouts,
) -> Result<Vec<f64>> {
    let head = adapter
        .score
        .as_ref()
        .context("a reward model has a score head")?;
    let mut scores = Vec::with_capacity(rollouts.answers.len());
    let closed = |answer: &&Answer| [&answer.tokens[..answer.n_words()], &environment.ending].concat();
    for pass in passes(&rollouts.all(), &rollouts.prompts, environment.ending.len()) {
        let (mut pack, mut rows) = (Pack::default(), Vec::new());
        for group in pass.chunk_by(|left, right| left.prompt == right.prompt) {
            let completions: Vec<Vec<u32>> = group.iter().map(closed).collect();
            let completions: Vec<&[u32]> = completions.iter().map(Vec::as_slice).collect();
            pack.push(&rollouts.prompts[group[0].prompt], &completions);
            let at = pack.groups.len() - 1;
            rows.extend((0..completions.len()).map(|branch| pack.last_row(at, branch)));
        }
        let hidden = model.forward(&Tape::off(), &pack, Some(adapter))?;
        let states = model.states(&Tape::off(), &hidden, &rows)?.value;
        let of_pass = head_scores(&states, head.tensor())?.to_vec1::<f32>()?;
        scores.extend(of_pass.into_iter().map(f64::from));
    }
    Ok(scores)
}
