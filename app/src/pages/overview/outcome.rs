//! What comes out of a project: its rounds, its adapters, its exports.

use super::Live;
use crate::{
    api,
    components::{
        badge::status_badge,
        progress::{Amount, progress_bar},
    },
    format,
    words::t,
};
use laurel_protocol::{Adapter, Round, RoundKind};
use leptos::prelude::*;
use leptos_router::components::A;

pub fn kind_name(kind: RoundKind) -> &'static str {
    match kind {
        RoundKind::Sft => "SFT",
        RoundKind::Reward => t("Reward model"),
        RoundKind::Dpo => "DPO",
        RoundKind::Ppo => "PPO",
    }
}

pub fn rounds(live: Live) -> AnyView {
    let list = live.rounds.view(|rounds| {
        if rounds.is_empty() {
            return view! { <p class="fine">{t("None yet. A round trains an adapter on the comparisons.")}</p> }
                .into_any();
        }
        let rows = rounds.into_iter().map(round_row).collect_view();
        view! { <ul class="rows">{rows}</ul> }.into_any()
    });
    view! {
        <section class="card" aria-labelledby="rounds-title">
            <h2 id="rounds-title">{t("Rounds")}</h2>
            {list}
        </section>
    }
    .into_any()
}

fn round_row(round: Round) -> AnyView {
    let amount = (!round.status.is_over()).then(|| {
        progress_bar(
            Amount {
                n_done: round.step,
                n_total: round.n_steps.unwrap_or(0),
                seconds_left: round.seconds_left,
            },
            t("steps"),
        )
    });
    let n_rows = round.snapshot.n_rows;
    let rows = match round.spec.kind {
        RoundKind::Ppo => format::counted(n_rows, "{0} prompt", "{0} prompts"),
        RoundKind::Sft | RoundKind::Reward | RoundKind::Dpo => {
            format::counted(n_rows, "{0} comparison", "{0} comparisons")
        }
    };
    view! {
        <li class="row" data-test="round-row">
            <div class="row-head">
                <A href=format!("/rounds/{}", round.id) attr:data-test="round-link">{round.name}</A>
                {status_badge(round.status)}
            </div>
            {amount}
            <p class="fine">{kind_name(round.spec.kind)}" · "{rows}" · "{format::moment(round.created_at)}</p>
        </li>
    }
    .into_any()
}

pub fn adapters(live: Live) -> AnyView {
    let list = live.adapters.view(|adapters| {
        if adapters.is_empty() {
            return view! { <p class="fine">{t("Each finished round leaves one here, in PEFT's files.")}</p> }
                .into_any();
        }
        let rows = adapters.into_iter().map(adapter_row).collect_view();
        view! { <ul class="rows">{rows}</ul> }.into_any()
    });
    view! {
        <section class="card" aria-labelledby="adapters-title">
            <h2 id="adapters-title">{t("Adapters")}</h2>
            {list}
        </section>
    }
    .into_any()
}

fn adapter_row(adapter: Adapter) -> AnyView {
    let id = adapter.id;
    let links = adapter.files.into_iter().map(|name| {
        let href = api::adapter::file_url(id, &name);
        view! { <a href=href download=name.clone() rel="external">{name.clone()}</a> }
    });
    let links = links.collect_view();
    view! {
        <li class="row" data-test="adapter-row">
            <div class="row-head">
                <A href=format!("/adapters/{id}") attr:data-test="adapter-link">{adapter.name}</A>
                <span class="fine">{kind_name(adapter.kind)}" · "{format::size(adapter.size_bytes)}</span>
            </div>
            <p class="fine"><code title=adapter.hash.clone()>{format::short_hash(&adapter.hash)}</code></p>
            <p class="links fine">{links}</p>
        </li>
    }
    .into_any()
}

pub fn exports(live: Live) -> AnyView {
    let link = |hook: &'static str, format: &'static str, name: &'static str, help: &'static str| {
        let href = api::project::export_url(live.id, format);
        view! {
            <li class="row">
                <a href=href download=format!("{format}.jsonl") rel="external" data-test=hook>{name}</a>
                <p class="fine">{help}</p>
            </li>
        }
        .into_any()
    };
    view! {
        <section class="card" aria-labelledby="exports-title">
            <h2 id="exports-title">{t("Export")}</h2>
            <p class="fine">{t("JSON Lines of all annotations that stand now.")}</p>
            <ul class="rows">
                {link("export-preference", "preference", t("Preferences"), t("prompt, chosen, rejected: for TRL's DPOTrainer"))}
                {link("export-implicit", "implicit_preference", t("Implicit preferences"), t("chosen, rejected with the prompt inside: for TRL's RewardTrainer"))}
                {link("export-unpaired", "unpaired_preference", t("Single judgements"), t("prompt, completion, label: for TRL's KTOTrainer"))}
                {link("export-ranking", "ranking", t("Everything"), t("each annotation whole: ranks and ties, the order shown, ratings, marked passages, edits, comments"))}
                {link("export-sft", "sft", t("Answers to imitate"), t("prompt, completion: for TRL's SFTTrainer; the best answers, edits and answers written by people"))}
            </ul>
        </section>
    }
    .into_any()
}
