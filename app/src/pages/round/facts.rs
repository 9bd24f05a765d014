//! What a round is made of: enough to make it again.

use super::Live;
use crate::{
    api, format,
    load::Loaded,
    pages::round_new::loss_name,
    words::{fill, t},
};
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
            <h2 id="facts-title">{t("What it is made of")}</h2>
            {list}
        </section>
    }
    .into_any()
}

fn lora_words(lora: &LoraConfig) -> String {
    let mut words = vec![
        if lora.use_dora { "DoRA" } else { "LoRA" }.to_owned(),
        fill("rank {0}", &[&lora.rank]),
        fill("alpha {0}", &[&lora.alpha]),
    ];
    if lora.use_rslora {
        words.push(t("rank-stabilised").to_owned());
    }
    if lora.dropout > 0.0 {
        words.push(fill("dropout {0}", &[&lora.dropout]));
    }
    words.join(", ")
}

/// An adapter by its name, with a link to its page.
fn adapter_link(id: AdapterId, known: &[Adapter]) -> AnyView {
    let name = match known.iter().find(|adapter| adapter.id == id) {
        Some(adapter) => adapter.name.clone(),
        None => fill("adapter {0}", &[&id]),
    };
    view! { <A href=format!("/adapters/{id}")>{name}</A> }.into_any()
}

fn scorer(round: &Round, known: &[Adapter]) -> Option<AnyView> {
    let words = match round.spec.reward.as_ref()? {
        RewardSource::Adapter => match round.reward_adapter {
            Some(id) => return Some(adapter_link(id, known)),
            None => t("a reward model").to_owned(),
        },
        RewardSource::Length { target } => fill("closeness to {0} tokens", &[target]),
        RewardSource::Regex { pattern } => fill("whether {0} matches", &[pattern]),
        RewardSource::Http { url, .. } => url.clone(),
    };
    Some(words.into_any())
}

fn data_words(round: &Round) -> String {
    let n = round.snapshot.n_rows;
    if round.spec.kind == RoundKind::Ppo {
        return format::counted(n, "{0} prompt", "{0} prompts");
    }
    let rows = format::counted(n, "{0} comparison", "{0} comparisons");
    match round.snapshot.n_ties_left_out {
        0 => rows,
        ties => fill(
            "{0}, {1} left out",
            &[&rows, &format::counted(ties, "{0} tie", "{0} ties")],
        ),
    }
}

/// What a PPO round has besides: how it samples and how it is held to its reference.
fn online_facts(loss: Loss, ppo: &Ppo) -> Vec<(&'static str, String)> {
    let control = match ppo.kl_target {
        0.0 => format::figure(ppo.kl_coefficient),
        target => fill(
            "{0} at first, adapted to {1} nats",
            &[&format::figure(ppo.kl_coefficient), &format::figure(target)],
        ),
    };
    let answers = fill(
        "{0} a prompt, up to {1}, temperature {2}",
        &[
            &ppo.samples_per_prompt,
            &format::counted(ppo.max_new_tokens.into(), "{0} token", "{0} tokens"),
            &ppo.temperature,
        ],
    );
    let passes = fill(
        "{0} over {1}",
        &[
            &format::counted(ppo.inner_epochs.into(), "{0} pass", "{0} passes"),
            &format::counted(ppo.minibatches.into(), "{0} minibatch", "{0} minibatches"),
        ],
    );
    let mut facts = vec![
        (t("Answers"), answers),
        (t("KL coefficient"), control),
        (t("A step"), passes),
    ];
    if ppo.max_kl > 0.0 {
        facts.push((t("KL budget"), fill("{0} nats", &[&format::figure(ppo.max_kl)])));
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
        0 => format::counted(hyper.epochs.into(), "{0} epoch", "{0} epochs"),
        n => fill(
            "{0}, at most {1}",
            &[
                &format::counted(hyper.epochs.into(), "{0} epoch", "{0} epochs"),
                &format::counted(n.into(), "{0} step", "{0} steps"),
            ],
        ),
    };
    let from = match round.starting_adapter {
        Some(id) => adapter_link(id, known),
        None => t("the base model").into_any(),
    };
    let fact = |name: &'static str, value: String| view! { <dt>{name}</dt><dd>{value}</dd> };
    let scorer = scorer(round, known)
        .map(|scorer| view! { <dt>{t("Scored by")}</dt><dd data-test="scorer">{scorer}</dd> });
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
            {fact(t("Data"), data_words(round))}
            <dt>{t("Snapshot")}</dt>
            <dd>
                <code title=round.snapshot.hash.clone()>{format::short_hash(&round.snapshot.hash)}</code>" "
                <a href=api::round::rows_url(round.id) download="rows.jsonl" rel="external">{t("Download the rows")}</a>
            </dd>
            <dt>{t("Starts from")}</dt><dd>{from}</dd>
            {scorer}
            {fact(t("Loss"), loss_name(hyper.loss).to_owned())}
            {fact(t("Adapter"), shape)}
            {fact(t("Length"), steps)}
            {fact(t("Learning rate"), format::figure(hyper.learning_rate))}
            {fact(t("Batch"), hyper.batch_size.to_string())}
            {beta}
            {online}
            {fact(t("Held out"), format::percent(hyper.held_out))}
            {fact(t("Seed"), round.spec.seed.to_string())}
            {round.adapter.map(|id| view! { <dt>{t("What came out")}</dt><dd data-test="made-adapter">{adapter_link(id, known)}</dd> })}
            {fact(t("Trainer"), round.worker.clone().unwrap_or_else(|| "–".to_owned()))}
        </dl>
    }
    .into_any()
}
