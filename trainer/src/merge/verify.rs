//! How far the merged model is from the base with its adapter: log-probabilities of every token of the vocabulary at
//! every position of some sequences.

use crate::{
    adapters::Adapter,
    data::Tokenizer,
    model::{Model, Pack},
    ops::Tape,
    rng::Rng,
};
use anyhow::{Context, Result, ensure};
use candle_core::{D, DType, Tensor};
use serde::Serialize;

/// Words, digits, accents, another script, code and white space: what tokenizers treat differently.
pub const TEXT: &str = "The quick brown fox jumps over 13 lazy dogs; it's 2024's 100,000th time, isn't it?\n\n\
    Où est l'été? Straße, naïve café, Привет мир, 你好世界, नमस्ते 🙂👍\n\tdef f(x):\n        return x ** 2   # sum\r\n  end.";

/// Tokens of a sequence at most.
const LONGEST: usize = 64;

/// What two models say of the same tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The largest of a log-probability (for a reward model: of a score).
    pub largest: f64,
    /// Mean over positions of the Kullback-Leibler divergence, in nats; 0 for a reward model.
    pub divergence: f64,
    /// Share of positions at which both find the same token likeliest; 1 for a reward model.
    pub top1_agreement: f64,
}

/// What a model says: log-probabilities, `(positions, vocab)`, or scores, `(positions, 1)`.
pub struct Said {
    values: Tensor,
    is_score: bool,
}

/// The sequences that models are compared on: a text where there is a tokenizer, and random tokens.
pub fn sequences(model: &Model, tokenizer: Option<&Tokenizer>) -> Result<Vec<Vec<u32>>> {
    let longest = LONGEST.min(model.config.max_positions);
    let mut stream = Rng::new(0).stream("merge", 0);
    let random =
        |_| ((stream.uniform() * model.config.vocab as f64) as u32).min(model.config.vocab as u32 - 1);
    let mut sequences = vec![(0..longest).map(random).collect::<Vec<_>>()];
    if let Some(tokenizer) = tokenizer {
        let mut ids = tokenizer.encode(TEXT)?;
        ids.truncate(longest);
        sequences.push(ids);
    }
    Ok(sequences)
}

/// Runs the sequences through the model; with `score`, a reward model's head `(1, hidden)`.
pub fn run(
    model: &Model,
    adapter: Option<&Adapter>,
    score: Option<&Tensor>,
    sequences: &[Vec<u32>],
) -> Result<Said> {
    let mut values = Vec::new();
    for ids in sequences {
        let mut pack = Pack::default();
        pack.push(ids, &[]);
        let hidden = model.forward(&Tape::off(), &pack, adapter)?;
        let rows: Vec<u32> = (0..ids.len() as u32).collect();
        let states = model.states(&Tape::off(), &hidden, &rows)?.value;
        values.push(match score {
            Some(score) => states.matmul(&score.t()?)?,
            None => log_softmax(&model.logits(&states)?)?,
        });
    }
    Ok(Said {
        values: Tensor::cat(&values, 0)?,
        is_score: score.is_some(),
    })
}

impl Said {
    /// Of a reward model: the size of its largest score.
    pub fn largest_score(&self) -> Option<f64> {
        let largest = self
            .values
            .abs()
            .and_then(|sizes| sizes.max_all())
            .and_then(|largest| largest.to_scalar::<f32>());
        self.is_score.then_some(largest.map_or(0.0, f64::from))
    }

    pub fn n_positions(&self) -> usize {
        self.values.dims()[0]
    }

    /// How far `other` is from what this model says.
    pub fn difference(&self, other: &Self) -> Result<Difference> {
        let (ours, theirs) = (&self.values, &other.values);
        ensure!(
            ours.dims() == theirs.dims(),
            "the models differ in shape: {:?} against {:?}",
            ours.dims(),
            theirs.dims()
        );
        let apart = (ours - theirs)?;
        // A comparison with NaN must not pass, and `max` would drop it.
        let sum = apart.sum_all()?.to_scalar::<f32>()?;
        ensure!(
            sum.is_finite(),
            "a model's logits are not finite: the weights overflow"
        );
        let largest = f64::from(apart.abs()?.max_all()?.to_scalar::<f32>()?);
        if self.is_score {
            return Ok(Difference {
                largest,
                divergence: 0.0,
                top1_agreement: 1.0,
            });
        }
        let divergence = (ours.exp()? * &apart)?.sum_all()?.to_scalar::<f32>()?;
        let same = ours.argmax(D::Minus1)?.eq(&theirs.argmax(D::Minus1)?)?;
        let n = self.n_positions() as f64;
        Ok(Difference {
            largest,
            divergence: f64::from(divergence.max(0.0)) / n,
            top1_agreement: f64::from(same.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?) / n,
        })
    }
}

fn log_softmax(logits: &Tensor) -> candle_core::Result<Tensor> {
    let logits = logits.to_dtype(DType::F32)?;
    logits.broadcast_sub(&logits.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)
}

/// Texts become the same tokens with both tokenizers, and tokens the same text.
pub fn same_tokenizer(ours: &Tokenizer, written: &Tokenizer) -> Result<()> {
    let ids = ours.encode(TEXT)?;
    ensure!(
        ids == written.encode(TEXT)?,
        "the written tokenizer splits a text into other tokens than the base model's"
    );
    ensure!(
        ours.decode(&ids)? == written.decode(&ids)?,
        "the written tokenizer turns tokens into another text than the base model's"
    );
    let question = [laurel_protocol::Message::user(TEXT)];
    let (ours, written) = (ours.prompt_ids(&question), written.prompt_ids(&question));
    if let Ok(ours) = ours {
        let written = written.context("the written tokenizer has no chat template")?;
        ensure!(
            ours == written,
            "the written chat template gives other tokens than the base model's"
        );
    }
    Ok(())
}
