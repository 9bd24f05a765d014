//! Who labels: VADER's sentiment lexicon and rules (Hutto and Gilbert 2014), which know nothing of the model. The lexicon
//! comes as a package; the rules are those of vaderSentiment 3.3.2, number for number.

mod rules;

use self::rules::Word;
use std::{collections::HashMap, sync::OnceLock};
use vader_sentiment::{EMOJI_LEXICON, LEXICON};

/// So much a score of 1 takes: the sum of valences is squashed by x / √(x² + α).
const ALPHA: f64 = 15.0;
/// Words that vaderSentiment has and the package has not yet.
const ADDED: [(&str, f64); 2] = [("heart", 3.2), ("hearts", 3.3)];
const EXCLAMATION: f64 = 0.292;
const QUESTION: f64 = 0.18;
const MANY_QUESTIONS: f64 = 0.96;

/// VADER's compound score of a text, from −1 to 1, rounded to four digits as there.
pub fn score(text: &str) -> f64 {
    let text = with_emoji_in_words(text);
    let text = text.trim();
    let words: Vec<Word> = text.split_whitespace().map(Word::of).collect();
    let sum: f64 = rules::valences(&words, lexicon()).iter().sum();
    let sum = match sum {
        s if s > 0.0 => s + emphasis(text),
        s if s < 0.0 => s - emphasis(text),
        s => s,
    };
    (sum / (sum * sum + ALPHA).sqrt() * 1e4).round() / 1e4
}

/// The mean valence that people gave each word.
fn lexicon() -> &'static HashMap<&'static str, f64> {
    static WORDS: OnceLock<HashMap<&'static str, f64>> = OnceLock::new();
    WORDS.get_or_init(|| {
        LEXICON
            .iter()
            .map(|(word, valence)| (word.into_inner(), *valence))
            .chain(ADDED)
            .collect()
    })
}

/// Each emoji becomes its description.
fn with_emoji_in_words(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    let mut is_behind_space = true;
    for character in text.chars() {
        match EMOJI_LEXICON.get(character.encode_utf8(&mut [0; 4]) as &str) {
            Some(description) => {
                if !is_behind_space {
                    words.push(' ');
                }
                words.push_str(description);
                is_behind_space = false;
            }
            None => {
                words.push(character);
                is_behind_space = character == ' ';
            }
        }
    }
    words
}

/// What exclamation and question marks add.
fn emphasis(text: &str) -> f64 {
    let exclamations = text.matches('!').count().min(4) as f64 * EXCLAMATION;
    let questions = match text.matches('?').count() {
        0 | 1 => 0.0,
        n @ (2 | 3) => n as f64 * QUESTION,
        _ => MANY_QUESTIONS,
    };
    exclamations + questions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_vaders() {
        // By tests/parity/vader.py.
        let golden: Vec<(String, f64)> = serde_json::from_str(include_str!("golden.json")).unwrap();
        assert!(golden.len() > 100);
        for (text, compound) in golden {
            let found = score(&text);
            assert!(
                (found - compound).abs() < 1.5e-4,
                "{text:?}: {found} for {compound}"
            );
        }
    }

    #[test]
    fn a_text_without_words_is_neutral() {
        for text in ["", " \n", ".", "a"] {
            assert_eq!(score(text), 0.0);
        }
    }
}
