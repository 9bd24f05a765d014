//! The decoder: one implementation of the families ([`Family`]), for training and for generation.
//!
//! Weights come from a GGUF file or a Hugging Face folder ([`load`]); they are frozen. What a round trains is
//! in an [`crate::adapters::Adapter`], handed to each call, so that one model in memory serves the policy, the
//! reference and the reward model.
//!
//! Two users:
//! - *Training* calls [`Model::forward`] with a [`Pack`] of sequences (no padding, shared prompts once) and a
//!   [`crate::ops::Tape`] that records what the backward pass needs; then [`Model::logprobs`] for the tokens
//!   that count.
//! - *Generation* keeps its own key/value cache and attention. It walks [`Model::layers`] and uses the parts:
//!   [`Model::embed`], [`crate::ops::rms_norm_value`], [`Linear::forward`] (base and adapter), [`Rope::apply`],
//!   [`crate::ops::gated_value`], [`Model::logits`]. None of these records anything.

mod bundle;
mod config;
mod decoder;
pub(crate) mod gguf;
mod hf;
mod load;
mod pack;
mod shards;
pub mod tiny;

pub use crate::adapters::Linear;
pub use crate::ops::{AttentionRule, Matrix, Rope};
pub use bundle::Bundle;
pub use config::{Config, Family, RopeShape, Scaling};
pub use pack::{Group, Pack, TokenAt};
pub(crate) use shards::weight_files;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use laurel_protocol::Precision;
use std::{ops::Deref, path::Path, sync::Arc};

/// A tensor of a model's files, as it is stored there.
pub struct StoredTensor {
    /// Hugging Face's.
    pub name: String,
    pub shape: Vec<usize>,
    /// For example `bf16` or `q4_1`.
    pub dtype: String,
    pub n_bytes: usize,
}

impl StoredTensor {
    pub fn n_numbers(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What a model's files tell without their weights being read.
pub struct Facts {
    pub config: Config,
    pub is_gguf: bool,
    pub tensors: Vec<StoredTensor>,
}

impl Facts {
    pub fn read(path: &Path) -> Result<Self> {
        let (config, files) = load::open(path)?;
        Ok(Self {
            config,
            is_gguf: !path.is_dir(),
            tensors: files.stored(),
        })
    }
}

/// A base model. Cheap to clone.
#[derive(Clone)]
pub struct Model(Arc<Weights>);

/// The frozen weights of a model.
pub struct Weights {
    pub config: Config,
    pub device: Device,
    /// `(vocab, hidden)`
    pub embedding: Matrix,
    pub layers: Vec<Layer>,
    /// Weight of the last normalisation, `(hidden,)`.
    pub norm: Tensor,
    /// `(vocab, hidden)`; the embedding itself where the two are tied.
    pub head: Matrix,
}

/// One block: attention and feed-forward, each behind a normalisation.
#[derive(Clone)]
pub struct Layer {
    /// `(hidden,)`
    pub attention_norm: Tensor,
    /// Of what attention adds to the hidden states, where the family has it. `(hidden,)`
    pub attention_post_norm: Option<Tensor>,
    /// Of each head's query and key, where the family has them. `(head_dim,)`
    pub query_norm: Option<Tensor>,
    pub key_norm: Option<Tensor>,
    pub qkv: Bundle<Linear, 3>,
    pub rule: AttentionRule,
    pub o: Linear,
    /// `(hidden,)`
    pub feed_forward_norm: Tensor,
    /// Of what the feed-forward part adds, where the family has it. `(hidden,)`
    pub feed_forward_post_norm: Option<Tensor>,
    pub gate_up: Bundle<Linear, 2>,
    pub down: Linear,
}

impl Layer {
    /// The linear layers, in the order of `laurel_protocol`'s `LINEAR_LAYERS`.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        let qkv = self.qkv.layers().iter();
        let gate_up = self.gate_up.layers().iter();
        qkv.chain([&self.o]).chain(gate_up).chain([&self.down])
    }

    pub fn norms(&self) -> impl Iterator<Item = &Tensor> {
        let some = [
            &self.attention_post_norm,
            &self.query_norm,
            &self.key_norm,
            &self.feed_forward_post_norm,
        ];
        [&self.attention_norm, &self.feed_forward_norm]
            .into_iter()
            .chain(some.into_iter().flatten())
    }
}

impl Deref for Model {
    type Target = Weights;

    fn deref(&self) -> &Weights {
        &self.0
    }
}

impl From<Weights> for Model {
    fn from(weights: Weights) -> Self {
        Self(Arc::new(weights))
    }
}

impl Model {
    /// Reads a GGUF file or a Hugging Face folder; all weights become `dtype`.
    pub fn load(path: &Path, device: &Device, dtype: DType) -> Result<Self> {
        load::load(path, device, dtype.into()).map(Self::from)
    }

    /// The same with its matrices held in a precision; normalisations and biases are f32. Nothing else is ever in
    /// memory but one tensor on its way.
    pub fn load_in(path: &Path, device: &Device, precision: Precision) -> Result<Self> {
        load::load(path, device, precision.into()).map(Self::from)
    }

    /// The same model with its linear layers changed; all else is shared.
    pub fn map_linears(&self, mut change: impl FnMut(&Linear) -> Result<Linear>) -> Result<Self> {
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            layers.push(Layer {
                qkv: layer.qkv.try_map(&mut change)?,
                o: change(&layer.o)?,
                gate_up: layer.gate_up.try_map(&mut change)?,
                down: change(&layer.down)?,
                ..layer.clone()
            });
        }
        Ok(Self::from(Weights {
            config: self.config.clone(),
            device: self.device.clone(),
            embedding: self.embedding.clone(),
            layers,
            norm: self.norm.clone(),
            head: self.head.clone(),
        }))
    }

    /// The linear layers of all blocks.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.layers.iter().flat_map(Layer::linears)
    }

    /// Embeddings of token ids, as the first block takes them. Shape: `(ids, hidden)`.
    pub fn embed(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        let embedded = self.embedding.rows(ids)?.to_dtype(self.norm.dtype())?;
        match self.config.embedding_factor {
            // In the tensors' type, which rounds the factor as transformers does.
            Some(factor) => embedded * factor,
            None => Ok(embedded),
        }
    }

    /// The same model with its matrices in other memory, for tests: what [`Model::load_in`] makes of a file.
    #[cfg(test)]
    pub(crate) fn held(&self, change: &dyn Fn(&Matrix) -> Matrix) -> Self {
        let change_linear = |linear: &Linear| {
            Ok::<_, std::convert::Infallible>(Linear {
                weight: change(&linear.weight),
                ..linear.clone()
            })
        };
        let change_layer = |layer: &Layer| {
            let (Ok(qkv), Ok(gate_up)) = (
                layer.qkv.try_map(change_linear),
                layer.gate_up.try_map(change_linear),
            );
            let (Ok(o), Ok(down)) = (change_linear(&layer.o), change_linear(&layer.down));
            Layer {
                qkv,
                o,
                gate_up,
                down,
                ..layer.clone()
            }
        };
        Self::from(Weights {
            config: self.config.clone(),
            device: self.device.clone(),
            embedding: change(&self.embedding),
            layers: self.layers.iter().map(change_layer).collect(),
            norm: self.norm.clone(),
            head: change(&self.head),
        })
    }

    /// Logits of (already normalised) hidden states. Shapes: `(rows, hidden)` to `(rows, vocab)`.
    pub fn logits(&self, hidden: &Tensor) -> candle_core::Result<Tensor> {
        let logits = crate::ops::few_rows_transposed(hidden, &self.head)?;
        match self.config.logit_cap {
            Some(cap) => crate::ops::soft_cap_value(&logits, cap),
            None => Ok(logits),
        }
    }
}
