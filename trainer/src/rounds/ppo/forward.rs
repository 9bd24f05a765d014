//! What the model says of the tokens of answers: their log-probabilities at the sampling temperature, the values of the
//! states before them, and the entropy there. One pass through the policy gives all of it.

use super::rollout::{Answer, Rollouts, packed, passes};
use crate::{
    adapters::{Adapter, VALUE, Weight},
    model::{Model, TokenAt},
    ops::{Gradients, Head, Tape, Traced, entropy, token_logprobs},
};
use anyhow::{Context, Result};
use candle_core::{Tensor, Var};

/// Of each answer its tokens' numbers, in order.
pub struct OfTokens {
    pub logps: Vec<Vec<f32>>,
    /// Without a value head none.
    pub values: Vec<Vec<f32>>,
}

/// Without gradients. `adapter` is the policy or the reference.
pub fn of_tokens(
    model: &Model,
    adapter: Option<&Adapter>,
    rollouts: &Rollouts,
    temperature: f64,
) -> Result<OfTokens> {
    let mut found = OfTokens {
        logps: Vec::new(),
        values: Vec::new(),
    };
    for pass in passes(&rollouts.all(), &rollouts.prompts, 0) {
        let (pack, tokens) = packed(&pass, &rollouts.prompts);
        let tape = Tape::off();
        let hidden = model.forward(&tape, &pack, adapter)?;
        let states = states_before(model, &tape, &hidden, &tokens)?;
        let logps = logps(model, &tape, &states, &tokens, temperature)?.value;
        split(&pass, &logps.to_vec1()?, &mut found.logps);
        if let Some(head) = adapter.and_then(|adapter| adapter.value.as_ref()) {
            split(&pass, &values(&states.value, head)?.to_vec1()?, &mut found.values);
        }
    }
    Ok(found)
}

fn split(pass: &[&Answer], numbers: &[f32], into: &mut Vec<Vec<f32>>) {
    let mut at = 0;
    for answer in pass {
        into.push(numbers[at..at + answer.tokens.len()].to_vec());
        at += answer.tokens.len();
    }
}

/// A pass with its tape. Its numbers are a leaf of candle's graph, as in the other rounds.
pub struct TrainPass {
    tape: Tape,
    traced: Traced,
    outputs: Var,
    n_tokens: usize,
    has_values: bool,
}

impl TrainPass {
    pub fn new(
        model: &Model,
        policy: &Adapter,
        tape: Tape,
        pass: &[&Answer],
        prompts: &[Vec<u32>],
        (temperature, with_entropy): (f64, bool),
    ) -> Result<Self> {
        let (pack, tokens) = packed(pass, prompts);
        let hidden = model.forward(&tape, &pack, Some(policy))?;
        let states = states_before(model, &tape, &hidden, &tokens)?;
        let mut parts = vec![logps(model, &tape, &states, &tokens, temperature)?];
        if let Some(head) = &policy.value {
            parts.push(traced_values(&tape, &states, head)?);
        }
        if with_entropy {
            let (states, head) = at_temperature(model, &tape, &states, temperature)?;
            parts.push(entropy(&tape, &states, head)?);
        }
        let traced = joined(&tape, &parts)?;
        Ok(Self {
            outputs: Var::from_tensor(&traced.value)?,
            tape,
            traced,
            n_tokens: tokens.len(),
            has_values: policy.value.is_some(),
        })
    }

    /// All `(tokens,)`, answer by answer.
    pub fn logps(&self) -> Result<Tensor> {
        self.part(0)
    }

    /// With a value head.
    pub fn values(&self) -> Result<Tensor> {
        self.part(1)
    }

    /// Where it was asked for.
    pub fn entropies(&self) -> Result<Tensor> {
        self.part(1 + usize::from(self.has_values))
    }

    fn part(&self, index: usize) -> Result<Tensor> {
        Ok(self.outputs.narrow(0, index * self.n_tokens, self.n_tokens)?)
    }

    /// Adds the gradient of `loss` by the policy and its value head.
    pub fn backward(self, loss: &Tensor, gradients: &mut Gradients) -> Result<()> {
        let store = loss.backward()?;
        let gradient = store
            .get(&self.outputs)
            .context("the loss does not depend on the model")?;
        Ok(self.tape.backward(&self.traced, gradient.clone(), gradients)?)
    }
}

/// The normalised states that predict the tokens. Shape: `(tokens, hidden)`.
fn states_before(model: &Model, tape: &Tape, hidden: &Traced, tokens: &[TokenAt]) -> Result<Traced> {
    let rows: Vec<u32> = tokens.iter().map(|at| at.row).collect();
    Ok(model.states(tape, hidden, &rows)?)
}

fn logps(
    model: &Model,
    tape: &Tape,
    states: &Traced,
    tokens: &[TokenAt],
    temperature: f64,
) -> Result<Traced> {
    let tokens: Vec<u32> = tokens.iter().map(|at| at.token).collect();
    let (states, head) = at_temperature(model, tape, states, temperature)?;
    Ok(token_logprobs(tape, &states, head, &tokens)?)
}

/// Logits over the temperature T, by states over T: `cap tanh(h Wᵀ / cap) / T = (cap / T) tanh((h / T) Wᵀ / (cap / T))`.
fn at_temperature<'m>(
    model: &'m Model,
    tape: &Tape,
    states: &Traced,
    temperature: f64,
) -> Result<(Traced, Head<'m>)> {
    let head = Head {
        weight: &model.head,
        cap: model.config.logit_cap.map(|cap| cap / temperature),
    };
    if temperature == 1.0 {
        return Ok((states.clone(), head));
    }
    let (input, factor) = (states.place(), 1.0 / temperature);
    let scaled = tape.record_from((&states.value * factor)?, &[states], move |gradient, out| {
        out.add_at(input, (gradient * factor)?)
    });
    Ok((scaled, head))
}

/// V(s) = h · w. Shapes: `(tokens, hidden)` to `(tokens,)`.
fn values(states: &Tensor, head: &Weight) -> Result<Tensor> {
    Ok(states.matmul(&head.tensor().detach().t()?)?.squeeze(1)?)
}

fn traced_values(tape: &Tape, states: &Traced, head: &Weight) -> Result<Traced> {
    let value = values(&states.value, head)?;
    let (states, head) = (states.clone(), head.tensor().detach()); // (1, hidden)
    Ok(tape.record(value, move |gradient, out| {
        let gradient = gradient.unsqueeze(0)?; // (1, tokens)
        out.add_weight(VALUE, gradient.matmul(&states.value)?)?;
        out.add(&states, gradient.t()?.matmul(&head)?)
    }))
}

/// Parts of one length end to end, so that one gradient runs back through all of them.
fn joined(tape: &Tape, parts: &[Traced]) -> Result<Traced> {
    let values: Vec<&Tensor> = parts.iter().map(|part| &part.value).collect();
    let value = Tensor::cat(&values, 0)?;
    let parts = parts.to_vec();
    Ok(tape.record(value, move |gradient, out| {
        let mut at = 0;
        for part in &parts {
            let n = part.value.dim(0)?;
            out.add(part, gradient.narrow(0, at, n)?.contiguous()?)?;
            at += n;
        }
        Ok(())
    }))
}
