//! The lineage of a project: completions, snapshots, rounds with their adapters, and what follows from what, as a picture and
//! as a table.

mod layout;
mod names;
mod picture;

use crate::{
    api, format,
    load::Loaded,
    words::{fill, t},
};
use laurel_protocol::{Lineage, ProjectId};
use layout::{Edge, Graph, Node};
use leptos::prelude::*;
use leptos_router::components::A;
use names::Names;
use std::sync::Arc;

/// The node that is looked at.
type Chosen = RwSignal<Option<Node>>;

pub fn page(id: ProjectId) -> AnyView {
    let lineage = Loaded::new(move || api::lineage::graph(id));
    let body = lineage.view(move |now| body(id, &now));
    view! {
        <div class="page page-wide">
            <p class="crumbs">
                <A href="/">{t("Projects")}</A>
                <A href=format!("/projects/{id}")>{t("Overview")}</A>
            </p>
            <h1>{t("Lineage")}</h1>
            {body}
        </div>
    }
    .into_any()
}

fn body(project: ProjectId, lineage: &Lineage) -> AnyView {
    if lineage.rounds.is_empty() && lineage.completions.is_empty() {
        return view! { <p class="fine">{t("Nothing has been made in this project yet.")}</p> }.into_any();
    }
    let whole = Arc::new(Graph::of(lineage));
    let names = Arc::new(Names::new(project, lineage));
    let chosen: Chosen = RwSignal::new(None);
    // What is shown alone; none: everything.
    let root = RwSignal::new(None::<Node>);
    let graph = {
        let whole = whole.clone();
        Memo::new(move |_| match root.get() {
            Some(node) => Arc::new(whole.only(&whole.around(node))),
            None => whole.clone(),
        })
    };
    let counts = fill(
        "{0} rounds, {1} snapshots, {2} completion jobs.",
        &[
            &lineage.rounds.len(),
            &lineage.snapshots.len(),
            &lineage.completions.len(),
        ],
    );
    let picture = {
        let names = names.clone();
        move || picture::view(graph.get(), names.clone(), chosen)
    };
    view! {
        <p class="fine">{counts} " " {t("Each stands below what it was made from. Choose one to see what belongs to it.")}</p>
        {legend()}
        {focus_buttons(names.clone(), chosen, root)}
        {picture}
        {table(graph, names)}
    }
    .into_any()
}

fn legend() -> AnyView {
    let entry = |class: &'static str, text: &'static str| {
        view! { <li><span class=class aria-hidden="true"></span> {text}</li> }
    };
    view! {
        <ul class="lineage-legend fine">
            {entry("lineage-key lineage-rows", t("rows"))}
            {entry("lineage-key lineage-start", t("began from, or written by"))}
            {entry("lineage-key lineage-reward", t("scored by"))}
            {entry("lineage-key lineage-answers", t("answers that were judged"))}
        </ul>
    }
    .into_any()
}

/// Shows what belongs to the chosen node alone, or everything again.
fn focus_buttons(names: Arc<Names>, chosen: Chosen, root: RwSignal<Option<Node>>) -> AnyView {
    let label = move || match chosen.get() {
        Some(node) => fill("Show only what belongs to {0}", &[&names.of(node).short]),
        None => t("Show only what belongs to the chosen one").to_owned(),
    };
    view! {
        <div class="actions">
            <button
                type="button"
                class="button"
                data-test="lineage-only"
                disabled=move || chosen.get().is_none()
                on:click=move |_| root.set(chosen.get_untracked())
            >
                {label}
            </button>
            <button
                type="button"
                class="button button-quiet"
                data-test="lineage-all"
                hidden=move || root.get().is_none()
                on:click=move |_| root.set(None)
            >
                {t("Show everything")}
            </button>
        </div>
    }
    .into_any()
}

/// The same as a table, newest first.
fn table(graph: Memo<Arc<Graph>>, names: Arc<Names>) -> AnyView {
    let rows = move || {
        let graph = graph.get();
        let row = |node: &Node| row(*node, &graph, &names);
        graph.nodes.iter().rev().map(row).collect_view()
    };
    view! {
        <section class="card" aria-labelledby="lineage-table-title">
            <h2 id="lineage-table-title">{t("As a table")}</h2>
            <div class="table-frame" tabindex="0" role="region" aria-labelledby="lineage-table-title">
                <table data-test="lineage-table">
                    <thead>
                        <tr>
                            <th scope="col">{t("What")}</th>
                            <th scope="col">{t("Kind")}</th>
                            <th scope="col">{t("Made from")}</th>
                            <th scope="col">{t("Used by")}</th>
                            <th scope="col">{t("When")}</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </section>
    }
    .into_any()
}

fn row(node: Node, graph: &Graph, names: &Names) -> AnyView {
    let name = names.of(node);
    let list = |ends: &dyn Fn(&Edge) -> Option<Node>| {
        let words: Vec<String> = graph
            .edges
            .iter()
            .filter_map(ends)
            .map(|other| names.of(other).short)
            .collect();
        match words.is_empty() {
            true => "–".to_owned(),
            false => words.join(", "),
        }
    };
    let from = list(&|edge| (edge.to == node).then_some(edge.from));
    let to = list(&|edge| (edge.from == node).then_some(edge.to));
    view! {
        <tr data-test="lineage-row">
            <th scope="row"><A href=name.href>{name.short}</A></th>
            <td>{name.fine}</td>
            <td class="lineage-list">{from}</td>
            <td class="lineage-list">{to}</td>
            <td>{format::moment(name.at)}</td>
        </tr>
    }
    .into_any()
}
