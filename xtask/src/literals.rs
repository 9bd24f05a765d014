//! The string literals of a Rust source, for checks that read it (`words.rs`).

/// The source up to its tests.
pub fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default()
}

/// A string literal: where it stands, and what it says.
pub struct Literal {
    pub start: usize,
    pub end: usize,
    pub text: String,
}

/// Every string literal of a Rust source outside comments; raw ones are left out.
pub fn literals(source: &str) -> Vec<Literal> {
    let bytes = source.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &source[at..];
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with('\'') {
            char_length(rest)
        } else if let Some(inside) = rest.strip_prefix('"') {
            let length = 1 + string_length(inside);
            found.push(Literal {
                start: at,
                end: at + length,
                text: unescaped(&rest[1..length - 1]),
            });
            length
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        at += skip;
    }
    found
}

/// Up to and with the closing mark.
fn string_length(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal whole; of a lifetime the mark alone.
fn char_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => rest[2..].find('\'').map_or(1, |end| end + 3),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

fn unescaped(literal: &str) -> String {
    let mut text = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some((before, behind)) = rest.split_once('\\') {
        text += before;
        rest = match behind.chars().next() {
            Some('\n') => behind.trim_start(),
            Some('n') => {
                text.push('\n');
                &behind[1..]
            }
            Some('u') => {
                let (code, after) = behind[1..]
                    .trim_start_matches('{')
                    .split_once('}')
                    .unwrap_or_default();
                text.extend(u32::from_str_radix(code, 16).ok().and_then(char::from_u32));
                after
            }
            Some(char) => {
                text.push(char);
                &behind[char.len_utf8()..]
            }
            None => "",
        };
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::literals;

    #[test]
    fn literals_are_found_beside_comments_characters_and_lifetimes() {
        let source = r##"fn f(a: &'static str) { // "no"
            let c = ['"', '\'', 'x']; g("one \"two\" \u{201c}three\u{201d}", "four \
                five", r#"raw"#, "") }"##;
        let found: Vec<_> = literals(source).into_iter().map(|literal| literal.text).collect();
        assert_eq!(found, ["one \"two\" “three”", "four five", ""]);
    }
}
