//! Real models' chat templates, and the built-in ones, against transformers: the same tokens, and the same border
//! between prompt and completion as TRL's. `parity/templates.py` made the numbers.

#![allow(clippy::unwrap_used)]

use laurel_protocol::{Message, Speaker, Template};
use laurel_trainer::data::{Tokenizer, rows::Side};
use serde::Deserialize;
use std::{fs, path::PathBuf};

#[derive(Deserialize)]
struct Case {
    template: String,
    case: String,
    prompt: Vec<Message>,
    answer: Vec<Message>,
    /// The three are missing where the template refuses the conversation.
    text: Option<String>,
    prompt_ids: Option<Vec<u32>>,
    completion_ids: Option<Vec<u32>>,
    error: Option<String>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity/templates")
}

fn tokenizer(template: &str) -> Tokenizer {
    let choice = Template::from_name(template).unwrap_or_else(|| {
        let file = folder().join(format!("{template}.jinja"));
        Template::Jinja(fs::read_to_string(file).unwrap())
    });
    let tokenizer = Tokenizer::read(&folder().join("tokenizer")).unwrap();
    tokenizer
        .with_template(&choice)
        .unwrap_or_else(|error| panic!("{template}: {error:#}"))
}

fn cases() -> Vec<Case> {
    serde_json::from_str(&fs::read_to_string(folder().join("expected.json")).unwrap()).unwrap()
}

#[test]
fn tokens_and_their_border_are_those_of_transformers_and_trl() {
    let cases = cases();
    assert_eq!(cases.len(), 44, "eleven templates, four conversations");
    for case in &cases {
        let name = format!("{}, {}", case.template, case.case);
        let tokenizer = tokenizer(&case.template);
        let (prompt, answer) = (
            Side::Messages(case.prompt.clone()),
            Side::Messages(case.answer.clone()),
        );
        let ours = tokenizer.split(&prompt, [&answer]);
        if let Some(theirs) = &case.error {
            let error = format!("{:#}", ours.unwrap_err());
            assert!(error.contains(theirs), "{name}: {error}");
            continue;
        }
        let (prompt, [completion]) = ours.unwrap();
        assert_eq!(Some(&prompt), case.prompt_ids.as_ref(), "{name}");
        assert_eq!(Some(&completion), case.completion_ids.as_ref(), "{name}");
        let text = tokenizer.encode(case.text.as_ref().unwrap()).unwrap();
        assert_eq!(prompt, text, "{name}");
    }
}

/// The token that ends an answer is trained, once, and sampling stops at it; BOS stands once at most.
#[test]
fn an_answers_end_is_trained_once_and_nothing_is_doubled() {
    for case in cases().iter().filter(|case| case.error.is_none()) {
        let name = format!("{}, {}", case.template, case.case);
        let tokenizer = tokenizer(&case.template);
        let id = |text: &str| tokenizer.vocabulary().token_to_id(text).unwrap();
        let end = match case.template.as_str() {
            "gemma" | "gemma3" => id("<end_of_turn>"),
            "llama3" | "llama3_1" => id("<|eot_id|>"),
            "phi3" => id("<|end|>"),
            "qwen2_5" | "qwen3" | "chatml" => id("<|im_end|>"),
            "mistral" | "alpaca" | "alpaca_lf" => id("</s>"),
            other => panic!("which token ends {other}?"),
        };
        let completion = case.completion_ids.as_ref().unwrap();
        let n_ends = completion.iter().filter(|token| **token == end).count();
        assert_eq!(n_ends, 1, "{name}");
        assert_eq!(tokenizer.turn_end().unwrap(), Some(end), "{name}");
        assert!(tokenizer.stop_ids().contains(&end), "{name}");
        let whole = [case.prompt_ids.clone().unwrap(), completion.clone()].concat();
        let n_begins = whole
            .iter()
            .filter(|token| [id("<s>"), id("<|begin_of_text|>")].contains(token))
            .count();
        assert!(n_begins <= 1, "{name}");
    }
}

/// Qwen3's template drops the thoughts of earlier turns, so a prompt may change once an answer follows; and one that puts
/// a system turn only before a waiting prompt does so by design.
#[test]
fn a_prompt_that_changes_once_an_answer_follows_is_an_error() {
    let fickle = "{% if add_generation_prompt %}Answer now.\n{% endif %}{% for m in messages %}{{ m.content }}</s>{% endfor %}";
    let tokenizer = Tokenizer::read(&folder().join("tokenizer")).unwrap();
    let tokenizer = tokenizer
        .with_template(&Template::Jinja(fickle.to_owned()))
        .unwrap();
    let prompt = Side::Messages(vec![Message::user("one")]);
    let answer = Side::Messages(vec![Message::assistant("two")]);
    let error = tokenizer.split(&prompt, [&answer]).unwrap_err().to_string();
    assert!(error.contains("renders the prompt differently"), "{error}");

    // The last question of this answer's side is a new one, before which Qwen3 forgets what it thought.
    let tokenizer = self::tokenizer("qwen3");
    let prompt = Side::Messages(vec![
        Message::user("one"),
        Message::assistant("<think>\nhm\n</think>\n\ntwo"),
    ]);
    let answer = Side::Messages(vec![Message::user("three"), Message::assistant("four")]);
    let error = tokenizer.split(&prompt, [&answer]).unwrap_err().to_string();
    assert!(error.contains("renders the prompt differently"), "{error}");
}

#[test]
fn built_in_templates_and_plain_text_begin_as_the_tokenizer_begins_a_text() {
    let turns = [Message::user("one"), Message::assistant("two")];
    let system = Message {
        role: Speaker::System,
        content: "zero ".into(),
    };
    let tokenizer = tokenizer("plain");
    let (prompt, completion) = (
        Side::Messages(vec![system, turns[0].clone()]),
        Side::Messages(vec![turns[1].clone()]),
    );
    let (prompt, [completion]) = tokenizer.split(&prompt, [&completion]).unwrap();
    assert_eq!(prompt, tokenizer.encode("zero one").unwrap());
    assert_eq!(completion, tokenizer.encode("two</s>").unwrap());
    assert_eq!(tokenizer.turn_end().unwrap(), None);
}
