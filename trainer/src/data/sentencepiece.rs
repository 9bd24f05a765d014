//! A SentencePiece BPE vocabulary as GGUF files have it (`tokenizer.ggml.model` "llama": Llama 2, TinyLlama, Mistral,
//! Gemma, Phi-3), from pieces with scores to a `tokenizers` pipeline that gives the ids of SentencePiece and llama.cpp.
//!
//! The text is one sequence of characters, spaces written as ▁. Again and again the two neighbours that make the piece
//! of the highest score become that piece, the leftmost of equals first. What is no piece then falls to its bytes.

use anyhow::{Result, bail, ensure};
use std::collections::HashMap;
use tokenizers::{
    AddedToken, Tokenizer,
    decoders::{byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence as Decoders, strip::Strip},
    models::bpe::BPE,
    normalizers::{Prepend, Replace, Sequence as Normalizers},
};

/// How SentencePiece writes a space.
const SPACE: &str = "▁";

/// What a piece is (`tokenizer.ggml.token_type`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    /// Stands for what no piece can spell.
    Unknown,
    /// Has a meaning of its own, such as `</s>`.
    Control,
    /// Is found in a text before anything is merged, and never merged itself.
    UserDefined,
    Unused,
    /// One byte, spelt `<0x0A>`.
    Byte,
}

pub struct Vocabulary<'a> {
    pub pieces: &'a [String],
    pub scores: &'a [f32],
    pub types: &'a [u32],
    /// Whether a text, and what follows a special token, begins with a space that nobody wrote.
    pub adds_space: bool,
    /// Whether special tokens take the blank space behind them, as Phi-3's do.
    pub strips_behind_special: bool,
}

pub fn tokenizer(vocabulary: &Vocabulary<'_>) -> Result<Tokenizer> {
    let pieces = vocabulary.pieces;
    ensure!(
        pieces.len() == vocabulary.scores.len() && pieces.len() == vocabulary.types.len(),
        "the GGUF file has {} pieces, {} scores and {} types of pieces",
        pieces.len(),
        vocabulary.scores.len(),
        vocabulary.types.len()
    );
    let kinds = vocabulary
        .types
        .iter()
        .map(|&number| kind(number))
        .collect::<Result<Vec<_>>>()?;
    let unknown = kinds
        .iter()
        .position(|kind| *kind == Kind::Unknown)
        .map(|at| pieces[at].clone());
    let mut bpe = BPE::builder()
        .vocab_and_merges(
            pieces
                .iter()
                .cloned()
                .zip(0u32..)
                .collect::<tokenizers::models::bpe::Vocab>(),
            merges(pieces, vocabulary.scores, &kinds)?,
        )
        .byte_fallback(kinds.contains(&Kind::Byte))
        .fuse_unk(true);
    if let Some(unknown) = unknown {
        bpe = bpe.unk_token(unknown);
    }
    let mut tokenizer = Tokenizer::new(bpe.build().map_err(anyhow::Error::msg)?);

    let spaces = Replace::new(" ", SPACE).map_err(anyhow::Error::msg)?;
    let mut normalizers = vec![spaces.into()];
    if vocabulary.adds_space {
        normalizers.insert(0, Prepend::new(SPACE.to_owned()).into());
    }
    tokenizer
        .with_normalizer(Some(Normalizers::new(normalizers)))
        .map_err(anyhow::Error::msg)?;
    let mut decoders = vec![
        Replace::new(SPACE, " ").map_err(anyhow::Error::msg)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if vocabulary.adds_space {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_decoder(Some(Decoders::new(decoders)));

    for (piece, kind) in pieces.iter().zip(&kinds) {
        let strips = vocabulary.strips_behind_special && !KEEP_WHAT_FOLLOWS.contains(&piece.as_str());
        let token = AddedToken::from(piece.clone(), true).rstrip(strips);
        let added = match kind {
            Kind::Control | Kind::Unknown => tokenizer.add_special_tokens([token]),
            // Spelt as in the text: spaces are spaces.
            Kind::UserDefined => tokenizer.add_tokens([token.special(false)]),
            Kind::Normal | Kind::Unused | Kind::Byte => continue,
        };
        added.map_err(anyhow::Error::msg)?;
    }
    Ok(tokenizer)
}

/// Phi-3's special tokens that leave the blank space behind them alone.
const KEEP_WHAT_FOLLOWS: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

fn kind(number: u32) -> Result<Kind> {
    Ok(match number {
        1 => Kind::Normal,
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        5 => Kind::Unused,
        6 => Kind::Byte,
        other => bail!("the GGUF file has a piece of the unknown type {other}"),
    })
}

/// Every way to make a normal piece of two others, the piece of the highest score first. Ways to make the same piece
/// differ in where they are found; the longer left one first, as transformers sorts them, comes nearest to "leftmost".
fn merges(pieces: &[String], scores: &[f32], kinds: &[Kind]) -> Result<Vec<(String, String)>> {
    let normal = || (0..pieces.len()).filter(|&at| kinds[at] == Kind::Normal);
    let known: HashMap<&str, f32> = normal().map(|at| (pieces[at].as_str(), scores[at])).collect();
    let mut merges: Vec<(f32, usize, &str, &str)> = Vec::new();
    for at in normal() {
        let piece = pieces[at].as_str();
        for (n_left, (cut, _)) in piece.char_indices().enumerate().skip(1) {
            let (left, right) = piece.split_at(cut);
            if known.contains_key(left) && known.contains_key(right) {
                merges.push((scores[at], n_left, left, right));
            }
        }
    }
    ensure!(
        merges.iter().all(|merge| !merge.0.is_nan()),
        "the GGUF file has pieces whose score is no number"
    );
    let differ = merges.windows(2).any(|two| two[0].0 != two[1].0);
    ensure!(
        merges.len() < 2 || differ,
        "the GGUF file gives all pieces the same score, so that which are merged first is not known; use the model's \
         Hugging Face folder with its tokenizer.json"
    );
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    let owned = |(_, _, left, right): (f32, usize, &str, &str)| (left.to_owned(), right.to_owned());
    Ok(merges.into_iter().map(owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[&str], scores: &[f32], types: &[u32]) -> Result<Tokenizer> {
        tokenizer(&Vocabulary {
            pieces: &pieces.iter().map(|&piece| piece.to_owned()).collect::<Vec<_>>(),
            scores,
            types,
            adds_space: false,
            strips_behind_special: false,
        })
    }

    #[test]
    fn the_best_piece_is_merged_first_and_an_unused_one_never() {
        let pieces = ["<unk>", "a", "b", "c", "ab", "bc", "abc"];
        let ids = |scores: &[f32], types: &[u32]| {
            let tokenizer = of(&pieces, scores, types).unwrap();
            tokenizer.encode("abcab", false).unwrap().get_ids().to_vec()
        };
        assert_eq!(
            ids(&[0., 0., 0., 0., -2., -1., -3.], &[2, 1, 1, 1, 1, 1, 1]),
            [6, 4]
        );
        assert_eq!(
            ids(&[0., 0., 0., 0., -2., -1., -3.], &[2, 1, 1, 1, 1, 1, 5]),
            [1, 5, 4]
        );
        assert_eq!(
            ids(&[0., 0., 0., 0., -1., -2., -3.], &[2, 1, 1, 1, 1, 1, 5]),
            [4, 3, 4]
        );
    }

    #[test]
    fn a_vocabulary_that_says_too_little_is_refused_in_a_sentence() {
        let pieces = ["a", "b", "ab", "ba"];
        let same = of(&pieces, &[-1000.0; 4], &[1; 4]).unwrap_err().to_string();
        assert!(same.contains("same score") && !same.contains('\n'), "{same}");
        assert!(
            of(&pieces, &[0.0; 3], &[1; 4])
                .unwrap_err()
                .to_string()
                .contains("3 scores")
        );
        assert!(of(&pieces, &[f32::NAN; 4], &[1; 4]).is_err());
        assert!(
            of(&pieces, &[0.0; 4], &[1, 1, 1, 9])
                .unwrap_err()
                .to_string()
                .contains('9')
        );
    }
}
