//! What decided an adapter's weights, and who judged the rows.

use crate::{
    format,
    pages::{overview::kind_name, round_new::loss_name},
    words::{fill, t},
};
use laurel_protocol::{AdapterFacts, Ancestor, AncestorRole, Split};
use leptos::prelude::*;
use leptos_router::components::A;

pub fn view(facts: &AdapterFacts) -> AnyView {
    view! {
        <div class="stack">
            {made_of(facts)}
            {taught_by(facts)}
            {goes_back_to(&facts.ancestors)}
            {evaluation(facts)}
        </div>
    }
    .into_any()
}

fn hash(hash: Option<&String>) -> AnyView {
    match hash {
        Some(hash) => view! { <code title=hash.clone()>{format::short_hash(hash)}</code> }.into_any(),
        None => t("not recorded").into_any(),
    }
}

fn code(version: Option<&String>) -> String {
    version.cloned().unwrap_or_else(|| t("not recorded").to_owned())
}

fn made_of(facts: &AdapterFacts) -> AnyView {
    let adapter = &facts.adapter;
    let (round, name) = (adapter.round_id, adapter.name.clone());
    let n_prompts = facts.snapshot.n_rows.saturating_sub(facts.n_annotated_rows);
    let rows = fill(
        "{0} from annotations, {1} prompts",
        &[&format::count(facts.n_annotated_rows), &format::count(n_prompts)],
    );
    view! {
        <section class="card" aria-labelledby="made-title">
            <h2 id="made-title">{t("What it is made of")}</h2>
            <dl class="facts" data-test="adapter-facts">
                <dt>{t("Weights, SHA-256")}</dt><dd><code data-test="adapter-hash">{adapter.hash.clone()}</code></dd>
                <dt>{t("Round")}</dt><dd><A href=format!("/rounds/{round}")>{name}</A></dd>
                <dt>{t("Base model")}</dt><dd><code>{facts.base_model.clone()}</code></dd>
                <dt>{t("Base weights")}</dt><dd>{hash(adapter.base_weights_hash.as_ref())}</dd>
                <dt>{t("Chat template")}</dt>
                <dd>{facts.template.as_str()} " " {hash(adapter.template_hash.as_ref())}</dd>
                <dt>{t("Snapshot")}</dt>
                <dd>{hash(Some(&facts.snapshot.hash))} " · " {rows} " · " {format::moment(facts.snapshot.created_at)}</dd>
                <dt>{t("Loss")}</dt><dd>{loss_name(facts.spec.hyper.loss)}</dd>
                <dt>{t("Seed")}</dt><dd>{facts.spec.seed.to_string()}</dd>
                <dt>{t("Trainer")}</dt><dd>{facts.worker.clone().unwrap_or_else(|| "–".to_owned())}</dd>
                <dt>{t("Trainer's code")}</dt><dd><code>{code(facts.trainer_code.as_ref())}</code></dd>
                <dt>{t("Server's code")}</dt><dd><code>{code(facts.server_code.as_ref())}</code></dd>
            </dl>
            <p class="fine">
                <A href=format!("/rounds/{round}")>{t("Every setting, figure and log line stands on the round's page.")}</A>
            </p>
        </section>
    }
    .into_any()
}

fn taught_by(facts: &AdapterFacts) -> AnyView {
    let list = match facts.annotators.is_empty() {
        true => view! { <p class="fine">{t("No annotation: its rows are prompts alone.")}</p> }.into_any(),
        false => {
            let rows = facts
                .annotators
                .iter()
                .map(|one| {
                    view! {
                        <tr data-test="teacher">
                            <th scope="row"><code>{one.annotator.clone()}</code></th>
                            <td class="number">{format::count(one.n_annotations)}</td>
                            <td class="number">{format::count(one.n_rows)}</td>
                        </tr>
                    }
                })
                .collect_view();
            view! {
                <div class="table-frame">
                    <table>
                        <thead>
                            <tr>
                                <th scope="col">{t("Annotator")}</th>
                                <th scope="col" class="number">{t("Annotations")}</th>
                                <th scope="col" class="number">{t("Rows")}</th>
                            </tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                </div>
            }
            .into_any()
        }
    };
    view! {
        <section class="card" aria-labelledby="taught-title">
            <h2 id="taught-title">{t("Who judged its rows")}</h2>
            <p class="fine">{t("Pseudonyms, the same as in exports.")}</p>
            {list}
        </section>
    }
    .into_any()
}

fn goes_back_to(ancestors: &[Ancestor]) -> AnyView {
    if ancestors.is_empty() {
        return ().into_any();
    }
    let rows = ancestors
        .iter()
        .map(|one| {
            let how = match one.role {
                AncestorRole::Start => t("began from it"),
                AncestorRole::Reward => t("was scored by it"),
            };
            let near = match one.depth {
                1 => t("this adapter").to_owned(),
                _ => fill("adapter {0}", &[&one.of]),
            };
            let name = one.name.clone();
            let gone = one.deleted.then(|| view! { " · " {t("files deleted")} });
            view! {
                <li class="row" data-test="ancestor">
                    <div class="row-head">
                        <A href=format!("/adapters/{}", one.id)>{name}</A>
                        <span class="fine">{kind_name(one.kind)}</span>
                        <code class="fine" title=one.hash.clone()>{format::short_hash(&one.hash)}</code>
                    </div>
                    <p class="fine">{near} " " {how} {gone}</p>
                </li>
            }
        })
        .collect_view();
    view! {
        <section class="card" aria-labelledby="ancestors-title">
            <h2 id="ancestors-title">{t("Goes back to")}</h2>
            <ul class="rows">{rows}</ul>
        </section>
    }
    .into_any()
}

fn evaluation(facts: &AdapterFacts) -> AnyView {
    let Some(point) = &facts.evaluation else {
        return ().into_any();
    };
    let of = match point.split {
        Split::Eval => fill("After step {0}, on held-out rows.", &[&point.step]),
        Split::Train => fill(
            "After step {0}, on trained rows: none were held out.",
            &[&point.step],
        ),
    };
    // The names are those of the API and of the card.
    let figures = point
        .values
        .iter()
        .filter(|(name, _)| !name.contains("calibration_") && !name.starts_with("length_"))
        .map(|(name, value)| view! { <dt><code>{name.clone()}</code></dt><dd>{format::figure(*value)}</dd> })
        .collect_view();
    view! {
        <section class="card" aria-labelledby="evaluation-title">
            <h2 id="evaluation-title">{t("Last evaluation")}</h2>
            <p class="fine">{of}</p>
            <dl class="facts">{figures}</dl>
        </section>
    }
    .into_any()
}
