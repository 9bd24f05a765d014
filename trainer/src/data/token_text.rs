//! Tokens as a person reads them: each with its own text, even where a character is spread over several.

use super::Tokenizer;
use std::{borrow::Cow, collections::HashMap};

/// Knows how a vocabulary spells its tokens.
pub struct TokenTexts<'a> {
    tokenizer: Cow<'a, Tokenizer>,
    added: HashMap<u32, String>,
    /// Where tokens are bytes, spelt with a printable character each: the byte of each character.
    bytes: Option<HashMap<char, u8>>,
}

impl<'a> TokenTexts<'a> {
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self::of_any(Cow::Borrowed(tokenizer))
    }

    /// The same, kept for longer than the tokenizer.
    pub fn owning(tokenizer: &Tokenizer) -> TokenTexts<'static> {
        TokenTexts::of_any(Cow::Owned(tokenizer.clone()))
    }

    fn of_any(tokenizer: Cow<'a, Tokenizer>) -> Self {
        let vocabulary = tokenizer.vocabulary();
        let added = vocabulary.get_added_tokens_decoder();
        // A decoder may be a list of decoders; its description names them all.
        let decoder = serde_json::to_string(&vocabulary.get_decoder()).unwrap_or_default();
        let added = added.into_iter().map(|(id, token)| (id, token.content)).collect();
        let bytes = decoder.contains("\"ByteLevel\"").then(byte_letters);
        Self {
            tokenizer,
            added,
            bytes,
        }
    }

    /// The text of a token. Bytes that are no whole character stand as `<0xE2>`.
    pub fn of(&self, id: u32) -> String {
        if let Some(text) = self.added.get(&id) {
            return text.clone();
        }
        let Some(spelling) = self.tokenizer.vocabulary().id_to_token(id) else {
            return format!("<{id}>");
        };
        match self.spelt(&spelling) {
            Some(bytes) => bytes
                .utf8_chunks()
                .flat_map(|chunk| {
                    let broken = chunk.invalid().iter().map(|byte| format!("<0x{byte:02X}>"));
                    std::iter::once(chunk.valid().to_owned()).chain(broken)
                })
                .collect(),
            // SentencePiece writes spaces so, and bytes as <0xE2> already.
            None => spelling.replace('▁', " "),
        }
    }

    /// The bytes that a token stands for.
    pub fn bytes(&self, id: u32) -> Vec<u8> {
        if let Some(text) = self.added.get(&id) {
            return text.clone().into_bytes();
        }
        let spelling = self.tokenizer.vocabulary().id_to_token(id).unwrap_or_default();
        if let Some(bytes) = self.spelt(&spelling) {
            return bytes;
        }
        let byte = spelling
            .strip_prefix("<0x")
            .and_then(|rest| rest.strip_suffix('>'));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => vec![byte],
            None => spelling.replace('▁', " ").into_bytes(),
        }
    }

    /// The bytes that the letters of a spelling stand for, where tokens are spelt so.
    fn spelt(&self, spelling: &str) -> Option<Vec<u8>> {
        let letters = self.bytes.as_ref()?;
        spelling
            .chars()
            .map(|letter| letters.get(&letter).copied())
            .collect()
    }
}

/// GPT-2's spelling of bytes: printable ones stand for themselves, the others for the characters from 256 on.
pub(super) fn byte_letters() -> HashMap<char, u8> {
    let mut next = 256;
    let letter = |byte: u8| {
        let stays = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = match stays {
            true => u32::from(byte),
            false => {
                next += 1;
                next - 1
            }
        };
        (char::from_u32(code).unwrap_or(' '), byte)
    };
    (0..=u8::MAX).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spelt_as_in_gpt_2() {
        let letters = byte_letters();
        assert_eq!(letters.len(), 256);
        assert_eq!((letters[&'Ġ'], letters[&'Ċ'], letters[&'a']), (b' ', b'\n', b'a'));
        assert_eq!(letters[&'Ń'], 0xAD, "the last one that does not stand for itself");
    }

    #[test]
    fn a_tokens_bytes_are_what_it_stands_for() {
        let tokenizer = crate::data::tokenizer::tests::of_bytes(&["ab"]);
        let texts = TokenTexts::new(&tokenizer);
        let ids = tokenizer.encode("ab €").unwrap();
        let bytes: Vec<Vec<u8>> = ids.iter().map(|&id| texts.bytes(id)).collect();
        assert_eq!(bytes, [&b"ab"[..], b" ", b"\xE2", b"\x82", b"\xAC"]);
    }
}
