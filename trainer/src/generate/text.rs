//! The text of a completion while it grows: characters that several tokens make come out whole, and stop texts are found
//! across the borders of tokens.

use crate::data::{Tokenizer, tokenizer::Decoding};
use anyhow::Result;

/// The text so far. What may still become part of a stop text is held back.
pub struct Text {
    decoding: Decoding,
    stops: Vec<String>,
    text: String,
    /// Bytes of `text` that were handed out.
    released: usize,
    /// Of each token where in `text` it begins.
    starts: Vec<usize>,
}

impl Text {
    pub fn new(stops: &[String]) -> Self {
        Self {
            decoding: Decoding::default(),
            stops: stops.to_vec(),
            text: String::new(),
            released: 0,
            starts: Vec::new(),
        }
    }

    /// Takes the next token. Whether a stop text has come: the text then ends before it.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<bool> {
        let before = self.text.len();
        self.starts.push(before);
        let Some(more) = tokenizer.decode_next(&mut self.decoding, id)? else {
            return Ok(false);
        };
        self.text.push_str(&more);
        // A stop text that is new ends in what is new; where it begins it may be older.
        let found = self.stops.iter().filter_map(|stop| {
            let mut from = (before + 1).saturating_sub(stop.len());
            while !self.text.is_char_boundary(from) {
                from -= 1;
            }
            self.text[from..].find(stop.as_str()).map(|at| from + at)
        });
        let Some(end) = found.min() else {
            return Ok(false);
        };
        self.text.truncate(end);
        Ok(true)
    }

    /// Tokens of which some text is left.
    pub fn n_kept(&self) -> usize {
        self.starts.partition_point(|&start| start < self.text.len())
    }

    /// Where token number `at` begins, in characters.
    pub fn offset(&self, at: usize) -> usize {
        self.text[..self.starts[at].min(self.text.len())].chars().count()
    }

    /// Text that is certain and was not handed out yet, and the number of tokens that are wholly part of what was.
    pub fn release(&mut self) -> (&str, usize) {
        let held = self.stops.iter().map(|stop| overlap(&self.text, stop)).max();
        self.release_to(self.text.len() - held.unwrap_or(0))
    }

    /// The rest, when the completion has ended.
    pub fn release_all(&mut self) -> &str {
        self.release_to(self.text.len()).0
    }

    fn release_to(&mut self, end: usize) -> (&str, usize) {
        let from = self.released;
        self.released = end.max(from);
        // A token ends where the next one begins; the last one at the end of the text. What has no text yet waits.
        let ends = self.starts.iter().skip(1).copied().chain([self.text.len()]);
        let is_whole = |(start, end): &(&usize, usize)| **start < self.released && *end <= self.released;
        let n_whole = self.starts.iter().zip(ends).take_while(is_whole).count();
        (&self.text[from..self.released], n_whole)
    }

    pub fn into_string(self) -> String {
        self.text
    }
}

/// Bytes at the end of `text` with which `stop` begins; not all of it, which would have been found.
fn overlap(text: &str, stop: &str) -> usize {
    let most = stop.len().saturating_sub(1).min(text.len());
    (1..=most)
        .rev()
        .find(|&n| text.as_bytes().ends_with(&stop.as_bytes()[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as tokens, and a few longer ones.
    fn tokenizer() -> Tokenizer {
        crate::data::tokenizer::tests::of_bytes(&["ab", "bc", "cd"])
    }

    /// What comes out token by token, the text at the end, and the tokens that are left.
    fn read(tokenizer: &Tokenizer, ids: &[u32], stops: &[&str]) -> (Vec<String>, String, usize) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut text = Text::new(&stops);
        let mut pieces = Vec::new();
        let mut n_kept = ids.len();
        for &id in ids {
            if text.push(tokenizer, id).unwrap() {
                n_kept = text.n_kept();
                break;
            }
            pieces.push(text.release().0.to_owned());
        }
        pieces.push(text.release_all().to_owned());
        pieces.retain(|piece| !piece.is_empty());
        (pieces, text.into_string(), n_kept)
    }

    #[test]
    fn a_stop_text_is_found_across_tokens_and_what_may_become_one_is_held_back() {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode("xabcdy").unwrap();
        assert_eq!(ids.len(), 4, "x, ab, cd, y");
        let (pieces, text, n_kept) = read(&tokenizer, &ids, &["bc"]);
        // The token of "ab" is the last with text that is kept.
        assert_eq!(
            (pieces, text.as_str(), n_kept),
            (vec!["x".into(), "a".into()], "xa", 2)
        );
        let (pieces, text, n_kept) = read(&tokenizer, &ids, &["abx", "dz"]);
        assert_eq!(
            (pieces, text.as_str(), n_kept),
            (vec!["x".into(), "abc".into(), "dy".into()], "xabcdy", 4)
        );
        // The one that begins first, whichever is named first.
        assert_eq!(read(&tokenizer, &ids, &["d", "cd"]).1, "xab");
        assert_eq!(read(&tokenizer, &ids, &["x"]), (vec![], String::new(), 0));
        assert_eq!(read(&tokenizer, &ids, &["never"]).1, "xabcdy");
    }

    #[test]
    fn characters_of_several_tokens_come_out_whole() {
        let tokenizer = tokenizer();
        let whole = "añ€😀b";
        let ids = tokenizer.encode(whole).unwrap();
        assert_eq!(ids.len(), whole.len(), "a token for each byte");
        let (pieces, text, _) = read(&tokenizer, &ids, &[]);
        assert_eq!((pieces.concat().as_str(), text.as_str()), (whole, whole));
        assert!(
            pieces.iter().all(|piece| piece.chars().count() == 1),
            "{pieces:?}"
        );
        assert_eq!(read(&tokenizer, &ids, &["€"]).1, "añ");
        assert_eq!(read(&tokenizer, &ids, &["€"]).2, 3);
        // What is left of a character at the end is no text.
        assert_eq!(read(&tokenizer, &ids[..ids.len() - 2], &[]).1, "añ€");
    }
}
