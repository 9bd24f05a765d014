//! Whether the tables of `assets/languages/` have all that the pages say, and nothing else. English stands in the
//! source, so the source is read: what is handed to the functions of `app/src/words.rs`, the labels and helps of fields
//! and the words of questions, the reasons for which `protocol` refuses a value, and the server's sentences.

use crate::{
    dist::files_below,
    literals::{Literal, literals, without_tests},
    place::Place,
};
use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, fs};

pub const ENGLISH: &str = "en";
/// Code and own name of every language, below `assets/`.
pub const INDEX: &str = "languages/index.json";

/// The table of a language, below `assets/`.
pub fn table_name(code: &str) -> String {
    format!("languages/{code}.json")
}

/// English, and the file that says it.
type Said = BTreeMap<String, String>;

/// An error that names all that is missing, unused or has other places than the English.
pub fn check(place: &Place) -> Result<()> {
    let assets = place.root.join("assets");
    let read = |name: &str| -> Result<BTreeMap<String, String>> {
        let path = assets.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("read {path:?}"))?;
        serde_json::from_str(&text).with_context(|| format!("read {path:?}"))
    };
    let said = said(place)?;
    let mut wrong = Vec::new();
    for code in read(INDEX)?.into_keys().filter(|code| code != ENGLISH) {
        let name = table_name(&code);
        let faults = faults(&said, &read(&name)?);
        wrong.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("the translations do not fit the pages:\n{}", wrong.join("\n"))
}

fn faults(said: &Said, table: &BTreeMap<String, String>) -> Vec<String> {
    let missing = said
        .iter()
        .filter(|(english, _)| !table.contains_key(*english))
        .map(|(english, file)| format!("lacks {english:?} ({file})"));
    let unused = table
        .keys()
        .filter(|english| !said.contains_key(*english))
        .map(|english| format!("has {english:?}, which no page says"));
    let other = table
        .iter()
        .filter(|(english, translation)| places(english) != places(translation))
        .map(|(english, _)| format!("has other places than {english:?}"));
    let empty = table
        .iter()
        .filter(|(_, translation)| translation.trim().is_empty())
        .map(|(english, _)| format!("says nothing for {english:?}"));
    missing.chain(unused).chain(other).chain(empty).collect()
}

/// The digits of `{0}`, `{1}` …, in their order.
fn places(text: &str) -> Vec<char> {
    let starts = text.match_indices('{').map(|(at, _)| &text[at + 1..]);
    let mut places: Vec<char> = starts
        .filter_map(|rest| {
            let digit = rest.chars().next().filter(char::is_ascii_digit)?;
            rest[1..].starts_with('}').then_some(digit)
        })
        .collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// Files whose reasons and sentences no page shows: trainers and scripts are told them.
const UNSEEN: [&str; 12] = [
    "protocol/src/merge.rs",
    "protocol/src/scoring.rs",
    "protocol/src/worker.rs",
    "server/src/adapter_files.rs",
    "server/src/backup.rs",
    "server/src/card.rs",
    "server/src/document.rs",
    "server/src/merged_files.rs",
    "server/src/routes/merges.rs",
    "server/src/store/integrity.rs",
    "server/src/store/completions.rs",
    "server/src/store/scorings/work.rs",
];

fn said(place: &Place) -> Result<Said> {
    let mut said = Said::new();
    for part in ["app", "protocol", "server"] {
        for path in files_below(&place.root.join(part).join("src"))? {
            let file = path
                .strip_prefix(&place.root)?
                .to_string_lossy()
                .replace('\\', "/");
            if !file.ends_with(".rs") || UNSEEN.contains(&file.as_str()) || file == "app/src/words.rs" {
                continue;
            }
            let source = fs::read_to_string(&path).with_context(|| format!("read {path:?}"))?;
            let found = match part {
                "app" => of_pages(&source),
                "protocol" => of_others(&source, is_reason),
                _ => of_others(&source, |text| is_reason(text) || is_sentence(text)),
            };
            said.extend(found.into_iter().map(|english| (english, file.clone())));
        }
    }
    Ok(said)
}

/// What the pages' own source says.
fn of_pages(source: &str) -> Vec<String> {
    let source = without_tests(source);
    let literals = literals(source);
    let before = |start: usize| source[..start].trim_end();
    let is_said = |start: usize| {
        let before = before(start);
        let calls = ["t", "fill", "later"].iter().any(|name| {
            before
                .strip_suffix('(')
                .is_some_and(|before| is_word_at_end(before, name))
        });
        let fields = ["label", "help", "title", "text", "yes", "no"]
            .iter()
            .any(|name| {
                before
                    .strip_suffix(':')
                    .is_some_and(|before| is_word_at_end(before, name))
            });
        calls || fields
    };
    let mut said: Vec<String> = literals
        .iter()
        .filter(|literal| is_said(literal.start))
        .map(|literal| literal.text.clone())
        .collect();
    // One and many, or a label and its help: the first two literals of the call itself.
    for call in ["counted(", "knob!(", "ppo!("] {
        for (at, _) in source.match_indices(call) {
            said.extend(arguments(source, at + call.len(), &literals).take(2));
        }
    }
    said.retain(|text| !text.is_empty());
    said
}

fn is_word_at_end(text: &str, word: &str) -> bool {
    let is_name = |char: char| char.is_alphanumeric() || char == '_' || char == '.';
    text.strip_suffix(word)
        .is_some_and(|before| !before.ends_with(is_name))
}

/// The literals between this place and the parenthesis that closes here, those of inner calls left out.
fn arguments<'a>(
    source: &'a str,
    start: usize,
    literals: &'a [Literal],
) -> impl Iterator<Item = String> + 'a {
    let mut depth = 1;
    let mut at = start;
    literals
        .iter()
        .skip_while(move |literal| literal.start < start)
        .map_while(move |literal| {
            for char in source.get(at..literal.start)?.chars() {
                match char {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    return None;
                }
            }
            at = literal.end;
            Some((depth == 1).then(|| literal.text.clone()))
        })
        .flatten()
}

/// What is said in these is for logs and for those who start the server.
const LOGS: [&str; 10] = [
    "context(", "expect(", "info!(", "warn!(", "error!(", "debug!(", "bail!(", "anyhow!(", "panic!(", "#[",
];

/// What comes to the pages from elsewhere; values in it have places, numbers too.
fn of_others(source: &str, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let source = without_tests(source);
    let is_log = |start: usize| {
        let statement = source[..start].rsplit([';', '{', '}']).next().unwrap_or_default();
        LOGS.iter().any(|call| statement.contains(call)) && !statement.contains("format!(")
    };
    literals(source)
        .into_iter()
        .filter(|literal| is_meant(&literal.text) && !is_log(literal.start))
        .map(|literal| with_places(&literal.text))
        .collect()
}

/// "must be 1 to 10", as it follows the name of a field.
fn is_reason(text: &str) -> bool {
    const BEGINNINGS: [&str; 13] = [
        "must ",
        "is ",
        "are ",
        "has ",
        "have ",
        "goes ",
        "works ",
        "does not ",
        "names ",
        "belongs ",
        "cannot ",
        "user and ",
        "the project ",
    ];
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
}

/// "There is nothing to undo." The joined reasons of a refusal are put together in the pages anew.
fn is_sentence(text: &str) -> bool {
    let begins = text.starts_with(|char: char| char.is_ascii_uppercase() || char == '{');
    begins
        && text.contains(' ')
        && text.ends_with('.')
        && !text.contains('`')
        && !text.starts_with("Correct the")
}

/// `is longer than 8 KiB` as `is longer than {0} KiB`, and what `format!` puts in likewise. An enumeration stays.
fn with_places(text: &str) -> String {
    let mut n = 0;
    let mut place = || {
        n += 1;
        format!("{{{}}}", n - 1)
    };
    if text.contains('…') {
        return text.to_owned();
    }
    let word = |word: &str| {
        let core = word.trim_end_matches([',', ':', ';', '.']);
        let tail = &word[core.len()..];
        if core.parse::<f64>().is_ok() {
            return format!("{}{tail}", place());
        }
        let mut out = String::new();
        let mut rest = word;
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((_, after)) = behind.split_once('}') else {
                break;
            };
            out += before;
            out += &place();
            rest = after;
        }
        out + rest
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_says_is_found_in_its_calls_fields_and_counts() {
        let source = r##"
            // t("a comment")
            const NAME: Field = Field { name: "name", label: "Name", help: "" };
            fn view(lives: &'static str) { let quote = '"';
                t("Skip"); fill("Task {0}", &[&t("inner \u{201c}one\u{201d}")]); format("other");
                counted(n.max(f("x")), "{0} tie", "{0} ties"); knob!(beta: f64, "β", "Two \
                    lines", "hook"); put("no"); ("ArrowUp");
            }
            #[cfg(test)]
mod tests { t("in a test") }"##;
        let mut said = of_pages(source);
        said.sort();
        let expected = [
            "Name",
            "Skip",
            "Task {0}",
            "Two lines",
            "inner “one”",
            "{0} tie",
            "{0} ties",
            "β",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn numbers_and_values_in_what_others_say_have_places() {
        let source = r#"check.ensure(true, "name", "must have 2 to 64 characters");
            let text = format!("must be at least 2: the loss {} compares them", loss); info!("is logged {n}");
            Failure::new(Code, "The file is larger than 2 GiB."); "There is one"; Conflict("It has ended.")"#;
        let said = of_others(source, |text| is_reason(text) || is_sentence(text));
        let expected = [
            "must have {0} to {1} characters",
            "must be at least {0}: the loss {1} compares them",
            "The file is larger than {0} GiB.",
            "It has ended.",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_table_with_a_fault_is_told_each_of_them() {
        let said: Said = [("Skip", "a.rs"), ("Task {0}", "a.rs"), ("Tie", "b.rs")]
            .map(|(english, file)| (english.to_owned(), file.to_owned()))
            .into();
        let table = [("Skip", "건너뛰기"), ("Task {0}", "작업 {1}"), ("Undo", " ")]
            .map(|(english, translation)| (english.to_owned(), translation.to_owned()))
            .into();
        assert_eq!(
            faults(&said, &table),
            [
                "lacks \"Tie\" (b.rs)",
                "has \"Undo\", which no page says",
                "has other places than \"Task {0}\"",
                "says nothing for \"Undo\"",
            ]
        );
    }
}
