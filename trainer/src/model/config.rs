//! The shape of a model, whatever file it was read from ([`super::hf`], [`super::gguf`]).

use crate::ops::{Activation, frequencies};
use anyhow::{Result, bail};

/// The kinds of blocks that the decoder computes. SmolLM2 and TinyLlama call themselves Llama.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Llama,
    /// Llama with a window in every block.
    Mistral,
    /// Llama with biases on q, k and v.
    Qwen2,
    /// Llama with a normalisation of each head's query and key.
    Qwen3,
    /// Normalisations before and after attention and feed-forward, capped scores and logits, a window in every
    /// other block.
    Gemma2,
    /// Like Gemma 2 without the caps, with Qwen3's normalisations; blocks with a window have a rotary embedding
    /// of their own.
    Gemma3,
    /// Llama with q, k and v in one layer, and gate and up in one.
    Phi3,
}

/// The shape of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub family: Family,
    pub hidden: usize,
    /// Width of the feed-forward part.
    pub inner: usize,
    pub n_layers: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub max_positions: usize,
    pub rms_eps: f64,
    /// The output layer is the embedding.
    pub tied: bool,
    pub activation: Activation,
    /// The rotary embedding of blocks without a window, and of all where [`Self::windowed_rope`] is none.
    pub rope: RopeShape,
    /// That of the blocks with a window.
    pub windowed_rope: Option<RopeShape>,
    /// Of each block how many tokens one sees, itself included; none for all.
    pub windows: Vec<Option<usize>>,
    /// Factor of the products of queries and keys.
    pub attention_factor: f64,
    /// Caps of the attention scores and of the logits.
    pub attention_cap: Option<f64>,
    pub logit_cap: Option<f64>,
    /// Factor of the embeddings on their way in (not of the tied output layer).
    pub embedding_factor: Option<f64>,
}

/// A rotary embedding: base, how many components of a head turn, and what was done to reach a longer context.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeShape {
    pub theta: f64,
    pub rotary_dim: usize,
    pub scaling: Scaling,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    None,
    /// Every frequency divided by a factor (Chen et al. 2023).
    Linear(f64),
    /// Llama 3.1's: low frequencies divided, high ones kept, those between interpolated.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original_positions: f64,
    },
    /// What each frequency is divided by: a GGUF file holds Llama 3.1's scaling so.
    Divisors(Vec<f32>),
}

impl Family {
    pub const ALL: [Self; 7] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Gemma2,
        Self::Gemma3,
        Self::Phi3,
    ];

    /// `model_type` in Hugging Face's `config.json`.
    pub fn hf_name(self) -> &'static str {
        match self {
            Self::Gemma3 => "gemma3_text",
            Self::Mistral => "mistral",
            other => other.gguf_name(),
        }
    }

    /// `general.architecture` of a GGUF file; Mistral's files say Llama.
    pub fn gguf_name(self) -> &'static str {
        match self {
            Self::Llama | Self::Mistral => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3",
            Self::Phi3 => "phi3",
        }
    }

    pub fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }

    /// Whether each head's query and key are normalised.
    pub fn has_head_norms(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Gemma3)
    }

    /// Whether q, k, v and gate, up are one linear layer each.
    pub fn is_fused(self) -> bool {
        self == Self::Phi3
    }
}

impl RopeShape {
    /// In f32, as the reference implementation computes them.
    pub fn frequencies(&self) -> Vec<f32> {
        let mut frequencies = frequencies(self.theta, self.rotary_dim);
        match &self.scaling {
            Scaling::None => {}
            Scaling::Linear(factor) => frequencies.iter_mut().for_each(|f| *f /= *factor as f32),
            Scaling::Divisors(divisors) => {
                frequencies.iter_mut().zip(divisors).for_each(|(f, d)| *f /= d);
            }
            Scaling::Llama3 {
                factor,
                low,
                high,
                original_positions,
            } => {
                let (factor, low, high) = (*factor as f32, *low as f32, *high as f32);
                let context = *original_positions as f32;
                for f in &mut frequencies {
                    let wave = std::f32::consts::TAU / *f;
                    if wave > context / low {
                        *f /= factor;
                    } else if wave >= context / high {
                        let share = (context / wave - low) / (high - low);
                        *f = (1.0 - share) * *f / factor + share * *f;
                    }
                }
            }
        }
        frequencies
    }

    fn makes_sense(&self, head_dim: usize) -> bool {
        let scaling = match &self.scaling {
            Scaling::None => true,
            Scaling::Linear(factor) => *factor > 0.0,
            Scaling::Divisors(divisors) => {
                divisors.len() == self.rotary_dim / 2 && divisors.iter().all(|divisor| *divisor > 0.0)
            }
            Scaling::Llama3 {
                factor,
                low,
                high,
                original_positions,
            } => *factor > 0.0 && *low > 0.0 && high > low && *original_positions > 0.0,
        };
        scaling
            && self.theta > 0.0
            && self.rotary_dim > 0
            && self.rotary_dim <= head_dim
            && self.rotary_dim.is_multiple_of(2)
    }
}

impl Config {
    /// Refuses shapes that no weights can have. A window as long as the context is none.
    pub fn checked(mut self) -> Result<Self> {
        let sizes = [
            self.hidden,
            self.inner,
            self.n_layers,
            self.n_heads,
            self.n_kv_heads,
            self.head_dim,
            self.vocab,
            self.max_positions,
        ];
        let positive = |number: &Option<f64>| number.is_none_or(|number| number > 0.0);
        let ropes = [Some(&self.rope), self.windowed_rope.as_ref()];
        if sizes.contains(&0)
            || !self.n_heads.is_multiple_of(self.n_kv_heads)
            || !ropes
                .into_iter()
                .flatten()
                .all(|rope| rope.makes_sense(self.head_dim))
            || self.windows.len() != self.n_layers
            || self.windows.contains(&Some(0))
            || !(self.attention_factor > 0.0 && self.attention_factor.is_finite())
            || ![self.attention_cap, self.logit_cap, self.embedding_factor]
                .iter()
                .all(positive)
        {
            bail!("the model's configuration makes no sense: {self:?}");
        }
        for window in &mut self.windows {
            // With its own rotary embedding a block has to be known as windowed all the same.
            *window = window.filter(|&window| window < self.max_positions || self.windowed_rope.is_some());
        }
        Ok(self)
    }

    /// The rotary embedding of a block.
    pub fn rope_of(&self, layer: usize) -> &RopeShape {
        match &self.windowed_rope {
            Some(rope) if self.windows[layer].is_some() => rope,
            _ => &self.rope,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(scaling: Scaling) -> RopeShape {
        RopeShape {
            theta: 10_000.0,
            rotary_dim: 8,
            scaling,
        }
    }

    #[test]
    fn llama3_scaling_keeps_high_frequencies_and_divides_low_ones() {
        // Waves of 6.28, 62.8, 628 and 6283 tokens; with a context of 1000 and factors 1 and 20 the first is
        // high, the second between, the third between, the last low.
        let scaled = shape(Scaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 20.0,
            original_positions: 1000.0,
        });
        let (plain, scaled) = (shape(Scaling::None).frequencies(), scaled.frequencies());
        assert_eq!((scaled[0], scaled[3]), (plain[0], plain[3] / 8.0));
        let share = (1000.0 / 62.831_85 - 1.0) / 19.0;
        let expected = 0.1 * (share + (1.0 - share) / 8.0);
        assert!((scaled[1] - expected as f32).abs() < 1e-7);
    }

    #[test]
    fn divisors_and_linear_scaling_divide() {
        let plain = shape(Scaling::None).frequencies();
        let linear = shape(Scaling::Linear(4.0)).frequencies();
        assert_eq!(linear, plain.iter().map(|f| f / 4.0).collect::<Vec<_>>());
        let divided = shape(Scaling::Divisors(vec![4.0; 4])).frequencies();
        assert_eq!(linear, divided);
    }
}
