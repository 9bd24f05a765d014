//! One line of JSON as a row: which of TRL's columns it has says what it is.

use super::{Alpaca, Example, Ids, Label, Preference, Prompt, Row, Side};
use crate::data::tokenizer;
use anyhow::{Context, Result, bail, ensure};
use laurel_protocol::{Message, PromptText};
use serde::Deserialize;

/// The columns as they stand in a line.
#[derive(Deserialize)]
struct Columns {
    prompt: Option<PromptText>,
    chosen: Option<PromptText>,
    rejected: Option<PromptText>,
    completion: Option<PromptText>,
    messages: Option<Vec<Message>>,
    instruction: Option<serde_json::Value>,
    input: Option<serde_json::Value>,
    output: Option<serde_json::Value>,
    ids: Option<Vec<u32>>,
    from: Option<usize>,
    prompt_id: Option<serde_json::Value>,
    annotation_id: Option<serde_json::Value>,
    tie: Option<serde_json::Value>,
    margin: Option<serde_json::Value>,
    weight: Option<serde_json::Value>,
    strength: Option<serde_json::Value>,
    label: Option<serde_json::Value>,
}

impl Columns {
    /// Other data sets may mean something else by these names: what is not of our type counts as absent.
    fn label(&self) -> Label {
        let number = |column: &Option<serde_json::Value>| column.as_ref().and_then(serde_json::Value::as_u64);
        let float = |column: &Option<serde_json::Value>| column.as_ref().and_then(serde_json::Value::as_f64);
        Label {
            tie: self.tie.as_ref().and_then(serde_json::Value::as_bool) == Some(true),
            margin: float(&self.margin)
                .map(|margin| margin as f32)
                .filter(|margin| margin.is_finite()),
            weight: float(&self.weight)
                .map(|weight| weight as f32)
                .filter(|weight| weight.is_finite() && *weight >= 0.0),
            strength: number(&self.strength).filter(|it| *it <= 4).unwrap_or(0) as u8,
            annotation: number(&self.annotation_id),
            desirable: None,
        }
    }
}

/// One line of JSON as a row.
pub fn parse(line: &str) -> Result<Row> {
    let columns = columns(line)?;
    let label = columns.label();
    let desirable = columns.label.as_ref().and_then(serde_json::Value::as_bool);
    let group = columns.prompt_id.as_ref().and_then(serde_json::Value::as_u64);
    match columns {
        Columns {
            ids: Some(ids), from, ..
        } => {
            let from = from.unwrap_or(1);
            ensure!(
                (1..ids.len().max(2)).contains(&from) && !ids.is_empty(),
                "\"from\" must be at least 1 and below the number of ids"
            );
            Ok(Row::Ids(Ids { ids, from }))
        }
        Columns {
            prompt: Some(prompt),
            chosen: Some(chosen),
            rejected: Some(rejected),
            ..
        } => explicit(prompt, chosen, rejected, group, label),
        Columns {
            prompt: None,
            chosen: Some(chosen),
            rejected: Some(rejected),
            ..
        } => implicit(chosen.into(), rejected.into(), group, label),
        Columns {
            prompt: Some(prompt),
            completion: Some(completion),
            ..
        } => {
            let (prompt, completion) = same_kind(prompt.into(), completion.into())?;
            Ok(Row::Example(Example {
                prompt,
                completion,
                group,
                desirable,
            }))
        }
        Columns {
            messages: Some(messages),
            ..
        } => {
            let (prompt, completion) = tokenizer::split_messages(messages)?;
            Ok(Row::Example(Example {
                prompt: Side::Messages(prompt),
                completion: Side::Messages(completion),
                group,
                desirable: None,
            }))
        }
        Columns {
            instruction: Some(instruction),
            input,
            output: Some(output),
            ..
        } => Ok(Row::Alpaca(Alpaca {
            instruction: text("instruction", &instruction)?,
            input: input.map_or(Ok(String::new()), |input| text("input", &input))?,
            output: text("output", &output)?,
            group,
        })),
        Columns {
            prompt: Some(prompt),
            chosen: None,
            rejected: None,
            ..
        } => {
            let prompt = Side::from(prompt);
            let is_empty = matches!(&prompt, Side::Messages(turns) if turns.is_empty());
            ensure!(!is_empty, "the prompt has no message");
            Ok(Row::Prompt(Prompt { prompt, group }))
        }
        _ => bail!(
            "the columns are none of: prompt, chosen, rejected; chosen, rejected; prompt, completion; messages; \
             instruction, input, output; prompt; ids"
        ),
    }
}

/// The columns of a line; an error names the one that has another type.
fn columns(line: &str) -> Result<Columns> {
    ensure!(
        !line.starts_with('['),
        "a JSON array: write one object a line instead (jq -c '.[]' does so)"
    );
    let value: serde_json::Value = serde_json::from_str(line).context("not JSON")?;
    ensure!(value.is_object(), "not a JSON object");
    for name in ["prompt", "chosen", "rejected", "completion", "messages"] {
        let column = &value[name];
        ensure!(
            column.is_null() || PromptText::deserialize(column).is_ok(),
            "the column {name:?} is neither a text nor a list of messages (role: system, user or assistant; content: \
             a text)"
        );
    }
    serde_json::from_value(value).context("a column has another type")
}

fn text(column: &str, value: &serde_json::Value) -> Result<String> {
    let text = value.as_str();
    Ok(text
        .with_context(|| format!("the column {column:?} is no text"))?
        .to_owned())
}

fn explicit(
    prompt: PromptText,
    chosen: PromptText,
    rejected: PromptText,
    group: Option<u64>,
    label: Label,
) -> Result<Row> {
    // Older sets give the prompt as text and repeat it as the first turns of whole conversations.
    if let (PromptText::Text(text), PromptText::Messages(a), PromptText::Messages(b)) =
        (&prompt, &chosen, &rejected)
    {
        let asked = |turns: &[Message]| turns.len() > 1 && turns.iter().any(|turn| turn.content == *text);
        ensure!(
            asked(a) && asked(b),
            "the prompt is a text but chosen and rejected are messages that do not contain it"
        );
        return implicit(chosen.into(), rejected.into(), group, label);
    }
    let prompt = Side::from(prompt);
    let (prompt, chosen) = same_kind(prompt, chosen.into())?;
    let (prompt, rejected) = same_kind(prompt, rejected.into())?;
    Ok(Row::Preference(Preference {
        prompt,
        chosen,
        rejected,
        group,
        label,
    }))
}

/// The prompt is what chosen and rejected have in common at the start.
fn implicit(chosen: Side, rejected: Side, group: Option<u64>, label: Label) -> Result<Row> {
    let (prompt, chosen, rejected) = match (chosen, rejected) {
        (Side::Messages(mut chosen), Side::Messages(mut rejected)) => {
            let shared = match chosen == rejected {
                // A round leaves such a row out and counts it.
                true => chosen.len().saturating_sub(1),
                false => common_prefix(chosen.iter(), rejected.iter()),
            };
            // A conversation that goes on where the other ends leaves nothing to compare.
            ensure!(
                shared > 0 && shared < chosen.len() && shared < rejected.len(),
                "chosen and rejected must share a prompt and then differ"
            );
            let prompt = chosen.drain(..shared).collect();
            rejected.drain(..shared);
            (
                Side::Messages(prompt),
                Side::Messages(chosen),
                Side::Messages(rejected),
            )
        }
        (Side::Text(chosen), Side::Text(rejected)) => {
            let n_chars = common_prefix(chosen.chars(), rejected.chars());
            let shared: usize = chosen.chars().take(n_chars).map(char::len_utf8).sum();
            // The first word that differs belongs to the completions whole, with the space before it.
            let shared = chosen[..shared].rfind(char::is_whitespace).unwrap_or(shared);
            let (prompt, answer) = chosen.split_at(shared);
            (
                Side::Text(prompt.to_owned()),
                Side::Text(answer.to_owned()),
                Side::Text(rejected[shared..].to_owned()),
            )
        }
        _ => bail!("chosen and rejected must both be text or both be messages"),
    };
    Ok(Row::Preference(Preference {
        prompt,
        chosen,
        rejected,
        group,
        label,
    }))
}

fn same_kind(prompt: Side, completion: Side) -> Result<(Side, Side)> {
    match (&prompt, &completion) {
        (Side::Messages(turns), Side::Messages(answer)) => {
            ensure!(!turns.is_empty(), "the prompt has no message");
            ensure!(!answer.is_empty(), "a completion has no message");
        }
        (Side::Text(_), Side::Text(_)) => {}
        _ => bail!("the prompt and its completions must all be text or all be messages"),
    }
    Ok((prompt, completion))
}

fn common_prefix<T: PartialEq>(a: impl Iterator<Item = T>, b: impl Iterator<Item = T>) -> usize {
    a.zip(b).take_while(|(left, right)| left == right).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preference(line: &str) -> Preference {
        match parse(line).unwrap() {
            Row::Preference(row) => row,
            other => panic!("{other:?} is no preference"),
        }
    }

    fn turn(role: &str, content: &str) -> String {
        format!(r#"{{"role":"{role}","content":"{content}"}}"#)
    }

    #[test]
    fn implicit_conversations_split_at_the_first_different_turn() {
        let (ask, good, bad) = (turn("user", "q"), turn("assistant", "a"), turn("assistant", "b"));
        let row = preference(&format!(
            r#"{{"chosen":[{ask},{good}],"rejected":[{ask},{bad}]}}"#
        ));
        assert_eq!(row.prompt, Side::Messages(vec![Message::user("q")]));
        assert_eq!(row.rejected, Side::Messages(vec![Message::assistant("b")]));
    }

    #[test]
    fn implicit_texts_leave_the_first_different_word_to_the_completions() {
        for (good, bad) in [(" blue.", " green."), (" blue", " black")] {
            let row = preference(&format!(
                r#"{{"chosen":"The sky is{good}","rejected":"The sky is{bad}"}}"#
            ));
            assert_eq!(row.prompt, Side::Text("The sky is".into()));
            assert_eq!(row.chosen, Side::Text(good.into()));
            assert_eq!(row.rejected, Side::Text(bad.into()));
        }
    }

    #[test]
    fn older_sets_with_a_text_prompt_and_whole_conversations_are_understood() {
        let (ask, good, bad) = (turn("user", "q"), turn("assistant", "a"), turn("assistant", "b"));
        let row = preference(&format!(
            r#"{{"prompt":"q","chosen":[{ask},{good}],"rejected":[{ask},{bad}]}}"#
        ));
        assert_eq!(row.chosen, Side::Messages(vec![Message::assistant("a")]));
    }

    #[test]
    fn the_prompt_id_groups_rows_and_other_columns_are_ignored() {
        let row = preference(r#"{"prompt":"a","chosen":" b","rejected":" c","prompt_id":7,"annotator":"x"}"#);
        assert_eq!(row.group, Some(7));
    }

    #[test]
    fn a_row_carries_its_tie_margin_strength_and_annotation() {
        let row = preference(
            r#"{"prompt":"a","chosen":" b","rejected":" c","tie":true,"margin":0.5,"weight":0.25,"strength":3,"annotation_id":9}"#,
        );
        let expected = Label {
            tie: true,
            margin: Some(0.5),
            weight: Some(0.25),
            strength: 3,
            annotation: Some(9),
            desirable: None,
        };
        assert_eq!(row.label, expected);
        let row = preference(
            r#"{"prompt":"a","chosen":" b","rejected":" c","strength":"strong","tie":0,"margin":null,"weight":-1}"#,
        );
        assert_eq!(row.label, Label::default());
    }

    #[test]
    fn alpacas_columns_are_an_example() {
        let line = r#"{"instruction":"Name it.","input":"","output":"Ada."}"#;
        let Row::Alpaca(row) = parse(line).unwrap() else {
            panic!("no example")
        };
        assert_eq!(
            (row.user_turn().as_str(), row.output.as_str()),
            ("Name it.", "Ada.")
        );
        // Beside a prompt the names may mean anything.
        assert!(parse(r#"{"prompt":"a","completion":"b","input":3}"#).is_ok());
    }

    #[test]
    fn equal_sides_are_a_row_that_the_round_leaves_out() {
        let row = preference(r#"{"chosen":"The sky is blue","rejected":"The sky is blue"}"#);
        assert_eq!(row.chosen, row.rejected);
        let turns = format!("[{},{}]", turn("user", "q"), turn("assistant", "a"));
        let row = preference(&format!(r#"{{"chosen":{turns},"rejected":{turns}}}"#));
        assert_eq!(row.prompt, Side::Messages(vec![Message::user("q")]));
    }

    #[test]
    fn a_column_of_another_type_is_named() {
        let error = |line: &str| format!("{:#}", parse(line).unwrap_err());
        assert!(error(r#"{"prompt":1,"completion":"b"}"#).contains("\"prompt\" is neither a text"));
        assert!(error(r#"{"instruction":"a","output":2}"#).contains("\"output\" is no text"));
        assert!(error("[1]").contains("one object a line"));
        assert!(error("3").contains("not a JSON object"));
    }

    #[test]
    fn a_completion_that_was_judged_by_itself_carries_its_label() {
        let desirable = |label: &str| {
            let line = format!(r#"{{"prompt":"a","completion":" b","label":{label}}}"#);
            match parse(&line).unwrap() {
                Row::Example(row) => row.desirable,
                other => panic!("{other:?} is no example"),
            }
        };
        assert_eq!(
            ["true", "false", "3"].map(desirable),
            [Some(true), Some(false), None]
        );
    }

    #[test]
    fn messages_must_end_with_an_answer() {
        let line = format!(r#"{{"messages":[{}]}}"#, turn("user", "q"));
        assert!(parse(&line).is_err());
    }
}
