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
pub mod tiny;

pub use crate::adapters::Linear;
pub use crate::ops::{AttentionRule, Rope};
pub use bundle::Bundle;
pub(crate) use bundle::try_array;
pub use config::{Config, Family, RopeShape, Scaling};
pub(crate) use load::weight_files;
pub use pack::{Group, Pack, TokenAt};

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use laurel_protocol::Precision;
use std::{ops::Deref, path::Path, sync::Arc};

/// A base model. Cheap to clone.
#[derive(Clone)]
pub struct Model(Arc<Weights>);

/// The frozen weights of a model.
pub struct Weights {
    pub config: Config,
    pub device: Device,
    /// `(vocab, hidden)`
    pub embedding: Tensor,
    pub layers: Vec<Layer>,
    /// Weight of the last normalisation, `(hidden,)`.
    pub norm: Tensor,
    /// `(vocab, hidden)`; the embedding itself where the two are tied.
    pub head: Tensor,
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

impl Layer {
    fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let qkv = self.qkv.layers_mut().iter_mut();
        let gate_up = self.gate_up.layers_mut().iter_mut();
        qkv.chain([&mut self.o]).chain(gate_up).chain([&mut self.down])
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
    /// Reads a GGUF file or a Hugging Face folder; quantised weights become `dtype` here.
    pub fn load(path: &Path, device: &Device, dtype: DType) -> Result<Self> {
        load::load(path, device, dtype).map(Self::from)
    }

    /// The same model with its linear layers changed; all else is shared.
    pub fn map_linears(&self, mut change: impl FnMut(&Linear) -> Result<Linear>) -> Result<Self> {
        let mut layers = self.layers.clone();
        for linear in layers.iter_mut().flat_map(Layer::linears_mut) {
            *linear = change(linear)?;
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
        let ids = Tensor::new(ids, &self.device)?;
        let embedded = self
            .embedding
            .index_select(&ids, 0)?
            .to_dtype(self.norm.dtype())?;
        match self.config.embedding_factor {
            // In the tensors' type, which rounds the factor as transformers does.
            Some(factor) => embedded * factor,
            None => Ok(embedded),
        }
    }

    pub fn in_precision(self, precision: Precision) -> Result<Self> {
        match precision {
            Precision::F32 => Ok(self),
            Precision::Bf16 => self.in_bf16(),
        }
    }

    /// The same model with its matrices rounded to bf16, half as large; normalisations and biases stay as they are.
    /// On the CPU only: there the operations multiply f32 activations with bf16 weights.
    fn in_bf16(&self) -> Result<Self> {
        ensure!(
            self.device.is_cpu(),
            "weights in bf16 are for the CPU; on this device choose the precision f32"
        );
        let round = |tensor: &Tensor| tensor.to_dtype(DType::BF16);
        let embedding = round(&self.embedding)?;
        let mut layers = self.layers.clone();
        for layer in &mut layers {
            for linear in layer.linears_mut() {
                linear.weight = round(&linear.weight)?;
            }
        }
        Ok(Self::from(Weights {
            config: self.config.clone(),
            device: self.device.clone(),
            layers,
            norm: self.norm.clone(),
            head: match self.config.tied {
                true => embedding.clone(),
                false => round(&self.head)?,
            },
            embedding,
        }))
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
