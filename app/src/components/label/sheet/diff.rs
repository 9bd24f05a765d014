//! What differs between two texts, word by word: the longest common subsequence of their words and gaps.

/// A stretch of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    Same(&'a str),
    /// Only in the first text.
    Gone(&'a str),
    /// Only in the second text.
    New(&'a str),
}

/// Above so many words times words the middle counts as replaced whole: a person waits for each key press.
const MAX_CELLS: usize = 4_000_000;

/// Both texts, in order.
pub fn diff<'a>(old: &'a str, new: &'a str) -> Vec<Change<'a>> {
    let (a, b) = (words(old), words(new));
    let n_head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a_rest, b_rest) = (&a[n_head..], &b[n_head..]);
    let n_tail = a_rest
        .iter()
        .rev()
        .zip(b_rest.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let (a_middle, tail) = a_rest.split_at(a_rest.len() - n_tail);
    let b_middle = &b_rest[..b_rest.len() - n_tail];
    let mut changes: Vec<Change<'a>> = a[..n_head].iter().copied().map(Change::Same).collect();
    middle(a_middle, b_middle, &mut changes);
    changes.extend(tail.iter().copied().map(Change::Same));
    joined(old, new, &changes)
}

/// Stretches as long as they can be: between two that stayed, what went and then what came.
fn joined<'a>(old: &'a str, new: &'a str, changes: &[Change<'_>]) -> Vec<Change<'a>> {
    let mut joined = Vec::new();
    let (mut from, mut to) = ((0, 0), (0, 0));
    let mut is_same = true;
    let mut end = |from: (usize, usize), to: (usize, usize), is_same: bool| {
        let (gone, came) = (&old[from.0..to.0], &new[from.1..to.1]);
        let runs = match is_same {
            true => [Some(Change::Same(gone)), None],
            false => [Some(Change::Gone(gone)), Some(Change::New(came))],
        };
        joined.extend(runs.into_iter().flatten().filter(|run| !run.text().is_empty()));
    };
    for change in changes {
        if matches!(change, Change::Same(_)) != is_same {
            end(from, to, is_same);
            (from, is_same) = (to, !is_same);
        }
        let n = change.text().len();
        match change {
            Change::Same(_) => to = (to.0 + n, to.1 + n),
            Change::Gone(_) => to.0 += n,
            Change::New(_) => to.1 += n,
        }
    }
    end(from, to, is_same);
    joined
}

impl<'a> Change<'a> {
    pub fn text(self) -> &'a str {
        match self {
            Self::Same(text) | Self::Gone(text) | Self::New(text) => text,
        }
    }
}

fn middle<'a>(a: &[&'a str], b: &[&'a str], changes: &mut Vec<Change<'a>>) {
    if a.len() * b.len() > MAX_CELLS {
        changes.extend(a.iter().copied().map(Change::Gone));
        changes.extend(b.iter().copied().map(Change::New));
        return;
    }
    // longest[i][j]: of the common subsequence of a[i..] and b[j..].
    let width = b.len() + 1;
    let mut longest = vec![0_u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i * width + j] = match a[i] == b[j] {
                true => longest[(i + 1) * width + j + 1].saturating_add(1),
                false => longest[(i + 1) * width + j].max(longest[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            changes.push(Change::Same(a[i]));
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            changes.push(Change::Gone(a[i]));
            i += 1;
        } else {
            changes.push(Change::New(b[j]));
            j += 1;
        }
    }
    changes.extend(a[i..].iter().copied().map(Change::Gone));
    changes.extend(b[j..].iter().copied().map(Change::New));
}

/// Words, and the blank space between them. Signs and characters of scripts without spaces stand by themselves.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut before: Option<Kind> = None;
    for (at, char) in text.char_indices() {
        let kind = Kind::of(char);
        if at > start && !(before == Some(kind) && kind != Kind::Alone) {
            words.push(&text[start..at]);
            start = at;
        }
        before = Some(kind);
    }
    if start < text.len() {
        words.push(&text[start..]);
    }
    words
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Space,
    Letter,
    Alone,
}

impl Kind {
    fn of(char: char) -> Self {
        match char {
            char if char.is_whitespace() => Self::Space,
            // Kana, Han and their signs: no spaces between words.
            '\u{3000}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' => Self::Alone,
            char if char.is_alphanumeric() || char == '\'' || char == '_' => Self::Letter,
            _ => Self::Alone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Change::*, *};

    #[test]
    fn words_that_went_and_came_are_told_apart_from_those_that_stayed() {
        let changes = diff("the red fox runs.", "the old fox runs fast.");
        assert_eq!(
            changes,
            [
                Same("the "),
                Gone("red"),
                New("old"),
                Same(" fox runs"),
                New(" fast"),
                Same(".")
            ]
        );
    }

    #[test]
    fn both_texts_can_be_read_from_the_changes() {
        for (old, new) in [
            ("", "a b"),
            ("x  y\nz", "x y z"),
            ("맑은 하늘", "푸른 하늘이"),
            ("今日は晴れ", "明日は雨"),
        ] {
            let changes = diff(old, new);
            let read = |leave: fn(&Change<'_>) -> bool| -> String {
                let kept = changes.iter().filter(|change| !leave(change));
                kept.map(|change| match *change {
                    Same(text) | Gone(text) | New(text) => text,
                })
                .collect()
            };
            assert_eq!(read(|change| matches!(change, New(_))), old);
            assert_eq!(read(|change| matches!(change, Gone(_))), new);
        }
    }
}
