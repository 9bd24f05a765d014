//! The features of a completion: the last hidden state at its last token, which is what a reward model's score head reads.
//! They are those of the latest reward model, or of the base model while there is none.

use crate::{
    adapters::Adapter,
    model::{Config, Model, Pack},
    ops::Tape,
    rounds::PASS_TOKENS,
};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// A prompt with one completion, as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    pub prompt: Vec<u32>,
    pub completion: Vec<u32>,
}

/// What a sequence's features are kept under: the SHA-256 of its tokens.
pub type Key = [u8; 32];

impl Sequence {
    pub fn key(&self) -> Key {
        let mut hash = Sha256::new();
        hash.update((self.prompt.len() as u64).to_le_bytes());
        for id in self.prompt.iter().chain(&self.completion) {
            hash.update(id.to_le_bytes());
        }
        hash.finalize().into()
    }

    /// Whether the model can read all of it.
    pub fn fits(&self, config: &Config) -> bool {
        let n = self.prompt.len() + self.completion.len();
        !self.prompt.is_empty() && n <= config.max_positions
    }
}

/// Consecutive sequences that fit into one pass through the model; a longer one goes alone.
pub fn passes(sequences: &[Sequence]) -> Vec<&[Sequence]> {
    let mut passes = Vec::new();
    let (mut from, mut n_tokens) = (0, 0);
    for (at, sequence) in sequences.iter().enumerate() {
        let shared = at > from && sequences[at - 1].prompt == sequence.prompt;
        let own = sequence.completion.len();
        if at > from && n_tokens + own + if shared { 0 } else { sequence.prompt.len() } > PASS_TOKENS {
            passes.push(&sequences[from..at]);
            (from, n_tokens) = (at, sequence.prompt.len());
        } else if !shared {
            n_tokens += sequence.prompt.len();
        }
        n_tokens += own;
    }
    if from < sequences.len() {
        passes.push(&sequences[from..]);
    }
    passes
}

/// The features of the sequences of one pass, in their order.
pub fn features(model: &Model, adapter: Option<&Adapter>, pass: &[Sequence]) -> Result<Vec<Vec<f32>>> {
    let (mut pack, mut rows) = (Pack::default(), Vec::new());
    for group in pass.chunk_by(|left, right| left.prompt == right.prompt) {
        let completions: Vec<&[u32]> = group.iter().map(|one| one.completion.as_slice()).collect();
        pack.push(&group[0].prompt, &completions);
        let at = pack.groups.len() - 1;
        rows.extend((0..completions.len()).map(|branch| pack.last_row(at, branch)));
    }
    let hidden = model.forward(&Tape::off(), &pack, adapter)?;
    let states = model
        .states(&Tape::off(), &hidden, &rows)?
        .value
        .to_vec2::<f32>()?;
    let odd = states
        .iter()
        .position(|state| state.iter().any(|x| !x.is_finite()));
    ensure!(
        odd.is_none(),
        "the model's state of a completion is no finite number: are its weights sound?"
    );
    Ok(states)
}

/// The features of all of them, pass by pass.
pub fn all(model: &Model, adapter: Option<&Adapter>, sequences: &[Sequence]) -> Result<Vec<Vec<f32>>> {
    let mut states = Vec::with_capacity(sequences.len());
    for pass in passes(sequences) {
        states.extend(features(model, adapter, pass).context("compute features")?);
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tiny;

    fn sequence(prompt: &[u32], completion: &[u32]) -> Sequence {
        Sequence {
            prompt: prompt.to_vec(),
            completion: completion.to_vec(),
        }
    }

    #[test]
    fn features_do_not_depend_on_what_else_is_in_the_pass() {
        let model = tiny::model(0);
        let sequences = [
            sequence(&[1, 2, 3], &[4, 5]),
            sequence(&[1, 2, 3], &[6]),
            sequence(&[7, 8], &[9, 10, 11]),
        ];
        let together = all(&model, None, &sequences).unwrap();
        for (one, expected) in sequences.iter().zip(&together) {
            let alone = &all(&model, None, std::slice::from_ref(one)).unwrap()[0];
            let gap = alone
                .iter()
                .zip(expected)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(gap < 1e-5, "{gap}");
        }
        assert_ne!(together[0], together[1]);
    }

    #[test]
    fn passes_take_all_in_order_and_no_more_than_they_may() {
        let long = vec![1; PASS_TOKENS / 2];
        let mut sequences = Vec::new();
        for n in 0..7 {
            sequences.push(sequence(if n % 3 == 0 { &long } else { &[2, 3] }, &vec![n; 150]));
        }
        let passes = passes(&sequences);
        assert_eq!(passes.concat(), sequences);
        for pass in passes {
            let prompts = pass
                .chunk_by(|a, b| a.prompt == b.prompt)
                .map(|group| group[0].prompt.len());
            let n = prompts.sum::<usize>() + pass.iter().map(|one| one.completion.len()).sum::<usize>();
            assert!(n <= PASS_TOKENS, "{n}");
        }
    }

    #[test]
    fn where_the_prompt_ends_is_part_of_the_key() {
        assert_ne!(sequence(&[1, 2], &[3]).key(), sequence(&[1], &[2, 3]).key());
        assert_eq!(sequence(&[1], &[2]).key(), sequence(&[1], &[2]).key());
    }
}
