//! The decoder: one implementation of the Llama-shaped families, for training and for generation.
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
//!   [`crate::ops::swiglu_value`], [`Model::logits`]. None of these records anything.

mod config;
mod decoder;
mod gguf;
mod load;
mod pack;
pub mod tiny;

pub use crate::adapters::Linear;
pub use crate::ops::Rope;
pub use config::Config;
pub use pack::{Group, Pack, TokenAt};

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use laurel_protocol::round::Precision;
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
    pub rope: Rope,
}

/// One block: attention and feed-forward, each behind a normalisation.
#[derive(Clone)]
pub struct Layer {
    /// `(hidden,)`
    pub attention_norm: Tensor,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub o: Linear,
    /// `(hidden,)`
    pub feed_forward_norm: Tensor,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

impl Layer {
    /// The seven linear layers, in the order of `laurel_protocol`'s `LINEAR_LAYERS`.
    pub fn linears(&self) -> [&Linear; 7] {
        [
            &self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down,
        ]
    }
}

impl Layer {
    fn linears_mut(&mut self) -> [&mut Linear; 7] {
        [
            &mut self.q,
            &mut self.k,
            &mut self.v,
            &mut self.o,
            &mut self.gate,
            &mut self.up,
            &mut self.down,
        ]
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

    /// Embeddings of token ids. Shape: `(ids, hidden)`.
    pub fn embed(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        let ids = Tensor::new(ids, &self.device)?;
        self.embedding.index_select(&ids, 0)?.to_dtype(self.norm.dtype())
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
            rope: self.rope.clone(),
        }))
    }

    /// Logits of (already normalised) hidden states. Shapes: `(rows, hidden)` to `(rows, vocab)`.
    pub fn logits(&self, hidden: &Tensor) -> candle_core::Result<Tensor> {
        crate::ops::few_rows_transposed(hidden, &self.head)
    }
}
