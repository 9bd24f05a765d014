//! Jinja as transformers sets it up for chat templates, in a sandbox: whoever wrote the template, rendering ends
//! with a text or an error, soon and in bounded memory.
//!
//! What transformers adds to Jinja comes from the crate `hf-chat-template`, which is held against transformers'
//! own output but sets no limits. So its parts are put into an environment of our own, which counts instructions
//! ("fuel"), nesting and output. A single instruction can still double a text or search a list without end:
//! therefore the work is done in a thread of its own, which is given up when it takes too long or too much memory.

use anyhow::{Context, Result, anyhow, bail};
use hf_chat_template::{ChatTemplate, FixedClock};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, value::Kwargs};
use serde_json::json;
use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// 26 July 2024, 00:00 UTC, the date that Llama 3's templates fall back to. A template that prints today's date
/// (`strftime_now`) prints this one: a round that goes on tomorrow must see the same tokens.
const TODAY_UNIX_SECONDS: i64 = 1_721_952_000;

/// Instructions of one rendering. A turn of a conversation takes some tens.
const FUEL: u64 = 2_000_000;
/// Bytes of text that a template may add to those of the conversation, and how often it may repeat the latter.
const OUTPUT: usize = 4 << 20;
const REPEATS: usize = 4;
/// When a rendering is given up: a second instance of the limits above, for what they do not count.
const PATIENCE: Duration = Duration::from_secs(10);
const MEMORY: usize = 256 << 20;
/// How often that is looked at.
const POLL: Duration = Duration::from_millis(10);
/// Macros may call themselves as deep as minijinja allows.
const STACK: usize = 16 << 20;

/// Set once a rendering was given up: its thread goes on, so this process should not live long.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

/// Whether a rendering that was given up still runs in this process.
pub fn has_given_up() -> bool {
    GIVEN_UP.load(Ordering::SeqCst)
}

/// A compiled template.
#[derive(Clone)]
pub struct Jinja(Arc<Environment<'static>>);

impl Jinja {
    pub fn compile(source: &str) -> Result<Self> {
        let mut env = Environment::new();
        env.set_trim_blocks(true);
        env.set_lstrip_blocks(true);
        env.set_keep_trailing_newline(false);
        env.set_undefined_behavior(UndefinedBehavior::Lenient);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.set_fuel(Some(FUEL));
        env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        let date = borrowed("{{ strftime_now(format) }}")?;
        env.add_function("strftime_now", move |format: String| {
            date.render_context(&json!({ "format": format }))
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
        });
        let plain = borrowed("{{ value|tojson }}")?;
        let indented = borrowed("{{ value|tojson(indent=indent) }}")?;
        env.add_filter("tojson", move |value: Value, options: Kwargs| {
            let indent: Option<usize> = options.get("indent").unwrap_or(None);
            let template = if indent.is_some() { &indented } else { &plain };
            // Python's other options, such as ensure_ascii, stand as transformers sets them.
            let context = Value::from_iter([
                ("value", value),
                ("indent", Value::from(indent.unwrap_or(0).min(16))),
            ]);
            template
                .render_context(&context)
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
        });
        env.add_template_owned("chat", without_generation_marks(source))
            .map_err(|error| anyhow!(one_line(&error)))?;
        Ok(Self(Arc::new(env)))
    }

    /// The text that the template makes of `context`, of which the conversation takes `n_bytes`.
    pub fn render(&self, context: serde_json::Value, n_bytes: usize) -> Result<String> {
        let env = self.0.clone();
        let limit = OUTPUT + REPEATS * n_bytes;
        let begun = Instant::now();
        let memory = resident_bytes();
        let (done, text) = mpsc::channel();
        thread::Builder::new()
            .name("template".to_owned())
            .stack_size(STACK)
            .spawn(move || drop(done.send(render(&env, &context, limit))))
            .context("start a thread for the chat template")?;
        loop {
            match text.recv_timeout(POLL) {
                Ok(text) => return text,
                Err(RecvTimeoutError::Disconnected) => bail!("the template engine broke down"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let too_long = begun.elapsed() > PATIENCE;
            let grown = resident_bytes().saturating_sub(memory) > MEMORY + limit;
            if too_long || grown {
                GIVEN_UP.store(true, Ordering::SeqCst);
            }
            if too_long {
                bail!("it takes longer than {} seconds", PATIENCE.as_secs());
            }
            if grown {
                bail!("it takes more than {} MiB of memory", (MEMORY + limit) >> 20);
            }
        }
    }
}

fn render(env: &Environment<'_>, context: &serde_json::Value, limit: usize) -> Result<String> {
    let mut out = Bounded {
        bytes: Vec::new(),
        limit,
    };
    let template = env.get_template("chat").context("the template was compiled")?;
    match template.render_captured_to(context, &mut out) {
        Ok(_) => String::from_utf8(out.bytes).context("a template writes whole characters"),
        Err(error) if causes(&error).any(|it| it.kind() == ErrorKind::OutOfFuel) => {
            bail!("it does not end: it was stopped after {FUEL} instructions")
        }
        Err(error) if causes(&error).any(|it| it.kind() == ErrorKind::WriteFailure) => {
            bail!("it writes more than {} MiB", limit >> 20)
        }
        Err(error) => bail!("{}", one_line(&error)),
    }
}

/// A part of transformers' environment, taken over from the crate that has it.
fn borrowed(source: &str) -> Result<ChatTemplate> {
    ChatTemplate::builder(source)
        .clock(FixedClock::from_unix_secs(TODAY_UNIX_SECONDS))
        .build()
        .context("compile a part of Jinja's environment")
}

/// transformers marks the assistant's text with `{% generation %}` blocks, which print nothing. Jinja engines
/// without that extension get a block that is always true.
fn without_generation_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, behind)) = rest.split_once("{%") {
        let Some((tag, after)) = behind.split_once("%}") else {
            break;
        };
        let word = tag.trim_matches(['-', '+']).trim();
        let swapped = match word {
            "generation" => tag.replace(word, " if true "),
            "endgeneration" => tag.replace(word, " endif "),
            _ => tag.to_owned(),
        };
        out.extend([before, "{%", &swapped, "%}"]);
        rest = after;
    }
    out + rest
}

/// An error and what caused it, outermost first.
fn causes(error: &Error) -> impl Iterator<Item = &Error> {
    std::iter::successors(Some(error), |error| {
        std::error::Error::source(*error)?.downcast_ref::<Error>()
    })
}

/// The innermost cause with its line: what `raise_exception` was given, for one.
fn one_line(error: &Error) -> String {
    let cause = causes(error).last().unwrap_or(error);
    let text = match cause.detail() {
        Some(detail) => detail.to_owned(),
        None => cause.kind().to_string(),
    };
    let place = causes(error).filter_map(Error::line).last();
    match place {
        Some(line) => format!("{} (line {line} of the template)", first_line(&text)),
        None => first_line(&text).to_owned(),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Takes bytes up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > self.limit {
            return Err(io::Error::other("too much output"));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Memory of this process that is in use; 0 where the system does not tell.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<usize>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(source: &str) -> Result<String> {
        let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
        let messages = json!([turn("user", "question"), turn("assistant", "answer")]);
        Jinja::compile(source)?.render(json!({ "messages": messages }), 14)
    }

    fn refused(source: &str) -> String {
        let begun = Instant::now();
        let error = outcome(source).unwrap_err().to_string();
        assert!(begun.elapsed() < Duration::from_secs(10), "{error}");
        assert!(!error.contains('\n'), "{error}");
        error
    }

    #[test]
    fn loops_without_end_are_stopped() {
        let nested = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}\
                      {% endfor %}{% endfor %}";
        assert!(refused(nested).contains("does not end"));
        // A range of so many numbers is refused by itself.
        assert!(refused("{% for i in range(10**9) %}x{% endfor %}").contains("range"));
    }

    #[test]
    fn macros_that_call_themselves_are_stopped() {
        let deep = refused("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}");
        assert!(deep.contains("recursion limit"), "{deep}");
        let wide = refused(
            "{% macro f(n) %}{% if n < 60 %}{{ f(n + 1) }}{{ f(n + 1) }}{% endif %}{% endmacro %}{{ f(0) }}",
        );
        assert!(wide.contains("does not end"), "{wide}");
    }

    #[test]
    fn gigantic_output_is_stopped() {
        let source = "{% for a in range(50000) %}{{ 'x' * 1000 }}{% endfor %}";
        assert!(refused(source).contains("writes more than 4 MiB"));
    }

    #[test]
    fn errors_of_the_template_itself_are_passed_on_with_their_line() {
        let error = refused("\n{{ raise_exception('no system turn, please') }}");
        assert_eq!(error, "no system turn, please (line 2 of the template)");
        assert!(refused("{% for %}").contains("line 1"));
    }

    #[test]
    fn the_parts_of_transformers_environment_are_there() {
        let source = "{% generation %}\n{{ {'b': 1, 'a': [1, 2]}|tojson }}\n{%- endgeneration %}\n";
        assert_eq!(outcome(source).unwrap(), r#"{"b": 1, "a": [1, 2]}"#);
        let source = "{{ {'a': [1]}|tojson(indent=2) }}";
        assert_eq!(outcome(source).unwrap(), "{\n  \"a\": [\n    1\n  ]\n}");
        let source = "{{ strftime_now('%d %b %Y') }} {{ messages[0].content.upper() }}{% break %}";
        assert!(outcome(source).is_err(), "break outside of a loop");
        let source = "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ strftime_now('%Y') }}{% endfor %}";
        assert_eq!(outcome(source).unwrap(), "20242024");
    }
}
