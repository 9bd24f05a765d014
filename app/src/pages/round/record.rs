//! What a round leaves to read: samples before and after, and the log.

use super::{Live, rollouts};
use crate::{
    components::label::sheet::{
        diff::{Change, diff},
        spoken,
    },
    format,
    words::{t, t_owned},
};
use laurel_protocol::{LogLevel, LogLine, Message, RoundKind, Sample, Speaker};
use leptos::prelude::*;
use leptos_router::components::A;

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
            <div class="page-head">
                <h2 id="samples-title">{t("Before and after")}</h2>
                {move || ask_both(live)}
            </div>
            {list}
        </section>
    }
    .into_any()
}

/// To the chat with what the round started from beside what it made.
fn ask_both(live: Live) -> Option<AnyView> {
    let round = live.round.get()?;
    let made = round.adapter?;
    let start = round
        .starting_adapter
        .map_or_else(String::new, |start| start.to_string());
    let href = format!("/projects/{}/chat?first={start}&second={made}", round.project_id);
    let link = view! { <A href=href attr:class="button button-quiet" attr:data-test="ask-both">{t("Ask both your own prompts")}</A> };
    Some(link.into_any())
}

/// The last thing that the user says in a prompt.
pub fn question(prompt: &[Message]) -> Option<String> {
    let asked = prompt.iter().rev().find(|message| message.role == Speaker::User);
    asked.map(|message| message.content.clone())
}

fn sample(sample: Sample) -> AnyView {
    let (before, after) = match sample.after.is_empty() {
        true => (sample.before.into_any(), "…".into_any()),
        false => marked(&sample.before, &sample.after),
    };
    view! {
        <article class="sample" data-test="round-sample">
            <p class="sample-prompt">{question(&sample.prompt)}</p>
            <div class="sample-pair">
                <div><h3>{t("Before")}</h3><p class="verbatim diff" data-test="sample-before">{before}</p></div>
                <div class="sample-after"><h3>{t("After")}</h3><p class="verbatim diff" data-test="sample-after">{after}</p></div>
            </div>
        </article>
    }
    .into_any()
}

/// Two answers, in each of them marked what the other one lacks, word by word.
fn marked(before: &str, after: &str) -> (AnyView, AnyView) {
    let changes = diff(before, after);
    let side = |other: fn(&Change<'_>) -> bool| {
        let own: Vec<Change<'_>> = changes.iter().copied().filter(|change| !other(change)).collect();
        spoken(&own).into_any()
    };
    (
        side(|change| matches!(change, Change::New(_))),
        side(|change| matches!(change, Change::Gone(_))),
    )
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
