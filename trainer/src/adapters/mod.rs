//! Adapters: the small set of weights that a round trains, over a frozen base model.
//!
//! [`Linear`] is the one place where base and adapter meet; [`effective`] is the layer that comes of the two. [`peft`]
//! reads and writes PEFT's files, [`Head`] those of heads.

mod heads;
mod linear;
mod merge;
mod peft;
mod peft_config;
mod select;

pub use heads::Head;
pub use linear::Linear;
pub use merge::effective;
pub use peft::{WEIGHTS_FILE, read_config};
pub use peft_config::{CONFIG_FILE, TaskType};
pub(crate) use select::Sizes;

use crate::{
    model::{Layer, Model},
    ops::{LowRank, Mask, weight_norm},
    rng::Rng,
};
use anyhow::{Result, ensure};
use candle_core::{DType, Tensor, Var};
use laurel_protocol::adapter::{AdapterConfig, LoraConfig, LoraInit};
use select::{Ranks, ScalesInputs, Selection};
use std::collections::BTreeMap;

/// The name of a reward model's score head among the weights.
pub const SCORE: &str = "score.weight";
/// The name of a policy's value head among the weights.
pub const VALUE: &str = "value.weight";

/// A weight of an adapter: trained, or fixed.
#[derive(Clone)]
pub enum Weight {
    Trainable(Var),
    Frozen(Tensor),
}

impl Weight {
    pub fn tensor(&self) -> &Tensor {
        match self {
            Self::Trainable(var) => var.as_tensor(),
            Self::Frozen(tensor) => tensor,
        }
    }
}

/// What an adapter does to one linear layer.
#[derive(Clone)]
pub enum Module {
    Lora {
        a: Weight,
        b: Weight,
        /// DoRA's, `(out,)`.
        magnitude: Option<Weight>,
        scaling: f64,
    },
    /// Factors on the outputs, or (`feed_forward`) on the inputs.
    Ia3 { factors: Weight, feed_forward: bool },
}

impl Module {
    /// Whether it is IA3's kind with factors on the inputs.
    fn scales_inputs(&self) -> bool {
        matches!(
            self,
            Self::Ia3 {
                feed_forward: true,
                ..
            }
        )
    }
}

/// An adapter: modules by the path of their linear layer, a score head for reward models, and a value head for policies
/// that PPO trains.
#[derive(Clone)]
pub struct Adapter {
    pub config: AdapterConfig,
    pub modules: BTreeMap<String, Module>,
    /// `(1, hidden)`
    pub score: Option<Weight>,
    /// `(1, hidden)`
    pub value: Option<Weight>,
}

impl Adapter {
    /// A fresh, trainable adapter, which changes nothing yet: LoRA's A is drawn as PEFT draws it (Kaiming
    /// uniform with a = √5) and B is zero, DoRA's magnitudes are the rows' lengths; IA3's factors are one.
    pub fn init(config: &AdapterConfig, model: &Model, rng: &Rng) -> Result<Self> {
        let selection = Selection::of(config)?;
        selection.check_blocks(model.layers.len())?;
        let mut taken = Vec::new();
        for linear in model.linears() {
            if selection.takes(&linear.path)? {
                taken.push(linear);
            }
        }
        ensure!(
            !taken.is_empty(),
            "the adapter's target modules {:?} match no layer of the model",
            select::target_modules(config)
        );
        let mut modules = BTreeMap::new();
        match config {
            AdapterConfig::Lora(lora) => {
                let ranks = Ranks::of(lora)?;
                ranks.check_used(taken.iter().map(|linear| linear.path.as_str()))?;
                for linear in taken {
                    modules.insert(linear.path.clone(), fresh_lora(lora, &ranks, linear, rng)?);
                }
            }
            AdapterConfig::Ia3(ia3) => {
                let inputs = ScalesInputs::of(ia3)?;
                for linear in taken {
                    let module = fresh_ia3(linear, inputs.is(&linear.path)?)?;
                    modules.insert(linear.path.clone(), module);
                }
            }
        }
        Ok(Self {
            config: config.clone(),
            modules,
            score: None,
            value: None,
        })
    }

    /// Adds a score head, drawn as `transformers` draws it (normal, deviation 0.02).
    pub fn add_score(&mut self, model: &Model, rng: &Rng) -> Result<()> {
        let mut stream = rng.stream("score head", 0);
        let numbers: Vec<f32> = (0..model.config.hidden)
            .map(|_| (stream.normal() * 0.02) as f32)
            .collect();
        let head = Tensor::from_vec(numbers, (1, model.config.hidden), &model.device)?;
        self.score = Some(Weight::Trainable(Var::from_tensor(&head)?));
        Ok(())
    }

    /// Adds a value head that says 0 of every state.
    pub fn add_value(&mut self, model: &Model) -> Result<()> {
        let head = Tensor::zeros((1, model.config.hidden), DType::F32, &model.device)?;
        self.value = Some(Weight::Trainable(Var::from_tensor(&head)?));
        Ok(())
    }

    /// The same weights, fixed and independent of further training: the reference of a round.
    pub fn frozen_copy(&self) -> Result<Self> {
        self.map(&|tensor| Ok(Weight::Frozen(tensor.detach().copy()?)))
    }

    /// The same weights to train on, in f32 on their device.
    pub fn trainable_copy(&self) -> Result<Self> {
        self.map(&|tensor| {
            let tensor = tensor.detach().to_dtype(DType::F32)?.copy()?;
            Ok(Weight::Trainable(Var::from_tensor(&tensor)?))
        })
    }

    fn map(&self, change: &dyn Fn(&Tensor) -> Result<Weight>) -> Result<Self> {
        let change = |weight: &Weight| change(weight.tensor());
        let mut modules = BTreeMap::new();
        for (path, module) in &self.modules {
            let module = match module {
                Module::Lora {
                    a,
                    b,
                    magnitude,
                    scaling,
                } => Module::Lora {
                    a: change(a)?,
                    b: change(b)?,
                    magnitude: magnitude.as_ref().map(change).transpose()?,
                    scaling: *scaling,
                },
                Module::Ia3 {
                    factors,
                    feed_forward,
                } => Module::Ia3 {
                    factors: change(factors)?,
                    feed_forward: *feed_forward,
                },
            };
            modules.insert(path.clone(), module);
        }
        Ok(Self {
            config: self.config.clone(),
            modules,
            score: self.score.as_ref().map(change).transpose()?,
            value: self.value.as_ref().map(change).transpose()?,
        })
    }

    /// All weights by name, in a fixed order. Names are PEFT's without its prefix.
    pub fn weights(&self) -> Vec<(String, &Weight)> {
        let mut weights = Vec::new();
        for (path, module) in &self.modules {
            match module {
                Module::Lora { a, b, magnitude, .. } => {
                    weights.push((lora_a(path), a));
                    weights.push((lora_b(path), b));
                    let magnitude = magnitude.iter();
                    weights.extend(magnitude.map(|magnitude| (lora_magnitude(path), magnitude)));
                }
                Module::Ia3 { factors, .. } => weights.push((ia3(path), factors)),
            }
        }
        weights.extend(self.score.iter().map(|score| (SCORE.to_owned(), score)));
        weights.extend(self.value.iter().map(|value| (VALUE.to_owned(), value)));
        weights
    }

    /// The trainable weights by name, in a fixed order.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let trainable = self
            .weights()
            .into_iter()
            .filter_map(|(name, weight)| match weight {
                Weight::Trainable(var) => Some((name, var.clone())),
                Weight::Frozen(_) => None,
            });
        trainable.collect()
    }

    /// Whether it changes a layer of the block.
    pub(crate) fn changes(&self, block: &Layer) -> bool {
        block
            .linears()
            .any(|linear| self.modules.contains_key(&linear.path))
    }

    /// Dropout belongs to the round that trains, not to the weights that it starts from.
    pub fn set_dropout(&mut self, dropout: f64) {
        if let AdapterConfig::Lora(lora) = &mut self.config {
            lora.dropout = dropout;
        }
    }
}

/// What LoRA adds to a layer. `mask` is that of a training pass with dropout.
pub(crate) fn low_rank((a, b): (&Weight, &Weight), scaling: f64, mask: Option<Mask>) -> LowRank {
    LowRank {
        a: a.tensor().detach(),
        b: b.tensor().detach(),
        scaling,
        mask,
    }
}

fn fresh_lora(config: &LoraConfig, ranks: &Ranks<'_>, linear: &Linear, rng: &Rng) -> Result<Module> {
    let (n_out, n_in) = linear.weight.dims2()?;
    let device = linear.weight.device();
    let rank = ranks.rank(&linear.path)? as usize;
    let mut stream = rng.stream(&linear.path, 0);
    let mut draw = || match config.init_lora_weights {
        // Kaiming uniform with a = √5 over n_in inputs: the bound is 1 / √n_in.
        LoraInit::Kaiming => (2.0 * stream.uniform() - 1.0) * (1.0 / (n_in as f64).sqrt()),
        LoraInit::Gaussian => stream.normal() / rank as f64,
    };
    let numbers: Vec<f32> = (0..rank * n_in).map(|_| draw() as f32).collect();
    let low_rank = LowRank {
        a: Tensor::from_vec(numbers, (rank, n_in), device)?,
        b: Tensor::zeros((n_out, rank), DType::F32, device)?,
        scaling: ranks.scaling(&linear.path)?,
        mask: None,
    };
    let trainable = |tensor: &Tensor| Ok::<_, anyhow::Error>(Weight::Trainable(Var::from_tensor(tensor)?));
    let magnitude = match config.use_dora {
        true => Some(trainable(&weight_norm(&linear.weight, &low_rank)?)?),
        false => None,
    };
    Ok(Module::Lora {
        a: trainable(&low_rank.a)?,
        b: trainable(&low_rank.b)?,
        magnitude,
        scaling: low_rank.scaling,
    })
}

fn fresh_ia3(linear: &Linear, feed_forward: bool) -> Result<Module> {
    let (n_out, n_in) = linear.weight.dims2()?;
    let width = if feed_forward { n_in } else { n_out };
    let ones = Tensor::ones(width, DType::F32, linear.weight.device())?;
    Ok(Module::Ia3 {
        factors: Weight::Trainable(Var::from_tensor(&ones)?),
        feed_forward,
    })
}

pub(crate) fn lora_a(path: &str) -> String {
    format!("{path}.lora_A.weight")
}

pub(crate) fn lora_b(path: &str) -> String {
    format!("{path}.lora_B.weight")
}

/// PEFT's files have no `.weight` here.
pub(crate) fn lora_magnitude(path: &str) -> String {
    format!("{path}.lora_magnitude_vector")
}

pub(crate) fn ia3(path: &str) -> String {
    format!("{path}.ia3_l")
}

#[cfg(test)]
mod tests;
