//! Markdown of models and people → HTML that is safe to show. Input: any text. Output: HTML of a fixed list of
//! tags, code coloured by class names (`hl-…`, syntect), links that open elsewhere, no images, no scripts.

use ammonia::Builder;
use pulldown_cmark::{CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd, html};
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};
use syntect::{
    html::{ClassStyle, ClassedHTMLGenerator},
    parsing::SyntaxSet,
    util::LinesWithEndings,
};

/// Longer code is shown without colours: colouring costs time.
const MAX_COLOURED_BYTES: usize = 20_000;

/// HTML that is kept: a completion is shown several times, and colouring its code takes tens of milliseconds.
const MAX_KEPT_BYTES: usize = 32 << 20;

static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

/// HTML by the hash of its text.
#[derive(Default)]
struct Kept {
    html: HashMap<[u8; 32], Arc<str>>,
    n_bytes: usize,
}

static SYNTAXES: LazyLock<SyntaxSet> = LazyLock::new(SyntaxSet::load_defaults_newlines);

static SANITISER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let tags = [
        "p",
        "br",
        "hr",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "ul",
        "ol",
        "li",
        "blockquote",
        "pre",
        "code",
        "em",
        "strong",
        "del",
        "a",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "span",
        "sup",
    ];
    let mut builder = Builder::empty();
    builder
        .tags(HashSet::from(tags))
        .add_tag_attributes("a", ["href"])
        .add_tag_attributes("ol", ["start"])
        .add_tag_attributes("span", ["class"])
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .clean_content_tags(HashSet::from(["script", "style"]))
        .attribute_filter(|tag, attribute, value| match (tag, attribute) {
            ("span", "class") => value
                .split(' ')
                .all(|name| name.starts_with("hl-"))
                .then(|| value.into()),
            _ => Some(value.into()),
        })
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank");
    builder
});

/// Sanitised HTML of a markdown text. HTML in the text is shown as text, as the model wrote it.
pub fn markdown(text: &str) -> String {
    let key: [u8; 32] = Sha256::digest(text).into();
    let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(html) = kept().html.get(&key) {
        return html.to_string();
    }
    let html = fresh(text);
    let mut kept = kept();
    if kept.n_bytes + html.len() > MAX_KEPT_BYTES {
        *kept = Kept::default();
    }
    if kept.html.insert(key, html.as_str().into()).is_none() {
        kept.n_bytes += html.len();
    }
    html
}

fn fresh(text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut events = Vec::new();
    let mut code: Option<(String, String)> = None; // language, text
    for event in Parser::new_ext(text, options) {
        match (event, &mut code) {
            (Event::Start(Tag::CodeBlock(kind)), _) => {
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.to_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                code = Some((language, String::new()));
            }
            (Event::End(TagEnd::CodeBlock), open) => {
                let (language, text) = open.take().unwrap_or_default();
                events.push(Event::Html(CowStr::from(code_block(&language, &text))));
            }
            (Event::Text(text), Some((_, code))) => code.push_str(&text),
            (Event::Html(html) | Event::InlineHtml(html), _) => events.push(Event::Text(html)),
            // An image of a model's would make the reader's browser call a stranger: its text is left.
            (Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image), _) => {}
            // People and models mean their line breaks.
            (Event::SoftBreak, _) => events.push(Event::HardBreak),
            (event, _) => events.push(event),
        }
    }
    let mut out = String::with_capacity(text.len() * 3 / 2);
    html::push_html(&mut out, events.into_iter());
    SANITISER.clean(&out).to_string()
}

fn code_block(language: &str, text: &str) -> String {
    let name = language.split([',', ' ', '{']).next().unwrap_or_default();
    let coloured = SYNTAXES
        .find_syntax_by_token(name)
        .filter(|_| !name.is_empty() && text.len() <= MAX_COLOURED_BYTES)
        .and_then(|syntax| {
            let style = ClassStyle::SpacedPrefixed { prefix: "hl-" };
            let mut generator = ClassedHTMLGenerator::new_with_class_style(syntax, &SYNTAXES, style);
            for line in LinesWithEndings::from(text) {
                generator.parse_html_for_line_which_includes_newline(line).ok()?;
            }
            Some(generator.finalize())
        });
    let inner = coloured.unwrap_or_else(|| ammonia::clean_text(text));
    format!("<pre><code>{inner}</code></pre>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_runs_survives() {
        for bad in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "[x](javascript:alert(1))",
            "<a href='javascript:alert(1)' onclick=alert(1)>x</a>",
            "![x](https://example.org/track.png)",
            "<style>body{display:none}</style><iframe src=//x></iframe>",
            "```html\n<script>alert(1)</script>\n```",
        ] {
            let html = markdown(bad);
            for trace in [
                "<script",
                "<img",
                "<iframe",
                "<style",
                "href=\"javascript",
                "<a onclick",
            ] {
                assert!(!html.contains(trace), "{bad} gave {html}");
            }
        }
    }

    #[test]
    fn code_is_coloured_by_class_and_text_keeps_its_lines() {
        let html = markdown("a\nb\n\n```python\ndef f(): return 1\n```");
        assert!(html.contains("a<br>"), "{html}");
        assert!(html.contains("<span class=\"hl-"), "{html}");
    }

    #[test]
    fn a_text_that_is_kept_is_the_same_again() {
        let text = "*twice*\n\n```rust\nfn main() {}\n```";
        assert_eq!([markdown(text), markdown(text)], [fresh(text), fresh(text)]);
    }

    #[test]
    fn tables_lists_and_links_are_kept() {
        let html = markdown("| a | b |\n|---|---|\n| 1 | 2 |\n\n- x\n\n[l](https://example.org)");
        assert!(
            html.contains("<table>") && html.contains("<li>x") && html.contains("nofollow"),
            "{html}"
        );
    }
}
