//! What a round leaves to read: samples before and after, the log, and the facts to make it again.

use super::Live;
use crate::{api, format};
use laurel_protocol::{
    AdapterConfig, LogLevel, LogLine, LoraConfig, Message, Round, RoundKind, Sample, Speaker,
};
use leptos::prelude::*;

pub fn samples(live: Live, kind: RoundKind) -> AnyView {
    if kind == RoundKind::Reward {
        return ().into_any();
    }
    let list = live.samples.view(|samples| {
        if samples.is_empty() {
            return view! { <p class="fine">"They come when the trainer has read the data."</p> }.into_any();
        }
        samples.into_iter().map(sample).collect_view().into_any()
    });
    view! {
        <section class="card" aria-labelledby="samples-title">
            <h2 id="samples-title">"Before and after"</h2>
            {list}
        </section>
    }
    .into_any()
}

fn sample(sample: Sample) -> AnyView {
    let question = sample
        .prompt
        .iter()
        .rev()
        .find(|message: &&Message| message.role == Speaker::User);
    let question = question.map(|message| message.content.clone());
    let after = if sample.after.is_empty() {
        "…".to_owned()
    } else {
        sample.after
    };
    view! {
        <article class="sample" data-test="round-sample">
            <p class="sample-prompt">{question}</p>
            <div class="sample-pair">
                <div><h3>"Before"</h3><p class="verbatim" data-test="sample-before">{sample.before}</p></div>
                <div class="sample-after"><h3>"After"</h3><p class="verbatim" data-test="sample-after">{after}</p></div>
            </div>
        </article>
    }
    .into_any()
}

pub fn log(live: Live) -> AnyView {
    let lines = move || live.log.with(|lines| lines.iter().map(line).collect_view());
    view! {
        <section class="card" aria-labelledby="log-title">
            <h2 id="log-title">"Log"</h2>
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
        <li class=class><span class="log-time">{format::clock(line.at)}</span><span>{line.text.clone()}</span></li>
    }
    .into_any()
}

pub fn facts(live: Live) -> AnyView {
    let list = move || live.round.get().map(|round| fact_list(&round));
    view! {
        <section class="card" aria-labelledby="facts-title">
            <h2 id="facts-title">"What it is made of"</h2>
            {list}
        </section>
    }
    .into_any()
}

fn lora_words(lora: &LoraConfig) -> String {
    let mut words = vec![
        if lora.use_dora { "DoRA" } else { "LoRA" }.to_owned(),
        format!("rank {}", lora.rank),
        format!("alpha {}", lora.alpha),
    ];
    if lora.use_rslora {
        words.push("rank-stabilised".to_owned());
    }
    if lora.dropout > 0.0 {
        words.push(format!("dropout {}", lora.dropout));
    }
    words.join(", ")
}

fn fact_list(round: &Round) -> AnyView {
    let hyper = &round.spec.hyper;
    let shape = match &round.spec.adapter {
        AdapterConfig::Lora(lora) => lora_words(lora),
        AdapterConfig::Ia3(_) => "IA3".to_owned(),
    };
    let ties = round.snapshot.n_ties_left_out;
    let data = format!(
        "{}{}",
        format::counted(round.snapshot.n_rows, "comparison", "comparisons"),
        if ties > 0 {
            format!(", {} left out", format::counted(ties, "tie", "ties"))
        } else {
            String::new()
        }
    );
    let steps = match hyper.max_steps {
        0 => format::counted(hyper.epochs.into(), "epoch", "epochs"),
        n => format!(
            "{}, at most {}",
            format::counted(hyper.epochs.into(), "epoch", "epochs"),
            format::counted(n.into(), "step", "steps")
        ),
    };
    let from = round
        .starting_adapter
        .map_or_else(|| "the base model".to_owned(), |id| format!("adapter {id}"));
    let fact = |name: &'static str, value: String| view! { <dt>{name}</dt><dd>{value}</dd> };
    view! {
        <dl class="facts">
            {fact("Data", data)}
            <dt>"Snapshot"</dt>
            <dd>
                <code title=round.snapshot.hash.clone()>{format::short_hash(&round.snapshot.hash)}</code>" "
                <a href=api::round::rows_url(round.id) download="rows.jsonl" rel="external">"Download the rows"</a>
            </dd>
            {fact("Starts from", from)}
            {fact("Adapter", shape)}
            {fact("Length", steps)}
            {fact("Learning rate", format::figure(hyper.learning_rate))}
            {fact("Batch", hyper.batch_size.to_string())}
            {fact("β", hyper.beta.to_string())}
            {fact("Held out", format::percent(hyper.held_out))}
            {fact("Seed", round.spec.seed.to_string())}
            {fact("Trainer", round.worker.clone().unwrap_or_else(|| "–".to_owned()))}
        </dl>
    }
    .into_any()
}
