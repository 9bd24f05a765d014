//! The forward pass over a pack, differentiable by the adapter: token ids in, hidden states, log-probabilities
//! and last-token states out. Used by the rounds; generation has its own loop over the same layers.

use super::{Layer, Model, Pack, TokenAt};
use crate::{
    adapters::Adapter,
    ops::{Head, Tape, Traced, add, attention, gated, gather_rows, rms_norm, token_logprobs},
};
use candle_core::{Result, Tensor};
use std::sync::Arc;

impl Model {
    /// The hidden states of all rows, before the last normalisation. Shape: `(rows, hidden)`.
    pub fn forward(&self, tape: &Tape, pack: &Pack, adapter: Option<&Adapter>) -> Result<Traced> {
        if let Some(id) = pack.ids.iter().find(|&&id| id as usize >= self.config.vocab) {
            candle_core::bail!(
                "token {id} is outside the model's vocabulary of {}",
                self.config.vocab
            );
        }
        let groups: Arc<[_]> = pack.groups.clone().into();
        let mut hidden = Traced::constant(self.embed(&pack.ids)?);
        let shared = match tape.keeps_checkpoints() {
            true => adapter.map(|adapter| Arc::new(adapter.clone())),
            false => None,
        };
        for (index, layer) in self.layers.iter().enumerate() {
            hidden = match &shared {
                // A block that needs no gradient keeps nothing anyway.
                Some(adapter) if hidden.needs_gradient() || adapter.changes(layer) => {
                    let (model, adapter, groups) = (self.clone(), adapter.clone(), groups.clone());
                    tape.checkpoint(&hidden, move |tape, hidden| {
                        model.block(tape, &model.layers[index], hidden, &groups, Some(&adapter))
                    })?
                }
                _ => self.block(tape, layer, &hidden, &groups, adapter)?,
            };
        }
        Ok(hidden)
    }

    fn block(
        &self,
        tape: &Tape,
        layer: &Layer,
        hidden: &Traced,
        groups: &Arc<[super::Group]>,
        adapter: Option<&Adapter>,
    ) -> Result<Traced> {
        let attended = self.attention(tape, layer, hidden, groups, adapter)?;
        let hidden = add(tape, hidden, &attended)?;
        let fed = self.feed_forward(tape, layer, &hidden, adapter)?;
        add(tape, &hidden, &fed)
    }

    fn attention(
        &self,
        tape: &Tape,
        layer: &Layer,
        hidden: &Traced,
        groups: &Arc<[super::Group]>,
        adapter: Option<&Adapter>,
    ) -> Result<Traced> {
        let x = rms_norm(tape, hidden, &layer.attention_norm, self.config.rms_eps)?;
        // (rows, heads · head_dim), and twice (rows, kv_heads · head_dim)
        let [q, k, v] = layer.qkv.trace(tape, &x, adapter)?;
        let q = self.norm_if_there(tape, q, layer.query_norm.as_ref())?;
        let k = self.norm_if_there(tape, k, layer.key_norm.as_ref())?;
        let attended = attention(tape, (&q, &k, &v), &layer.rule, groups)?;
        let projected = layer.o.trace(tape, &attended, adapter)?;
        self.norm_if_there(tape, projected, layer.attention_post_norm.as_ref())
    }

    fn feed_forward(
        &self,
        tape: &Tape,
        layer: &Layer,
        hidden: &Traced,
        adapter: Option<&Adapter>,
    ) -> Result<Traced> {
        let x = rms_norm(tape, hidden, &layer.feed_forward_norm, self.config.rms_eps)?;
        let [gate, up] = layer.gate_up.trace(tape, &x, adapter)?; // (rows, inner)
        let inner = gated(tape, self.config.activation, &gate, &up)?;
        let fed = layer.down.trace(tape, &inner, adapter)?;
        self.norm_if_there(tape, fed, layer.feed_forward_post_norm.as_ref())
    }

    fn norm_if_there(&self, tape: &Tape, x: Traced, norm: Option<&Tensor>) -> Result<Traced> {
        match norm {
            Some(norm) => rms_norm(tape, &x, norm, self.config.rms_eps),
            None => Ok(x),
        }
    }

    /// Normalised hidden states of some rows; a row may be asked for twice. Shape: `(rows asked for, hidden)`.
    pub fn states(&self, tape: &Tape, hidden: &Traced, rows: &[u32]) -> Result<Traced> {
        let states = gather_rows(tape, hidden, rows)?;
        rms_norm(tape, &states, &self.norm, self.config.rms_eps)
    }

    /// Log-probability of each token, given what stands before it. Shape: `(tokens,)`.
    pub fn logprobs(&self, tape: &Tape, hidden: &Traced, tokens: &[TokenAt]) -> Result<Traced> {
        let rows: Vec<u32> = tokens.iter().map(|at| at.row).collect();
        let tokens: Vec<u32> = tokens.iter().map(|at| at.token).collect();
        let states = self.states(tape, hidden, &rows)?;
        let head = Head {
            weight: &self.head,
            cap: self.config.logit_cap,
        };
        token_logprobs(tape, &states, head, &tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Family, tiny},
        ops::Gradients,
        rng::Rng,
    };
    use candle_core::{DType, quantized::GgmlDType};
    use laurel_protocol::adapter::{AdapterConfig, LoraConfig};

    const PROMPT: [u32; 4] = [3, 14, 15, 9];
    const CHOSEN: [u32; 3] = [2, 6, 5];
    const REJECTED: [u32; 2] = [35, 8];

    fn logps(model: &Model, pack: &Pack, adapter: Option<&Adapter>, wanted: &[(usize, usize)]) -> Vec<f32> {
        let tape = Tape::off();
        let hidden = model.forward(&tape, pack, adapter).unwrap();
        let tokens: Vec<TokenAt> = wanted.iter().flat_map(|&(g, b)| pack.completion(g, b)).collect();
        model
            .logprobs(&tape, &hidden, &tokens)
            .unwrap()
            .value
            .to_vec1()
            .unwrap()
    }

    #[test]
    fn packing_and_prefix_sharing_change_no_log_probability() {
        for family in Family::ALL {
            let model = tiny::of(family, 0);
            let mut packed = Pack::default();
            packed.push(&[7, 7], &[&[1, 2, 3]]);
            packed.push(&PROMPT, &[&CHOSEN, &REJECTED]);
            let together = logps(&model, &packed, None, &[(1, 0), (1, 1)]);
            let mut alone = Vec::new();
            for completion in [CHOSEN.as_slice(), &REJECTED] {
                let mut pack = Pack::default();
                pack.push(&PROMPT, &[completion]);
                alone.extend(logps(&model, &pack, None, &[(0, 0)]));
            }
            for (packed, alone) in together.iter().zip(&alone) {
                assert!(
                    (packed - alone).abs() < 1e-5,
                    "{family:?}: {packed} against {alone}"
                );
            }
        }
    }

    #[test]
    fn probabilities_of_all_tokens_sum_to_one() {
        let model = tiny::of(Family::Gemma2, 0);
        let mut pack = Pack::default();
        pack.push(&PROMPT, &[]);
        let hidden = model.forward(&Tape::off(), &pack, None).unwrap();
        let tokens: Vec<TokenAt> = (0..model.config.vocab as u32)
            .map(|token| TokenAt { row: 3, token })
            .collect();
        let logps = model.logprobs(&Tape::off(), &hidden, &tokens).unwrap();
        let total = logps
            .value
            .exp()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap();
        assert!((total - 1.0).abs() < 1e-5);
    }

    #[test]
    fn fresh_adapters_change_nothing() {
        let model = tiny::model(0);
        let mut pack = Pack::default();
        pack.push(&PROMPT, &[&CHOSEN]);
        let base = logps(&model, &pack, None, &[(0, 0)]);
        let dora = AdapterConfig::Lora(LoraConfig {
            use_dora: true,
            ..LoraConfig::default()
        });
        for config in [AdapterConfig::default(), dora, AdapterConfig::ia3()] {
            let adapter = Adapter::init(&config, &model, &Rng::new(1)).unwrap();
            assert_eq!(logps(&model, &pack, Some(&adapter), &[(0, 0)]), base);
        }
    }

    /// The sum of the completions' log-probabilities, and its gradients.
    fn gradients(model: &Model, adapter: &Adapter) -> (f32, Gradients) {
        gradients_by(Tape::recording(), model, adapter)
    }

    fn gradients_by(tape: Tape, model: &Model, adapter: &Adapter) -> (f32, Gradients) {
        let mut pack = Pack::default();
        pack.push(&PROMPT, &[&CHOSEN, &REJECTED]);
        let hidden = model.forward(&tape, &pack, Some(adapter)).unwrap();
        let tokens: Vec<TokenAt> = pack.completion(0, 0).chain(pack.completion(0, 1)).collect();
        let logps = model.logprobs(&tape, &hidden, &tokens).unwrap();
        let sum = logps.value.sum_all().unwrap().to_scalar().unwrap();
        let mut gradients = Gradients::default();
        let ones = Tensor::ones_like(&logps.value).unwrap();
        tape.backward(&logps, ones, &mut gradients).unwrap();
        (sum, gradients)
    }

    #[test]
    fn a_quantised_model_is_the_model_of_its_numbers_bit_for_bit() {
        let adapter = |model: &Model| {
            let adapter = Adapter::init(&AdapterConfig::default(), model, &Rng::new(1)).unwrap();
            tiny::disturb(&adapter, 0.2);
            adapter
        };
        for dtype in [GgmlDType::Q4_0, GgmlDType::Q8_0] {
            let quantised = tiny::wide(0).held(&|matrix| matrix.quantise(dtype).unwrap());
            let numbers = quantised.held(&|matrix| matrix.to_dtype(DType::F32).unwrap().into());
            let (sum, ours) = gradients(&quantised, &adapter(&quantised));
            let (expected, theirs) = gradients(&numbers, &adapter(&numbers));
            assert_eq!(sum, expected);
            assert_eq!(ours.0.len(), theirs.0.len());
            for (name, ours) in &ours.0 {
                let bits = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(bits(ours), bits(&theirs.0[name]), "{name}");
            }
        }
    }

    #[test]
    fn checkpointing_changes_no_bit_of_a_gradient() {
        let some = |layer: &str| {
            AdapterConfig::Lora(LoraConfig {
                rank: 2,
                target_modules: [layer].as_slice().into(),
                ..LoraConfig::default()
            })
        };
        for family in Family::ALL {
            let model = tiny::of(family, 0);
            let some = some(if family.is_fused() { "qkv_proj" } else { "v_proj" });
            for config in [AdapterConfig::lora(2, 8.0), some.clone(), AdapterConfig::ia3()] {
                let mut adapter = Adapter::init(&config, &model, &Rng::new(1)).unwrap();
                if config == some {
                    // The first block keeps nothing, the second has no gradient of its input.
                    adapter.modules.retain(|path, _| path.contains("layers.1."));
                }
                tiny::disturb(&adapter, 0.3);
                let (whole, ours) = gradients(&model, &adapter);
                let (again, theirs) = gradients_by(Tape::recording().checkpointing(), &model, &adapter);
                assert_eq!(whole.to_bits(), again.to_bits());
                assert_eq!(ours.0.len(), adapter.variables().len());
                assert!(ours.0.keys().eq(theirs.0.keys()));
                for (name, ours) in &ours.0 {
                    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    assert_eq!(numbers(ours), numbers(&theirs.0[name]), "{family:?}, {name}");
                }
            }
        }
    }

    /// Along its gradient each weight's slope is the gradient's length.
    fn gradients_are_slopes(family: Family) {
        let model = tiny::of(family, 0);
        for config in [AdapterConfig::lora(2, 8.0), AdapterConfig::ia3()] {
            let adapter = Adapter::init(&config, &model, &Rng::new(1)).unwrap();
            tiny::disturb(&adapter, 0.3);
            let (_, gradients) = gradients(&model, &adapter);
            let variables = adapter.variables();
            assert_eq!(gradients.0.len(), variables.len(), "every weight has a gradient");
            for (name, var) in &variables {
                let gradient = &gradients.0[name];
                let size = gradient
                    .sqr()
                    .unwrap()
                    .sum_all()
                    .unwrap()
                    .to_scalar::<f32>()
                    .unwrap()
                    .sqrt();
                let direction = (gradient / f64::from(size)).unwrap();
                let start = var.as_tensor().copy().unwrap();
                let step = (0.015 / f64::from(size)).min(2e-2);
                let moved = |sign: f64| {
                    var.set(&(&start + (&direction * (sign * step)).unwrap()).unwrap())
                        .unwrap();
                    f64::from(self::gradients(&model, &adapter).0)
                };
                let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
                var.set(&start).unwrap();
                assert!(
                    (slope - f64::from(size)).abs() < 0.02 * f64::from(size).max(0.05),
                    "{family:?}, {name}: {slope} against {size}"
                );
            }
        }
    }

    #[test]
    fn every_adapter_weight_has_the_gradient_that_finite_differences_give() {
        for family in Family::ALL {
            gradients_are_slopes(family);
        }
    }
}
