//! Tokens as a person reads them: each with its own text, even where a character is spread over several.

use super::Tokenizer;
use std::collections::HashMap;

/// Knows how a vocabulary spells its tokens.
pub struct TokenTexts<'a> {
    tokenizer: &'a Tokenizer,
    added: HashMap<u32, String>,
    /// Where tokens are bytes, spelt with a printable character each: the byte of each character.
    bytes: Option<HashMap<char, u8>>,
}

impl<'a> TokenTexts<'a> {
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        let vocabulary = tokenizer.vocabulary();
        let added = vocabulary.get_added_tokens_decoder();
        // A decoder may be a list of decoders; its description names them all.
        let decoder = serde_json::to_string(&vocabulary.get_decoder()).unwrap_or_default();
        Self {
            tokenizer,
            added: added.into_iter().map(|(id, token)| (id, token.content)).collect(),
            bytes: decoder.contains("\"ByteLevel\"").then(byte_letters),
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
        let bytes: Option<Vec<u8>> = self.bytes.as_ref().and_then(|letters| {
            spelling
                .chars()
                .map(|letter| letters.get(&letter).copied())
                .collect()
        });
        match bytes {
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
}

/// GPT-2's spelling of bytes: printable ones stand for themselves, the others for the characters from 256 on.
fn byte_letters() -> HashMap<char, u8> {
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
}
