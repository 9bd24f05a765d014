//! Lines of an import, read before anything of them is stored.

use laurel_protocol::{BadLine, ImportReport};
use serde_json::Value;

/// The longest line of an import.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Bad lines that a report names; the rest are counted.
const MAX_BAD_LINES: usize = 100;

/// The lines that are not empty, with their numbers from 1.
pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let lines = without_mark(body).split(|byte| *byte == b'\n');
    let numbered = (1..).zip(lines);
    numbered.filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// Without the byte-order mark of some editors.
pub(super) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// The JSON of a line, or the reason why it is none.
pub(super) fn json(line: &[u8]) -> Result<Value, String> {
    if line.len() > MAX_LINE_BYTES {
        return Err("is longer than 1 MiB".to_owned());
    }
    let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    serde_json::from_str(line).map_err(|error| format!("is not JSON: {error}"))
}

/// Enters a line that is bad.
pub(super) fn note_bad(report: &mut ImportReport, line: u64, reason: String) {
    report.n_bad += 1;
    if report.bad_lines.len() < MAX_BAD_LINES {
        report.bad_lines.push(BadLine { line, reason });
    }
}
