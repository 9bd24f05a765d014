//! What a round leaves to read: samples before and after, and the log.

use super::{Live, rollouts};
use crate::{
    format,
    words::{t, t_owned},
};
use laurel_protocol::{LogLevel, LogLine, Message, RoundKind, Sample, Speaker};
use leptos::prelude::*;

pub fn samples(live: Live, kind: RoundKind) -> AnyView {
    if kind == RoundKind::Reward {
        return ().into_any();
    }
    let list = match kind {
        RoundKind::Ppo => live.samples.view_once(move || rollouts::view(live)),
        RoundKind::Sft | RoundKind::Reward | RoundKind::Dpo => live.samples.view(|samples| {
            if samples.is_empty() {
                return view! { <p class="fine">{t("They come when the trainer has read the data.")}</p> }
                    .into_any();
            }
            samples.into_iter().map(sample).collect_view().into_any()
        }),
    };
    view! {
        <section class="card" aria-labelledby="samples-title">
            <h2 id="samples-title">{t("Before and after")}</h2>
            {list}
        </section>
    }
    .into_any()
}

/// The last thing that the user says in a prompt.
pub fn question(prompt: &[Message]) -> Option<String> {
    let asked = prompt.iter().rev().find(|message| message.role == Speaker::User);
    asked.map(|message| message.content.clone())
}

fn sample(sample: Sample) -> AnyView {
    let after = if sample.after.is_empty() {
        "…".to_owned()
    } else {
        sample.after
    };
    view! {
        <article class="sample" data-test="round-sample">
            <p class="sample-prompt">{question(&sample.prompt)}</p>
            <div class="sample-pair">
                <div><h3>{t("Before")}</h3><p class="verbatim" data-test="sample-before">{sample.before}</p></div>
                <div class="sample-after"><h3>{t("After")}</h3><p class="verbatim" data-test="sample-after">{after}</p></div>
            </div>
        </article>
    }
    .into_any()
}

pub fn log(live: Live) -> AnyView {
    let lines = move || live.log.with(|lines| lines.iter().map(line).collect_view());
    view! {
        <section class="card" aria-labelledby="log-title">
            <h2 id="log-title">{t("Log")}</h2>
            <ol class="log" data-test="round-log" tabindex="0" aria-labelledby="log-title">{lines}</ol>
        </section>
    }
    .into_any()
}

fn line(line: &LogLine) -> AnyView {
    let class = match line.level {
        LogLevel::Info => "log-line",
        LogLevel::Warning => "log-line log-warning",
        LogLevel::Error => "log-line log-error",
    };
    view! {
        <li class=class><span class="log-time">{format::clock(line.at)}</span><span>{t_owned(&line.text)}</span></li>
    }
    .into_any()
}
