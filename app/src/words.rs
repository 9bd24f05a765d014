//! The words of the pages in the language that a person reads. The source has the English ones; the table of another
//! language (`assets/languages/`, loaded by `language.rs` before the app is mounted) has theirs by the English.
//!
//! `cargo xtask check` reads the calls of these functions in the source, and names what a table lacks or has too much.

use std::{borrow::Cow, fmt::Display, sync::OnceLock};

/// English and its translation, in the order of the English.
type Table = Vec<(&'static str, &'static str)>;

/// Not there while the pages are in English.
static TABLE: OnceLock<Table> = OnceLock::new();

/// Takes over the table of a language; once, before anything is shown.
pub fn use_table(mut table: Table) {
    table.sort_unstable();
    // A second table would change half of a page that is there already.
    let _ = TABLE.set(table);
}

/// A text in the language in use; the English where the table has none.
pub fn t(english: &'static str) -> &'static str {
    TABLE
        .get()
        .and_then(|table| find(table, english))
        .unwrap_or(english)
}

/// Marks an English text that stands in a constant and is translated where it is shown.
pub const fn later(english: &'static str) -> &'static str {
    english
}

/// A text with values in the places of `{0}`, `{1}` …
pub fn fill(english: &'static str, values: &[&dyn Display]) -> String {
    put_in(t(english), values)
}

/// Translates what comes from the server or from `protocol`. A sentence that has values in it is known by the one in the
/// table that has `{0}` … in their places.
pub fn t_owned(english: &str) -> String {
    match TABLE.get() {
        Some(table) => translated(table, english).into_owned(),
        None => english.to_owned(),
    }
}

fn find(table: &Table, english: &str) -> Option<&'static str> {
    let at = table.binary_search_by(|(known, _)| (*known).cmp(english)).ok()?;
    Some(table[at].1)
}

fn translated<'a>(table: &Table, english: &'a str) -> Cow<'a, str> {
    if let Some(translation) = find(table, english) {
        return Cow::Borrowed(translation);
    }
    let fits = table.iter().filter_map(|(known, translation)| {
        let values = values_of(known, english)?;
        Some((known.len(), *translation, values))
    });
    // The longest says most: "must be {0} to {1}" before "must be {0}".
    match fits.max_by_key(|(n, ..)| *n) {
        Some((_, translation, values)) => {
            let values: Vec<&dyn Display> = values.iter().map(|value| value as &dyn Display).collect();
            Cow::Owned(put_in(translation, &values))
        }
        None => Cow::Borrowed(english),
    }
}

/// What stands in `text` in the places of `{0}`, `{1}` … of `known`: words without spaces, each place once and in
/// order. `None` where the two do not fit, and where `known` has no word of its own to know it by.
fn values_of<'a>(known: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let first = known.find("{0}")?;
    if !known.contains(|char: char| char.is_ascii_alphabetic()) {
        return None;
    }
    let mut text = text.strip_prefix(&known[..first])?;
    let mut known = &known[first + 3..];
    let mut values = Vec::new();
    loop {
        let next = known.find('{').unwrap_or(known.len());
        let between = &known[..next];
        let end = match (between, next == known.len()) {
            (_, true) => text.len().checked_sub(between.len())?,
            ("", false) => return None,
            (between, false) => text.find(between)?,
        };
        let (value, rest) = text.split_at_checked(end)?;
        if value.is_empty() || value.contains(char::is_whitespace) {
            return None;
        }
        values.push(value);
        text = rest.strip_prefix(between)?;
        if next == known.len() {
            return text.is_empty().then_some(values);
        }
        known = known.get(next + 3..)?;
    }
}

/// One digit names a place; whatever else is in braces stays as it is.
fn put_in(text: &str, values: &[&dyn Display]) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let value = match rest.as_bytes() {
            [b'{', digit @ b'0'..=b'9', b'}', ..] => values.get(usize::from(digit - b'0')),
            _ => None,
        };
        match value {
            Some(value) => {
                out.push_str(&value.to_string());
                rest = &rest[3..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = vec![
            ("must be {0}", "{0}이어야 합니다"),
            ("must be {0} to {1}", "{0}에서 {1}까지여야 합니다"),
            ("{0} {1}", "{0}: {1}"),
            ("Tie", "비김"),
            ("Skip", "건너뛰기"),
        ];
        table.sort_unstable();
        table
    }

    #[test]
    fn a_text_is_found_whole_or_by_the_sentence_with_places() {
        let known = |text| translated(&table(), text).into_owned();
        assert_eq!(known("Skip"), "건너뛰기");
        assert_eq!(known("must be 0.5 to 100"), "0.5에서 100까지여야 합니다");
        assert_eq!(known("must be even"), "even이어야 합니다");
    }

    #[test]
    fn a_text_that_only_looks_alike_stays_as_it_is() {
        let known = |text| translated(&table(), text).into_owned();
        assert_eq!(known("must be a number of things"), "must be a number of things");
        assert_eq!(known("must be  to 3"), "must be  to 3");
        assert_eq!(known("two words"), "two words");
        assert_eq!(known("Skip it"), "Skip it");
    }

    #[test]
    fn values_come_in_the_order_that_a_language_asks_for() {
        assert_eq!(put_in("{1} of {0}", &[&3, &"two"]), "two of 3");
        assert_eq!(put_in("{\"prompt\": {0}} {2", &[&1]), "{\"prompt\": 1} {2");
        assert_eq!(fill("{0} left", &[&"{1}"]), "{1} left");
    }

    #[test]
    fn without_a_table_the_english_stands() {
        assert_eq!((t("Skip"), t_owned("must be 1").as_str()), ("Skip", "must be 1"));
    }
}
