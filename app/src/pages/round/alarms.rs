//! What a round warns of, at the top of its page: each warning once, the newest first, with the advice that the trainer
//! gave with it.

use super::Live;
use crate::{
    format,
    words::{fill, t, t_owned},
};
use laurel_protocol::{LogLevel, LogLine};
use leptos::prelude::*;

/// Older ones are behind a click.
const N_OPEN: usize = 3;

pub fn view(live: Live) -> AnyView {
    let warnings = Memo::new(move |_| {
        let findings: Vec<String> = live
            .preview
            .with_ready(|preview| {
                preview
                    .iter()
                    .flat_map(|it| &it.findings)
                    .map(|it| it.text.clone())
                    .collect()
            })
            .unwrap_or_default();
        live.log.with(|lines| warnings(lines, &findings))
    });
    (move || {
        let warnings = warnings.get();
        (!warnings.is_empty()).then(|| shown(&warnings))
    })
    .into_any()
}

/// What stands among the findings about the data is shown there.
fn warnings(lines: &[LogLine], findings: &[String]) -> Vec<LogLine> {
    let mut kept: Vec<LogLine> = Vec::new();
    for line in lines.iter().rev().filter(|line| line.level == LogLevel::Warning) {
        let is_known = kept.iter().any(|other| other.text == line.text) || findings.contains(&line.text);
        if !is_known {
            kept.push(line.clone());
        }
    }
    kept
}

fn shown(warnings: &[LogLine]) -> AnyView {
    let items = |lines: &[LogLine]| lines.iter().map(item).collect_view();
    let (open, older) = warnings.split_at(warnings.len().min(N_OPEN));
    let older = (!older.is_empty()).then(|| {
        view! {
            <details class="fold">
                <summary>{fill("{0} earlier", &[&older.len()])}</summary>
                <ul class="alarms">{items(older)}</ul>
            </details>
        }
    });
    view! {
        <section class="notice" aria-labelledby="alarms-title" data-test="round-alarms">
            <h2 id="alarms-title">{t("Warnings")}</h2>
            <ul class="alarms" aria-live="polite">{items(open)}</ul>
            {older}
        </section>
    }
    .into_any()
}

fn item(line: &LogLine) -> AnyView {
    view! {
        <li data-test="round-alarm"><span class="log-time figures">{format::clock(line.at)}</span><span>{t_owned(&line.text)}</span></li>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::Timestamp;

    #[test]
    fn each_warning_stands_once_and_the_newest_first() {
        let line = |at, level, text: &str| LogLine {
            at: Timestamp(at),
            level,
            text: text.into(),
        };
        let lines = [
            line(1, LogLevel::Warning, "a tie is left out"),
            line(2, LogLevel::Warning, "KL runs away"),
            line(3, LogLevel::Info, "step 3"),
            line(4, LogLevel::Warning, "entropy collapses"),
            line(5, LogLevel::Warning, "KL runs away"),
        ];
        let shown = warnings(&lines, &["a tie is left out".to_owned()]);
        let shown: Vec<_> = shown.iter().map(|line| (line.at.0, line.text.as_str())).collect();
        assert_eq!(shown, [(5, "KL runs away"), (4, "entropy collapses")]);
    }
}
