//! What a round is made of: enough to make it again.

use super::Live;
use crate::{api, format, load::Loaded, pages::round_new::loss_name};
use laurel_protocol::{
    Adapter, AdapterConfig, AdapterId, LoraConfig, Loss, Ppo, ProjectId, RewardSource, Round, RoundKind,
    Setting,
};
use leptos::prelude::*;
use leptos_router::components::A;

pub fn view(live: Live, project: ProjectId) -> AnyView {
    // For the names of the adapters that the round names by number.
    let adapters = Loaded::new(move || api::adapter::list(project));
    let list = move || {
        let known = adapters.get().unwrap_or_default();
        live.round.get().map(|round| fact_list(&round, &known))
    };
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

/// An adapter by its name, with a link to the round that made it.
fn adapter_link(id: AdapterId, known: &[Adapter]) -> AnyView {
    match known.iter().find(|adapter| adapter.id == id) {
        Some(adapter) => {
            let (href, name) = (format!("/rounds/{}", adapter.round_id), adapter.name.clone());
            view! { <A href>{name}</A> }.into_any()
        }
        None => format!("adapter {id}").into_any(),
    }
}

fn scorer(round: &Round, known: &[Adapter]) -> Option<AnyView> {
    let words = match round.spec.reward.as_ref()? {
        RewardSource::Adapter => match round.reward_adapter {
            Some(id) => return Some(adapter_link(id, known)),
            None => "a reward model".to_owned(),
        },
        RewardSource::Length { target } => format!("closeness to {target} tokens"),
        RewardSource::Regex { pattern } => format!("whether {pattern} matches"),
        RewardSource::Http { url, .. } => url.clone(),
    };
    Some(words.into_any())
}

fn data_words(round: &Round) -> String {
    let n = round.snapshot.n_rows;
    if round.spec.kind == RoundKind::Ppo {
        return format::counted(n, "prompt", "prompts");
    }
    let rows = format::counted(n, "comparison", "comparisons");
    match round.snapshot.n_ties_left_out {
        0 => rows,
        ties => format!("{rows}, {} left out", format::counted(ties, "tie", "ties")),
    }
}

/// What a PPO round has besides: how it samples and how it is held to its reference.
fn online_facts(loss: Loss, ppo: &Ppo) -> Vec<(&'static str, String)> {
    let control = match ppo.kl_target {
        0.0 => format::figure(ppo.kl_coefficient),
        target => format!(
            "{} at first, adapted to {} nats",
            format::figure(ppo.kl_coefficient),
            format::figure(target)
        ),
    };
    let answers = format!(
        "{} a prompt, up to {}, temperature {}",
        ppo.samples_per_prompt,
        format::counted(ppo.max_new_tokens.into(), "token", "tokens"),
        ppo.temperature
    );
    let passes = format!(
        "{} over {}",
        format::counted(ppo.inner_epochs.into(), "pass", "passes"),
        format::counted(ppo.minibatches.into(), "minibatch", "minibatches")
    );
    let mut facts = vec![
        ("Answers", answers),
        ("KL coefficient", control),
        ("A step", passes),
    ];
    if ppo.max_kl > 0.0 {
        facts.push(("KL budget", format!("{} nats", format::figure(ppo.max_kl))));
    }
    if loss == Loss::Ppo {
        facts.push(("γ, λ", format!("{}, {}", ppo.gamma, ppo.lambda)));
    }
    facts
}

fn fact_list(round: &Round, known: &[Adapter]) -> AnyView {
    let hyper = &round.spec.hyper;
    let shape = match &round.spec.adapter {
        AdapterConfig::Lora(lora) => lora_words(lora),
        AdapterConfig::Ia3(_) => "IA3".to_owned(),
    };
    let steps = match hyper.max_steps {
        0 => format::counted(hyper.epochs.into(), "epoch", "epochs"),
        n => format!(
            "{}, at most {}",
            format::counted(hyper.epochs.into(), "epoch", "epochs"),
            format::counted(n.into(), "step", "steps")
        ),
    };
    let from = match round.starting_adapter {
        Some(id) => adapter_link(id, known),
        None => "the base model".into_any(),
    };
    let fact = |name: &'static str, value: String| view! { <dt>{name}</dt><dd>{value}</dd> };
    let scorer =
        scorer(round, known).map(|scorer| view! { <dt>"Scored by"</dt><dd data-test="scorer">{scorer}</dd> });
    let online = hyper
        .ppo
        .as_ref()
        .map(|ppo| online_facts(hyper.loss, ppo))
        .unwrap_or_default();
    let online = online
        .into_iter()
        .map(|(name, value)| fact(name, value))
        .collect_view();
    let beta = hyper
        .loss
        .uses(Setting::Beta)
        .then(|| fact("β", hyper.beta.to_string()));
    view! {
        <dl class="facts">
            {fact("Data", data_words(round))}
            <dt>"Snapshot"</dt>
            <dd>
                <code title=round.snapshot.hash.clone()>{format::short_hash(&round.snapshot.hash)}</code>" "
                <a href=api::round::rows_url(round.id) download="rows.jsonl" rel="external">"Download the rows"</a>
            </dd>
            <dt>"Starts from"</dt><dd>{from}</dd>
            {scorer}
            {fact("Loss", loss_name(hyper.loss).to_owned())}
            {fact("Adapter", shape)}
            {fact("Length", steps)}
            {fact("Learning rate", format::figure(hyper.learning_rate))}
            {fact("Batch", hyper.batch_size.to_string())}
            {beta}
            {online}
            {fact("Held out", format::percent(hyper.held_out))}
            {fact("Seed", round.spec.seed.to_string())}
            {fact("Trainer", round.worker.clone().unwrap_or_else(|| "–".to_owned()))}
        </dl>
    }
    .into_any()
}
