//! Adapters: the small set of weights that a round trains, over a frozen base model.
//!
//! [`Linear`] is the one place where base and adapter meet. [`peft`] reads and writes PEFT's files.

mod linear;
mod merge;
mod peft;

pub use linear::Linear;
pub use merge::effective;
pub use peft::{CONFIG_FILE, TaskType, WEIGHTS_FILE};

use crate::{model::Model, ops::LowRank, rng::Rng};
use anyhow::{Result, ensure};
use candle_core::{DType, Tensor, Var};
use laurel_protocol::adapter::{AdapterConfig, LINEAR_LAYERS};
use std::collections::BTreeMap;

/// The name of a reward model's score head among the weights.
pub const SCORE: &str = "score.weight";

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
        scaling: f64,
    },
    /// Factors on the outputs, or (`feed_forward`) on the inputs.
    Ia3 {
        factors: Weight,
        feed_forward: bool,
    },
}

/// An adapter: modules by the path of their linear layer, and a score head for reward models.
#[derive(Clone)]
pub struct Adapter {
    pub config: AdapterConfig,
    pub modules: BTreeMap<String, Module>,
    /// `(1, hidden)`
    pub score: Option<Weight>,
}

impl Adapter {
    /// A fresh, trainable adapter, which changes nothing yet: LoRA's A is drawn as PEFT draws it (Kaiming
    /// uniform with a = √5) and B is zero; IA3's factors are one.
    pub fn init(config: &AdapterConfig, model: &Model, rng: &Rng) -> Result<Self> {
        let targets = targets(config);
        let mut modules = BTreeMap::new();
        for linear in model.linears() {
            if !targets.iter().any(|target| target == linear.name()) {
                continue;
            }
            let module = fresh(config, linear, rng)?;
            modules.insert(linear.path.clone(), module);
        }
        ensure!(
            !modules.is_empty(),
            "the adapter's target modules {targets:?} match no layer of the model"
        );
        Ok(Self {
            config: config.clone(),
            modules,
            score: None,
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
                Module::Lora { a, b, scaling } => Module::Lora {
                    a: change(a)?,
                    b: change(b)?,
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
        })
    }

    /// All weights by name, in a fixed order. Names are PEFT's without its prefix.
    pub fn weights(&self) -> Vec<(String, &Weight)> {
        let mut weights = Vec::new();
        for (path, module) in &self.modules {
            match module {
                Module::Lora { a, b, .. } => {
                    weights.push((lora_a(path), a));
                    weights.push((lora_b(path), b));
                }
                Module::Ia3 { factors, .. } => weights.push((ia3(path), factors)),
            }
        }
        weights.extend(self.score.iter().map(|score| (SCORE.to_owned(), score)));
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

    pub(crate) fn low_rank(&self, path: &str) -> Option<(LowRank, bool)> {
        match self.modules.get(path)? {
            Module::Lora { a, b, scaling } => {
                let low_rank = LowRank {
                    a: a.tensor().detach(),
                    b: b.tensor().detach(),
                    scaling: *scaling,
                };
                Some((low_rank, matches!(a, Weight::Trainable(_))))
            }
            Module::Ia3 { .. } => None,
        }
    }
}

fn fresh(config: &AdapterConfig, linear: &Linear, rng: &Rng) -> Result<Module> {
    let (n_out, n_in) = linear.weight.dims2()?;
    let device = linear.weight.device();
    Ok(match config {
        AdapterConfig::Lora { rank, alpha, .. } => {
            let rank = *rank as usize;
            // Kaiming uniform with a = √5 over n_in inputs: the bound is 1 / √n_in.
            let bound = 1.0 / (n_in as f64).sqrt();
            let mut stream = rng.stream(&linear.path, 0);
            let numbers = (0..rank * n_in).map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32);
            let a = Tensor::from_vec(numbers.collect::<Vec<_>>(), (rank, n_in), device)?;
            let b = Tensor::zeros((n_out, rank), DType::F32, device)?;
            Module::Lora {
                a: Weight::Trainable(Var::from_tensor(&a)?),
                b: Weight::Trainable(Var::from_tensor(&b)?),
                scaling: alpha / rank as f64,
            }
        }
        AdapterConfig::Ia3 { .. } => {
            let feed_forward = is_feed_forward(linear.name());
            let width = if feed_forward { n_in } else { n_out };
            let ones = Tensor::ones(width, DType::F32, device)?;
            Module::Ia3 {
                factors: Weight::Trainable(Var::from_tensor(&ones)?),
                feed_forward,
            }
        }
    })
}

/// The layers that an adapter changes: those asked for, else all for LoRA and the paper's for IA3, of which a
/// model has some.
pub(crate) fn targets(config: &AdapterConfig) -> Vec<String> {
    let (asked, default): (_, &[&str]) = match config {
        AdapterConfig::Lora { target_modules, .. } => (target_modules, &LINEAR_LAYERS),
        AdapterConfig::Ia3 { target_modules } => {
            (target_modules, &["k_proj", "v_proj", "qkv_proj", "down_proj"])
        }
    };
    if asked.is_empty() {
        default.iter().map(|&name| name.to_owned()).collect()
    } else {
        asked.clone()
    }
}

/// Whether IA3 scales the input of this layer instead of its output, as in PEFT's defaults.
fn is_feed_forward(layer: &str) -> bool {
    layer == "down_proj"
}

pub(crate) fn lora_a(path: &str) -> String {
    format!("{path}.lora_A.weight")
}

pub(crate) fn lora_b(path: &str) -> String {
    format!("{path}.lora_B.weight")
}

pub(crate) fn ia3(path: &str) -> String {
    format!("{path}.ia3_l")
}
