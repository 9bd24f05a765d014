//! The optimiser: AdamW as PyTorch computes it, learning-rate schedules, clipping. Its state has names and can
//! be saved.
//!
//! [`AdamW::step`] is the one place where the gradients of a step are complete: averaging over several machines
//! belongs at its start.

use crate::ops::Gradients;
use anyhow::{Context, Result, ensure};
use candle_core::{Tensor, Var};
use laurel_protocol::round::{Hyper, RoundKind, Schedule};
use std::collections::BTreeMap;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPS: f64 = 1e-8;
/// In a PPO round, as in OpenAI's and TRL's: at the start most moments are tiny.
const PPO_EPS: f64 = 1e-5;

/// AdamW (Loshchilov and Hutter 2019).
pub struct AdamW {
    variables: Vec<(String, Var)>,
    /// First and second moments by the weight's name.
    moments: BTreeMap<String, (Tensor, Tensor)>,
    weight_decay: f64,
    max_grad_norm: f64,
    eps: f64,
    pub n_steps: u64,
}

impl AdamW {
    pub fn new(variables: Vec<(String, Var)>, hyper: &Hyper) -> Result<Self> {
        let mut moments = BTreeMap::new();
        for (name, var) in &variables {
            moments.insert(name.clone(), (var.zeros_like()?, var.zeros_like()?));
        }
        Ok(Self {
            variables,
            moments,
            weight_decay: hyper.weight_decay,
            max_grad_norm: hyper.max_grad_norm,
            eps: match hyper.loss.kind() {
                RoundKind::Ppo => PPO_EPS,
                _ => EPS,
            },
            n_steps: 0,
        })
    }

    /// One step; returns the gradients' global norm before clipping. A weight without a gradient, or a norm
    /// that is no number, is an error and changes nothing.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<f64> {
        let norm = global_norm(&self.variables, gradients)?;
        ensure!(norm.is_finite(), "the gradient is not a finite number");
        let clip = match self.max_grad_norm {
            limit if limit > 0.0 => (limit / (norm + 1e-6)).min(1.0),
            _ => 1.0,
        };
        self.n_steps += 1;
        let (correct_1, correct_2) = (
            1.0 - power(BETA_1, self.n_steps),
            1.0 - power(BETA_2, self.n_steps),
        );
        for (name, var) in &self.variables {
            let gradient = (&gradients.0[name] * clip)?;
            let (first, second) = self.moments.get_mut(name).context("a moment for every weight")?;
            *first = ((&*first * BETA_1)? + (&gradient * (1.0 - BETA_1))?)?;
            *second = ((&*second * BETA_2)? + (gradient.sqr()? * (1.0 - BETA_2))?)?;
            let decayed = (var.as_tensor() * (1.0 - learning_rate * self.weight_decay))?;
            let scale = ((second.sqrt()? / correct_2.sqrt())? + self.eps)?;
            let update = ((&*first / scale)? * (learning_rate / correct_1))?;
            var.set(&(decayed - update)?)?;
        }
        Ok(norm)
    }

    /// The moments by name, to be saved.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        for (name, (first, second)) in &self.moments {
            state.insert(format!("first.{name}"), first.clone());
            state.insert(format!("second.{name}"), second.clone());
        }
        state
    }

    pub fn restore(
        &mut self,
        mut state: std::collections::HashMap<String, Tensor>,
        n_steps: u64,
    ) -> Result<()> {
        for (name, (first, second)) in &mut self.moments {
            for (kind, moment) in [("first", first), ("second", second)] {
                let saved = state
                    .remove(&format!("{kind}.{name}"))
                    .with_context(|| format!("the checkpoint has no {kind} moment of {name:?}"))?;
                ensure!(
                    saved.dims() == moment.dims(),
                    "the checkpoint's {kind} moment of {name:?} has another shape"
                );
                *moment = saved;
            }
        }
        self.n_steps = n_steps;
        Ok(())
    }
}

fn global_norm(variables: &[(String, Var)], gradients: &Gradients) -> Result<f64> {
    let mut sum = 0.0;
    for (name, _) in variables {
        let gradient = gradients.0.get(name).with_context(|| {
            format!("the weight {name:?} has no gradient: it would silently stay as it is")
        })?;
        sum += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok(sum.sqrt())
}

fn power(base: f64, exponent: u64) -> f64 {
    base.powf(exponent as f64)
}

/// The learning rate of step `step` (from 0) of `n_steps`: a linear rise, then the schedule. The rise begins
/// above 0, and no schedule comes down to 0 within the steps.
pub fn learning_rate(hyper: &Hyper, step: u64, n_steps: u64) -> f64 {
    let warmup = (hyper.warmup * n_steps as f64).ceil() as u64;
    if step < warmup {
        return hyper.learning_rate * (step + 1) as f64 / (warmup + 1) as f64;
    }
    let done = (step - warmup) as f64 / (n_steps - warmup).max(1) as f64;
    hyper.learning_rate
        * match hyper.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - done,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn gradients(values: &[f32]) -> Gradients {
        let mut gradients = Gradients::default();
        gradients
            .add("w", Tensor::new(values, &Device::Cpu).unwrap())
            .unwrap();
        gradients
    }

    #[test]
    fn three_steps_follow_the_rule_that_pytorch_documents() {
        // w = torch.tensor([1., -2.]); AdamW([w], lr=0.1, weight_decay=0.01); gradients [.5, -1], [.25, 2], [-1, 0]
        let var = Var::new(&[1.0f32, -2.0], &Device::Cpu).unwrap();
        let hyper = Hyper {
            weight_decay: 0.01,
            max_grad_norm: 0.0,
            ..Hyper::default()
        };
        let mut optimiser = AdamW::new(vec![("w".into(), var.clone())], &hyper).unwrap();
        for values in [[0.5, -1.0], [0.25, 2.0], [-1.0, 0.0]] {
            optimiser.step(&gradients(&values), 0.1).unwrap();
        }
        let expected = expected_adamw();
        for (ours, theirs) in var.to_vec1::<f32>().unwrap().iter().zip(expected) {
            assert!(
                (f64::from(*ours) - theirs).abs() < 1e-6,
                "{ours} against {theirs}"
            );
        }
    }

    /// The update rule of PyTorch's documentation, number by number.
    fn expected_adamw() -> [f64; 2] {
        let steps = [[0.5, -1.0], [0.25, 2.0], [-1.0, 0.0]];
        let mut weights = [1.0f64, -2.0];
        for (i, w) in weights.iter_mut().enumerate() {
            let (mut m, mut v) = (0.0, 0.0);
            for (t, step) in steps.iter().enumerate() {
                let (g, t): (f64, i32) = (step[i], t as i32 + 1);
                *w -= 0.1 * 0.01 * *w;
                m = 0.9 * m + 0.1 * g;
                v = 0.999 * v + 0.001 * g * g;
                let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
                *w -= 0.1 * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
        weights
    }

    #[test]
    fn missing_and_infinite_gradients_are_errors_and_change_nothing() {
        let var = Var::new(&[1.0f32], &Device::Cpu).unwrap();
        let mut optimiser = AdamW::new(vec![("w".into(), var.clone())], &Hyper::default()).unwrap();
        let error = optimiser.step(&Gradients::default(), 0.1).unwrap_err();
        assert!(error.to_string().contains("\"w\""));
        assert!(optimiser.step(&gradients(&[f32::NAN]), 0.1).is_err());
        assert_eq!(var.to_vec1::<f32>().unwrap(), [1.0]);
    }

    #[test]
    fn learning_rate_rises_then_falls() {
        let hyper = Hyper {
            learning_rate: 1.0,
            warmup: 0.2,
            ..Hyper::default()
        };
        let rates: Vec<f64> = (0..10).map(|step| learning_rate(&hyper, step, 10)).collect();
        assert!(rates[0] > 0.0 && rates[0] < rates[1] && rates[1] < rates[2]);
        assert_eq!(rates[2], 1.0);
        assert!(rates[9] < rates[8] && rates[9] > 0.0);
    }
}
