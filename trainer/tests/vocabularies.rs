//! SentencePiece vocabularies in GGUF files: the ids of llama.cpp, which are SentencePiece's own where no special token
//! stands in the text. `parity/vocabularies.py` made files and numbers.

#![allow(clippy::unwrap_used)]

use laurel_trainer::data::{TokenTexts, Tokenizer};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::PathBuf};

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity/vocabularies")
}

fn read(name: &str) -> Tokenizer {
    Tokenizer::read(&folder().join(format!("{name}.gguf")))
        .unwrap_or_else(|error| panic!("{name}: {error:#}"))
}

/// For vocabularies in the manner of Llama 2, Gemma and Phi-3.
fn cases() -> BTreeMap<String, Vec<Case>> {
    let cases: BTreeMap<String, Vec<Case>> =
        serde_json::from_str(&fs::read_to_string(folder().join("expected.json")).unwrap()).unwrap();
    assert_eq!(cases.keys().collect::<Vec<_>>(), ["gemma", "llama", "phi3"]);
    cases
}

#[test]
fn token_ids_are_those_of_llama_cpp() {
    for (name, cases) in cases() {
        let tokenizer = read(&name);
        assert!(cases.len() >= 60);
        for case in cases {
            assert_eq!(
                tokenizer.encode(&case.text).unwrap(),
                case.ids,
                "{name}, {:?}",
                case.text
            );
        }
    }
}

#[test]
fn a_tokenizer_json_written_from_it_says_the_same() {
    for (name, cases) in cases() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokenizer.json");
        read(&name).vocabulary().save(&file, false).unwrap();
        let written = Tokenizer::read(dir.path()).unwrap();
        for case in cases {
            assert_eq!(
                written.encode(&case.text).unwrap(),
                case.ids,
                "{name}, {:?}",
                case.text
            );
        }
    }
}

#[test]
fn text_comes_back_from_its_tokens() {
    for name in ["llama", "gemma"] {
        let tokenizer = read(name);
        let plain = |case: &&Case| !case.text.contains(['<', '[', '▁']);
        for case in cases()[name].iter().filter(plain) {
            assert_eq!(tokenizer.decode(&case.ids).unwrap(), case.text, "{name}");
        }
        let ids = tokenizer.encode(" a🌊").unwrap();
        let texts = TokenTexts::new(&tokenizer);
        let shown: String = ids.iter().map(|id| texts.of(*id)).collect();
        assert!(shown.ends_with(" a<0xF0><0x9F><0x8C><0x8A>"), "{name}: {shown:?}");
    }
}

/// Llama's file says nothing of BOS, EOS and whether text begins with BOS.
#[test]
fn what_a_file_does_not_say_is_as_in_llama_2() {
    for name in ["llama", "gemma"] {
        let tokenizer = read(name);
        assert_eq!(
            (tokenizer.bos(), tokenizer.eos()),
            (Some("<s>"), Some("</s>")),
            "{name}"
        );
        assert_eq!(tokenizer.begins_text_with().unwrap(), [1], "{name}");
        assert_eq!(tokenizer.stop_ids(), [2], "{name}");
    }
}
